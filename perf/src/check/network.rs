//! What the network gives: a bare echo over loopback, a loop that only sends, and the round trip
//! to another machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::proc;
use crate::report::{self, Latencies};
use crate::wire::{self, Fleet, PATIENCE, Plan, Tally, Verb};

/// Bytes of a notification with a path of some thirty characters.
const NOTIFICATION: usize = 64;
/// Handshakes with a peer a second, so that nobody takes them for an attack.
const PEER_PAUSE: Duration = Duration::from_millis(5);

/// What the echo gave.
pub(super) struct Echoed {
    /// Latencies and counts.
    pub(super) tally: Tally,
    /// CPU time of the echoing thread per request, us.
    pub(super) server_us: f64,
    /// CPU time of the generator per request, us.
    pub(super) client_us: f64,
}

/// Client and server threads over loopback; CPU time of each per request.
pub(super) fn echo(
    connections: u32,
    outstanding: u32,
    size: usize,
    length: Duration,
) -> Result<Echoed> {
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
            let idle = (&AtomicBool::new(false), &AtomicU64::new(0));
            let tally = wire::run(&mut fleet, &plan, idle, |_, tag, out| {
                let start = out.len();
                out.extend_from_slice(&frame);
                out[start + 4..start + 8].copy_from_slice(&tag.to_be_bytes());
                Some(Verb::Get)
            })?;
            let cpu = proc::thread_cpu().saturating_sub(cpu);
            anyhow::Ok((tally, cpu))
        })();
        stop.store(true, Ordering::Relaxed);
        let server = server.join().unwrap_or_else(|_| Err(anyhow!("the echo server failed")))?;
        let (tally, client_cpu) = client?;
        let answered = tally.answered;
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

/// Sends one notification's bytes to each of many sockets, over and over; CPU and elapsed time
/// per send, us. The other ends are emptied between rounds, outside the measurement.
pub(super) fn sends(count: usize, length: Duration) -> Result<(f64, f64)> {
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

/// Round trips to another machine: the time a TCP handshake takes, which needs nothing there but
/// a port that listens.
pub(super) fn peer(address: SocketAddr, length: Duration) -> Result<Latencies> {
    let mut latencies = report::latencies();
    let begin = Instant::now();
    while begin.elapsed() < length || latencies.is_empty() {
        let before = Instant::now();
        TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("--peer {address}"))?;
        report::record(&mut latencies, before.elapsed());
        std::thread::sleep(PEER_PAUSE);
    }
    Ok(latencies)
}
