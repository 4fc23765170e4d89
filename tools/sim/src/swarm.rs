//! What kind of world a seed is: sizes and probabilities, drawn before anything happens, so that
//! some seeds crash a lot, some never, some have slow disks, some many watches.

use crate::dice::Dice;

/// Whether the core takes part in ensembles: until it does, every world has one server.
pub const CORE_JOINS: bool = true;
/// Keeps what is drawn for ensembles apart from everything else.
const ENSEMBLES: u64 = 0x656e_7365_6d62_6c65;
/// Keeps apart from that which of the servers know our own options of their protocol.
const PLAIN: u64 = 0x706c_6169_6e00_0001;

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
    /// Most bytes of a znode's data.
    pub data_bytes: usize,
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
    /// Chance that a write lands in another place of its file.
    pub misdirected: u32,
    /// Chance, at a start, that a block is read from another place of its file.
    pub misread: u32,
    /// Chance, at a start, that reading fails and the process ends again.
    pub read_error: u32,
    /// Chance, at a crash, that the next few starts are cut short too.
    pub restart_loop: u32,
    /// Chance, per event, that a connection stops carrying bytes, one way or both, and for how
    /// long at most, ms.
    pub partition: u32,
    /// Longest such time, ms.
    pub partition_ms: u64,
    /// Chance that a connection is slow: a few bytes at a time.
    pub slow_link: u32,
    /// Chance that a client that vanishes leaves a half-open connection.
    pub half_open: u32,
    /// Chance that a client that connects takes over another one's session.
    pub steal: u32,
    /// Chance that a client that connects asks a four-letter word instead.
    pub words: u32,
    /// Chance that a created znode may be read by some clients only.
    pub private: u32,
    /// Chance that bytes in flight are delivered in small pieces.
    pub pieces: u32,
    /// Wall clock jumps by up to this, ms.
    pub wall_jump_ms: u64,
    /// The node's clock runs this many parts per million fast.
    pub clock_fast_ppm: u64,
    /// Voting servers.
    pub servers: usize,
    /// Servers that only observe.
    pub observers: usize,
    /// The ensemble's unit of time, ms.
    pub peer_tick_ms: u64,
    /// A leader whose log write takes longer gives way, ms; 0: never.
    pub disk_hang_ms: u64,
    /// Transactions that members keep in memory for those who come back.
    pub retained: usize,
    /// Longest way between two servers, us; each connection has its own.
    pub peer_delay_us: u64,
    /// Chance that a connection between servers is twenty times as slow as others.
    pub peer_slow: u32,
    /// Chance, per event, that a connection between servers is reset.
    pub peer_reset: u32,
    /// Chance, per event, that servers stop hearing each other: one of another, one way or both,
    /// or some of all others; and for how long at most, ms.
    pub peer_cut: u32,
    /// Longest such time, ms.
    pub peer_cut_ms: u64,
    /// Chance, per event, that a server's name does not resolve for such a time.
    pub peer_nameless: u32,
    /// Chance that a server that dies takes its machine along: nobody is told.
    pub silent_crash: u32,
    /// Bytes that may wait for one fellow server.
    pub peer_queue_bytes: usize,
    /// Servers that speak ZooKeeper's protocol and no more, a bit each from the first on.
    pub plain: u64,
    /// Chance that a client that connects chooses another server.
    pub moves: u32,
    /// Chance that a proposal reaches a learner with another digest than it was sent with: what a
    /// learner sees whose own state is another one.
    pub garble: u32,
    /// Weights of the workload: reads, writes, multis, watches, sessions.
    pub weights: [u64; 5],
}

impl Options {
    /// A world without faults and with little in it, for stories.
    pub fn calm(clients: usize, shards: u16) -> Options {
        let mut calm = Options::draw(&mut Dice::new(0));
        calm.servers = 1;
        for name in Options::FAULTS {
            calm.set(name, 0);
        }
        for (name, value) in Options::SMALLEST {
            calm.set(name, *value);
        }
        Options {
            clients,
            shards,
            segment_bytes: 128 << 10,
            jump: 50,
            jump_ms: 500,
            log_writes: 2,
            ..calm
        }
    }

    /// The same with several servers.
    pub fn calm_ensemble(clients: usize, servers: usize, observers: usize) -> Options {
        Options {
            servers,
            observers,
            peer_tick_ms: 100,
            peer_delay_us: 500,
            retained: 1000,
            disk_hang_ms: 1000,
            ..Options::calm(clients, 2)
        }
    }

