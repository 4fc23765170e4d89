//! What kind of world a seed is: sizes and probabilities, drawn before anything happens, so that
//! some seeds crash a lot, some never, some have slow disks, some many watches.

use crate::dice::Dice;

/// Settings of one run. Chances are per mille of the events at which they are considered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Events of the safety phase.
    pub events: u64,
    /// Shards of the node.
    pub shards: u16,
    /// Simulated clients.
    pub clients: usize,
    /// Requests a client pipelines.
    pub depth: usize,
    /// Paths that the workload plays with.
    pub paths: u64,
    /// Batches the feed can hold.
    pub feed_slots: usize,
    /// Log segment size, bytes.
    pub segment_bytes: u64,
    /// Log writes in flight.
    pub log_writes: usize,
    /// Transactions between snapshots.
    pub snapshot_entries: u64,
    /// Chance that an event is a jump in time instead, and how far it may go, ms.
    pub jump: u32,
    /// Furthest jump, ms.
    pub jump_ms: u64,
    /// Chance that a client, given a turn, drops its connection.
    pub disconnect: u32,
    /// Chance that a client, given a turn, sends rubbish.
    pub rubbish: u32,
    /// Chance that a client forgets to send heartbeats for the whole run.
    pub silent_client: u32,
    /// Chance of a crash, per event.
    pub crash: u32,
    /// Chance that the process is paused, per event, and for how long, ms.
    pub pause: u32,
    /// Longest pause, ms.
    pub pause_ms: u64,
    /// Chance that a disk operation stalls.
    pub stall: u32,
    /// Chance that a write or sync fails.
    pub disk_error: u32,
    /// Chance that preparing a segment finds the disk full.
    pub disk_full: u32,
    /// Chance, at a crash, that a bit of a file is found flipped at restart.
    pub rot: u32,
    /// Chance that bytes in flight are delivered in small pieces.
    pub pieces: u32,
    /// Wall clock jumps by up to this, ms.
    pub wall_jump_ms: u64,
    /// The node's clock runs this many parts per million fast.
    pub clock_fast_ppm: u64,
    /// Weights of the workload: reads, writes, multis, watches, sessions.
    pub weights: [u64; 5],
}

impl Options {
    /// Draws a world.
    pub fn draw(dice: &mut Dice) -> Options {
        let often = |dice: &mut Dice, of: &[u32]| *dice.pick(of);
        Options {
            events: *dice.pick(&[800, 1500, 3000]),
            shards: *dice.pick(&[1, 1, 2, 3]),
            clients: dice.between(1, 6) as usize,
            depth: *dice.pick(&[1, 4, 16]),
            paths: *dice.pick(&[3, 8, 30]),
            feed_slots: *dice.pick(&[4, 16, 64]),
            segment_bytes: *dice.pick(&[64 << 10, 128 << 10, 1 << 20]),
            log_writes: dice.between(1, 4) as usize,
            snapshot_entries: *dice.pick(&[5, 20, 100, 1_000_000]),
            jump: often(dice, &[2, 10, 50]),
            jump_ms: *dice.pick(&[50, 500, 5000]),
            disconnect: often(dice, &[0, 5, 30]),
            rubbish: often(dice, &[0, 0, 3]),
            silent_client: often(dice, &[0, 200]),
            crash: often(dice, &[0, 1, 4]),
            pause: often(dice, &[0, 0, 2]),
            pause_ms: *dice.pick(&[100, 3000, 60_000]),
            stall: often(dice, &[0, 20, 100]),
            disk_error: often(dice, &[0, 0, 0, 3]),
            disk_full: often(dice, &[0, 0, 100]),
            rot: often(dice, &[0, 0, 0, 0, 300]),
            pieces: often(dice, &[0, 300, 1000]),
            wall_jump_ms: *dice.pick(&[0, 0, 10_000]),
            clock_fast_ppm: *dice.pick(&[0, 50, 500]),
            weights: [
                dice.between(1, 10),
                dice.between(1, 10),
                dice.between(0, 4),
                dice.between(0, 6),
                dice.between(0, 2),
            ],
        }
    }
}
