//! What a replica is doing, for operators. Nothing here decides anything.

use std::time::Duration;

/// How far a server is with its part in the ensemble.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Activity {
    /// No leader is known.
    #[default]
    Electing,
    /// Leader and followers agree on an epoch.
    Discovering,
    /// Followers take over the leader's history.
    Synchronizing,
    /// Serving.
    Broadcasting,
}

/// What a replica is doing at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// How far it is.
    pub activity: Activity,
    /// Voters of the ensemble.
    pub voters: usize,
    /// What a leader knows of its learners; none on other servers.
    pub learners: Option<Learners>,
}

/// The learners of a leader, and what they wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Learners {
    /// Connections, those included that are not up to date yet.
    pub connected: usize,
    /// Followers that get everything as it happens, those without a vote included.
    pub followers: usize,
    /// Those of them that have no vote.
    pub without_vote: usize,
    /// Observers that get everything as it happens.
    pub observers: usize,
    /// Syncs that wait for a commit.
    pub syncs: usize,
}

/// What a replica has done since its process began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Times it began to look for a leader.
    pub searches: u64,
    /// How long those took that found one.
    pub elections: Durations,
    /// Learners that were brought up to date from memory, by truncation or without either.
    pub diffs_sent: u64,
    /// Learners that were sent the whole state.
    pub snapshots_sent: u64,
    /// Proposals received while following.
    pub proposals_received: u64,
    /// Entries whose commit was received while serving; one commit may be of several.
    pub commits_received: u64,
}

/// A series of durations, in ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Durations {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum_ms: u64,
    /// The shortest; 0 if there is none.
    pub min_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

impl Durations {
    pub(crate) fn add(&mut self, duration: Duration) {
        let ms = duration.as_millis() as u64;
        self.min_ms = if self.count == 0 { ms } else { self.min_ms.min(ms) };
        self.max_ms = self.max_ms.max(ms);
        self.sum_ms += ms;
        self.count += 1;
    }
}