    /// Draws a world.
    pub fn draw(dice: &mut Dice) -> Options {
        let often = |dice: &mut Dice, of: &[u32]| *dice.pick(of);
        let mut drawn = Options {
            events: *dice.pick(&[800, 1500, 3000]),
            shards: *dice.pick(&[1, 1, 2, 3]),
            clients: dice.between(1, 6) as usize,
            depth: *dice.pick(&[1, 4, 16]),
            paths: *dice.pick(&[3, 8, 30]),
            data_bytes: *dice.pick(&[20, 20, 20, 2000, 30_000]),
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
            misdirected: often(dice, &[0, 0, 0, 0, 0, 0, 0, 5]),
            misread: often(dice, &[0, 0, 0, 0, 0, 0, 0, 200]),
            read_error: often(dice, &[0, 0, 200]),
            restart_loop: often(dice, &[0, 0, 300]),
            partition: often(dice, &[0, 0, 2, 10]),
            partition_ms: *dice.pick(&[50, 2000, 20_000]),
            slow_link: often(dice, &[0, 0, 200]),
            half_open: often(dice, &[0, 300]),
            steal: often(dice, &[0, 0, 100]),
            words: often(dice, &[0, 0, 100]),
            private: often(dice, &[0, 0, 300]),
            pieces: often(dice, &[0, 300, 1000]),
            wall_jump_ms: *dice.pick(&[0, 0, 10_000]),
            clock_fast_ppm: *dice.pick(&[0, 50, 500]),
            servers: 1,
            observers: 0,
            peer_tick_ms: 200,
            disk_hang_ms: 0,
            retained: 1000,
            peer_delay_us: 1000,
            peer_slow: 0,
            peer_reset: 0,
            peer_cut: 0,
            peer_cut_ms: 0,
            peer_nameless: 0,
            silent_crash: 0,
            peer_queue_bytes: server::limits::PEER_QUEUE_BYTES_MAX,
            plain: 0,
            moves: 0,
            garble: 0,
            weights: [
                dice.between(1, 10),
                dice.between(1, 10),
                dice.between(0, 4),
                dice.between(0, 6),
                dice.between(0, 2),
            ],
        };
        // Drawn apart, so that a lone server's world is what it was before there were ensembles.
        let mut peers = Dice::new(dice.clone().word() ^ ENSEMBLES);
        drawn.servers = if CORE_JOINS { *peers.pick(&[1, 3, 3, 5]) } else { 1 };
        if drawn.servers > 1 {
            // Two connections of one session on two servers may use the same request number, and
            // entries do not say which of them they answer: as in ZooKeeper, whoever lost the
            // session may be told the other's outcome.
            drawn.steal = 0;
            drawn.draw_peers(&mut peers);
            let mut apart = Dice::new(dice.clone().word() ^ PLAIN);
            let some = apart.word() & apart.word();
            drawn.plain = *apart.pick(&[0, some, some, !some, u64::MAX]);
        }
        drawn
    }

    /// Draws what only an ensemble has.
    fn draw_peers(&mut self, dice: &mut Dice) {
        let often = |dice: &mut Dice, of: &[u32]| *dice.pick(of);
        self.observers = *dice.pick(&[0, 0, 1, 2]);
        self.peer_tick_ms = *dice.pick(&[50, 200]);
        self.disk_hang_ms = *dice.pick(&[0, 1000]);
        self.retained = *dice.pick(&[2, 20, 1000]);
        self.peer_delay_us = *dice.pick(&[100, 2000, 20_000]);
        self.peer_slow = often(dice, &[0, 0, 100]);
        self.peer_reset = often(dice, &[0, 0, 1, 5]);
        self.peer_cut = often(dice, &[0, 0, 1, 3]);
        self.peer_cut_ms = *dice.pick(&[20, 500, 5000]);
        self.peer_nameless = often(dice, &[0, 0, 0, 1]);
        self.silent_crash = often(dice, &[0, 0, 300]);
        self.peer_queue_bytes = *dice.pick(&[64 << 10, server::limits::PEER_QUEUE_BYTES_MAX]);
        self.moves = often(dice, &[0, 300, 1000]);
        self.garble = often(dice, &[0, 0, 3, 20]);
        self.events *= 4;
        self.jump = self.jump.max(10);
        // Several must be there at once for anything to happen.
        self.crash = self.crash.min(2);
        // A member that has lost what it acknowledged breaks the ensemble's promise by right.
        (self.rot, self.misdirected, self.misread) = (0, 0, 0);
    }

