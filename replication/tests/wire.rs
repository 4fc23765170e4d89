//! The codecs against bytes captured from ZooKeeper 3.9.5, against themselves, and against noise.

use model::jute::Writer;
use model::{Epoch, SessionId, Zxid};
use proptest::prelude::*;
use replication::wire::WireError;
use replication::wire::election::{Initiation, Notification, PeerState, frame};
use replication::wire::handshake::{LearnerCard, PROTOCOL_VERSION, WireOptions};
use replication::wire::packet::{Packet, PacketBuffer, leader_info, packet_len};
use replication::wire::request::{Identities, RequestRecord, RevalidateRecord, Touches};
use replication::wire::snapshot::{Scanned, SnapshotScanner};

const DATA_MAX: usize = 2_097_150;

/// Hexadecimal digits, quoted text, blanks ignored.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, part) in text.split('"').enumerate() {
        if i % 2 == 1 {
            out.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part.bytes().filter(u8::is_ascii_hexdigit).collect();
        for pair in digits.chunks(2) {
            let pair = std::str::from_utf8(pair).expect("ASCII");
            out.push(u8::from_str_radix(pair, 16).expect("two digits"));
        }
    }
    out
}

fn zxid(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(Epoch(epoch), counter)
}

#[test]
fn captured_initiation() {
    let wire = bytes("FFFFFFFFFFFF0000 0000000000000002 0000000F 3132372E302E302E313A3338383132");
    let (message, len) = Initiation::decode(&wire).expect("valid").expect("complete");
    assert_eq!(len, wire.len());
    let addresses = vec!["127.0.0.1:38812"];
    assert_eq!(message, Initiation { server: 2, addresses, multi_address: false });
    assert_eq!(message.to_bytes(), wire);
    for cut in 0..wire.len() {
        assert_eq!(Initiation::decode(&wire[..cut]), Ok(None), "cut at {cut}");
    }
}

#[test]
fn other_initiations() {
    let addresses = vec!["127.0.0.1:38812", "[::1]:4000"];
    let second = Initiation { server: 7, addresses, multi_address: true };
    let wire = second.to_bytes();
    assert_eq!(&wire[..8], bytes("FFFFFFFFFFFF0001"));
    assert_eq!(Initiation::decode(&wire), Ok(Some((second, wire.len()))));
    let old = Initiation { server: 5, addresses: vec![], multi_address: false };
    assert_eq!(Initiation::decode(&5i64.to_be_bytes()), Ok(Some((old, 8))));
    assert_eq!(Initiation::decode(&(-1i64).to_be_bytes()), Err(WireError::UnknownVersion(-1)));
    let long = bytes("FFFFFFFFFFFF0000 0000000000000002 00000801");
    assert_eq!(Initiation::decode(&long), Err(WireError::Length { len: 2049, max: 2048 }));
}

#[test]
fn captured_notification() {
    let config = "server.1=127.0.0.1:28811:38811:participant\n\
                  server.2=127.0.0.1:28812:38812:participant\n\
                  server.3=127.0.0.1:28813:38813:participant\n\
                  server.4=127.0.0.1:28814:38814:observer\nversion=0";
    assert_eq!(config.len(), 0xB2);
    let mut wire = bytes(
        "000000DE 00000000 0000000000000002 0000000000000000 0000000000000001 \
         0000000000000000 00000002 000000B2",
    );
    wire.extend_from_slice(config.as_bytes());
    let (body, len) = frame(&wire).expect("valid").expect("complete");
    assert_eq!(len, wire.len());
    let expect = Notification {
        state: PeerState::Looking,
        leader: 2,
        zxid: Zxid::ZERO,
        round: 1,
        peer_epoch: 0,
        version: 2,
        config: Some(config.as_bytes()),
    };
    assert_eq!(Notification::decode(body), Ok(expect));
    let mut again = Vec::new();
    expect.encode(&mut again);
    assert_eq!(again, wire);
}

