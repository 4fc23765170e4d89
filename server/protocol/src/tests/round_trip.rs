//! Whatever can be written reads back the same, whole and frame by frame.

use model::jute::Reader;
use model::op::Create;
use model::{Acl, CreateMode, EventKind, Op, OpCode, Perms, SessionId, Stat, Xid, Zxid, acl};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Any, decode_any};
use crate::{AddWatchMode, Answer, ConnectRequest, ConnectResponse, MultiReply, MultiResult};
use crate::{Names, ReadPart, Request, ServerFrame, SetWatches, Split, WatcherType};
use crate::{encode_write, frame, reply};

type Bytes = Vec<u8>;

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..24)
}

/// Leaked so that borrowed records can be generated; a test run leaks a few hundred KiB.
fn leaked() -> impl Strategy<Value = &'static [u8]> {
    bytes().prop_map(|bytes| &*bytes.leak())
}

fn names() -> impl Strategy<Value = Names<'static>> {
    vec(bytes(), 0..5).prop_map(|list| {
        let built = Names::build(list.iter().map(Vec::as_slice)).leak();
        Names::decode(&mut Reader::new(built)).expect("just built")
    })
}

fn acl_list() -> impl Strategy<Value = Option<&'static [u8]>> {
    of(vec((any::<i32>(), of(leaked()), of(leaked())), 0..4)).prop_map(|list| {
        list.map(|list| {
            let entries =
                list.into_iter().map(|(perms, scheme, id)| Acl { perms: Perms(perms), scheme, id });
            &*acl::encode_list(entries).leak()
        })
    })
}

fn create() -> impl Strategy<Value = Op<'static>> {
    let kind = prop_oneof![
        (select(vec![OpCode::Create, OpCode::Create2]), Just(CreateMode::Persistent)),
        (select(vec![OpCode::Create, OpCode::Create2]), Just(CreateMode::Ephemeral)),
        Just((OpCode::CreateContainer, CreateMode::Container)),
        any::<i64>().prop_map(|ttl_ms| (OpCode::CreateTtl, CreateMode::Ttl(ttl_ms))),
    ];
    (kind, leaked(), of(leaked()), acl_list(), any::<bool>()).prop_map(
        |((opcode, mode), path, data, acl, sequential)| {
            Op::Create(Create { opcode, path, data, acl, mode, sequential })
        },
    )
}

fn multi_part() -> impl Strategy<Value = Op<'static>> {
    prop_oneof![
        create(),
        (leaked(), any::<i32>()).prop_map(|(path, version)| Op::Delete { path, version }),
        (leaked(), any::<i32>()).prop_map(|(path, version)| Op::Check { path, version }),
        (leaked(), of(leaked()), any::<i32>()).prop_map(|(path, data, version)| Op::SetData {
            path,
            data,
            version
        }),
    ]
}

fn write() -> impl Strategy<Value = Op<'static>> {
    prop_oneof![
        multi_part().prop_filter("alone", |op| !matches!(op, Op::Check { .. })),
        vec(multi_part(), 0..6).prop_map(Op::Multi),
        (leaked(), acl_list(), any::<i32>()).prop_map(|(path, acl, version)| Op::SetAcl {
            path,
            acl,
            version
        }),
        (of(leaked()), of(leaked()), of(leaked()), any::<i64>()).prop_map(
            |(joining, leaving, members, config_id)| Op::Reconfig {
                joining,
                leaving,
                members,
                config_id
            }
        ),
    ]
}

fn set_watches() -> impl Strategy<Value = SetWatches<'static>> {
    (any::<i64>(), names(), names(), names(), names(), names()).prop_map(
        |(zxid, data, exist, child, persistent, persistent_recursive)| SetWatches {
            relative_zxid: Zxid(zxid),
            data,
            exist,
            child,
            persistent,
            persistent_recursive,
        },
    )
}

