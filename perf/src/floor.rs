//! What this machine can do at best, for ratios: a bare echo over loopback, one durable write of
//! 4 KiB, and a loop that only sends.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serde::Serialize;

use crate::cli::{FloorArgs, duration};
use crate::fleet::Fleet;
use crate::proc;
use crate::pump::{self, Kind, Plan, Tally};
use crate::report::{self, Latencies, Percentiles};

/// Bytes of one durable write.
const BLOCK: usize = 4096;
/// Bytes of the file they go to.
const FILE: usize = 16 << 20;
/// Durable writes at most.
const WRITES_MAX: usize = 20_000;
/// Bytes of a notification with a path of some thirty characters.
const NOTIFICATION: usize = 64;

#[derive(Serialize)]
struct FloorResult {
    echo_requests_per_second: f64,
    echo_server_cpu_us_per_request: f64,
    echo_client_cpu_us_per_request: f64,
    round_trip: Percentiles,
    durable_write: Percentiles,
    sockets: u32,
    send_cpu_us: f64,
    send_wall_us: f64,
}

/// Runs `floor`.
pub(crate) fn run(args: &FloorArgs) -> Result<()> {
    let sockets = u64::from(args.sockets.max(args.connections));
    proc::allow_open_files(2 * sockets + 64)?;
    let length = duration(args.seconds);
    let busy = echo(args.connections, args.outstanding, args.size as usize, length)?;
    let calm = echo(1, 1, args.size as usize, length)?;
    let durable = durable(&args.dir, length)?;
    let (send_cpu, send_wall) = sends(args.sockets as usize, length)?;
    let seconds = length.as_secs_f64();
    let result = FloorResult {
        echo_requests_per_second: busy.tally.completed as f64 / seconds,
        echo_server_cpu_us_per_request: busy.server_us,
        echo_client_cpu_us_per_request: busy.client_us,
        round_trip: Percentiles::of(&calm.tally.reads),
        durable_write: Percentiles::of(&durable),
        sockets: args.sockets,
        send_cpu_us: send_cpu,
        send_wall_us: send_wall,
    };
    println!(
        "echo, {} x {} in flight: {:.0} requests/s, {:.2} us CPU per request (client {:.2})",
        args.connections,
        args.outstanding,
        result.echo_requests_per_second,
        result.echo_server_cpu_us_per_request,
        result.echo_client_cpu_us_per_request
    );
    result.round_trip.print("echo, one in flight");
    result.durable_write.print("durable write of 4 KiB");
    println!(
        "send loop over {} sockets: {:.2} us CPU per send, {:.2} us elapsed",
        result.sockets, result.send_cpu_us, result.send_wall_us
    );
    report::save(args.json.as_deref(), &result)
}

struct Echoed {
    tally: Tally,
    server_us: f64,
    client_us: f64,
}

/// Client and server threads over loopback; CPU time of each per request.
fn echo(connections: u32, outstanding: u32, size: usize, length: Duration) -> Result<Echoed> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listening on loopback")?;
    let address = listener.local_addr().context("own address")?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let server = scope.spawn(|| echo_server(&listener, connections as usize, &stop));
        let client = (|| {
            let mut fleet = Fleet::bare(address, connections as usize)?;
            // A frame whose echo reads as a successful reply: xid, then zeros.
            let mut frame = vec![0; size];
            frame[..4].copy_from_slice(&(size as i32 - 4).to_be_bytes());
            let from = Instant::now();
            let plan = Plan {
                outstanding: outstanding as usize,
                rate: None,
                from,
                upto: from + length,
                tolerate: 0,
            };
            let cpu = proc::thread_cpu();
            let tally = pump::run(&mut fleet, &plan, &AtomicBool::new(false), |_, xid, out| {
                let start = out.len();
                out.extend_from_slice(&frame);
                out[start + 4..start + 8].copy_from_slice(&xid.to_be_bytes());
                Some(Kind::Read)
            })?;
            let cpu = proc::thread_cpu().saturating_sub(cpu);
            anyhow::Ok((tally, cpu))
        })();
        stop.store(true, Ordering::Relaxed);
        let server = server.join().unwrap_or_else(|_| Err(anyhow!("the echo server failed")))?;
        let (tally, client_cpu) = client?;
        let answered = tally.reads.len();
        Ok(Echoed {
            server_us: report::per(server.as_secs_f64(), answered),
            client_us: report::per(client_cpu.as_secs_f64(), answered),
            tally,
        })
    })
}

