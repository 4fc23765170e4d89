//! Many znodes.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cli::FillArgs;
use crate::load::unix_ms;
use crate::proc::{ProcessUse, Samples};
use crate::report::{self, Percentiles};
use crate::wire::{self, Client, Fleet, Opening, PATIENCE, Plan, Requests, Verb};

/// Longest a fill may take.
const FILL_MAX: Duration = Duration::from_secs(4 * 3600);

/// What `fill` measured.
#[derive(Debug, Serialize)]
pub(crate) struct FillResult {
    pub(crate) root: String,
    pub(crate) znodes: u32,
    pub(crate) size: u32,
    pub(crate) parents: u32,
    pub(crate) multi: u32,
    pub(crate) seconds: f64,
    pub(crate) znodes_per_second: f64,
    pub(crate) request_latency: Percentiles,
    pub(crate) server_cpu_us_per_znode: f64,
    pub(crate) server_rss_before_bytes: u64,
    pub(crate) server_rss_after_bytes: u64,
    pub(crate) server_bytes_per_znode: f64,
    pub(crate) servers: Vec<ProcessUse>,
}

/// Runs `fill`.
pub(crate) fn run(args: &FillArgs) -> Result<()> {
    let result = measure(args)?;
    report::save(args.common.json.as_deref(), &result)
}

/// Creates the znodes and prints what they took.
pub(crate) fn measure(args: &FillArgs) -> Result<FillResult> {
    let common = &args.common;
    let target = common.target()?;
    let root = format!("{}/fill-{}", common.root, unix_ms());
    let mut client = Client::open(&target)?;
    client.ensure_path(&root)?;
    client.close()?;

    let requests = Requests::new(target.api, false);
    let data = vec![b'x'; args.size as usize];
    let mut fleet = Fleet::open(&target, 1, Opening::default(), |_| {})?;
    let plan = Plan {
        outstanding: args.outstanding as usize,
        rate: None,
        from: Instant::now(),
        upto: Instant::now() + FILL_MAX,
        tolerate: 0,
    };
    let idle = (&AtomicBool::new(false), &AtomicU64::new(0));
    let new_parent = requests.create(&format!("{root}/p"), b"");
    let mut parents = 0..args.parents;
    wire::run(&mut fleet, &plan, idle, |_, tag, out| {
        let number = parents.next()?;
        new_parent.append(tag, || number, out);
        Some(Verb::Create)
    })
    .context("creating the parents")?;

    let before = Samples::take(&common.pid)?;
    let begin = Instant::now();
    // A template for each parent would be a lot of memory; one parent after the other is not.
    let per_parent = args.znodes.div_ceil(args.parents);
    let mut next = 0;
    let mut current = None;
    let tally = wire::run(&mut fleet, &plan, idle, |_, tag, out| {
        if next == args.znodes {
            return None;
        }
        let parent = next / per_parent;
        let end = args.znodes.min((parent + 1) * per_parent).min(next + args.multi);
        let count = end - next;
        if current.as_ref().is_none_or(|&(of, of_count, _)| (of, of_count) != (parent, count)) {
            let prefix = format!("{root}/p{parent:010}/n");
            let template = match count {
                1 => requests.create(&prefix, &data),
                _ => requests.create_many(&prefix, &data, count as usize),
            };
            current = Some((parent, count, template));
        }
        let (_, _, template) = current.as_ref()?;
        let number = || {
            next += 1;
            next - 1
        };
        template.append(tag, number, out);
        Some(if count == 1 { Verb::Create } else { Verb::Multi })
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    let after = Samples::take(&common.pid)?;
    fleet.close(PATIENCE)?;

    let servers = after.since(&before);
    let grown = after.rss_bytes() as f64 - before.rss_bytes() as f64;
    let result = FillResult {
        root,
        znodes: args.znodes,
        size: args.size,
        parents: args.parents,
        multi: args.multi,
        seconds,
        znodes_per_second: f64::from(args.znodes) / seconds,
        request_latency: Percentiles::of(&tally.all(|_| true)),
        server_cpu_us_per_znode: report::cpu_us_per(&servers, u64::from(args.znodes)),
        server_rss_before_bytes: before.rss_bytes(),
        server_rss_after_bytes: after.rss_bytes(),
        server_bytes_per_znode: grown / f64::from(args.znodes),
        servers,
    };
    println!(
        "{} znodes of {} bytes in {:.1} s: {:.0} znodes/s, below {}",
        result.znodes, result.size, result.seconds, result.znodes_per_second, result.root
    );
    result.request_latency.print("request");
    report::print_processes(&result.servers, u64::from(args.znodes), "znode");
    if !result.servers.is_empty() {
        println!("servers: {:.0} bytes of memory per znode", result.server_bytes_per_znode);
    }
    Ok(result)
}
