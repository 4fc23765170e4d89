//! Mends what a machine can mend: formatting and the lints that know their own fix.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let steps: &[&[&str]] = &[
        &["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"],
        &["fmt", "--all"],
    ];
    for arguments in steps {
        let run = Command::new(&cargo)
            .args(*arguments)
            .current_dir(tools::workspace::root())
            .status()
            .is_ok_and(|status| status.success());
        if !run {
            eprintln!("cargo {} failed", arguments.join(" "));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