    /// Servers of any kind.
    pub fn nodes(&self) -> usize {
        self.servers + self.observers
    }

    /// Changes one number by name; false if there is none of that name.
    pub fn set(&mut self, name: &str, value: u64) -> bool {
        match name {
            "events" => self.events = value,
            "shards" => self.shards = value as u16,
            "clients" => self.clients = value as usize,
            "depth" => self.depth = value as usize,
            "paths" => self.paths = value,
            "data_bytes" => self.data_bytes = value as usize,
            "feed_slots" => self.feed_slots = value as usize,
            "segment_bytes" => self.segment_bytes = value,
            "log_writes" => self.log_writes = value as usize,
            "snapshot_entries" => self.snapshot_entries = value,
            "jump" => self.jump = value as u32,
            "jump_ms" => self.jump_ms = value,
            "disconnect" => self.disconnect = value as u32,
            "rubbish" => self.rubbish = value as u32,
            "silent_client" => self.silent_client = value as u32,
            "crash" => self.crash = value as u32,
            "pause" => self.pause = value as u32,
            "pause_ms" => self.pause_ms = value,
            "stall" => self.stall = value as u32,
            "disk_error" => self.disk_error = value as u32,
            "disk_full" => self.disk_full = value as u32,
            "rot" => self.rot = value as u32,
            "misdirected" => self.misdirected = value as u32,
            "misread" => self.misread = value as u32,
            "read_error" => self.read_error = value as u32,
            "restart_loop" => self.restart_loop = value as u32,
            "partition" => self.partition = value as u32,
            "partition_ms" => self.partition_ms = value,
            "slow_link" => self.slow_link = value as u32,
            "half_open" => self.half_open = value as u32,
            "steal" => self.steal = value as u32,
            "words" => self.words = value as u32,
            "private" => self.private = value as u32,
            "pieces" => self.pieces = value as u32,
            "wall_jump_ms" => self.wall_jump_ms = value,
            "clock_fast_ppm" => self.clock_fast_ppm = value,
            "servers" => self.servers = value as usize,
            "observers" => self.observers = value as usize,
            "peer_tick_ms" => self.peer_tick_ms = value,
            "disk_hang_ms" => self.disk_hang_ms = value,
            "retained" => self.retained = value as usize,
            "peer_delay_us" => self.peer_delay_us = value,
            "peer_slow" => self.peer_slow = value as u32,
            "peer_reset" => self.peer_reset = value as u32,
            "peer_cut" => self.peer_cut = value as u32,
            "peer_cut_ms" => self.peer_cut_ms = value,
            "peer_nameless" => self.peer_nameless = value as u32,
            "silent_crash" => self.silent_crash = value as u32,
            "peer_queue_bytes" => self.peer_queue_bytes = value as usize,
            "plain" => self.plain = value,
            "moves" => self.moves = value as u32,
            "garble" => self.garble = value as u32,
            _ => return false,
        }
        true
    }

    /// Names of what can be switched off with [`Options::set`] and zero.
    pub const FAULTS: &[&str] = &[
        "crash",
        "pause",
        "stall",
        "disk_error",
        "disk_full",
        "rot",
        "misdirected",
        "misread",
        "read_error",
        "restart_loop",
        "partition",
        "slow_link",
        "half_open",
        "steal",
        "words",
        "private",
        "pieces",
        "wall_jump_ms",
        "clock_fast_ppm",
        "peer_slow",
        "peer_reset",
        "peer_cut",
        "peer_nameless",
        "silent_crash",
        "plain",
        "moves",
        "garble",
        "disconnect",
        "rubbish",
        "silent_client",
        "jump",
    ];

    /// Names and values with which a world is smaller than most.
    pub const SMALLEST: &[(&str, u64)] = &[
        ("observers", 0),
        ("shards", 1),
        ("clients", 1),
        ("clients", 2),
        ("depth", 1),
        ("paths", 3),
        ("data_bytes", 20),
        ("log_writes", 1),
        ("feed_slots", 64),
        ("snapshot_entries", 1_000_000),
    ];
}
