//! Every bound of the server, with the relations between them checked at compile time.

/// Batches in the commit feed; how far a shard may lag before the core waits.
pub const FEED_SLOTS: usize = 1024;
/// Unanswered writes a shard may have submitted to the core.
pub const SHARD_SUBMITS_MAX: usize = 64 * 1024;
/// Entries of one proposed batch.
pub const BATCH_ENTRIES_MAX: usize = 8 * 1024;
/// Bytes of entries of one proposed batch; one entry larger than this travels alone.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// Log writes in flight.
pub const LOG_WRITES_MAX: usize = 4;
/// Requests of one connection that are read and not yet answered; reading pauses beyond it.
pub const CONNECTION_OUTSTANDING_MAX: usize = 1000;
/// Bytes waiting for one slow client; beyond it the client is dropped.
pub const OUTBOX_BYTES_MAX: usize = 16 << 20;
/// Bytes waiting for one client beyond which its further requests are not read.
pub const OUTBOX_BYTES_PAUSE: usize = 1 << 20;
/// Bytes read from one connection in one turn.
pub const READ_BYTES_PER_TURN: usize = 64 * 1024;

const _: () = assert!(FEED_SLOTS.is_power_of_two());
const _: () = assert!(OUTBOX_BYTES_PAUSE < OUTBOX_BYTES_MAX);
const _: () = assert!(CONNECTION_OUTSTANDING_MAX < SHARD_SUBMITS_MAX);
/// Batches that were proposed and are not published yet. Beyond it the core executes nothing
/// more; what the shards submit waits, bounded by their credit.
pub const PIPELINE_BATCHES_MAX: usize = 64;
/// Sessions expired in one tick.
pub const EXPIRED_PER_TICK_MAX: usize = 1024;
/// Administrators' questions that wait for the shards' reports.
pub const QUERIES_MAX: usize = 1024;

const _: () = assert!(PIPELINE_BATCHES_MAX < FEED_SLOTS);
const _: () = assert!(LOG_WRITES_MAX < PIPELINE_BATCHES_MAX);
