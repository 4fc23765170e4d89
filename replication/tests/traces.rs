//! Stories: text files of commands with what happened written below each. Rewrite the expectations
//! with `REWRITE_TRACES=1 cargo test -p replication --test traces`, and read the difference.
//!
//! A block is one command, `----`, what happened, an empty line. Lines with `#` are prose. Time is
//! simulated: a message takes 1 ms, a disk write 2 ms, a tick is 100 ms.

mod world;

use std::fmt::Write as _;
use std::path::Path;

use model::{Epoch, SessionId, Zxid};
use replication::{Input, Replica};
use world::{Setup, World};

/// Carries out one command and tells what happened.
fn command(world: &mut Option<World>, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, args) = words.split_first().expect("a command has a name");
    let number = |at: usize| -> u64 { args[at].parse().expect("a number") };
    let id = |at: usize| number(at) as u8;
    if *name == "add-servers" {
        let mut setup = Setup { voters: id(0), ..Setup::default() };
        for option in &args[1..] {
            let (key, value) = option.split_once('=').expect("key=value");
            match key {
                "observers" => setup.observers = value.parse().expect("a number"),
                "retained" => setup.retained = value.parse().expect("a number"),
                "plain" => {
                    let ids = value.split(',').map(|id| id.parse().expect("a server"));
                    setup.plain = ids.collect();
                }
                other => panic!("no option {other}"),
            }
        }
        *world = Some(World::new(setup, |_| {}));
        return String::new();
    }
    let world = world.as_mut().expect("add-servers comes first");
    match *name {
        "start" => args.iter().for_each(|id| world.start(id.parse().expect("a server"))),
        "crash" => world.crash(id(0)),
        "cut" => world.cut(id(0), id(1)),
        "reset" => world.reset(id(0), id(1)),
        "heal" => world.heal(),
        "run" => world.run(number(0)),
        "propose" => {
            if !world.propose(id(0), &args[1..]) {
                return "refused\n".into();
            }
        }
        "forward" => world.forward(id(0), 1, args[1]),
        "sync" => world.sync(id(0)),
        "revalidate" => {
            let timeout_ms = args[1].parse().expect("a number");
            world.give(id(0), Input::Revalidate { session: SessionId(0x77), timeout_ms });
        }
        "touch" => world.nodes.get_mut(&id(0)).expect("a server").valid = 0x77,
        "tell-packets" => world.tell_packets = args[0] == "yes",
        "abdicate" => world.give(id(0), Input::Abdicate),
        "compact" => world.compact(id(0)),
        "wipe" => world.wipe(id(0)),
        "empty-may-vote" => world.setup.empty_may_vote = args[0] == "yes",
        "scribble" => {
            let (epoch, counter) = args[1].split_once(':').expect("epoch:counter");
            let parse = |text| u32::from_str_radix(text, 16).expect("hexadecimal");
            let zxid = Zxid::new(Epoch(parse(epoch)), parse(counter));
            world.scribble(id(0), zxid, args[2]);
        }
        "status" => return status(world),
        "logs" => return logs(world),
        other => panic!("no command {other}"),
    }
    if let Some(violation) = &world.violation {
        panic!("{line}: {violation}");
    }
    world.journal.drain(..).fold(String::new(), |text, line| text + &line + "\n")
}

fn status(world: &World) -> String {
    let mut text = String::new();
    for (id, node) in &world.nodes {
        let state = if world.is_up(*id) { format!("{:?}", node.role) } else { "down".into() };
        let epochs = node.stable.epochs;
        writeln!(
            text,
            "{id}: {state}, accepted {}, current {}",
            epochs.accepted.0, epochs.current.0
        )
        .expect("text grows");
    }
    text
}

fn logs(world: &World) -> String {
    let mut text = String::new();
    for (id, node) in &world.nodes {
        let entry =
            |(zxid, entry): &world::Entry| format!(" {zxid:?}={}", String::from_utf8_lossy(entry));
        let entries: String = node.stable.log.iter().map(entry).collect();
        writeln!(text, "{id}:{entries}").expect("text grows");
    }
    text
}

/// Runs a story and writes down what really happened.
fn run(story: &str) -> String {
    let mut world = None;
    let mut told = String::new();
    let mut lines = story.lines().peekable();
    while let Some(line) = lines.next() {
        told.push_str(line);
        told.push('\n');
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if lines.next_if_eq(&"----").is_some() {
            while lines.next_if(|line| !line.is_empty()).is_some() {}
        }
        let happened = command(&mut world, line);
        told.push_str("----\n");
        told.push_str(&happened);
    }
    told
}

#[test]
fn stories() {
    let rewrite = std::env::var("REWRITE_TRACES").is_ok();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
    let files = std::fs::read_dir(folder).expect("the folder of stories");
    let mut files: Vec<_> = files.map(|file| file.expect("readable").path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let story = std::fs::read_to_string(&file).expect("readable");
        let told = run(&story);
        if rewrite {
            std::fs::write(&file, told).expect("writable");
        } else {
            assert_eq!(told, story, "{} tells another story", file.display());
        }
    }
}

#[test]
fn a_standalone_server_needs_nobody() {
    use model::{Batch, Mono};
    use replication::{Output, RoleKind};
    let mut replica = Replica::standalone(Zxid(4));
    let mut out = Vec::new();
    replica.step(Mono(0), Input::Tick, &mut out);
    assert!(matches!(out[..], [Output::RoleChanged(RoleKind::Standalone)]));
    out.clear();
    let batch = Batch::new(Zxid(5), &b"ab"[..], &[1u32, 2][..]);
    replica.step(Mono(0), Input::Propose(batch), &mut out);
    replica.step(Mono(0), Input::Appended { upto: Zxid(6) }, &mut out);
    assert!(matches!(out[..], [Output::Append(_), Output::Commit { upto: Zxid(6) }]));
    assert_eq!(replica.committed(), Zxid(6));
}