#[test]
fn old_notifications() {
    let mut body = bytes("00000002 0000000000000003 0000000500000007 0000000000000009");
    let read = Notification::decode(&body).expect("28 bytes");
    assert_eq!((read.peer_epoch, read.version, read.config), (5, 0, None));
    body.extend_from_slice(&bytes("0000000000000006 DEADBEEF"));
    let read = Notification::decode(&body).expect("40 bytes");
    assert_eq!((read.peer_epoch, read.version), (6, 0));
    body.truncate(36);
    body.extend_from_slice(&bytes("00000001 FFFFFFFF"));
    let read = Notification::decode(&body).expect("first version has no config");
    assert_eq!((read.version, read.config), (1, None));
    assert_eq!(Notification::decode(&body[..27]), Err(WireError::ShortNotification(27)));
    let mut bad = body.clone();
    bad[36..].copy_from_slice(&bytes("00000002 7FFFFFFF"));
    assert_eq!(Notification::decode(&bad), Err(WireError::Length { len: i32::MAX, max: 44 }));
    bad[0..4].copy_from_slice(&bytes("00000004"));
    assert_eq!(Notification::decode(&bad), Err(WireError::UnknownState(4)));
    assert_eq!(frame(&bytes("00000000")), Err(WireError::Length { len: 0, max: 524_288 }));
    assert!(frame(&bytes("00080001")).is_err());
}

/// Every packet of the captured handshake, and those given elsewhere in the same notation.
#[test]
fn captured_packets() {
    let (protocol, options) = (PROTOCOL_VERSION, WireOptions::NONE);
    let learner = LearnerCard { server: 1, protocol, config_version: 0, options };
    let mut ids = Vec::new();
    let auth = Identities::from_pairs([(&b"ip"[..], &b"127.0.0.1"[..])], &mut ids);
    let create = bytes(
        "00000002 2F61 00000005 68656C6C6F 00000001 0000001F \
         00000005\"world\" 00000006\"anyone\" 00000000",
    );
    let session = SessionId(0x0100_0015_7CBB_0000);
    let request = |opcode, body| Packet::Request {
        record: RequestRecord { session, cxid: 3, opcode, body },
        auth: Some(auth),
    };
    let new_leader = Packet::NewLeader { zxid: zxid(1, 0), config: Some(b"version=0") };
    let entry = bytes(
        "010000157cbb0000000000000000000100000001000001a202106ac4fffffff600000fa0 \
         000000020000000051c6d660",
    );
    let inform = Packet::InformAndActivate { zxid: zxid(1, 3), designated: 3, entry: &entry };
    let entry_hex = "010000157cbb0000000000000000000100000001000001a202106ac4fffffff600000fa0\
                     000000020000000051c6d660";
    let cases: Vec<(Packet<'_>, String)> = [
        (
            Packet::FollowerInfo { zxid: Zxid::ZERO, learner },
            "0000000B 0000000000000000 00000014 0000000000000001 00010000 0000000000000000 \
             FFFFFFFF",
        ),
        (
            Packet::ObserverInfo { zxid: zxid(2, 0), learner },
            "00000010 0000000200000000 00000014 0000000000000001 00010000 0000000000000000 \
             FFFFFFFF",
        ),
        (
            leader_info(Epoch(1), WireOptions::NONE),
            "00000011 0000000100000000 00000004 00010000 FFFFFFFF",
        ),
        (
            Packet::AckEpoch { zxid: Zxid::ZERO, epoch: 0 },
            "00000012 0000000000000000 00000004 00000000 FFFFFFFF",
        ),
        (Packet::Diff { zxid: Zxid::ZERO }, "0000000D 0000000000000000 FFFFFFFF FFFFFFFF"),
        (Packet::Trunc { zxid: zxid(2, 8) }, "0000000E 0000000200000008 FFFFFFFF FFFFFFFF"),
        (Packet::Snap { zxid: zxid(2, 8) }, "0000000F 0000000200000008 FFFFFFFF FFFFFFFF"),
        (new_leader, "0000000A 0000000100000000 00000009\"version=0\"FFFFFFFF"),
        (Packet::Ack { zxid: zxid(1, 0) }, "00000003 0000000100000000 FFFFFFFF FFFFFFFF"),
        (Packet::UpToDate, "0000000C FFFFFFFFFFFFFFFF FFFFFFFF FFFFFFFF"),
        (
            Packet::UpToDateAt { at: zxid(2, 3), digest: 0x51C6_D660 },
            "0000000C FFFFFFFFFFFFFFFF 00000014 0000000200000003 00000002 0000000051C6D660 \
             FFFFFFFF",
        ),
        (
            Packet::Ping { zxid: zxid(1, 0), touches: None },
            "00000005 0000000100000000 FFFFFFFF FFFFFFFF",
        ),
        (
            Packet::Ping { zxid: zxid(1, 0), touches: Some(Touches(b"")) },
            "00000005 0000000100000000 00000000 FFFFFFFF",
        ),
        (
            Packet::CommitAndActivate { zxid: zxid(1, 2), designated: 2 },
            "00000009 0000000100000002 00000008 0000000000000002 FFFFFFFF",
        ),
        (Packet::Commit { zxid: zxid(1, 2) }, "00000004 0000000100000002 FFFFFFFF FFFFFFFF"),
        (Packet::Sync, "00000007 0000000000000000 FFFFFFFF FFFFFFFF"),
        (
            Packet::Revalidate(RevalidateRecord::Question { session, timeout_ms: 4000 }),
            "00000006 FFFFFFFFFFFFFFFF 0000000C 010000157CBB0000 00000FA0 FFFFFFFF",
        ),
        (
            Packet::Revalidate(RevalidateRecord::Answer { session, valid: true }),
            "00000006 FFFFFFFFFFFFFFFF 00000009 010000157CBB0000 01 FFFFFFFF",
        ),
        (
            request(-10, &[0, 0, 0x0F, 0xA0]),
            "00000001 FFFFFFFFFFFFFFFF 00000014 010000157CBB0000 00000003 FFFFFFF6 00000FA0 \
             00000001 00000002\"ip\"00000009\"127.0.0.1\"",
        ),
        (
            request(1, &create),
            "00000001 FFFFFFFFFFFFFFFF 0000003E 010000157CBB0000 00000003 00000001 \
             00000002 2F61 00000005 68656C6C6F 00000001 0000001F 00000005\"world\" \
             00000006\"anyone\" 00000000 00000001 00000002\"ip\"00000009\"127.0.0.1\"",
        ),
    ]
    .into_iter()
    .map(|(packet, wire)| (packet, wire.to_owned()))
    .chain([
        (
            Packet::Proposal { zxid: zxid(1, 1), entry: &entry },
            format!("00000002 0000000100000001 00000030 {entry_hex} FFFFFFFF"),
        ),
        (
            Packet::Inform { zxid: zxid(1, 1), entry: &entry },
            format!("00000008 0000000100000001 00000030 {entry_hex} FFFFFFFF"),
        ),
        (
            inform,
            format!("00000013 0000000100000003 00000038 0000000000000003 {entry_hex} FFFFFFFF"),
        ),
    ])
    .collect();
    let mut kinds: Vec<i32> = cases.iter().map(|(packet, _)| packet.kind()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, (1..=19).collect::<Vec<_>>(), "every packet type has a vector");
    let mut stream = Vec::new();
    for (packet, wire) in &cases {
        let wire = bytes(wire);
        assert_eq!(packet.to_bytes(), wire, "{packet:?}");
        assert_eq!(Packet::decode(&wire), Ok(*packet));
        assert_eq!(packet_len(&wire, DATA_MAX), Ok(Some(wire.len())));
        for cut in 0..wire.len() {
            assert_eq!(packet_len(&wire[..cut], DATA_MAX), Ok(None), "{packet:?} cut at {cut}");
        }
        stream.extend_from_slice(&wire);
    }
    for step in [1, 3, 17, 1000] {
        let mut buffer = PacketBuffer::default();
        let mut expect = cases.iter();
        for piece in stream.chunks(step) {
            buffer.push(piece);
            while let Some(packet) = buffer.next(DATA_MAX).expect("valid") {
                assert_eq!(Some(packet), expect.next().map(|(packet, _)| *packet));
            }
        }
        assert!(expect.next().is_none() && buffer.rest().is_empty());
    }
}

