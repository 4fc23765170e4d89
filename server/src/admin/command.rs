//! What an administrator can ask for over HTTP, by ZooKeeper's names (`client-protocol` 9.3), and
//! every form in which a question reaches the core.

use super::four_letter::Word;

/// A question whose answer the core composes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// A four-letter word; the answer is its text.
    Word(Word),
    /// A command of the HTTP admin server; the answer is its JSON.
    Command(Command),
    /// Everything that is measured; the answer is Prometheus' text format.
    Metrics,
}

impl Question {
    /// True if only a server that serves clients answers.
    pub fn needs_serving(self) -> bool {
        match self {
            Question::Word(_) => true,
            Question::Command(command) => command.needs_serving(),
            Question::Metrics => false,
        }
    }

    /// What the shards have to report for it, as a word; none if they need not be asked.
    pub fn report(self) -> Option<[u8; 4]> {
        match self {
            Question::Word(word) => word.report(),
            Question::Command(command) => command.report(),
            Question::Metrics => Word::Mntr.report(),
        }
    }
}

/// A command of the HTTP admin server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // the names say it, and `TABLE` has them in ZooKeeper's spelling
pub enum Command {
    Configuration,
    ConnectionStatReset,
    Connections,
    Dirs,
    Dump,
    Environment,
    GetTraceMask,
    Hash,
    InitialConfiguration,
    IsReadOnly,
    LastSnapshot,
    Leader,
    Monitor,
    ObserverConnectionStatReset,
    Observers,
    Ruok,
    ServerStats,
    /// With the mask.
    SetTraceMask(i64),
    StatReset,
    Stats,
    SystemProperties,
    VotingView,
    WatchSummary,
    Watches,
    WatchesByPath,
    Zabstate,
}

/// A command, its names, the primary one first, and whether it needs a server that serves.
struct Entry {
    command: Command,
    names: &'static [&'static str],
    needs_serving: bool,
}

const fn entry(command: Command, names: &'static [&'static str], needs_serving: bool) -> Entry {
    Entry { command, names, needs_serving }
}

/// Sorted by primary name.
#[rustfmt::skip]
const TABLE: [Entry; 26] = [
    entry(Command::Configuration, &["configuration", "conf", "config"], true),
    entry(Command::ConnectionStatReset, &["connection_stat_reset", "crst"], true),
    entry(Command::Connections, &["connections", "cons"], true),
    entry(Command::Dirs, &["dirs"], true),
    entry(Command::Dump, &["dump"], true),
    entry(Command::Environment, &["environment", "env", "envi"], false),
    entry(Command::GetTraceMask, &["get_trace_mask", "gtmk"], false),
    entry(Command::Hash, &["hash"], true),
    entry(Command::InitialConfiguration, &["initial_configuration", "icfg"], true),
    entry(Command::IsReadOnly, &["is_read_only", "isro"], true),
    entry(Command::LastSnapshot, &["last_snapshot", "lsnp"], true),
    entry(Command::Leader, &["leader", "lead"], true),
    entry(Command::Monitor, &["monitor", "mntr"], false),
    entry(Command::ObserverConnectionStatReset, &["observer_connection_stat_reset", "orst"], true),
    entry(Command::Observers, &["observers", "obsr"], true),
    entry(Command::Ruok, &["ruok"], true),
    entry(Command::ServerStats, &["server_stats", "srvr"], true),
    entry(Command::SetTraceMask(0), &["set_trace_mask", "stmk"], false),
    entry(Command::StatReset, &["stat_reset", "srst"], true),
    entry(Command::Stats, &["stats", "stat"], true),
    entry(Command::SystemProperties, &["system_properties", "sysp"], false),
    entry(Command::VotingView, &["voting_view"], true),
    entry(Command::WatchSummary, &["watch_summary", "wchs"], true),
    entry(Command::Watches, &["watches", "wchc"], true),
    entry(Command::WatchesByPath, &["watches_by_path", "wchp"], true),
    entry(Command::Zabstate, &["zabstate"], false),
];

