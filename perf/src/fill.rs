//! Many znodes.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use model::{Op, Perms, Xid, acl};
use protocol::encode_write;
use serde::Serialize;

use crate::cli::FillArgs;
use crate::client::{Client, create};
use crate::connection::PATIENCE;
use crate::fleet::Fleet;
use crate::load::{Template, unix_ms};
use crate::proc::{ProcessUse, Samples};
use crate::pump::{self, Kind, Plan};
use crate::report::{self, Percentiles};

/// Longest a fill may take.
const FILL_MAX: Duration = Duration::from_secs(4 * 3600);

#[derive(Serialize)]
struct FillResult {
    root: String,
    znodes: u32,
    size: u32,
    parents: u32,
    multi: u32,
    seconds: f64,
    znodes_per_second: f64,
    request_latency: Percentiles,
    server_cpu_us_per_znode: f64,
    server_rss_before_bytes: u64,
    server_rss_after_bytes: u64,
    server_bytes_per_znode: f64,
    servers: Vec<ProcessUse>,
}

/// Runs `fill`.
pub(crate) fn run(args: &FillArgs) -> Result<()> {
    let common = &args.common;
    let target = common.target()?;
    let root = format!("{}/fill-{}", common.root, unix_ms());
    let mut client = Client::open(&target)?;
    client.ensure_path(&root)?;
    client.close()?;

    let open = acl::world(Perms::ALL);
    let data = vec![b'x'; args.size as usize];
    let parent = |number: u32| format!("{root}/p{number:010}");
    let mut fleet = Fleet::open(&target, 1, 1, None, |_| {})?;
    let plan = Plan {
        outstanding: args.outstanding as usize,
        rate: None,
        from: Instant::now(),
        upto: Instant::now() + FILL_MAX,
        tolerate: 0,
    };
    let stop = AtomicBool::new(false);
    let new_parent = Template::new(&format!("{root}/p"), |path, out| {
        encode_write(Xid(0), &create(path, b"", &open), out);
    });
    let mut parents = 0..args.parents;
    pump::run(&mut fleet, &plan, &stop, |_, xid, out| {
        new_parent.append(xid, parents.next()?, out);
        Some(Kind::Write)
    })
    .context("creating the parents")?;

    let before = Samples::take(&common.pid)?;
    let begin = Instant::now();
    let mut next = 0;
    let tally = pump::run(&mut fleet, &plan, &stop, |_, xid, out| {
        let upto = args.znodes.min(next + args.multi);
        if next == upto {
            return None;
        }
        let paths: Vec<String> = (next..upto)
            .map(|number| format!("{}/n{number:010}", parent(number % args.parents)))
            .collect();
        next = upto;
        if let [path] = &paths[..] {
            encode_write(Xid(xid), &create(path.as_bytes(), &data, &open), out);
        } else {
            let ops = paths.iter().map(|path| create(path.as_bytes(), &data, &open)).collect();
            encode_write(Xid(xid), &Op::Multi(ops), out);
        }
        Some(Kind::Write)
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
        request_latency: Percentiles::of(&tally.writes),
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
    report::save(common.json.as_deref(), &result)
}
