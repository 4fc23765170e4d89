//! The inputs that fuzzing starts from: frames and files that the tests hold, captured from
//! ZooKeeper, or fixtures of the disk format.

use std::io;
use std::path::Path;

const CLIENT: &str = include_str!("../../server/protocol/src/tests/vectors.rs");
const PEER: &str = include_str!("../../replication/tests/wire.rs");
const ENTRIES: &str = include_str!("../../engine/model/fixtures/digest_chain.txt");
const KEYS: &str = include_str!("../../server/src/config/keys.rs");
const TYPED: &str = include_str!("../../server/src/config/typed.rs");
const CONFIG_TESTS: &str = include_str!("../../server/src/config/tests.rs");
const EPOCHS: &[u8] = include_bytes!("../../engine/tests/fixtures/v1/epochs");
const SNAPSHOT: &[u8] = include_bytes!("../../engine/tests/fixtures/v1/snapshot.0000000100000003");
const LOG: [&[u8]; 3] = [
    include_bytes!("../../engine/tests/fixtures/v1/log.0000000000000001"),
    include_bytes!("../../engine/tests/fixtures/v1/log.0000000000000002"),
    include_bytes!("../../engine/tests/fixtures/v1/log.0000000000000003"),
];

/// Writes them below `folder`, one folder per target of `tools/fuzz/targets`.
pub fn write_all(folder: &Path) -> io::Result<()> {
    let client = captured(CLIENT);
    let peer = captured(PEER);
    let payloads: Vec<Vec<u8>> =
        client.iter().filter_map(|frame| frame.get(4..)).map(Vec::from).collect();
    write(folder, "client_request", &payloads)?;
    write(folder, "client_reply", &payloads)?;
    write(folder, "handshake", &client)?;
    write(folder, "client_session", &sessions(&client))?;
    write(folder, "zoo_cfg", &configurations())?;
    write(folder, "log_entry", &lines(ENTRIES))?;
    write(folder, "log_recovery", &[log(0), log(4)])?;
    write(folder, "snapshot_load", &[0, 1].map(|how| behind(how, SNAPSHOT)))?;
    write(folder, "epoch_file", &[0, 1].map(|how| behind(how, &[EPOCHS, EPOCHS].concat())))?;
    let cut: Vec<Vec<u8>> = peer.iter().map(|bytes| behind(7, bytes)).collect();
    write(folder, "peer_packet", &cut)?;
    write(folder, "peer_election", &peer)?;
    let stream: Vec<Vec<u8>> = streams().iter().map(|bytes| behind(5, bytes)).collect();
    write(folder, "peer_snapshot", &stream)
}

fn write(folder: &Path, target: &str, inputs: &[Vec<u8>]) -> io::Result<()> {
    let folder = folder.join(target);
    std::fs::create_dir_all(&folder)?;
    for (number, input) in inputs.iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), input)?;
    }
    Ok(())
}

fn behind(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut input = vec![first];
    input.extend_from_slice(rest);
    input
}

/// A connect request with each of the frames behind it, and one with all of them.
fn sessions(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let connect = &frames[0];
    let rest = frames[1..].iter().filter(|frame| {
        let length = frame.first_chunk().map(|prefix| u32::from_be_bytes(*prefix));
        length.is_some_and(|length| length as usize + 4 == frame.len())
    });
    let mut all = connect.clone();
    let mut inputs: Vec<Vec<u8>> = Vec::new();
    for frame in rest {
        inputs.push([connect.as_slice(), frame].concat());
        all.extend_from_slice(frame);
    }
    inputs.push(all);
    inputs.extend([b"mntr".to_vec(), b"stmk\0\0\0\0\0\0\0\x01".to_vec()]);
    inputs.into_iter().map(|input| behind(0, &input)).collect()
}

/// Every key, with values of several kinds.
fn configurations() -> Vec<Vec<u8>> {
    let keys = [KEYS, TYPED].map(|source| source.split('"').skip(1).step_by(2));
    let keys: Vec<&str> = keys.into_iter().flatten().filter(|key| is_key(key)).collect();
    let base = "dataDir=/d\nclientPort=2181\n";
    let mut all: Vec<String> = Vec::new();
    for value in ["1", "true", "x"] {
        all.extend(keys.chunks(8).map(|keys| {
            let lines: Vec<String> = keys.iter().map(|key| format!("{key}={value}\n")).collect();
            base.to_owned() + &lines.concat()
        }));
    }
    let written = CONFIG_TESTS.split('"').skip(1).step_by(2).filter(|text| text.contains('='));
    all.extend(written.map(|text| base.to_owned() + &text.replace("\\n", "\n")));
    all.into_iter().map(String::into_bytes).collect()
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
}

/// The captured lines of a file with comments.
fn lines(text: &str) -> Vec<Vec<u8>> {
    let captures = text.lines().filter(|line| !line.starts_with('#'));
    captures.flat_map(|line| captured(&format!("\"{line}\""))).collect()
}

/// The log of the fixtures, without the zeros at the end of its blocks.
fn log(how: u8) -> Vec<u8> {
    let mut input = Vec::new();
    for (number, segment) in LOG.iter().enumerate() {
        for (at, block) in segment.chunks(4096).enumerate() {
            let used = block.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            if used > 0 {
                input.push(how | u8::from(number > 0 && at == 0));
                input.extend((used as u16).to_le_bytes());
                input.extend_from_slice(&block[..used]);
            }
        }
    }
    input
}

/// A snapshot stream of ZooKeeper's form: a session, no access list, the root.
fn streams() -> Vec<Vec<u8>> {
    let mut stream = vec![0, 0, 0, 1];
    stream.extend(0x0100_001f_8b80_0000_u64.to_be_bytes());
    stream.extend(4000_u32.to_be_bytes());
    stream.extend([0; 12]);
    stream.extend([0xff; 8]);
    stream.extend([0; 60]);
    stream.extend(b"\0\0\0\x01/\0\0\0\x0aBenWasHere");
    vec![stream]
}

/// The strings of hexadecimal digits in a source file of tests, as bytes: captured frames.
pub fn captured(source: &str) -> Vec<Vec<u8>> {
    let blank = |c: char| c.is_whitespace() || c == '\\';
    let literals = source.split('"').filter(|text| text.chars().any(|c| c.is_ascii_digit()));
    let digits = literals
        .map(|text| text.chars().filter(|c| !blank(*c)).collect::<String>())
        .filter(|text| text.len() >= 8 && text.chars().all(|c| c.is_ascii_hexdigit()));
    let bytes = |text: String| -> Vec<u8> {
        let digit = |c: char| c.to_digit(16).expect("checked") as u8;
        let digits: Vec<u8> = text.chars().map(digit).collect();
        digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    };
    digits.map(bytes).collect()
}
