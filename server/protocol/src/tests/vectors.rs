//! The byte vectors of `client-protocol` 15, captured from ZooKeeper 3.9.5, both ways.

use model::jute::Reader;
use model::op::Create;
use model::{CreateMode, ErrorCode, EventKind, Op, OpCode, Perms, SessionId, Stat, Xid, Zxid, acl};

use super::{Any, decode_any};
use crate::{AddWatchMode, Answer, ConnectRequest, ConnectResponse, MultiReply, MultiResult};
use crate::{Names, Request, ServerFrame, SetWatches, encode_write, reply};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16))
        .collect::<Result<_, _>>()
        .expect("hexadecimal")
}

/// The client's frame reads as this request, and this request is written as that frame.
fn request(frame: &str, xid: i32, expect: &Request<'_>) {
    let frame = hex(frame);
    let (header, any) = decode_any(&frame[4..]).expect("captured");
    assert_eq!((header.xid, any), (Xid(xid), Any::Other(expect.clone())));
    let mut out = Vec::new();
    expect.encode(Xid(xid), &mut out);
    assert_eq!(out, frame);
}

fn write(frame: &str, xid: i32, expect: &Op<'_>) {
    let frame = hex(frame);
    let (header, any) = decode_any(&frame[4..]).expect("captured");
    assert_eq!((header.xid, any), (Xid(xid), Any::Write(expect.clone())));
    let mut out = Vec::new();
    encode_write(Xid(xid), expect, &mut out);
    assert_eq!(out, frame);
}

/// The server's frame is what `writer` writes, and reads as this answer.
fn answer(
    frame: &str,
    opcode: OpCode,
    expect: &Answer<'_>,
    writer: impl FnOnce(&mut Vec<u8>, Xid, Zxid),
) {
    let frame = hex(frame);
    let ServerFrame::Reply(header, body) = ServerFrame::decode(&frame[4..]).expect("captured")
    else {
        panic!("an event")
    };
    assert_eq!(header.err, 0);
    assert_eq!(&Answer::decode(opcode, body).expect("captured"), expect);
    let mut out = b"before".to_vec();
    writer(&mut out, header.xid, header.zxid);
    assert_eq!(&out[6..], frame);
}

fn failure(frame: &str, code: ErrorCode) {
    let frame = hex(frame);
    let ServerFrame::Reply(header, body) = ServerFrame::decode(&frame[4..]).expect("captured")
    else {
        panic!("an event")
    };
    assert_eq!((header.err, body), (code.code(), &[][..]));
    let mut out = Vec::new();
    reply::error(&mut out, header.xid, header.zxid, code);
    assert_eq!(out, frame);
}

fn event(frame: &str, zxid: i64, kind: EventKind, path: &[u8]) {
    let frame = hex(frame);
    let ServerFrame::Event(event) = ServerFrame::decode(&frame[4..]).expect("captured") else {
        panic!("a reply")
    };
    assert_eq!((event.zxid, event.kind, event.path), (Zxid(zxid), kind, path));
    let mut out = Vec::new();
    reply::event(&mut out, Zxid(zxid), kind, path);
    assert_eq!(out, frame);
}

fn stat(text: &str) -> Stat {
    Stat::decode(&mut Reader::new(&hex(text))).expect("68 bytes")
}

fn create<'a>(
    opcode: OpCode,
    path: &'a [u8],
    data: &'a [u8],
    acl: &'a [u8],
    mode: CreateMode,
    sequential: bool,
) -> Op<'a> {
    Op::Create(Create { opcode, path, data: Some(data), acl: Some(acl), mode, sequential })
}