/// Our own options stand behind what ZooKeeper reads, and nothing else changes.
#[test]
fn options_follow_what_zookeeper_reads() {
    let (protocol, options) = (PROTOCOL_VERSION, WireOptions::RUNS);
    let learner = LearnerCard { server: 1, protocol, config_version: 0, options };
    let cases = [
        (
            Packet::FollowerInfo { zxid: zxid(1, 0), learner },
            "0000000B 0000000100000000 0000001C 0000000000000001 00010000 0000000000000000 \
             \"RKop\" 00000001 FFFFFFFF",
        ),
        (
            Packet::ObserverInfo { zxid: zxid(2, 0), learner },
            "00000010 0000000200000000 0000001C 0000000000000001 00010000 0000000000000000 \
             \"RKop\" 00000001 FFFFFFFF",
        ),
        (
            leader_info(Epoch(1), options),
            "00000011 0000000100000000 0000000C 00010000 \"RKop\" 00000001 FFFFFFFF",
        ),
    ];
    for (packet, wire) in cases {
        let wire = bytes(wire);
        assert_eq!(packet.to_bytes(), wire, "{packet:?}");
        assert_eq!(Packet::decode(&wire), Ok(packet));
        assert_eq!(packet_len(&wire, DATA_MAX), Ok(Some(wire.len())));
    }
}

