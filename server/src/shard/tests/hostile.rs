//! Any bytes, any cuts, any order: no panic, no growth without bound, replies in order.

use proptest::prelude::*;

use super::*;

/// Small, so that what is kept of a connection can be bounded sharply.
const FRAME_MAX: usize = 256;

/// Pieces that together make anything from honest clients to noise.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let path = prop_oneof![Just("/a"), Just("/a/b"), Just("/"), Just("")];
    let xid = 0..1000_i32;
    prop_oneof![
        Just(connect(0)),
        proptest::collection::vec(any::<u8>(), 0..40),
        // A frame with a random body.
        (any::<i32>(), proptest::collection::vec(any::<u8>(), 0..60)).prop_map(|(opcode, body)| {
            let opcode = opcode % 120;
            let mut frame = (body.len() as i32 + 8).to_be_bytes().to_vec();
            frame.extend(1_i32.to_be_bytes());
            frame.extend(opcode.to_be_bytes());
            frame.extend(body);
            frame
        }),
        (path.clone(), xid.clone()).prop_map(|(path, xid)| written(xid, &create(path))),
        (path.clone(), xid.clone()).prop_map(|(path, xid)| written(xid, &set(path, "1"))),
        (path.clone(), xid.clone()).prop_map(|(path, xid)| written(xid, &delete(path))),
        (path.clone(), xid.clone(), any::<bool>())
            .prop_map(|(path, xid, watch)| asked(xid, &get(path, watch))),
        (path, xid.clone()).prop_map(|(path, xid)| {
            let mode = protocol::AddWatchMode::PersistentRecursive;
            asked(xid, &Request::AddWatch { path: path.as_bytes(), mode })
        }),
        xid.prop_map(|xid| asked(xid, &Request::Ping)),
        Just(asked(1, &Request::CloseSession)),
        Just(b"srvr".to_vec()),
    ]
}

#[derive(Clone, Debug)]
enum Act {
    Send(usize, Vec<u8>),
    Commit,
    Decide,
    Close(usize),
    Stick(usize, bool),
    Tick,
    Serving(bool),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (0..4_usize, piece()).prop_map(|(conn, bytes)| Act::Send(conn, bytes)),
        4 => Just(Act::Commit),
        2 => Just(Act::Decide),
        1 => (0..4_usize).prop_map(Act::Close),
        1 => (0..4_usize, any::<bool>()).prop_map(|(conn, stuck)| Act::Stick(conn, stuck)),
        1 => Just(Act::Tick),
        1 => prop::bool::weighted(0.8).prop_map(Act::Serving),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn anything_goes(acts in proptest::collection::vec(act(), 1..120), cut in 1..50_usize) {
        let mut world = World::with(ShardConfig { frame_bytes_max: FRAME_MAX, ..config() });
        let mut conns: Vec<ConnId> = (0..4).map(|_| world.client()).collect();
        for act in acts {
            match act {
                Act::Send(which, bytes) => {
                    for piece in bytes.chunks(cut) {
                        if world.socket(conns[which]).closed {
                            conns[which] = world.accept();
                        }
                        if !world.socket(conns[which]).paused {
                            world.bytes(conns[which], piece);
                        }
                    }
                }
                Act::Commit => world.commit(),
                Act::Decide => world.decide(),
                Act::Close(which) => {
                    world.turn(ShardInput::Closed { conn: conns[which] });
                    conns[which] = world.accept();
                }
                Act::Stick(which, stuck) => world.socket(conns[which]).stuck = stuck,
                Act::Tick => {
                    world.now.mono = world.now.mono + Duration::from_millis(100);
                    world.turn(ShardInput::Tick);
                }
                Act::Serving(serving) => world.tell(ToShard::serving(serving)),
            }
            for (slot, conn) in world.shard.connections.iter() {
                prop_assert!(conn.inbox.len() <= 4 + FRAME_MAX + cut, "slot {slot}");
            }
        }
        // Replies of a connection never go back in time.
        for socket in world.sockets.values_mut() {
            let mut rest = &socket.got[..];
            let mut last = 0;
            while let Split::Frame { payload } = frame::split(rest, usize::MAX) {
                let frame = &rest[payload.clone()];
                rest = &rest[payload.end..];
                if let Ok(ServerFrame::Reply(header, _)) = ServerFrame::decode(frame)
                    && header.xid.0 != 0
                    && header.zxid.0 > 0
                {
                    prop_assert!(header.zxid.0 >= last, "{} after {last}", header.zxid.0);
                    last = header.zxid.0;
                }
            }
        }
    }
}
