//! Loads named for what people run, as the flags they stand for.

use std::fmt::Write as _;

use anyhow::{Result, bail};

/// A named load.
struct Profile {
    name: &'static str,
    /// What it is like, for the help.
    summary: &'static str,
    /// Subcommand and flags it stands for; flags given besides overrule them.
    words: &'static [&'static str],
}

const PROFILES: &[Profile] = &[
    Profile {
        name: "registry",
        summary: "services register and are looked up: many reads, few ephemerals, some hot keys",
        words: &[
            "load",
            "--op",
            "get=90,children=5,exists=2,set=2,create-ephemeral=0.5,delete=0.5",
            "--connections",
            "200",
            "--outstanding",
            "4",
            "--keys",
            "2000",
            "--skew",
            "0.99",
            "--size",
            "256",
        ],
    },
    Profile {
        name: "lock-service",
        summary: "a contender's ephemeral, a look at the queue, a release; one request at a time",
        words: &[
            "load",
            "--op",
            "create-ephemeral=1,children=1,exists=1,delete=1",
            "--connections",
            "200",
            "--outstanding",
            "1",
            "--keys",
            "100",
            "--size",
            "16",
        ],
    },
    Profile {
        name: "clickhouse",
        summary: "replicated tables: small multis, part lists, many znodes",
        words: &[
            "load",
            "--op",
            "multi=40,get=30,exists=10,children=10,create=5,delete=5",
            "--multi",
            "4",
            "--connections",
            "64",
            "--outstanding",
            "8",
            "--keys",
            "50000",
            "--size",
            "200",
        ],
    },
    Profile {
        name: "hbase",
        summary: "region states: reads with a steady part of sets and multis",
        words: &[
            "load",
            "--op",
            "get=55,exists=15,set=20,multi=5,create=2.5,delete=2.5",
            "--multi",
            "2",
            "--connections",
            "100",
            "--outstanding",
            "2",
            "--keys",
            "10000",
            "--size",
            "100",
        ],
    },
    Profile {
        name: "config-push",
        summary: "one znode changes and thousands of sessions hear of it",
        words: &["watch", "--watchers", "2000", "--rounds", "20", "--size", "1000"],
    },
    Profile {
        name: "mass-restart",
        summary: "all sessions lose their connections at once and come back at once",
        words: &["connect", "--sessions", "3000", "--window", "3000", "--reattach"],
    },
];

/// The profiles, for the help of `load`.
pub(crate) fn help() -> String {
    let mut text = "Profiles (load --profile NAME; flags given besides overrule):\n".to_owned();
    for profile in PROFILES {
        let _ = writeln!(text, "  {:<13} {}", profile.name, profile.summary);
        let _ = writeln!(text, "  {:<13} = {}", "", profile.words.join(" "));
    }
    text
}

/// Puts what a profile stands for in the place of `load` and `--profile NAME`.
pub(crate) fn expand(mut words: Vec<String>) -> Result<Vec<String>> {
    if words.get(1).is_none_or(|word| word != "load") {
        return Ok(words);
    }
    let Some(at) = words.iter().position(|word| word.starts_with("--profile")) else {
        return Ok(words);
    };
    let flag = words.remove(at);
    let name = match flag.strip_prefix("--profile=") {
        Some(name) => name.to_owned(),
        None if flag == "--profile" && at < words.len() => words.remove(at),
        None => bail!("--profile needs a name"),
    };
    let Some(profile) = PROFILES.iter().find(|profile| profile.name == name) else {
        let names: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
        bail!("--profile {name}: no such profile; there are {}", names.join(", "));
    };
    words.splice(1..2, profile.words.iter().map(|&word| word.to_owned()));
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn every_profile_is_a_valid_command() {
        for profile in PROFILES {
            let line = format!("x load --server 127.0.0.1:1 --profile {}", profile.name);
            let expanded = expand(words(&line)).expect("known");
            assert!(Cli::try_parse_from(&expanded).is_ok(), "{expanded:?}");
        }
        assert!(expand(words("x load --profile nothing")).is_err());
        assert!(expand(words("x load --profile")).is_err());
    }

    #[test]
    fn flags_overrule_a_profile() {
        let line = "x load --profile=registry --server 127.0.0.1:1 --connections 3";
        let cli = Cli::try_parse_from(expand(words(line)).expect("known")).expect("valid");
        match cli.command {
            Command::Load(args) => assert_eq!((args.connections, args.outstanding), (3, 4)),
            other => panic!("{other:?}"),
        }
    }
}