#[test]
fn packets_out_of_bounds() {
    let long = bytes("00000002 0000000100000001 00200000");
    assert_eq!(
        packet_len(&long, DATA_MAX),
        Err(WireError::Length { len: 0x20_0000, max: DATA_MAX })
    );
    let many = bytes("00000001 FFFFFFFFFFFFFFFF FFFFFFFF 00100000");
    assert!(packet_len(&many, DATA_MAX).is_err());
    let unknown = bytes("00000014 0000000000000000 FFFFFFFF FFFFFFFF");
    assert_eq!(Packet::decode(&unknown), Err(WireError::UnknownPacket(20)));
    let null = bytes("00000002 0000000100000001 FFFFFFFF FFFFFFFF");
    assert!(matches!(Packet::decode(&null), Err(WireError::Record(_))));
}

/// A stream with a session, a shared access list, and nodes with null and present data.
fn snapshot_stream() -> Vec<u8> {
    bytes(
        "00000001 0100001F8B800000 00000FA0 \
         00000002 0000000000000001 00000001 00000001 00000005\"world\"00000006\"anyone\" \
                  0000000000000002 FFFFFFFF",
    )
    .into_iter()
    .chain(bytes("00000000 00000000 FFFFFFFFFFFFFFFF"))
    .chain([0; 60])
    .chain(bytes("00000001\"x\" FFFFFFFF 0000000000000001"))
    .chain([7; 60])
    .chain(bytes("00000002\"/a\" 00000003\"abc\" 0000000000000001"))
    .chain([1; 60])
    .chain(bytes("00000001\"/\"0000000A\"BenWasHere\""))
    .collect()
}

#[test]
fn snapshot_ends_where_it_ends() {
    let stream = snapshot_stream();
    let mut with_more = stream.clone();
    with_more.extend_from_slice(&Packet::UpToDate.to_bytes());
    for step in [1, 2, 5, 64, 10_000] {
        let mut scanner = SnapshotScanner::new(1000);
        let mut consumed = 0;
        for piece in with_more.chunks(step) {
            let scanned = scanner.scan(piece).expect("valid");
            consumed += scanned.consumed;
            if scanned.complete {
                break;
            }
            assert_eq!(scanned.consumed, piece.len());
        }
        assert_eq!(consumed, stream.len(), "pieces of {step}");
    }
    let mut wrong = stream.clone();
    *wrong.last_mut().expect("not empty") = b'!';
    assert_eq!(SnapshotScanner::new(1000).scan(&wrong), Err(WireError::BadSignature));
    assert!(matches!(SnapshotScanner::new(2).scan(&stream), Err(WireError::Length { .. })));
    let half = SnapshotScanner::new(1000).scan(&stream[..100]);
    assert_eq!(half, Ok(Scanned { consumed: 100, complete: false }));
}

#[test]
fn touches_lose_only_a_cut_pair() {
    let pairs = [(SessionId(5), 4000), (SessionId(-1), 1)];
    let mut wire = Vec::new();
    Touches::encode(&pairs, &mut wire);
    assert_eq!(wire.len(), 24);
    assert_eq!(Touches(&wire).iter().collect::<Vec<_>>(), pairs);
    assert_eq!(Touches(&wire[..23]).iter().count(), 1);
}

fn read_everything(noise: &[u8]) {
    let _ = Initiation::decode(noise);
    let _ = Notification::decode(noise);
    let _ = frame(noise);
    let _ = SnapshotScanner::new(4096).scan(noise);
    let mut buffer = PacketBuffer::default();
    buffer.push(noise);
    while let Ok(Some(packet)) = buffer.next(4096) {
        if let Packet::Request { auth: Some(auth), .. } = packet {
            assert!(auth.iter().count() <= noise.len());
        }
    }
}

