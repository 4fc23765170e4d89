//! House rules that a compiler does not know, each a function from the checkout to findings.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::workspace;

/// Something that breaks a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// File, relative to the root.
    pub file: PathBuf,
    /// Line from 1; 0 when it is the file as a whole.
    pub line: usize,
    /// What is wrong and what to do instead.
    pub words: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.words)
    }
}

/// The texts of the project.
pub struct Texts {
    files: Vec<(PathBuf, String)>,
}

impl Texts {
    /// Reads every source, manifest and document below `root`.
    pub fn read(root: &Path) -> Result<Texts> {
        let mut files = Vec::new();
        for path in workspace::files(root)? {
            let known = path.extension().is_some_and(|extension| {
                ["rs", "toml", "md", "sh", "py", "txt"].iter().any(|known| extension == *known)
            });
            if known || path.starts_with(".ci") {
                let full = root.join(&path);
                let text = std::fs::read_to_string(&full)
                    .with_context(|| format!("read {}", full.display()))?;
                files.push((path, text));
            }
        }
        Ok(Texts { files })
    }

    /// Texts given directly, for testing the rules.
    pub fn given(files: &[(&str, &str)]) -> Texts {
        let files =
            files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
        Texts { files }
    }

    fn lines(&self, extension: &str) -> impl Iterator<Item = (&Path, usize, &str)> {
        self.files
            .iter()
            .filter(move |(path, _)| path.extension().is_some_and(|found| found == extension))
            .flat_map(|(path, text)| {
                text.lines().enumerate().map(move |(i, line)| (path.as_path(), i + 1, line))
            })
    }
}

fn finding(file: &Path, line: usize, words: impl Into<String>) -> Finding {
    Finding { file: file.to_path_buf(), line, words: words.into() }
}

/// Rooms that are plain logic: everything the simulator must be able to run, and its world.
const LOGIC_ROOMS: &[&str] =
    &["engine/", "replication/", "server/src/", "server/protocol/src/", "tools/sim/src/"];

/// Where the machine may be touched, inside the logic rooms.
const MACHINE_ROOMS: &[&str] = &[
    "server/src/runtime/",
    "server/src/main.rs",
    "server/src/config/",
    "tools/sim/src/main.rs",
    "tools/sim/src/bin/",
];

/// Where `unsafe` may stand (ADR 0006).
const UNSAFE_ROOMS: &[&str] =
    &["engine/src/tree/", "server/src/feed", "server/src/runtime/", "perf/src/"];

/// Words that mean the machine, and what to use instead.
const MACHINE_WORDS: &[(&str, &str)] = &[
    ("glommio", "only server/src/runtime may name it"),
    ("std::fs", "files are a DiskOp"),
    ("File::open", "files are a DiskOp"),
    ("Instant::now", "time is an argument: Now"),
    ("SystemTime", "time is an argument: Now"),
    ("thread::spawn", "threads live in server/src/runtime"),
    ("thread::scope", "threads live in server/src/runtime"),
    ("thread::sleep", "nothing sleeps"),
    ("TcpStream", "sockets live in server/src/runtime"),
    ("TcpListener", "sockets live in server/src/runtime"),
    ("std::env::", "settings are arguments"),
    ("async fn", "steps are synchronous"),
    ("HashMap::new()", "default hashers are seeded by entropy: use ahash with fixed keys"),
    ("HashSet::new()", "default hashers are seeded by entropy: use ahash with fixed keys"),
    ("RandomState::new()", "entropy is an argument"),
];

fn in_rooms(path: &Path, rooms: &[&str]) -> bool {
    let path = path.to_string_lossy();
    rooms.iter().any(|room| path.starts_with(room))
}

fn is_test_file(path: &Path) -> bool {
    let path = path.to_string_lossy();
    path.contains("/tests/") || path.ends_with("tests.rs")
}

/// Lines outside of `#[cfg(test)] mod tests { .. }` at the end of a file, comments left out.
fn product_lines<'a>(
    lines: impl Iterator<Item = (&'a Path, usize, &'a str)>,
) -> impl Iterator<Item = (&'a Path, usize, &'a str)> {
    let mut in_tests = None;
    lines.filter(move |(path, number, line)| {
        if *number == 1 {
            in_tests = None;
        }
        if line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test") {
            in_tests = Some(path.to_path_buf());
        }
        in_tests.as_deref() != Some(*path)
            && !is_test_file(path)
            && !line.trim_start().starts_with("//")
    })
}

/// No clock, thread, file, socket, entropy or runtime outside the runtime.
pub fn machine_words(texts: &Texts) -> Vec<Finding> {
    let logic = texts
        .lines("rs")
        .filter(|(path, ..)| in_rooms(path, LOGIC_ROOMS) && !in_rooms(path, MACHINE_ROOMS));
    product_lines(logic)
        .flat_map(|(path, number, line)| {
            MACHINE_WORDS
                .iter()
                .filter(|(word, _)| line.contains(word))
                .map(move |(word, instead)| finding(path, number, format!("`{word}`: {instead}")))
        })
        .collect()
}

/// `unsafe` stands only in its rooms.
pub fn unsafe_rooms(texts: &Texts) -> Vec<Finding> {
    texts
        .lines("rs")
        .filter(|(path, _, line)| {
            !in_rooms(path, UNSAFE_ROOMS)
                && !line.trim_start().starts_with("//")
                && ["unsafe {", "unsafe fn", "unsafe impl", "allow(unsafe_code)"]
                    .iter()
                    .any(|word| line.contains(word) && !line.contains(&format!("\"{word}\"")))
        })
        .map(|(path, number, _)| finding(path, number, "unsafe outside its rooms (ADR 0006)"))
        .collect()
}