/// Writes back what it reads, until told to stop; returns its CPU time.
fn echo_server(listener: &TcpListener, count: usize, stop: &AtomicBool) -> Result<Duration> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll")?;
    let mut streams = Vec::new();
    for index in 0..count {
        let (stream, _) = listener.accept().context("accept")?;
        stream.set_nodelay(true).context("no delay")?;
        epoll
            .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))
            .context("epoll add")?;
        streams.push(stream);
    }
    let begin = proc::thread_cpu();
    let mut events = vec![EpollEvent::empty(); 256];
    let mut buffer = vec![0; 64 * 1024];
    while !stop.load(Ordering::Relaxed) {
        let ready = match epoll.wait(&mut events, EpollTimeout::from(50_u16)) {
            Ok(ready) => ready,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error).context("epoll wait"),
        };
        for event in &events[..ready] {
            let mut stream = &streams[event.data() as usize];
            let count = stream.read(&mut buffer).unwrap_or(0);
            if count == 0 {
                epoll.delete(stream).context("epoll delete")?;
                continue;
            }
            stream.write_all(&buffer[..count]).context("echo")?;
        }
    }
    Ok(proc::thread_cpu().saturating_sub(begin))
}

/// Overwrites blocks of a file whose space is already written, each durable on return.
fn durable(dir: &Path, length: Duration) -> Result<Latencies> {
    let path = dir.join(format!("ringkeeper-perf-{}.floor", std::process::id()));
    let outcome = overwrite(&path, length).with_context(|| format!("--dir {}", dir.display()));
    let _ = fs::remove_file(&path);
    outcome
}

fn overwrite(path: &Path, length: Duration) -> Result<Latencies> {
    let file = File::create_new(path).context("creating a file")?;
    file.write_all_at(&vec![0; FILE], 0).context("filling the file")?;
    file.sync_all().context("syncing the file")?;
    drop(file);
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DIRECT | libc::O_DSYNC)
        .open(path)
        .context("opening for direct writes (not every file system can)")?;
    // Direct writes want an aligned buffer; an aligned piece of a larger one will do.
    let buffer = vec![0x5a; 2 * BLOCK];
    let skip = buffer.as_ptr().align_offset(BLOCK);
    let block = &buffer[skip..skip + BLOCK];
    let mut latencies = report::latencies();
    let begin = Instant::now();
    for index in 0..WRITES_MAX {
        if begin.elapsed() >= length {
            break;
        }
        let at = (index * BLOCK % FILE) as u64;
        let before = Instant::now();
        file.write_all_at(block, at).context("durable write")?;
        report::record(&mut latencies, before.elapsed());
    }
    Ok(latencies)
}

/// Sends one notification's bytes to each of many sockets, over and over; CPU and elapsed time
/// per send, us. The other ends are emptied between rounds, outside the measurement.
fn sends(count: usize, length: Duration) -> Result<(f64, f64)> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listening on loopback")?;
    let address = listener.local_addr().context("own address")?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let far = TcpStream::connect(address).context("connecting to loopback")?;
        let (near, _) = listener.accept().context("accept")?;
        near.set_nodelay(true).context("no delay")?;
        pairs.push((near, far));
    }
    let bytes = [7; NOTIFICATION];
    let mut sink = [0; NOTIFICATION];
    let (mut cpu, mut wall, mut sent) = (Duration::ZERO, Duration::ZERO, 0);
    let begin = Instant::now();
    while begin.elapsed() < length || sent == 0 {
        let (cpu_before, before) = (proc::thread_cpu(), Instant::now());
        for (near, _) in &mut pairs {
            near.write_all(&bytes).context("send")?;
        }
        cpu += proc::thread_cpu().saturating_sub(cpu_before);
        wall += before.elapsed();
        sent += count as u64;
        for (_, far) in &mut pairs {
            far.read_exact(&mut sink).context("receive")?;
        }
    }
    Ok((report::per(cpu.as_secs_f64(), sent), report::per(wall.as_secs_f64(), sent)))
}
