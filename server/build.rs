//! The date in the version line: `SOURCE_DATE_EPOCH` if set, else that of the commit that is
//! built, so that the same sources give the same program. Without either, a fixed date. Written
//! as ZooKeeper wrote it up to 3.7: Go's client reads no other form in `srvr`.

use std::path::Path;
use std::process::Command;

const FALLBACK: &str = "01/01/2026 00:00 UTC";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    // A new commit moves the second; only releases are built anew for its date's sake.
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    for file in if release { &["HEAD", "logs/HEAD"][..] } else { &["HEAD"] } {
        if let Some(path) = git(&["rev-parse", "--git-path", file])
            && Path::new(&path).exists()
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let date = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let date = date.or_else(|| git(&["log", "-1", "--format=%ct"])?.parse().ok());
    let date = date.map_or_else(|| FALLBACK.to_owned(), text);
    println!("cargo::rustc-env=RINGKEEPER_DATE={date}");
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Seconds since 1970 as a date of the Gregorian calendar.
fn text(seconds: u64) -> String {
    // Years that begin in March put the leap day last; eras are 400 years of 146,097 days.
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{month:02}/{day:02}/{year:04} {hour:02}:{minute:02} UTC")
}
