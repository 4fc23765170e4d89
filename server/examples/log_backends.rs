//! Compares the log's backends on this machine: `cargo run --release -p server --example
//! log_backends -- [directory] [rounds] [burners] [rate]...`
//!
//! Each round measures every backend once, in turn, so that a change in the machine's mood hits
//! all of them. A rate of 0 keeps one write outstanding; any other is an open loop of so many
//! 200-byte records a second that are written as the log writes them: whatever has come goes out
//! as soon as one of four write slots is free. `burners` threads keep the cores busy meanwhile.
//! Printed per backend: medians over the rounds, and ratios to plain threads.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use engine::disk::{ALIGN, AlignedBuf, DiskOp, DiskToken, SegmentId};
use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use server::limits::LOG_WRITES_MAX;
use server::runtime::disk::{Backend, Dirs, Disk};

const SEGMENT: SegmentId = SegmentId(1);
const SEGMENT_BYTES: u64 = 64 << 20;
const RECORD_BYTES: u64 = 200;
const RUN: Duration = Duration::from_millis(1500);

/// One backend at one rate in one round.
#[derive(Clone, Copy, Debug)]
struct Sample {
    p50_us: f64,
    p99_us: f64,
    commits: f64,
    cpu_us: f64,
}

fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|argument| argument == "burn") {
        return burn();
    }
    let dir = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let mut number =
        |default: u64| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (rounds, burners) = (number(5), number(0));
    let mut rates: Vec<u64> = arguments.map(|text| text.parse().expect("a rate")).collect();
    if rates.is_empty() {
        rates = vec![0, 10_000, 100_000];
    }
    let dir = dir.join(format!("log-backends-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory for the log");
    // Processes of their own, so that their time is not counted.
    let this = std::env::current_exe().expect("this program has a path");
    let burning: Vec<_> =
        (0..burners).map(|_| Command::new(&this).arg("burn").spawn().expect("a burner")).collect();

    let place = dir.clone();
    let table = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound)
        .io_memory(64 << 10)
        .spawn(move || measure(place, rates, rounds))
        .expect("an executor")
        .join()
        .expect("the measurement ends");
    for mut burner in burning {
        burner.kill().expect("a burner can be ended");
        burner.wait().expect("a burner ends");
    }
    std::fs::remove_dir_all(&dir).expect("the directory can be removed");
    print(&table, burners);
}

/// Work that keeps a core busy the way a neighbour does: in slices with system calls between.
fn burn() {
    let (began, mut sum) = (Instant::now(), 0u64);
    while began.elapsed() < Duration::from_secs(600) {
        for value in 0..200_000u64 {
            sum = sum.wrapping_mul(31).wrapping_add(std::hint::black_box(value));
        }
        std::thread::yield_now();
    }
    std::hint::black_box(sum);
}

