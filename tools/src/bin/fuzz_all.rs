//! `cargo fuzz-all [--seconds N] [TARGET]...`: fuzzes with coverage feedback, every target for so
//! long, two at a time. What makes one fail is kept in `tools/fuzz/target/artifacts`, what led to
//! new places in `tools/fuzz/target/corpus`, from where the next run goes on.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};

const SECONDS: u32 = 10;
/// Targets that run at once.
const LANES: usize = 2;
/// Longest input, bytes.
const INPUT_MAX: u32 = 16 << 10;
/// An input that takes longer is a finding, s.
const HANG_S: u32 = 20;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let folder = tools::workspace::root().join("tools/fuzz");
    let (seconds, wanted) = arguments()?;
    let all = targets(&folder)?;
    for name in &wanted {
        ensure!(all.contains(name), "{name}: not one of {}", all.join(", "));
    }
    let chosen: Vec<&String> =
        all.iter().filter(|name| wanted.is_empty() || wanted.contains(name)).collect();
    let programs = build(&folder)?;
    let data = folder.join("target");
    tools::seeds::write_all(&data.join("seeds")).context("writing the seeds")?;
    let mut failed = Vec::new();
    for lane in chosen.chunks(LANES) {
        let started = lane
            .iter()
            .map(|name| Ok((*name, start(&data, &programs, name, seconds)?)))
            .collect::<Result<Vec<_>>>()?;
        for (name, child) in started {
            let output = child.wait_with_output()?;
            let text = String::from_utf8_lossy(&output.stderr);
            if output.status.success() {
                println!("{name}: {}", text.lines().last().unwrap_or_default());
            } else {
                println!("{name}: FAILED\n{text}");
                failed.push(name.as_str());
            }
        }
    }
    ensure!(failed.is_empty(), "found something: {}", failed.join(", "));
    Ok(())
}

fn arguments() -> Result<(u32, Vec<String>)> {
    let mut seconds = SECONDS;
    let mut names = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => {
                let number = arguments.next().context("--seconds: how many?")?;
                seconds = number.parse().context("--seconds")?;
            }
            flag if flag.starts_with('-') => bail!("{flag}: only --seconds N is known"),
            name => names.push(name.to_owned()),
        }
    }
    Ok((seconds, names))
}

fn targets(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.join("targets"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Builds all targets with coverage counters; where the programs are.
fn build(folder: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let version = Command::new("rustc").arg("-vV").output().context("asking rustc")?;
    let version = String::from_utf8(version.stdout)?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc does not name its host")?;
    // The target is named, so that build scripts go without counters.
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--bins", "--target", host])
        .current_dir(folder)
        .status()?;
    ensure!(built.success(), "the targets do not build");
    Ok(folder.join("target").join(host).join("debug"))
}

fn start(data: &Path, programs: &Path, name: &str, seconds: u32) -> Result<Child> {
    let corpus = data.join("corpus").join(name);
    let artifacts = data.join("artifacts");
    std::fs::create_dir_all(&corpus)?;
    std::fs::create_dir_all(&artifacts)?;
    Command::new(programs.join(name))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_MAX}"))
        .arg(format!("-timeout={HANG_S}"))
        .arg(format!("-artifact_prefix={}/{name}-", artifacts.display()))
        .args(["-print_final_stats=0", "-verbosity=1"])
        .args([corpus, data.join("seeds").join(name)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {name}"))
}