/// Why a command is not carried out; said in the answer's `error`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// There is none of that name.
    #[error("Unknown command: {0}")]
    Unknown(String),
    /// `set_trace_mask` without its argument.
    #[error("setTraceMask requires long traceMask argument")]
    NoMask,
    /// `set_trace_mask` with something that is no number.
    #[error("setTraceMask requires long traceMask argument, got {0}")]
    BadMask(String),
}

impl CommandError {
    /// The command that was meant.
    pub fn command(&self) -> &str {
        match self {
            CommandError::Unknown(name) => name,
            CommandError::NoMask | CommandError::BadMask(_) => Command::SetTraceMask(0).name(),
        }
    }
}

impl Command {
    /// The command of that name; `argument` looks up what follows the question mark.
    pub fn parse<'a>(
        name: &str,
        argument: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Command, CommandError> {
        let entry = TABLE.iter().find(|entry| entry.names.contains(&name));
        let entry = entry.ok_or_else(|| CommandError::Unknown(name.to_owned()))?;
        match entry.command {
            Command::SetTraceMask(_) => {
                let mask = argument("traceMask").ok_or(CommandError::NoMask)?;
                let parsed = mask.parse().map_err(|_| CommandError::BadMask(mask.to_owned()))?;
                Ok(Command::SetTraceMask(parsed))
            }
            command => Ok(command),
        }
    }

    /// The primary names of all commands, sorted.
    pub fn all() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|entry| entry.names[0])
    }

    /// Its primary name.
    pub fn name(self) -> &'static str {
        self.entry().names[0]
    }

    fn needs_serving(self) -> bool {
        self.entry().needs_serving
    }

    fn entry(self) -> &'static Entry {
        let same = |entry: &&Entry| {
            std::mem::discriminant(&entry.command) == std::mem::discriminant(&self)
        };
        TABLE.iter().find(same).expect("commands come out of the table")
    }

    fn report(self) -> Option<[u8; 4]> {
        match self {
            Command::ConnectionStatReset => Some(*b"crst"),
            Command::Connections => Some(*b"cons"),
            Command::Monitor => Some(*b"mntr"),
            Command::ServerStats => Some(*b"srvr"),
            Command::StatReset => Some(*b"srst"),
            Command::Stats => Some(*b"stat"),
            Command::WatchSummary => Some(*b"wchs"),
            Command::Watches => Some(*b"wchc"),
            Command::WatchesByPath => Some(*b"wchp"),
            Command::Configuration
            | Command::Dirs
            | Command::Dump
            | Command::Environment
            | Command::GetTraceMask
            | Command::Hash
            | Command::InitialConfiguration
            | Command::IsReadOnly
            | Command::LastSnapshot
            | Command::Leader
            | Command::ObserverConnectionStatReset
            | Command::Observers
            | Command::Ruok
            | Command::SetTraceMask(_)
            | Command::SystemProperties
            | Command::VotingView
            | Command::Zabstate => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_means_one_command() {
        let names: Vec<_> = TABLE.iter().flat_map(|entry| entry.names).collect();
        for (at, name) in names.iter().enumerate() {
            assert!(!names[at + 1..].contains(name), "{name}");
        }
        let primary: Vec<_> = Command::all().collect();
        assert!(primary.is_sorted(), "{primary:?}");
        for entry in &TABLE {
            for name in entry.names {
                let found = Command::parse(name, |_| Some("0")).expect("it is there");
                assert_eq!(found, entry.command);
                assert_eq!(found.name(), entry.names[0]);
            }
        }
    }

    #[test]
    fn arguments_are_checked() {
        let parse = |name, value: Option<&'static str>| {
            Command::parse(name, |key| value.filter(|_| key == "traceMask"))
        };
        assert_eq!(parse("stmk", Some("-7")), Ok(Command::SetTraceMask(-7)));
        let text = |result: Result<Command, CommandError>| result.expect_err("wrong").to_string();
        let wants = "setTraceMask requires long traceMask argument";
        assert_eq!(text(parse("stmk", None)), wants);
        assert_eq!(text(parse("stmk", Some("x"))), format!("{wants}, got x"));
        assert_eq!(text(parse("Ruok", None)), "Unknown command: Ruok");
    }
}
