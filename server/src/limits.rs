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
/// Bytes of requests of one connection that are read and not yet answered; reading pauses beyond
/// it. One request always passes, whatever its size.
pub const CONNECTION_OUTSTANDING_BYTES_MAX: usize = 8 << 20;
/// The same over all connections of a shard; beyond it no connection's writes are read.
pub const SHARD_OUTSTANDING_BYTES_MAX: usize = 256 << 20;
/// Watched (connection, path) pairs of one shard; the connection that asks for more is dropped.
pub const SHARD_WATCHES_MAX: usize = 64 << 20;
/// Watchers of one znode on one shard from which on the answer to its change goes before events:
/// telling so many takes as long as a few answers.
pub const CROWD: u32 = 128;
/// Identities one connection may have proven, its address included; a further proof fails.
pub const CONNECTION_IDENTITIES_MAX: usize = 64;
/// Bytes of all identities of one connection.
pub const CONNECTION_IDENTITY_BYTES_MAX: usize = 64 * 1024;
/// A connection that is to be closed and takes none of its last bytes is cut off after this, ms.
pub const LINGER_MS: u64 = 10_000;
/// Batches that were proposed and are not published yet. Beyond it the core executes nothing
/// more; what the shards submit waits, bounded by their credit.
pub const PIPELINE_BATCHES_MAX: usize = 64;
/// Bytes that wait for one fellow server, snapshot streams not counted; beyond it the connection
/// is ended and the server synchronizes anew.
pub const PEER_QUEUE_BYTES_MAX: usize = 256 << 20;
/// Batches of a leader that wait on a learner to be committed and published; beyond it the learner
/// synchronizes anew.
pub const LEARNER_BATCHES_MAX: usize = 1 << 16;
/// Bytes of data of a state that is kept when it turns out to differ from the leader's.
pub const EVIDENCE_STATE_BYTES_MAX: u64 = 256 << 20;
/// Bytes of a transaction that are kept with it.
pub const EVIDENCE_ENTRY_BYTES_MAX: usize = 1 << 20;
/// Bytes read from one fellow server in one turn.
pub const PEER_READ_BYTES_PER_TURN: usize = 256 * 1024;
/// Connections to the ports for fellow servers on which nothing was answered yet; beyond it the
/// oldest is ended. Whoever belongs to the ensemble is answered as soon as it says who it is.
pub const PEER_STRANGERS_MAX: usize = 64;
/// Names of fellow servers that wait to be resolved.
pub const PEER_NAMES_MAX: usize = 64;
/// Threads that resolve them: a name that takes long must not hold up the others.
pub const PEER_NAME_THREADS_MAX: usize = 8;
/// Sessions at once, unless configured lower: some 16 GiB of bookkeeping.
pub const SESSIONS_MAX: usize = 1 << 24;
/// Sessions expired in one tick.
pub const EXPIRED_PER_TICK_MAX: usize = 1024;
/// Administrators' questions that wait for the shards' reports.
pub const QUERIES_MAX: usize = 1024;
/// Threads of each port for administrators: so many requests are served at once, others wait to be
/// accepted. So many questions at most wait for the core from there.
pub const ADMIN_THREADS: usize = 4;
/// Bytes of the head of an administrator's request; no command needs a tenth of it.
pub const ADMIN_HEAD_BYTES_MAX: usize = 8 << 10;
/// Header fields of an administrator's request.
pub const ADMIN_FIELDS_MAX: usize = 64;
/// Bytes behind an administrator's request that are read so that the answer arrives. Beyond it the
/// connection may be reset.
pub const ADMIN_UNREAD_BYTES_MAX: usize = 64 << 10;

const _: () = assert!(FEED_SLOTS.is_power_of_two());
const _: () = assert!(OUTBOX_BYTES_PAUSE < OUTBOX_BYTES_MAX);
const _: () = assert!(CONNECTION_OUTSTANDING_MAX < SHARD_SUBMITS_MAX);
const _: () = assert!(CONNECTION_OUTSTANDING_BYTES_MAX < SHARD_OUTSTANDING_BYTES_MAX);
// Offsets into a turn's arena of writes are 32-bit.
const _: () = assert!(SHARD_OUTSTANDING_BYTES_MAX < (u32::MAX / 2) as usize);
// Watches are numbered with 32 bits.
const _: () = assert!(SHARD_WATCHES_MAX < (u32::MAX / 2) as usize);
const _: () = assert!(PIPELINE_BATCHES_MAX < FEED_SLOTS);
const _: () = assert!(LOG_WRITES_MAX < PIPELINE_BATCHES_MAX);