fn request() -> impl Strategy<Value = Request<'static>> {
    let kinds = vec![
        WatcherType::Children,
        WatcherType::Data,
        WatcherType::Any,
        WatcherType::Persistent,
        WatcherType::PersistentRecursive,
    ];
    let modes = vec![AddWatchMode::Persistent, AddWatchMode::PersistentRecursive];
    let watched = (0..4, leaked(), any::<bool>()).prop_map(|(which, path, watch)| match which {
        0 => Request::Exists { path, watch },
        1 => Request::GetData { path, watch },
        2 => Request::GetChildren { path, watch },
        _ => Request::GetChildren2 { path, watch },
    });
    let part = prop_oneof![
        leaked().prop_map(ReadPart::Children as fn(&'static [u8]) -> ReadPart<'static>),
        leaked().prop_map(ReadPart::Data as fn(&'static [u8]) -> ReadPart<'static>),
    ];
    prop_oneof![
        watched,
        leaked().prop_map(|path| Request::GetAcl { path }),
        leaked().prop_map(|path| Request::GetAllChildrenNumber { path }),
        of(leaked()).prop_map(|path| Request::Sync { path }),
        of(leaked()).prop_map(|prefix| Request::GetEphemerals { prefix }),
        of(leaked()).prop_map(|token| Request::Sasl { token }),
        vec(part, 0..5).prop_map(Request::MultiRead),
        set_watches().prop_map(Request::SetWatches2),
        set_watches().prop_map(|lists| Request::SetWatches(SetWatches {
            persistent: Names::EMPTY,
            persistent_recursive: Names::EMPTY,
            ..lists
        })),
        (leaked(), select(modes)).prop_map(|(path, mode)| Request::AddWatch { path, mode }),
        (leaked(), select(kinds.clone()))
            .prop_map(|(path, kind)| Request::CheckWatches { path, kind }),
        (leaked(), select(kinds)).prop_map(|(path, kind)| Request::RemoveWatches { path, kind }),
        (any::<i32>(), of(leaked()), of(leaked())).prop_map(|(kind, scheme, auth)| Request::Auth {
            kind,
            scheme,
            auth
        }),
        select(vec![Request::WhoAmI, Request::Ping, Request::CloseSession]),
    ]
}

fn stat() -> impl Strategy<Value = Stat> {
    vec(any::<u8>(), Stat::LEN)
        .prop_map(|raw| Stat::decode(&mut Reader::new(&raw)).expect("68 bytes"))
}

fn result() -> impl Strategy<Value = MultiResult<'static>> {
    prop_oneof![
        leaked().prop_map(MultiResult::Created),
        (leaked(), stat()).prop_map(|(path, stat)| MultiResult::CreatedStat(path, stat)),
        Just(MultiResult::Deleted),
        stat().prop_map(MultiResult::DataSet),
        Just(MultiResult::Checked),
        names().prop_map(MultiResult::Children),
        (of(leaked()), stat()).prop_map(|(data, stat)| MultiResult::Data(data, stat)),
        any::<i32>().prop_map(MultiResult::Failed),
    ]
}

/// Answers whose access list has no null text, as every answer of ours.
fn answer() -> impl Strategy<Value = (OpCode, Answer<'static>)> {
    let open = acl::world(Perms::ALL).leak();
    prop_oneof![
        Just((OpCode::Delete, Answer::Done)),
        stat().prop_map(|stat| (OpCode::SetData, Answer::Stat(stat))),
        leaked().prop_map(|path| (OpCode::Create, Answer::Path(path))),
        of(leaked()).prop_map(|path| (OpCode::Sync, Answer::Echo(path))),
        (leaked(), stat()).prop_map(|(path, s)| (OpCode::CreateTtl, Answer::PathStat(path, s))),
        (of(leaked()), stat()).prop_map(|(d, s)| (OpCode::GetData, Answer::DataStat(d, s))),
        names().prop_map(|names| (OpCode::GetEphemerals, Answer::Children(names))),
        (names(), stat()).prop_map(|(n, s)| (OpCode::GetChildren2, Answer::ChildrenStat(n, s))),
        stat().prop_map(|stat| (OpCode::GetAcl, Answer::AclStat(open, stat))),
        any::<i32>().prop_map(|n| (OpCode::GetAllChildrenNumber, Answer::Count(n))),
        vec((leaked(), leaked()), 0..4).prop_map(|all| (OpCode::WhoAmI, Answer::Identities(all))),
        of(leaked()).prop_map(|token| (OpCode::Sasl, Answer::Token(token))),
        vec(result(), 0..6).prop_map(|results| (OpCode::Multi, Answer::Multi(results))),
    ]
}

fn write_answer(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, answer: &Answer<'_>) {
    match answer {
        Answer::Done => reply::done(out, xid, zxid),
        Answer::Stat(stat) => reply::stat(out, xid, zxid, stat),
        Answer::Path(path) => reply::path(out, xid, zxid, path),
        Answer::Echo(path) => reply::sync(out, xid, zxid, *path),
        Answer::PathStat(path, stat) => reply::path_stat(out, xid, zxid, path, stat),
        Answer::DataStat(data, stat) => reply::data_stat(out, xid, zxid, *data, stat),
        Answer::Children(names) => reply::children(out, xid, zxid, names.iter()),
        Answer::ChildrenStat(names, stat) => {
            reply::children_stat(out, xid, zxid, names.iter(), stat);
        }
        Answer::AclStat(list, stat) => reply::acl_stat(out, xid, zxid, list, stat),
        Answer::Count(count) => reply::count(out, xid, zxid, *count),
        Answer::Identities(all) => reply::who_am_i(out, xid, zxid, all.iter().copied()),
        Answer::Token(token) => reply::sasl(out, xid, None, *token),
        Answer::Multi(results) => {
            let mut multi = MultiReply::begin(out, xid, zxid);
            for result in results {
                match result {
                    MultiResult::Created(path) => multi.created(path),
                    MultiResult::CreatedStat(path, stat) => multi.created_stat(path, stat),
                    MultiResult::Deleted => multi.deleted(),
                    MultiResult::DataSet(stat) => multi.data_set(stat),
                    MultiResult::Checked => multi.checked(),
                    MultiResult::Children(names) => multi.children(names.iter()),
                    MultiResult::Data(data, stat) => multi.data(*data, stat),
                    MultiResult::Failed(code) => multi.failed(*code),
                }
            }
            multi.end();
        }
    }
}

