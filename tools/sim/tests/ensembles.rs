//! Scenarios of several servers in plain words. All checkers listen; each is told with several
//! seeds, which choose the order of what may happen at once.

use model::ErrorCode;
use sim::story::{Ask, FINE, error};
use sim::world::World;

const SEEDS: u64 = 4;

/// Whoever is asked, the answer is the ensemble's: what one server wrote, all others have.
#[test]
fn every_server_serves_and_all_agree() {
    for seed in 0..SEEDS {
        let mut w = World::ensemble(seed, 4, 3, 1);
        w.leader();
        for client in 0..4 {
            w.attach_at(client, client);
        }
        for (client, path) in ["/a", "/b", "/c", "/d"].iter().enumerate() {
            w.done(client, &[Ask::Create(path)]);
        }
        for client in 0..4 {
            w.told(client);
            let all = [Ask::Sync, Ask::Get("/a"), Ask::Get("/b"), Ask::Get("/c"), Ask::Get("/d")];
            w.done(client, &all);
            assert_eq!(w.told(client), vec![FINE; 5], "server {client}");
        }
        w.come_together();
    }
}

/// The leader dies. What it had acknowledged is there, sessions and their ephemerals live on at
/// other servers, and it comes back as a follower.
#[test]
fn a_dead_leader_takes_nothing_along() {
    for seed in 0..SEEDS {
        let mut w = World::ensemble(seed, 2, 3, 0);
        let leader = w.leader();
        let (other, third) = ((leader + 1) % 3, (leader + 2) % 3);
        w.attach_at(0, leader);
        w.attach_at(1, third);
        w.done(0, &[Ask::Create("/a"), Ask::Ephemeral("/e")]);
        w.done(1, &[Ask::Ephemeral("/f")]);
        let sessions = [0, 1].map(|client| w.session(client).expect("attached"));
        w.send_to(0, other);
        w.crash_server(leader);
        let next = w.leader();
        assert_ne!(next, leader);
        w.attach(0);
        w.attach(1);
        assert_eq!([0, 1].map(|client| w.session(client)), sessions.map(Some));
        w.told(0);
        w.done(0, &[Ask::Sync, Ask::Get("/a"), Ask::Get("/e"), Ask::Get("/f"), Ask::Create("/b")]);
        assert_eq!(w.told(0), vec![FINE; 5]);
        w.come_together();
    }
}

/// F-24: a leader that is cut off does not know it at once. It acknowledges nothing, and comes
/// back to what the others did without it.
#[test]
fn an_isolated_leader_acknowledges_nothing() {
    for seed in 0..SEEDS {
        let mut w = World::ensemble(seed, 2, 3, 0);
        let leader = w.leader();
        w.attach_at(0, leader);
        w.attach_at(1, (leader + 1) % 3);
        w.done(0, &[Ask::Create("/a")]);
        w.told(0);
        w.isolate(leader, 5000);
        w.pipeline(0, &[Ask::Create("/lost")]);
        w.run_until("another leads", |w| w.epochs() == 2);
        assert_eq!(w.told(0), [], "no quorum has it");
        w.send_to(0, (leader + 2) % 3);
        w.attach(1);
        w.done(1, &[Ask::Create("/b")]);
        w.come_together();
        assert!(w.exists("/a") && w.exists("/b") && !w.exists("/lost"));
    }
}

/// A session moves from server to server, and its ephemerals with it; F-29b among several: what
/// it wrote last is seen where it comes next.
#[test]
fn a_session_moves_and_sees_its_own_writes() {
    for seed in 0..SEEDS {
        let mut w = World::ensemble(seed, 1, 3, 1);
        w.leader();
        w.attach_at(0, 0);
        w.done(0, &[Ask::Ephemeral("/e")]);
        let session = w.session(0);
        for (server, path) in [(1, "/1"), (2, "/2"), (3, "/3"), (0, "/0")] {
            w.attach_at(0, server);
            assert_eq!(w.session(0), session);
            w.told(0);
            w.done(0, &[Ask::Get("/e"), Ask::Create(path), Ask::Get(path)]);
            assert_eq!(w.told(0), [FINE, FINE, FINE]);
        }
    }
}

/// F-29d, F-29e: a session ends while its leader changes. Its ephemerals go everywhere.
#[test]
fn a_dead_client_is_forgotten_by_all_in_the_end() {
    for seed in 0..SEEDS {
        let mut w = World::ensemble(seed, 1, 3, 0);
        let leader = w.leader();
        w.attach_at(0, (leader + 1) % 3);
        w.done(0, &[Ask::Ephemeral("/e")]);
        let session = w.session(0).expect("attached");
        w.vanish(0, true);
        w.pass(2000);
        w.crash_server(leader);
        w.run_until("the session is gone", |w| !w.lives(session));
        assert!(!w.exists("/e"));
        w.come_together();
    }
}

/// Found by the simulator: on a learner, a read that was sent between a write and a request that
/// the learner answers by itself (one it cannot read, or a sync) had no version to run at.
#[test]
fn a_learner_answers_in_order_whatever_is_asked() {
    for seed in 0..4 * SEEDS {
        let mut w = World::ensemble(seed, 1, 3, 0);
        let leader = w.leader();
        w.attach_at(0, (leader + 1) % 3);
        w.pipeline(
            0,
            &[
                Ask::Create("/a"),
                Ask::Get("/a"),
                Ask::Malformed,
                Ask::Get("/b"),
                Ask::Create("/b"),
                Ask::Get("/b"),
                Ask::Sync,
                Ask::Get("/c"),
                Ask::Create("/c"),
                Ask::Get("/c"),
            ],
        );
        w.settle(0);
        let (missing, bad) = (error(ErrorCode::NoNode), error(ErrorCode::MarshallingError));
        let expect =
            [FINE, FINE, bad, missing.clone(), FINE, FINE, FINE, missing, FINE, FINE].to_vec();
        assert_eq!(w.told(0), expect);
    }
}

/// F-35: a follower comes to another state than its leader. It stops serving, keeps what shows it,
/// takes the leader's state, and serves again; what was written meanwhile is there.
#[test]
fn a_server_whose_state_differs_heals_by_itself() {
    for seed in 0..SEEDS {
        let mut w = World::ensemble(seed, 2, 3, 0);
        let leader = w.leader();
        let other = (leader + 1) % 3;
        w.attach_at(0, leader);
        w.done(0, &[Ask::Create("/a")]);
        w.garble_next(other);
        w.pipeline(0, &[Ask::Create("/b"), Ask::Create("/c")]);
        w.run_until("it stops serving", |w| !w.serves(other));
        w.run_until("it serves again", |w| w.serves(other));
        w.settle(0);
        let kept = w.evidence(other);
        assert_eq!(kept.len(), 1, "the evidence was durable before the state was replaced");
        for part in ["own digest: ", "leader's digest: ", "role: Following", "Create("] {
            assert!(kept[0].contains(part), "{part:?} is missing in {}", kept[0]);
        }
        w.attach_at(1, other);
        w.told(1);
        w.done(1, &[Ask::Sync, Ask::Get("/a"), Ask::Get("/b"), Ask::Get("/c"), Ask::Create("/d")]);
        assert_eq!(w.told(1), vec![FINE; 5]);
        w.come_together();
        assert_eq!(w.epochs(), 1, "the others went on");
    }
}
