//! Ringkeeper: a coordination server that ZooKeeper's clients take for ZooKeeper.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use server::config::{
    Beside, CommandLine, Notice, Problems, Resolved, ZooCfg, data_dir, parse, resolve,
    without_secrets,
};
use server::runtime;
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(version, about = "A coordination server that speaks ZooKeeper's protocol")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Command {
    /// Serve clients (the default).
    Serve(Serve),
    /// Check a configuration and say what every key would do.
    CheckConfig {
        /// A zoo.cfg.
        file: PathBuf,
    },
}

#[derive(Args, Clone)]
struct Serve {
    /// Configuration in ZooKeeper's format.
    #[arg(long, value_name = "ZOO_CFG")]
    config: Option<PathBuf>,
    /// Data directory [default: ./data, or dataDir of the configuration].
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Client address [default: 127.0.0.1:2181, or that of the configuration].
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Executors that serve clients [default: by the machine's cores].
    #[arg(long)]
    shards: Option<usize>,
    /// Form of the log on standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Log more; twice for everything. RUST_LOG overrules it.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Some(Command::CheckConfig { file }) => check_config(&file),
        Some(Command::Serve(serve)) => run(&serve),
        None => run(&arguments.serve),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ringkeeper: {why}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

fn run(serve: &Serve) -> Result<(), Failure> {
    start_logging(serve);
    let line = CommandLine {
        data_dir: serve.data_dir.clone(),
        listen: serve.listen.as_deref().map(host_and_port).transpose()?,
        shards: serve.shards,
        no_file: serve.config.is_none(),
    };
    let (resolved, notices) = load(serve.config.as_ref(), &line)?;
    for Notice { warn, text } in notices {
        if warn {
            tracing::warn!("configuration: {text}");
        } else {
            tracing::info!("configuration: {text}");
        }
    }
    Ok(runtime::serve(resolved)?)
}

fn check_config(file: &PathBuf) -> Result<(), Failure> {
    let (resolved, notices) = load(Some(file), &CommandLine::default())?;
    for Notice { warn, text } in notices {
        println!("{}: {text}", if warn { "warning" } else { "note" });
    }
    print!("{}", resolved.conf_text(resolved.port));
    println!("ok");
    Ok(())
}

fn load(file: Option<&PathBuf>, line: &CommandLine) -> Result<(Resolved, Vec<Notice>), Failure> {
    let text = match file {
        Some(file) => runtime::read_text(file)?,
        None => String::new(),
    };
    let wrong = |problems: Problems| match file {
        Some(file) => format!("{} cannot be used:\n{problems}", file.display()),
        None => problems.to_string(),
    };
    let (mut cfg, mut notices) = ZooCfg::read(parse(&text)).map_err(wrong)?;
    if let Some(dynamic) = cfg.ensemble.dynamic_file.clone() {
        let text = runtime::read_text(dynamic.as_ref())?;
        let wrong = |problems| format!("{dynamic} cannot be used:\n{problems}");
        cfg.read_dynamic(parse(&text)).map_err(wrong)?;
    }
    let beside = match data_dir(&cfg, line) {
        Some(dir) => runtime::read_beside(&dir)?,
        None => Beside::default(),
    };
    let (mut resolved, more) = resolve(&cfg, line, &beside).map_err(wrong)?;
    resolved.file_text = without_secrets(&text);
    notices.extend(more);
    Ok((resolved, notices))
}

/// `host:port`, the host possibly in brackets.
fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("--listen {text}: must be host:port");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), port.parse().map_err(|_| wrong())?))
}

fn start_logging(serve: &Serve) {
    let level = match serve.verbose {
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match serve.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
