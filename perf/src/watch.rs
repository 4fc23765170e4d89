//! Many watchers on one znode.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use model::{EventKind, Op};
use serde::Serialize;

use crate::cli::{Api, WatchArgs};
use crate::proc::{self, ProcessUse, Samples};
use crate::report::{self, Percentiles};
use crate::wire::{self, Arrival, Client, Fleet, Opening, Requests};

/// Longest time one round may take.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// What `watch` measured.
#[derive(Debug, Serialize)]
pub(crate) struct WatchResult {
    pub(crate) watchers: u32,
    pub(crate) rounds: u32,
    pub(crate) persistent: bool,
    pub(crate) notifications: u64,
    pub(crate) all_notified: Percentiles,
    pub(crate) first_notified: Percentiles,
    pub(crate) notification: Percentiles,
    pub(crate) writer_acknowledged: Percentiles,
    pub(crate) quiet_writer_acknowledged: Percentiles,
    pub(crate) server_cpu_us_per_notification: f64,
    pub(crate) generator_cpu_us_per_notification: f64,
    pub(crate) server_bytes_per_watcher: f64,
    pub(crate) servers: Vec<ProcessUse>,
}

/// Runs `watch`.
pub(crate) fn run(args: &WatchArgs) -> Result<()> {
    let result = measure(args)?;
    report::save(args.common.json.as_deref(), &result)
}

/// Changes the znode and prints when it was heard of.
pub(crate) fn measure(args: &WatchArgs) -> Result<WatchResult> {
    let common = &args.common;
    let target = common.target()?;
    proc::allow_open_files(u64::from(args.watchers) + 64)?;
    let path = format!("{}/{}", common.root, args.path.trim_start_matches('/'));
    let mut writer = Client::open(&target)?;
    writer.ensure_path(&path)?;
    let data = vec![b'x'; args.size as usize];
    let set = Op::SetData { path: path.as_bytes(), data: Some(&data), version: -1 };

    // The writer's latency when nobody watches, to compare with.
    let mut quiet = report::latencies();
    for _ in 0..args.rounds.clamp(10, 100) {
        let sent = Instant::now();
        wire::check("set", writer.write(&set)?)?;
        report::record(&mut quiet, sent.elapsed());
    }

    let before = Samples::take(&common.pid)?;
    let watchers = args.watchers as usize;
    let opening = Opening { window: 256, ..Opening::default() };
    let mut fleet = Fleet::open(&target, watchers, opening, |_| {})?;
    let requests = Requests::new(target.api, false);
    let arm = |fleet: &mut Fleet| {
        fleet.watch_all(1024, |tag, out| {
            requests.watch(tag, path.as_bytes(), args.persistent, out);
        })
    };
    arm(&mut fleet)?;
    writer.keep_alive()?;
    let grown = Samples::take(&common.pid)?.rss_bytes() as f64 - before.rss_bytes() as f64;

    let mut all = report::latencies();
    let mut first = report::latencies();
    let mut each = report::latencies();
    let mut acknowledged = report::latencies();
    let mut cpu = Duration::ZERO;
    let mut own_cpu = Duration::ZERO;
    for round in 0..args.rounds {
        // etcd's watches stay.
        if round > 0 && !args.persistent && target.api == Api::ZooKeeper {
            arm(&mut fleet)?;
        }
        let (samples, own) = (Samples::take(&common.pid)?, proc::own_cpu());
        let sent = Instant::now();
        // The writer has its own thread: its acknowledgement is not to wait behind our reading
        // of the notifications.
        let ack = std::thread::scope(|scope| {
            let set = &set;
            let writer = &mut writer;
            let ack = scope.spawn(move || writer.write(set).map(|err| (err, sent.elapsed())));
            let notified = notified(&mut fleet, sent, &path, &mut each);
            let ack = ack.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the writer failed")));
            notified.and_then(|(earliest, latest)| {
                report::record(&mut first, earliest);
                report::record(&mut all, latest);
                ack
            })
        });
        let (err, latency) = ack?;
        wire::check("set", err)?;
        report::record(&mut acknowledged, latency);
        own_cpu += proc::own_cpu().saturating_sub(own);
        cpu += Samples::take(&common.pid)?.cpu().saturating_sub(samples.cpu());
    }
    let notifications = u64::from(args.watchers) * u64::from(args.rounds);
    let result = WatchResult {
        watchers: args.watchers,
        rounds: args.rounds,
        persistent: args.persistent,
        notifications,
        all_notified: Percentiles::of(&all),
        first_notified: Percentiles::of(&first),
        notification: Percentiles::of(&each),
        writer_acknowledged: Percentiles::of(&acknowledged),
        quiet_writer_acknowledged: Percentiles::of(&quiet),
        server_cpu_us_per_notification: report::per(cpu.as_secs_f64(), notifications),
        generator_cpu_us_per_notification: report::per(own_cpu.as_secs_f64(), notifications),
        server_bytes_per_watcher: grown / f64::from(args.watchers),
        servers: Samples::take(&common.pid)?.since(&before),
    };
    fleet.close(ROUND_MAX)?;
    writer.close()?;
    print(&result);
    Ok(result)
}

/// Waits for one notification on every connection; when the first and the last came.
fn notified(
    fleet: &mut Fleet,
    sent: Instant,
    path: &str,
    each: &mut report::Latencies,
) -> Result<(Duration, Duration)> {
    let mut seen = vec![false; fleet.len()];
    let mut missing = fleet.len();
    let mut first = None;
    let mut ready = Vec::new();
    while missing > 0 {
        ensure!(
            sent.elapsed() < ROUND_MAX,
            "{missing} of {} watchers were not notified within {} s",
            fleet.len(),
            ROUND_MAX.as_secs()
        );
        fleet.poll(Duration::from_millis(100), &mut ready, |index, arrival| {
            let Arrival::Event { kind, path: changed } = arrival else { return Ok(()) };
            ensure!(
                kind == EventKind::NodeDataChanged && changed == path.as_bytes(),
                "unexpected event {arrival:?}"
            );
            ensure!(!seen[index], "one change was notified twice on one connection");
            seen[index] = true;
            missing -= 1;
            let latency = sent.elapsed();
            first.get_or_insert(latency);
            report::record(each, latency);
            Ok(())
        })?;
        fleet.ping_silent(Instant::now())?;
    }
    Ok((first.unwrap_or_default(), sent.elapsed()))
}

fn print(result: &WatchResult) {
    println!(
        "{} watchers, {} rounds, {} watches",
        result.watchers,
        result.rounds,
        if result.persistent { "persistent" } else { "one-shot" }
    );
    result.first_notified.print("first notified");
    result.all_notified.print("all notified");
    result.notification.print("each notification");
    result.writer_acknowledged.print("writer acknowledged");
    result.quiet_writer_acknowledged.print("writer acknowledged, nobody watching");
    println!(
        "server: {:.2} us CPU per notification, {:.0} bytes per watching session; \
         generator: {:.2} us CPU per notification",
        result.server_cpu_us_per_notification,
        result.server_bytes_per_watcher,
        result.generator_cpu_us_per_notification
    );
}