/// Width, characters, leftovers, names.
pub fn style(texts: &Texts) -> Vec<Finding> {
    const SUFFIXES: &[&str] =
        &["Manager", "Handler", "Processor", "Context", "Helper", "Util", "Impl", "Info"];
    let leftovers = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X:")];
    let mut found = Vec::new();
    for (path, number, line) in texts.lines("rs") {
        if line.chars().count() > 100 {
            found.push(finding(path, number, "longer than 100 columns"));
        }
        if !line.is_ascii() {
            found.push(finding(path, number, "not ASCII: write it as an escape"));
        }
        for word in leftovers {
            if line.contains(word) {
                found.push(finding(path, number, format!("leftover {word}")));
            }
        }
        for word in ["todo!(", "unimplemented!(", "dbg!("] {
            if line.contains(word) && !line.contains(&format!("\"{word}\"")) {
                found.push(finding(path, number, format!("`{word}` is a hole")));
            }
        }
        if line.trim_start().starts_with("#[ignore") {
            found.push(finding(path, number, "a test that does not run is not a test"));
        }
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
        if let (Some("struct" | "enum" | "trait" | "type"), Some(name)) =
            (words.next(), words.next())
        {
            let end = name.find(|c: char| !c.is_alphanumeric()).unwrap_or(name.len());
            let name = &name[..end];
            for suffix in SUFFIXES {
                if name.ends_with(suffix) && name != *suffix {
                    found.push(finding(
                        path,
                        number,
                        format!("`{name}`: a name ending in {suffix} hides a missing noun"),
                    ));
                }
            }
        }
    }
    found
}

/// Tests wait for events, not for time.
pub fn no_sleeping_tests(texts: &Texts) -> Vec<Finding> {
    texts
        .lines("rs")
        .filter(|(path, _, line)| {
            !in_rooms(path, &["perf/", "server/src/runtime/", "tools/src/"])
                && !line.trim_start().starts_with("//")
                && ["thread::sleep(", "time::sleep("].iter().any(|word| line.contains(word))
        })
        .map(|(path, number, _)| finding(path, number, "a test that sleeps"))
        .collect()
}

/// Documents have a title, and their links lead somewhere.
pub fn documents(root: &Path, texts: &Texts) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, text) in &texts.files {
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        if !text.starts_with("# ") {
            found.push(finding(path, 1, "a document starts with its title"));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        for (index, line) in text.lines().enumerate() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let file = target.split('#').next().unwrap_or_default();
                let local = !file.is_empty() && !target.contains("://");
                if local && !root.join(folder).join(file).exists() {
                    found.push(finding(path, index + 1, format!("dead link {target}")));
                }
            }
        }
    }
    found
}

/// Tests that documents name, as `file.rs::test` or as a file of a `tests` folder, exist.
pub fn named_tests(texts: &Texts) -> Vec<Finding> {
    let text_of = |file: &str| {
        let known = texts.files.iter().find(|(path, _)| path.as_path() == Path::new(file));
        known.map(|(_, text)| text)
    };
    let mut found = Vec::new();
    for (path, number, line) in texts.lines("md") {
        for quoted in line.split('`').skip(1).step_by(2) {
            let there = match quoted.split_once(".rs::") {
                Some((file, test)) => text_of(&format!("{file}.rs"))
                    .is_some_and(|text| text.contains(&format!("fn {test}("))),
                None if quoted.contains("/tests/") && quoted.contains("traces/") => {
                    text_of(quoted).is_some()
                }
                None => true,
            };
            if !there {
                found.push(finding(path, number, format!("there is no test {quoted}")));
            }
        }
    }
    found
}

/// Which package may depend on which (DESIGN 3); outside crates are not judged here, but for
/// glommio.
pub fn dependency_edges(edges: &BTreeMap<String, Vec<String>>) -> Vec<Finding> {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("model", &[][..]),
        ("engine", &["model"][..]),
        ("replication", &["model"]),
        ("protocol", &["model"]),
        ("server", &["model", "engine", "replication", "protocol"]),
        ("sim", &["model", "engine", "replication", "protocol", "server"]),
        ("perf", &["model", "protocol"]),
        ("tools", &["model", "protocol", "engine"]),
        ("benches", &["model", "engine", "replication", "protocol", "server"]),
    ]);
    let manifest = Path::new("Cargo.toml");
    let mut found = Vec::new();
    for (package, needs) in edges {
        let Some(may) = allowed.get(package.as_str()) else {
            found.push(finding(manifest, 0, format!("package {package} is not in the design")));
            continue;
        };
        for need in needs {
            let ours = allowed.contains_key(need.as_str());
            let runtime = need == "glommio" && package != "server";
            if (ours && !may.contains(&need.as_str())) || runtime {
                found.push(finding(manifest, 0, format!("{package} must not depend on {need}")));
            }
        }
    }
    found
}

/// Inside the server, core and shard do not know each other, and nothing knows the runtime.
pub fn server_rooms(texts: &Texts) -> Vec<Finding> {
    const RULES: &[(&str, &[&str])] = &[
        ("server/src/core/", &["crate::shard", "crate::runtime"]),
        ("server/src/shard/", &["crate::core", "crate::runtime"]),
        ("server/src/admin/", &["crate::core", "crate::shard", "crate::runtime"]),
        ("server/src/feed.rs", &["crate::core", "crate::shard", "crate::runtime"]),
        ("server/src/link.rs", &["crate::core", "crate::shard", "crate::runtime"]),
    ];
    let mut found = Vec::new();
    for (path, number, line) in product_lines(texts.lines("rs")) {
        for (room, banned) in RULES {
            if in_rooms(path, &[room]) {
                for word in *banned {
                    if line.contains(word) {
                        found.push(finding(path, number, format!("{room} must not use {word}")));
                    }
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