/// The payload of the only frame in `out`.
fn only_frame(out: &[u8]) -> &[u8] {
    match frame::split(out, out.len()) {
        Split::Frame { payload } => {
            assert_eq!(payload.end, out.len());
            &out[payload]
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn handshakes(
        (version, zxid, timeout_ms, session) in any::<(i32, i64, i32, i64)>(),
        password in of(leaked()),
        fixed: [u8; 16],
        read_only: Option<bool>,
    ) {
        let session = SessionId(session);
        let request = ConnectRequest {
            protocol_version: version,
            last_zxid_seen: Zxid(zxid),
            timeout_ms,
            session,
            password,
            read_only,
        };
        let mut out = Vec::new();
        request.encode(&mut out);
        prop_assert_eq!(ConnectRequest::decode(only_frame(&out)), Ok(request));
        let response = ConnectResponse {
            protocol_version: version,
            timeout_ms,
            session,
            password: fixed,
            read_only,
        };
        out.clear();
        response.encode(&mut out);
        prop_assert_eq!(ConnectResponse::decode(only_frame(&out)), Ok(response));
    }

    #[test]
    fn writes(xid: i32, op in write(), tail in bytes()) {
        let mut out = Vec::new();
        encode_write(Xid(xid), &op, &mut out);
        let mut payload = only_frame(&out).to_vec();
        payload.extend_from_slice(&tail);
        let (header, any) = decode_any(&payload).expect("just written");
        prop_assert_eq!((header.xid, any), (Xid(xid), Any::Write(op)));
    }

    #[test]
    fn requests(xid: i32, request in request(), tail in bytes()) {
        let mut out = Vec::new();
        request.encode(Xid(xid), &mut out);
        let mut payload = only_frame(&out).to_vec();
        payload.extend_from_slice(&tail);
        let (header, any) = decode_any(&payload).expect("just written");
        prop_assert_eq!((header.xid, any), (Xid(xid), Any::Other(request)));
    }

    #[test]
    fn answers(xid in 0..i32::MAX, (opcode, answer) in answer()) {
        let zxid = if opcode == OpCode::Sasl { Zxid::ZERO } else { Zxid(77) };
        let mut out = Vec::new();
        write_answer(&mut out, Xid(xid), zxid, &answer);
        let frame = ServerFrame::decode(only_frame(&out));
        let Ok(ServerFrame::Reply(header, body)) = frame else { panic!("{frame:?}") };
        prop_assert_eq!((header.xid, header.zxid, header.err), (Xid(xid), zxid, 0));
        prop_assert_eq!(Answer::decode(opcode, body), Ok(answer));
    }

    #[test]
    fn events(zxid: i64, path in leaked(), kind in select(vec![
        EventKind::NodeCreated,
        EventKind::NodeDeleted,
        EventKind::NodeDataChanged,
        EventKind::NodeChildrenChanged,
    ])) {
        let mut out = Vec::new();
        reply::event(&mut out, Zxid(zxid), kind, path);
        let expect = crate::WatchEvent { zxid: Zxid(zxid), kind, path };
        prop_assert_eq!(ServerFrame::decode(only_frame(&out)), Ok(ServerFrame::Event(expect)));
    }

    /// Frames come out whole and in order however the stream is cut.
    #[test]
    fn a_cut_stream_gives_the_same_frames(
        payloads in vec(bytes(), 0..6),
        cuts in vec(1_usize..9, 1..8),
    ) {
        let mut stream = Vec::new();
        for payload in &payloads {
            let at = frame::begin(&mut stream);
            stream.extend_from_slice(payload);
            frame::end(&mut stream, at);
        }
        let (mut buffer, mut got, mut sent, mut turn) = (Vec::new(), Vec::new(), 0, 0);
        while sent < stream.len() {
            let upto = (sent + cuts[turn % cuts.len()]).min(stream.len());
            buffer.extend_from_slice(&stream[sent..upto]);
            (sent, turn) = (upto, turn + 1);
            while let Split::Frame { payload } = frame::split(&buffer, 64) {
                got.push(buffer[payload.clone()].to_vec());
                buffer.drain(..payload.end);
            }
        }
        prop_assert_eq!(got, payloads);
        prop_assert!(buffer.is_empty());
    }
}

/// Null text in a stored list is sent as empty text: the Go client cannot read null.
#[test]
fn access_lists_are_sent_without_nulls() {
    let entry = Acl { perms: Perms::READ, scheme: Some(b"auth"), id: None };
    let list = acl::encode_list([entry].into_iter());
    let mut out = Vec::new();
    reply::acl_stat(&mut out, Xid(1), Zxid(1), &list, &Stat::default());
    let Ok(ServerFrame::Reply(_, body)) = ServerFrame::decode(&out[4..]) else { panic!("{out:?}") };
    let Ok(Answer::AclStat(sent, _)) = Answer::decode(OpCode::GetAcl, body) else {
        panic!("{body:?}")
    };
    let sent: Vec<_> = acl::entries(sent).collect();
    assert_eq!(sent, [Acl { id: Some(b""), ..entry }]);
}
