//! Random clients, a disk that completes in any order, and a process that ends at any moment.

use model::{CreateMode, SessionId};

use super::bench::{Bench, conn, create, is_log_write, set};
use crate::link::Password;

/// A small generator; each run is decided by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

struct Client {
    path: String,
    session: SessionId,
    password: Password,
    sent: i32,
    /// Last number answered; the znode holds it or a later one.
    answered: i32,
    /// Zxid of that answer.
    zxid: i64,
}

const CLIENTS: u16 = 2;

fn number(bench: &Bench, path: &str) -> i32 {
    let version = bench.core.pipeline.version();
    let znode = version.view().get(path.as_bytes()).expect("created before the run");
    let data = znode.data.expect("never null");
    std::str::from_utf8(data).expect("digits").parse().expect("digits")
}

fn take_replies(bench: &mut Bench, clients: &mut [Client]) {
    for (shard, client) in clients.iter_mut().enumerate() {
        for (xid, zxid, verdict) in bench.replies(shard as u16) {
            assert_eq!(verdict, Ok(()));
            assert_eq!(xid, client.answered + 1, "every request is answered, in order");
            assert!(zxid > client.zxid, "zxids of replies never go back");
            (client.answered, client.zxid) = (xid, zxid);
        }
    }
}

fn run(seed: u64) {
    let mut dice = Dice(seed);
    let mut bench = Bench::new();
    let mut clients = Vec::new();
    for shard in 0..CLIENTS {
        let (session, password) = bench.connect(conn(shard, 0));
        let path = format!("/c{shard}");
        bench.submit(conn(shard, 0), session, &[(0, create(&path, CreateMode::Persistent))]);
        bench.submit(conn(shard, 0), session, &[(0, set(&path, b"0"))]);
        bench.settle();
        bench.replies(shard);
        clients.push(Client { path, session, password, sent: 0, answered: 0, zxid: 0 });
    }
    for generation in 1..4 {
        for _ in 0..200 {
            match dice.below(10) {
                0..4 => {
                    let shard = dice.below(clients.len());
                    let client = &mut clients[shard];
                    client.sent += 1;
                    let text = client.sent.to_string();
                    let write = [(client.sent, set(&client.path, text.as_bytes()))];
                    bench.submit(conn(shard as u16, generation - 1), client.session, &write);
                }
                4..9 if !bench.disk.ordered.is_empty() => {
                    let at = dice.below(bench.disk.ordered.len());
                    bench.complete_at(at);
                }
                _ => take_replies(&mut bench, &mut clients),
            }
        }
        take_replies(&mut bench, &mut clients);
        // The end comes while writes are under way; some of them reach the disk, in any order.
        while dice.below(3) > 0 {
            let ordered = &bench.disk.ordered;
            let writes: Vec<usize> =
                (0..ordered.len()).filter(|&at| is_log_write(&ordered[at])).collect();
            if writes.is_empty() {
                break;
            }
            bench.disk.carry_out_silently(writes[dice.below(writes.len())]);
        }
        bench = bench.restart();
        for (shard, client) in clients.iter_mut().enumerate() {
            let found = number(&bench, &client.path);
            assert!(
                (client.answered..=client.sent).contains(&found),
                "{} answered, {} sent, {found} found",
                client.answered,
                client.sent
            );
            let new = conn(shard as u16, generation);
            bench.told();
            bench.attach(new, client.session, &client.password);
            assert!(
                matches!(bench.told()[..], [(_, crate::link::ToShard::Attached { .. })]),
                "the session survives"
            );
            // The client does not know what became of the rest, and goes on from there.
            client.sent = client.sent.max(found);
            client.answered = client.sent;
        }
    }
}

#[test]
fn what_was_answered_survives_any_end() {
    for seed in 0..60 {
        let result = std::panic::catch_unwind(|| run(seed));
        if let Err(cause) = result {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(cause);
        }
    }
}