#[test]
fn handshake() {
    let frame = hex("0000002d 00000000 0000000000000000 00000fa0 0000000000000000 00000010
         00000000000000000000000000000000 00");
    let request = ConnectRequest {
        timeout_ms: 4000,
        password: Some(&[0; 16]),
        read_only: Some(false),
        ..ConnectRequest::default()
    };
    assert_eq!(ConnectRequest::decode(&frame[4..]), Ok(request));
    let mut out = Vec::new();
    request.encode(&mut out);
    assert_eq!(out, frame);

    let password = hex("5ef4335d93b1e8f36c7922bf9403f787");
    let established = ConnectResponse {
        protocol_version: 0,
        timeout_ms: 4000,
        session: SessionId(0x0100_002c_84e4_0000),
        password: password.try_into().expect("16 bytes"),
        read_only: Some(false),
    };
    let cases = [
        (
            "00000025 00000000 00000fa0 0100002c84e40000 00000010
             5ef4335d93b1e8f36c7922bf9403f787 00",
            established,
        ),
        (
            "00000025 00000000 00000000 0000000000000000 00000010
             00000000000000000000000000000000 00",
            ConnectResponse::refused(Some(false)),
        ),
        (
            "00000024 00000000 00000000 0000000000000000 00000010
             00000000000000000000000000000000",
            ConnectResponse::refused(None),
        ),
    ];
    for (frame, response) in cases {
        let frame = hex(frame);
        assert_eq!(ConnectResponse::decode(&frame[4..]), Ok(response));
        let mut out = Vec::new();
        response.encode(&mut out);
        assert_eq!(out, frame);
    }
}

#[test]
fn ping() {
    request("00000008 fffffffe 0000000b", -2, &Request::Ping);
    answer(
        "00000010 fffffffe 0000000000000001 00000000",
        OpCode::Ping,
        &Answer::Done,
        |out, _, zxid| reply::ping(out, zxid),
    );
}

#[test]
fn exists_on_a_missing_znode() {
    request(
        "0000000f 00000001 00000003 00000002 2f61 01",
        1,
        &Request::Exists { path: b"/a", watch: true },
    );
    failure("00000010 00000001 0000000000000001 ffffff9b", ErrorCode::NoNode);
}

#[test]
fn create_and_its_event() {
    let open = acl::world(Perms::ALL);
    write(
        "00000033 00000002 00000001 00000002 2f61 00000002 6869 00000001 0000001f
         00000005 776f726c64 00000006 616e796f6e65 00000000",
        2,
        &create(OpCode::Create, b"/a", b"hi", &open, CreateMode::Persistent, false),
    );
    event(
        "0000001e ffffffff 0000000000000002 00000000 00000001 00000003 00000002 2f61",
        2,
        EventKind::NodeCreated,
        b"/a",
    );
    answer(
        "00000016 00000002 0000000000000002 00000000 00000002 2f61",
        OpCode::Create,
        &Answer::Path(b"/a"),
        |out, xid, zxid| reply::path(out, xid, zxid, b"/a"),
    );
}

#[test]
fn get_data() {
    request(
        "0000000f 00000003 00000004 00000002 2f61 00",
        3,
        &Request::GetData { path: b"/a", watch: false },
    );
    let stat = stat(
        "0000000000000002 0000000000000002 000001a20225cc7c 000001a20225cc7c 00000000 00000000
         00000000 0000000000000000 00000002 00000000 0000000000000002",
    );
    assert_eq!((stat.czxid, stat.data_length), (Zxid(2), 2));
    answer(
        "0000005a 00000003 0000000000000002 00000000 00000002 6869
         0000000000000002 0000000000000002 000001a20225cc7c 000001a20225cc7c 00000000 00000000
         00000000 0000000000000000 00000002 00000000 0000000000000002",
        OpCode::GetData,
        &Answer::DataStat(Some(b"hi"), stat),
        |out, xid, zxid| reply::data_stat(out, xid, zxid, Some(b"hi"), &stat),
    );
}

#[test]
fn create_with_suffix_and_stat() {
    let open = acl::world(Perms::ALL);
    write(
        "00000034 00000004 0000000f 00000005 2f612f732d 00000000 00000001 0000001f
         00000005 776f726c64 00000006 616e796f6e65 00000002",
        4,
        &create(OpCode::Create2, b"/a/s-", b"", &open, CreateMode::Persistent, true),
    );
    let stat = stat(
        "0000000000000003 0000000000000003 000001a20225cc8f 000001a20225cc8f 00000000 00000000
         00000000 0000000000000000 00000000 00000000 0000000000000003",
    );
    answer(
        "00000067 00000004 0000000000000003 00000000 0000000f 2f612f732d30303030303030303030
         0000000000000003 0000000000000003 000001a20225cc8f 000001a20225cc8f 00000000 00000000
         00000000 0000000000000000 00000000 00000000 0000000000000003",
        OpCode::Create2,
        &Answer::PathStat(b"/a/s-0000000000", stat),
        |out, xid, zxid| reply::path_stat(out, xid, zxid, b"/a/s-0000000000", &stat),
    );
}

#[test]
fn set_data_with_a_wrong_version() {
    write(
        "00000017 00000005 00000005 00000002 2f61 00000001 78 00000007",
        5,
        &Op::SetData { path: b"/a", data: Some(b"x"), version: 7 },
    );
    failure("00000010 00000005 0000000000000004 ffffff99", ErrorCode::BadVersion);
}

#[test]
fn add_watch() {
    request(
        "00000012 00000006 0000006a 00000002 2f61 00000001",
        6,
        &Request::AddWatch { path: b"/a", mode: AddWatchMode::PersistentRecursive },
    );
    answer(
        "00000014 00000006 0000000000000004 00000000 00000000",
        OpCode::AddWatch,
        &Answer::Count(0),
        reply::watch_added,
    );
}

#[test]
fn multi_that_succeeds() {
    let open = acl::world(Perms::ALL);
    write(
        "00000089 00000007 0000000e
         0000000d 00 ffffffff 00000002 2f61 ffffffff
         00000001 00 ffffffff 00000004 2f612f6d 00000001 31 00000001 0000001f 00000005 776f726c64
         00000006 616e796f6e65 00000000
         00000005 00 ffffffff 00000004 2f612f6d 00000002 3232 00000000
         00000002 00 ffffffff 00000004 2f612f6d ffffffff
         ffffffff 01 ffffffff",
        7,
        &Op::Multi(vec![
            Op::Check { path: b"/a", version: -1 },
            create(OpCode::Create, b"/a/m", b"1", &open, CreateMode::Persistent, false),
            Op::SetData { path: b"/a/m", data: Some(b"22"), version: 0 },
            Op::Delete { path: b"/a/m", version: -1 },
        ]),
    );
    for (code, kind) in
        [(1, EventKind::NodeCreated), (3, EventKind::NodeDataChanged), (2, EventKind::NodeDeleted)]
    {
        let frame = format!(
            "00000020 ffffffff 0000000000000005 00000000 0000000{code} 00000003
             00000004 2f612f6d"
        );
        event(&frame, 5, kind, b"/a/m");
    }
    let stat = stat(
        "0000000000000005 0000000000000005 000001a20225cc9a 000001a20225cc9a 00000001 00000000
         00000000 0000000000000000 00000002 00000000 0000000000000005",
    );
    answer(
        "00000089 00000007 0000000000000005 00000000
         0000000d 00 00000000
         00000001 00 00000000 00000004 2f612f6d
         00000005 00 00000000 0000000000000005 0000000000000005 000001a20225cc9a 000001a20225cc9a
         00000001 00000000 00000000 0000000000000000 00000002 00000000 0000000000000005
         00000002 00 00000000
         ffffffff 01 ffffffff",
        OpCode::Multi,
        &Answer::Multi(vec![
            MultiResult::Checked,
            MultiResult::Created(b"/a/m"),
            MultiResult::DataSet(stat),
            MultiResult::Deleted,
        ]),
        |out, xid, zxid| {
            let mut multi = MultiReply::begin(out, xid, zxid);
            multi.checked();
            multi.created(b"/a/m");
            multi.data_set(&stat);
            multi.deleted();
            multi.end();
        },
    );
}

#[test]
fn multi_that_fails() {
    write(
        "0000004d 00000008 0000000e 0000000d 00 ffffffff 00000002 2f61 ffffffff
         00000002 00 ffffffff 00000005 2f6e6f7065 ffffffff
         00000002 00 ffffffff 00000002 2f61 ffffffff ffffffff 01 ffffffff",
        8,
        &Op::Multi(vec![
            Op::Check { path: b"/a", version: -1 },
            Op::Delete { path: b"/nope", version: -1 },
            Op::Delete { path: b"/a", version: -1 },
        ]),
    );
    answer(
        "00000040 00000008 0000000000000006 00000000
         ffffffff 00 00000000 00000000
         ffffffff 00 ffffff9b ffffff9b
         ffffffff 00 fffffffe fffffffe
         ffffffff 01 ffffffff",
        OpCode::Multi,
        &Answer::Multi([0, -101, -2].map(MultiResult::Failed).to_vec()),
        |out, xid, zxid| {
            let mut multi = MultiReply::begin(out, xid, zxid);
            for code in [0, -101, -2] {
                multi.failed(code);
            }
            multi.end();
        },
    );
}

#[test]
fn auth_and_who_am_i() {
    request(
        "00000024 fffffffc 00000064 00000000 00000006 646967657374 0000000a 73757065723a74657374",
        -4,
        &Request::Auth { kind: 0, scheme: Some(b"digest"), auth: Some(b"super:test") },
    );
    answer("00000010 fffffffc 0000000000000000 00000000", OpCode::Auth, &Answer::Done, reply::done);
    failure("00000010 fffffffc 0000000000000000 ffffff8d", ErrorCode::AuthFailed);
    request("00000008 00000009 0000006b", 9, &Request::WhoAmI);
    let identities = [(&b"ip"[..], &b"127.0.0.1"[..]), (b"digest", b"super")];
    answer(
        "0000003a 00000009 0000000000000006 00000000 00000002 00000002 6970
         00000009 3132372e302e302e31 00000006 646967657374 00000005 7375706572",
        OpCode::WhoAmI,
        &Answer::Identities(identities.to_vec()),
        |out, xid, zxid| reply::who_am_i(out, xid, zxid, identities),
    );
}

#[test]
fn ttl_and_container() {
    let open = acl::world(Perms::ALL);
    write(
        "0000003b 0000000a 00000015 00000004 2f74746c 00000000 00000001 0000001f
         00000005 776f726c64 00000006 616e796f6e65 00000005 000000000000ea60",
        10,
        &create(OpCode::CreateTtl, b"/ttl", b"", &open, CreateMode::Ttl(60_000), false),
    );
    write(
        "00000034 0000000b 00000013 00000005 2f636f6e74 00000000 00000001 0000001f
         00000005 776f726c64 00000006 616e796f6e65 00000004",
        11,
        &create(OpCode::CreateContainer, b"/cont", b"", &open, CreateMode::Container, false),
    );
    let stat = Stat { czxid: Zxid(7), mzxid: Zxid(7), pzxid: Zxid(7), ..Stat::default() };
    answer(
        "0000005c 0000000a 0000000000000007 00000000 00000004 2f74746c
         0000000000000007 0000000000000007 0000000000000000 0000000000000000 00000000 00000000
         00000000 0000000000000000 00000000 00000000 0000000000000007",
        OpCode::CreateTtl,
        &Answer::PathStat(b"/ttl", stat),
        |out, xid, zxid| reply::path_stat(out, xid, zxid, b"/ttl", &stat),
    );
}

#[test]
fn get_children_2() {
    request(
        "0000000e 0000000c 0000000c 00000001 2f 00",
        12,
        &Request::GetChildren2 { path: b"/", watch: false },
    );
    let names = [&b"a"[..], b"zookeeper", b"cont", b"ttl"];
    let built = Names::build(names);
    let list = Names::decode(&mut Reader::new(&built)).expect("just built");
    let stat = Stat { cversion: 2, num_children: 4, pzxid: Zxid(8), ..Stat::default() };
    answer(
        "00000079 0000000c 0000000000000008 00000000 00000004 00000001 61
         00000009 7a6f6f6b6565706572 00000004 636f6e74 00000003 74746c
         0000000000000000 0000000000000000 0000000000000000 0000000000000000 00000000 00000002
         00000000 0000000000000000 00000000 00000004 0000000000000008",
        OpCode::GetChildren2,
        &Answer::ChildrenStat(list, stat),
        |out, xid, zxid| reply::children_stat(out, xid, zxid, names, &stat),
    );
}

#[test]
fn get_acl() {
    request("0000000d 0000000d 00000006 00000001 2f", 13, &Request::GetAcl { path: b"/" });
    let open = acl::world(Perms::ALL);
    let stat = Stat { num_children: 4, ..Stat::default() };
    answer(
        "0000006f 0000000d 0000000000000008 00000000 00000001 0000001f 00000005 776f726c64
         00000006 616e796f6e65
         0000000000000000 0000000000000000 0000000000000000 0000000000000000 00000000 00000000
         00000000 0000000000000000 00000000 00000004 0000000000000000",
        OpCode::GetAcl,
        &Answer::AclStat(&open, stat),
        |out, xid, zxid| reply::acl_stat(out, xid, zxid, &open, &stat),
    );
}

#[test]
fn ephemerals_and_descendants() {
    request(
        "0000000d 0000000f 00000067 00000001 2f",
        15,
        &Request::GetEphemerals { prefix: Some(b"/") },
    );
    let built = Names::build([&b"/a/e"[..]]);
    let list = Names::decode(&mut Reader::new(&built)).expect("just built");
    answer(
        "0000001c 0000000f 0000000000000009 00000000 00000001 00000004 2f612f65",
        OpCode::GetEphemerals,
        &Answer::Children(list),
        |out, xid, zxid| reply::children(out, xid, zxid, [&b"/a/e"[..]]),
    );
    request(
        "0000000e 00000010 00000068 00000002 2f61",
        16,
        &Request::GetAllChildrenNumber { path: b"/a" },
    );
    answer(
        "00000014 00000010 0000000000000009 00000000 00000002",
        OpCode::GetAllChildrenNumber,
        &Answer::Count(2),
        |out, xid, zxid| reply::count(out, xid, zxid, 2),
    );
}

#[test]
fn set_watches_2() {
    let lists = [&[&b"/a"[..]][..], &[b"/zz"], &[b"/gone"], &[], &[b"/a"]]
        .map(|list| Names::build(list.iter().copied()));
    let names = |i: usize| Names::decode(&mut Reader::new(&lists[i])).expect("just built");
    request(
        "00000040 00000011 00000069 0000000000000000 00000001 00000002 2f61
         00000001 00000003 2f7a7a 00000001 00000005 2f676f6e65 00000000 00000001 00000002 2f61",
        17,
        &Request::SetWatches2(SetWatches {
            relative_zxid: Zxid(0),
            data: names(0),
            exist: names(1),
            child: names(2),
            persistent: names(3),
            persistent_recursive: names(4),
        }),
    );
    event(
        "0000001e ffffffff ffffffffffffffff 00000000 00000003 00000003 00000002 2f61",
        -1,
        EventKind::NodeDataChanged,
        b"/a",
    );
    event(
        "00000021 ffffffff ffffffffffffffff 00000000 00000002 00000003 00000005 2f676f6e65",
        -1,
        EventKind::NodeDeleted,
        b"/gone",
    );
    answer(
        "00000010 00000011 0000000000000009 00000000",
        OpCode::SetWatches2,
        &Answer::Done,
        reply::done,
    );
}

#[test]
fn close_session() {
    request("00000008 00000012 fffffff5", 18, &Request::CloseSession);
    event(
        "00000020 ffffffff 000000000000000a 00000000 00000002 00000003 00000004 2f612f65",
        10,
        EventKind::NodeDeleted,
        b"/a/e",
    );
    answer(
        "00000010 00000012 000000000000000a 00000000",
        OpCode::CloseSession,
        &Answer::Done,
        reply::done,
    );
}

#[test]
fn fixed_failures() {
    failure("00000010 00000007 0000000000000009 fffffffb", ErrorCode::MarshallingError);
    let mut out = Vec::new();
    reply::unknown_operation(&mut out, Xid(7));
    assert_eq!(out, hex("00000010 00000007 ffffffffffffffff fffffffa"));
    out.clear();
    reply::sasl(&mut out, Xid(7), Some(ErrorCode::AuthFailed), None);
    assert_eq!(out, hex("00000014 00000007 0000000000000000 ffffff8d ffffffff"));
}
