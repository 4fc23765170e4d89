//! Plants bugs into a copy of the workspace, one at a time, and counts the seeds it takes to find
//! each: `cargo run -p sim --bin plants`. What is never planted is not known to be found.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Seeds within which a bug must be found.
const SEEDS: u64 = 2000;

/// A replacement: file, text that occurs exactly once, text in its place.
type Edit = (&'static str, &'static str, &'static str);

/// A bug.
struct Plant {
    name: &'static str,
    edits: &'static [Edit],
}

const DISK: &str = "tools/sim/src/disk.rs";
const APPEND: &str = "engine/src/log/append.rs";
const WATCHES: &str = "server/src/shard/watches.rs";
const SHARD: &str = "server/src/shard/mod.rs";
const PIPELINE: &str = "server/src/core/pipeline.rs";
const BATCHER: &str = "server/src/core/batcher.rs";
const EXPIRY: &str = "server/src/core/expiry.rs";
const FOLLOWING: &str = "replication/src/role/following.rs";

const PLANTS: &[Plant] = &[
    Plant {
        name: "forgotten sync",
        edits: &[(DISK, "                    self.sync_data();\n", "")],
    },
    Plant {
        name: "acknowledgement before durability",
        edits: &[(
            APPEND,
            "while self.flights.front().is_some_and(|flight| flight.done) {",
            "while self.flights.front().is_some() {",
        )],
    },
    Plant {
        name: "watch registered late",
        edits: &[
            (
                WATCHES,
                "    pub fn add(&mut self, owner: u32, path: &[u8], modes: Modes) {\n",
                "    pub fn add(&mut self, owner: u32, path: &[u8], modes: Modes) {\n        \
                 self.late.push((owner, path.to_vec(), modes));\n    }\n\n    \
                 fn add_now(&mut self, owner: u32, path: &[u8], modes: Modes) {\n",
            ),
            (
                WATCHES,
                "    recursive: u64,\n",
                "    recursive: u64,\n    late: Vec<(u32, Vec<u8>, Modes)>,\n",
            ),
            (
                WATCHES,
                "            recursive: 0,\n",
                "            recursive: 0,\n            late: Vec::new(),\n",
            ),
            (
                WATCHES,
                "    pub fn children_changed(&mut self, parent: &[u8], mut deliver: impl \
                 FnMut(u32)) {\n",
                "    pub fn children_changed(&mut self, parent: &[u8], mut deliver: impl \
                 FnMut(u32)) {\n        for (owner, path, modes) in \
                 std::mem::take(&mut self.late) {\n            \
                 self.add_now(owner, &path, modes);\n        }\n",
            ),
            (WATCHES, "        self.index.is_empty()\n", "        false\n"),
            (
                WATCHES,
                "    pub fn forget(&mut self, owner: u32) {\n",
                "    pub fn forget(&mut self, owner: u32) {\n        \
                 self.late.retain(|late| late.0 != owner);\n",
            ),
        ],
    },
    Plant {
        name: "reply before event",
        edits: &[
            (
                SHARD,
                "                if !self.watches.is_empty() {\n                    \
                 for effect in &segment.effects.list[start..end] {\n                        \
                 self.fire(effect, &segment.effects);\n                    }\n                    \
                 self.drop_overflowed(out);\n                }\n                start = end;\n",
                "                let late = start..end;\n                start = end;\n",
            ),
            (
                SHARD,
                "                previous = entry.zxid;\n",
                "                for effect in &segment.effects.list[late] {\n                    \
                 self.fire(effect, &segment.effects);\n                }\n                \
                 self.drop_overflowed(out);\n                previous = entry.zxid;\n",
            ),
        ],
    },
    Plant {
        name: "answer ahead of the own event",
        edits: &[(SHARD, "                && !self.watches.is_owner(completion.conn.slot)\n", "")],
    },
    Plant {
        name: "request served in the middle of a batch",
        edits: &[(
            SHARD,
            "        while self.feed_pending() > 0 && self.take_batch(now, out) {}\n",
            "        while self.feed.pending() > 0 && self.take_batch(now, out) {}\n",
        )],
    },
    Plant {
        name: "off-by-one in the cut of the tail",
        edits: &[(
            "engine/src/log/recover.rs",
            "        self.frames.truncate(bad);\n",
            "        self.frames.truncate(bad.saturating_sub(1));\n",
        )],
    },
    Plant {
        name: "reuse of a zxid",
        edits: &[
            (
                PIPELINE,
                "        let Some(zxid) = self.head.next() else {\n",
                "        let refused = matches!(op, Op::Refused(_));\n        \
                 let reused = refused.then(|| self.head.last());\n        \
                 let Some(zxid) = reused.or_else(|| self.head.next()) else {\n",
            ),
            (
                BATCHER,
                "        debug_assert!(self.continues(zxid), \"zxids of a batch are \
                 consecutive\");\n",
                "",
            ),
        ],
    },
    Plant {
        name: "stale view on a shard",
        edits: &[(
            SHARD,
            "                self.catch_up(now, out);\n                self.on_bytes",
            "                self.on_bytes",
        )],
    },
    Plant {
        name: "session expired early",
        edits: &[
            (
                EXPIRY,
                "((heard + timeout_ms) / self.tick_ms",
                "((heard + timeout_ms / 4) / self.tick_ms",
            ),
            (
                EXPIRY,
                "((heard.millis() + tracked.timeout_ms) / tick_ms",
                "((heard.millis() + tracked.timeout_ms / 4) / tick_ms",
            ),
        ],
    },
    Plant {
        name: "directory not synced",
        edits: &[(DISK, "                    self.sync_directory();\n", "")],
    },
    Plant {
        name: "run acknowledged too far",
        edits: &[(
            FOLLOWING,
            "            self.uplink.acked = upto;\n            Packet::Ack { zxid: upto }",
            "            self.uplink.acked = upto.next().min(self.last).max(upto);\n            \
             Packet::Ack { zxid: self.uplink.acked }",
        )],
    },
    Plant {
        name: "digest skipped",
        edits: &[(
            "engine/src/op/delete.rs",
            "    draft.tables.digest = draft.tables.digest.wrapping_add(parent_change);\n",
            "    let _ = parent_change;\n",
        )],
    },
];

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let only = std::env::args().nth(1);
    match plant_all(&root, only.as_deref()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Plants each; true if all were found.
fn plant_all(root: &Path, only: Option<&str>) -> Result<bool, String> {
    let scratch = root.join("target/plants/workspace");
    copy(root, &scratch)?;
    let mut all = true;
    println!("| planted bug | seeds to find it | found by |");
    println!("| --- | --- | --- |");
    for plant in PLANTS.iter().filter(|plant| only.is_none_or(|only| plant.name == only)) {
        let mut originals: Vec<(PathBuf, String)> = Vec::new();
        for (file, from, to) in plant.edits {
            let path = scratch.join(file);
            let text = read(&path)?;
            if text.matches(from).count() != 1 {
                return Err(format!("{}: {file} has not exactly one {from:?}", plant.name));
            }
            write(&path, &text.replacen(from, to, 1))?;
            if !originals.iter().any(|(known, _)| *known == path) {
                originals.push((path, text));
            }
        }
        let found = find(root, &scratch);
        for (path, text) in originals {
            write(&path, &text)?;
        }
        if let Some((seeds, checker)) = found? {
            println!("| {} | {seeds} | {checker} |", plant.name);
        } else {
            all = false;
            println!("| {} | not in {SEEDS} | - |", plant.name);
        }
    }
    Ok(all)
}

/// Builds the copy and runs seeds until one fails: how many, and which guarantee.
fn find(root: &Path, scratch: &Path) -> Result<Option<(u64, String)>, String> {
    let target = root.join("target/plants/build");
    let built = Command::new("nice")
        .args(["-n", "10", "cargo", "build", "--quiet", "--package", "sim", "--bin", "sim"])
        .current_dir(scratch)
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    if !built.status.success() {
        return Err(format!("does not build: {}", String::from_utf8_lossy(&built.stderr)));
    }
    let ran = Command::new("nice")
        .args(["-n", "10"])
        .arg(target.join("debug/sim"))
        .args(["--seeds", &SEEDS.to_string(), "--failures", "1"])
        .output()
        .map_err(|error| format!("sim does not start: {error}"))?;
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("seed "));
    let Some((seed, rest)) = line.and_then(|line| line.split_once(" event ")) else {
        return Ok(None);
    };
    let seed: u64 = seed.parse().map_err(|_| format!("odd line: {line:?}"))?;
    let checker = rest.split_once(": ").map_or(rest, |(_, checker)| checker);
    Ok(Some((seed + 1, checker.to_owned())))
}

/// Copies sources and manifests, but no build and no history.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    std::fs::create_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    let entries =
        std::fs::read_dir(from).map_err(|error| format!("{}: {error}", from.display()))?;
    for entry in entries {
        let entry = entry.map_err(|error| error.to_string())?;
        let (path, name) = (entry.path(), entry.file_name());
        if ["target", ".git"].iter().any(|skipped| name == *skipped) {
            continue;
        }
        if path.is_dir() {
            copy(&path, &to.join(name))?;
        } else {
            let there = to.join(name);
            let (new, old) = (std::fs::read(&path), std::fs::read(&there));
            let new = new.map_err(|error| format!("{}: {error}", path.display()))?;
            // A file that is the same stays as it is, so that it is not built again.
            if old.ok().as_ref() != Some(&new) {
                std::fs::write(&there, new)
                    .map_err(|error| format!("{}: {error}", there.display()))?;
            }
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sources move on; a plant that has lost its place finds nothing.
    #[test]
    fn every_plant_has_its_place() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for plant in PLANTS {
            for (file, from, _) in plant.edits {
                let text = read(&root.join(file)).expect("the file is there");
                assert_eq!(text.matches(from).count(), 1, "{}: {from:?} in {file}", plant.name);
            }
        }
    }
}