/// Flips, cuts and repeats parts of valid messages; nothing may panic or loop.
#[test]
fn mutated_messages_are_survived() {
    let mut seeds = vec![snapshot_stream()];
    seeds.push(bytes("FFFFFFFFFFFF0000 0000000000000002 00000004 \"a:12\""));
    let mut note = Vec::new();
    let state = PeerState::Leading;
    Notification {
        state,
        leader: 1,
        zxid: zxid(1, 1),
        round: 1,
        peer_epoch: 1,
        version: 2,
        config: Some(b"version=0"),
    }
    .encode(&mut note);
    seeds.push(note[4..].to_vec());
    seeds.push(note);
    seeds.push(bytes(
        "0000000B 0000000100000000 0000001C 0000000000000001 00010000 0000000000000000 \
         \"RKop\" 00000001 FFFFFFFF \
         00000011 0000000100000000 0000000C 00010000 \"RKop\" 00000001 FFFFFFFF",
    ));
    seeds.push(bytes(
        "00000001 FFFFFFFFFFFFFFFF 00000014 010000157CBB0000 00000003 FFFFFFF6 00000FA0 \
         00000001 00000002\"ip\"00000009\"127.0.0.1\" \
         00000013 0000000100000003 00000009 0000000000000003 01 FFFFFFFF \
         00000006 FFFFFFFFFFFFFFFF 0000000C 010000157CBB0000 00000FA0 FFFFFFFF",
    ));
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    for round in 0..20_000 {
        let mut message = seeds[round % seeds.len()].clone();
        for _ in 0..=next(4) {
            let at = next(message.len());
            match next(4) {
                0 => message[at] ^= 1 << next(8),
                1 => message[at] = [0, 0xFF, 0x7F, 0x80][next(4)],
                2 => message.truncate(at.max(1)),
                _ => message.extend_from_within(at..),
            }
        }
        read_everything(&message);
    }
}

proptest! {
    #[test]
    fn noise_is_survived(noise: Vec<u8>) {
        read_everything(&noise);
    }

    #[test]
    fn requests_round_trip(
        session: i64,
        cxid: i32,
        opcode: i32,
        body: Vec<u8>,
        ids: Vec<(Vec<u8>, Vec<u8>)>,
    ) {
        let mut store = Vec::new();
        let pairs = ids.iter().map(|(scheme, id)| (&scheme[..], &id[..]));
        let auth = Identities::from_pairs(pairs.clone(), &mut store);
        let record = RequestRecord { session: SessionId(session), cxid, opcode, body: &body };
        let packet = Packet::Request { record, auth: Some(auth) };
        let wire = packet.to_bytes();
        prop_assert_eq!(packet_len(&wire, DATA_MAX), Ok(Some(wire.len())));
        let Ok(Packet::Request { record: read, auth: Some(read_auth) }) = Packet::decode(&wire)
        else { panic!("a request with identities") };
        prop_assert_eq!(read, record);
        prop_assert!(read_auth.iter().eq(pairs));
    }

    #[test]
    fn introductions_round_trip(
        server: i64,
        protocol: i32,
        config_version: i64,
        bits: u32,
        more: Vec<u8>,
    ) {
        let options = WireOptions::from_bits(bits);
        let learner = LearnerCard { server, protocol, config_version, options };
        let at = Zxid(config_version);
        for packet in [
            Packet::FollowerInfo { zxid: at, learner },
            Packet::ObserverInfo { zxid: at, learner },
            Packet::LeaderInfo { zxid: at, protocol, options },
        ] {
            let wire = packet.to_bytes();
            prop_assert_eq!(packet_len(&wire, DATA_MAX), Ok(Some(wire.len())));
            prop_assert_eq!(Packet::decode(&wire), Ok(packet));
        }
        // What follows is of somebody else, or of a later version, and passed over.
        let mut card = Vec::new();
        learner.encode(&mut Writer::new(&mut card));
        prop_assert_eq!(card.len(), learner.encoded_len());
        if bits != 0 || !more.starts_with(b"RKop") {
            card.extend_from_slice(&more);
        }
        prop_assert_eq!(LearnerCard::decode(&card), Ok(learner));
    }

    #[test]
    fn notifications_round_trip(
        state in 0..4i32,
        leader: i64,
        zxid: i64,
        round: i64,
        peer_epoch: i64,
        config: Vec<u8>,
    ) {
        let state = PeerState::from_code(state).expect("in range");
        let config = Some(&config[..]);
        let zxid = Zxid(zxid);
        let note = Notification { state, leader, zxid, round, peer_epoch, version: 2, config };
        let mut wire = Vec::new();
        note.encode(&mut wire);
        let (body, len) = frame(&wire).expect("valid").expect("complete");
        prop_assert_eq!(len, wire.len());
        prop_assert_eq!(Notification::decode(body), Ok(note));
    }
}
