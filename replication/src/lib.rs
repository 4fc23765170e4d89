//! ZooKeeper's atomic broadcast (ZAB) as a pure state machine over (zxid, opaque transaction
//! bytes). It speaks the bytes of ZooKeeper 3.5 to 3.9 servers and can be their observer, follower
//! or leader. It knows no znode, no disk, no clock, no socket: bytes and facts in, bytes and orders
//! out.
//!
//! ```text
//!                +------------- leader lost, limit passed, gap in the stream -----------+
//!                v                                                                      |
//!   start --> Looking -- leader found --> Discovering --> Synchronizing --> Following / Observing
//!              ^   |                      promise epoch   take history
//!              |   +---- elected -------> Leading: choose epoch, bring a quorum to the own
//!              +----- no quorum --------- history, broadcast
//! ```
//!
//! # Reading order
//!
//! [`Input`] and [`Output`], then `role/`: each state is a type that consumes itself when it is
//! left. `mesh` keeps the election connections, [`history`] decides how a learner is brought up to
//! date, [`election`] and [`quorum`] are pure arithmetic, [`wire`] is bytes.
//!
//! # The loop a caller writes
//!
//! Give every input to [`Replica::step`] with the current time, carry out the outputs *in order*,
//! give their completions back as inputs, and give [`Input::Tick`] when [`Replica::next_deadline`]
//! is reached. A step never fails. Order matters in three places:
//!
//! 1. **Disk.** [`Output::Append`], [`Output::TruncateTo`], [`Output::InstallSnapshot`] and
//!    [`Output::SaveEpochs`] become durable in the order given, as if there were one queue. Their
//!    completions are reported only when they are durable, directory entries included. A failed
//!    write or sync ends the process; it is never reported as done and never tried again.
//! 2. **Connections.** What is sent on one link arrives in order: [`Output::Send`],
//!    [`Output::SendSnapshot`] and [`Output::Close`] share one queue per link. Links do not wait
//!    for each other, and sending does not wait for the disk: the replica orders a `Send` only
//!    when what it says is true already.
//! 3. **Commits.** [`Output::Commit`] is applied and published in order with
//!    [`Output::RoleChanged`], [`Output::Synced`] and [`Output::SendSnapshot`].
//!
//! What each output asks of a server:
//!
//! - `Append`: log it; keep the batch until it is committed or cut off; answer `Appended`.
//! - `Commit`: apply kept batches up to there, publish, answer clients.
//! - `RoleChanged(Leading(e))`: plan from the state after the last commit, number from `e:1`.
//! - `RoleChanged(Following(..) | Observing(..))`: serve, forward writes.
//! - `RoleChanged(Looking)`: serve no writes, drop speculation, fail or repeat what was forwarded,
//!   forget pending syncs and revalidations. Appended batches stay: they may yet be committed.
//! - `SaveEpochs`: replace the epoch file; answer `EpochsSaved`.
//! - `TruncateTo`: drop kept batches, log entries and snapshots above; go back to an older state if
//!   need be; answer `Truncated` with the real end of the log.
//! - `SnapshotBegin`, `SnapshotPiece`, `SnapshotEnd`, `SnapshotReplay`: build a state beside the
//!   own one.
//! - `InstallSnapshot`: write that state as the snapshot `at`, replace log and snapshots
//!   atomically, use it; answer `SnapshotInstalled`.
//! - `SnapshotAbandoned`: drop that state.
//! - `Listen`: open or close the quorum port; connections are refused while it is closed.
//! - `Dial`: resolve, connect, secure; answer `Connected` or `Disconnected`.
//! - `Send`: queue for that link, bounded; a link over its bound is ended.
//! - `SendSnapshot`: queue the state at `at` behind what is queued; answer `SnapshotSent`.
//! - `Close`: end the link after its queue is written.
//! - `Forwarded`: judge it like an own client's request, with that link as the session's owner. A
//!   sync (opcode 9) is answered with `SyncReached` once everything before it is proposed.
//! - `RevalidateFor`, `Touched`: ask and feed the session tracker; answer `RevalidatedFor`.
//! - `LearnerLost`: forget that owner.
//! - `CollectTouches`: answer `Touches` with the sessions heard from since the last time.
//! - `Synced`, `Revalidated`: complete the oldest sync, that revalidation.
//! - A state that differs from the leader's: say `Distrust`, log nothing of the batch in question.
//! - `Halt`: stop; to go on would contradict what was promised.
//!
//! A server's quorum and election ports are told apart in [`Input::Accepted`]; the election port
//! is open from the start. After a restart, [`Durable`] hands over what the disk holds.
//!
//! # Invariants
//!
//! - `committed <= durable <= appended` on one server while it serves.
//! - An acknowledgement of an entry leaves only after the entry and all before it are durable,
//!   since between Ringkeepers it stands for them too; one of NEWLEADER only after the history and
//!   then the epoch are; one of an epoch only after the promise is.
//! - Nothing is reported as committed by a learner before UPTODATE, by a leader before a quorum has
//!   its history, and by anybody before it is durable there.
//! - The position that votes and ACKEPOCH report is the end of the durable history.
//! - Nothing here reads a clock, allocates without bound for a peer, or iterates a hash map.

// Lets the simulated ensemble of `tests/` be used by unit tests as well.
#[cfg(test)]
extern crate self as replication;

mod body;
pub mod election;
pub mod history;
pub mod input;
pub mod membership;
mod mesh;
pub mod output;
#[cfg(test)]
mod planted;
mod progress;
pub mod quorum;
mod replica;
mod role;
mod standing;
pub mod timers;
pub mod wire;

pub use body::ReplicaConfig;
pub use history::Retention;
pub use input::{Durable, Epochs, Input, Request};
pub use membership::{Address, Member, Membership, MembershipError, PeerAddress};
pub use output::{Bytes, LinkId, Output, Port, RoleKind};
pub use replica::Replica;
pub use standing::{Activity, Counts, Durations, Learners, Standing};