type Table = Vec<(u64, Vec<(&'static str, Vec<Sample>)>)>;

async fn measure(dir: PathBuf, rates: Vec<u64>, rounds: u64) -> Table {
    let mut disks = Vec::new();
    for (name, backend) in Backend::ALL {
        let place = dir.join(name);
        std::fs::create_dir_all(&place).expect("a directory");
        let dirs = Dirs { log: place.clone(), snapshots: place };
        let mut disk = Disk::start(dirs, backend).await.expect("the disk starts");
        assert_eq!(disk.backend(), backend, "this machine refuses {name}");
        let token = DiskToken(0);
        disk.submit(DiskOp::PrepareSegment { token, segment: SEGMENT, bytes: SEGMENT_BYTES });
        let mut done = Vec::new();
        while done.is_empty() {
            disk.flush();
            disk.wait(Duration::from_millis(100));
            disk.reap(&mut done);
        }
        done[0].result.as_ref().expect("the segment is prepared");
        disks.push((name, disk));
    }
    let mut table = Table::new();
    for rate in rates {
        let mut rows: Vec<_> = disks.iter().map(|(name, _)| (*name, Vec::new())).collect();
        for _ in 0..rounds {
            for (row, (_, disk)) in rows.iter_mut().zip(&mut disks) {
                row.1.push(run(disk, rate).await);
            }
        }
        table.push((rate, rows));
    }
    table
}

fn cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("always available");
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    micros as f64
}

/// Arrivals are looked at this often.
const STEP: Duration = Duration::from_micros(250);

async fn run(disk: &mut Disk, rate: u64) -> Sample {
    let mut turn = server::runtime::bench_turn(disk.as_fd(), STEP).expect("an epoll set");
    let mut latency = Histogram::<u64>::new(3).expect("three digits");
    let (began, cpu_began) = (Instant::now(), cpu());
    let (mut arrived, mut written, mut offset) = (0u64, 0u64, 0u64);
    let mut flying: Vec<(u64, Instant, u64, u64)> = Vec::new();
    let (mut commits, mut number, mut done) = (0u64, 1000u64, Vec::new());
    // When record n arrived follows from the rate; closed-loop records arrive when written.
    loop {
        let elapsed = began.elapsed();
        let over = elapsed >= RUN;
        if over && flying.is_empty() {
            break;
        }
        if rate > 0 && !over {
            arrived = (elapsed.as_secs_f64() * rate as f64) as u64;
        } else if rate == 0 && !over && flying.is_empty() {
            arrived = written + 1;
        }
        let slots = if rate == 0 { 1 } else { LOG_WRITES_MAX };
        if flying.len() < slots && arrived > written {
            let count = (arrived - written).min(5000);
            let data = AlignedBuf::zeroed((count * RECORD_BYTES) as usize);
            let bytes = data.len() as u64;
            if offset + bytes > SEGMENT_BYTES {
                offset = 0;
            }
            number += 1;
            let token = DiskToken(number);
            disk.submit(DiskOp::WriteSegment { token, segment: SEGMENT, offset, data });
            flying.push((number, Instant::now(), written, count));
            offset += bytes.next_multiple_of(ALIGN as u64);
            written += count;
        }
        disk.flush();
        turn.ready().await;
        disk.reap(&mut done);
        for done in done.drain(..) {
            done.result.as_ref().expect("the disk works");
            let at = flying.iter().position(|flight| flight.0 == done.token.0);
            let (_, sent, first, count) = flying.swap_remove(at.expect("reported once"));
            commits += 1;
            if rate == 0 {
                latency.record(sent.elapsed().as_micros() as u64).expect("fits");
                continue;
            }
            let now = began.elapsed().as_secs_f64();
            for record in first..first + count {
                let waited = (now - record as f64 / rate as f64).max(0.0) * 1e6;
                latency.record(waited as u64).expect("fits");
            }
        }
    }
    let records = if rate == 0 { commits } else { written };
    Sample {
        p50_us: latency.value_at_quantile(0.5) as f64,
        p99_us: latency.value_at_quantile(0.99) as f64,
        commits: commits as f64 / began.elapsed().as_secs_f64(),
        cpu_us: (cpu() - cpu_began) / records.max(1) as f64,
    }
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print(table: &Table, burners: u64) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("burners {burners}, load {}", load.trim());
    for (rate, rows) in table {
        let baseline = rows.iter().find(|(name, _)| *name == "threads");
        let baseline = baseline.map_or(1.0, |(_, samples)| median(samples, |s| s.p50_us));
        println!("rate {rate}/s (0: one outstanding)");
        println!("  backend      p50 us  ratio   best    p99 us  commits/s  cpu us/record");
        for (name, samples) in rows {
            let p50 = median(samples, |s| s.p50_us);
            let best = samples.iter().map(|s| s.p50_us).fold(f64::INFINITY, f64::min);
            println!(
                "  {name:<12} {p50:>6.0} {:>6.2} {best:>6.0} {:>9.0} {:>10.0} {:>10.1}",
                p50 / baseline,
                median(samples, |s| s.p99_us),
                median(samples, |s| s.commits),
                median(samples, |s| s.cpu_us),
            );
        }
    }
}
