//! Facts of the machine in ZooKeeper's words, for `envi`.

use std::fmt::Write;

use nix::sys::utsname::uname;
use nix::unistd::{User, getuid};

/// The answer to `envi`: ZooKeeper's keys in ZooKeeper's order (client-protocol 9.2). What only a
/// Java process has is left empty.
pub(crate) fn envi(version_text: &str) -> String {
    let names = uname().ok();
    let name = |of: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
        names.as_ref().map(|names| of(names).to_string_lossy().into_owned()).unwrap_or_default()
    };
    let user = User::from_uid(getuid()).ok().flatten();
    let (user_name, home) =
        user.map(|user| (user.name, user.dir.to_string_lossy().into_owned())).unwrap_or_default();
    let dir = std::env::current_dir().unwrap_or_default();
    let (free, total) = memory_mib();
    let mut text = String::from("Environment:\n");
    for (key, value) in [
        ("zookeeper.version", version_text.to_owned()),
        ("host.name", name(|names| names.nodename())),
        ("java.version", String::new()),
        ("java.vendor", String::new()),
        ("java.home", String::new()),
        ("java.class.path", String::new()),
        ("java.library.path", String::new()),
        ("java.io.tmpdir", std::env::temp_dir().to_string_lossy().into_owned()),
        ("java.compiler", String::new()),
        ("os.name", name(|names| names.sysname())),
        ("os.arch", name(|names| names.machine())),
        ("os.version", name(|names| names.release())),
        ("user.name", user_name),
        ("user.home", home),
        ("user.dir", dir.to_string_lossy().into_owned()),
        ("os.memory.free", format!("{free}MB")),
        ("os.memory.max", format!("{total}MB")),
        ("os.memory.total", format!("{total}MB")),
    ] {
        writeln!(text, "{key}={value}").expect("a string takes everything");
    }
    text
}

/// Free and total memory of the machine, MiB; zero where it does not say.
fn memory_mib() -> (u64, u64) {
    let facts = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let of = |key: &str| {
        let line = facts.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) / 1024
    };
    (of("MemAvailable"), of("MemTotal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// kazoo asks `envi` for the version and parses the line that begins like this.
    #[test]
    fn the_version_comes_first() {
        let text = envi("3.9.5-x, built on 2026-01-01 00:00 UTC");
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("Environment:"));
        let version = "zookeeper.version=3.9.5-x, built on 2026-01-01 00:00 UTC";
        assert_eq!(lines.next(), Some(version));
        assert_eq!(text.lines().count(), 19);
        assert!(text.contains("\nos.name=Linux\n"), "{text}");
    }
}
