//! `cargo ci`: everything that must hold before a change lands. Writes no file of the project.

use std::process::{Command, ExitCode};
use std::time::Instant;

/// A step and the cargo arguments that run it.
const STEPS: &[(&str, &[&str])] = &[
    ("format", &["fmt", "--all", "--", "--check"]),
    ("lint", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]),
    ("test", &["test", "--workspace", "--quiet"]),
    // All of the workspace, so that what the step before has built is not built anew with other
    // features of its dependencies.
    ("bench smoke", &["test", "--workspace", "--bench", "*", "--quiet"]),
    ("fuzz", &["fuzz-all", "--seconds", "5"]),
];

fn main() -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let only: Vec<String> = std::env::args().skip(1).collect();
    for (name, arguments) in STEPS {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("== {name}: cargo {}", arguments.join(" "));
        let start = Instant::now();
        let passed = Command::new(&cargo)
            .args(*arguments)
            .current_dir(tools::workspace::root())
            .status()
            .is_ok_and(|status| status.success());
        println!("== {name}: {} in {} s", verdict(passed), start.elapsed().as_secs());
        if !passed {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn verdict(passed: bool) -> &'static str {
    if passed { "passed" } else { "FAILED" }
}
