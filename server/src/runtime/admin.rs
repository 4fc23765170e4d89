//! The ports for administrators: a few threads for each, one request a connection, none of it in
//! the way of clients. A question goes to the core's executor by mail.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::mail::{Address, Mail};
use crate::admin::http::{Action, Response, Site, request};
use crate::limits::{ADMIN_HEAD_BYTES_MAX, ADMIN_THREADS, ADMIN_UNREAD_BYTES_MAX};

/// They hold a request and its answer, which are on the heap.
const STACK_BYTES: usize = 256 << 10;
/// How long the core may take for an answer. It is busy for less than a tick, or has hung.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted, which is most often for want of descriptors.
const RETRY: Duration = Duration::from_millis(100);

/// What a port's threads share.
struct Desk {
    listener: TcpListener,
    site: Site,
    patience: Duration,
    core: Address,
}

/// Serves a port until the process ends. Where it listens.
pub(crate) fn serve(
    address: SocketAddr,
    site: Site,
    patience: Duration,
    core: Address,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let local = listener.local_addr()?;
    let desk = Arc::new(Desk { listener, site, patience, core });
    for _ in 0..ADMIN_THREADS {
        let desk = Arc::clone(&desk);
        let name = "admin".to_owned();
        let builder = std::thread::Builder::new().name(name).stack_size(STACK_BYTES);
        builder.spawn(move || desk.work())?;
    }
    Ok(local)
}

impl Desk {
    fn work(&self) {
        loop {
            match self.listener.accept() {
                // Whoever goes away early has no answer; that concerns nobody else.
                Ok((stream, _)) => drop(self.handle(stream)),
                Err(error) => {
                    tracing::debug!(%error, "an administrator cannot be accepted");
                    std::thread::sleep(RETRY);
                }
            }
        }
    }

    fn handle(&self, mut stream: TcpStream) -> io::Result<()> {
        let until = Instant::now() + self.patience;
        let Some(response) = self.answer(&mut stream, until)? else { return Ok(()) };
        let until = Instant::now() + self.patience;
        write_until(&mut stream, &response.bytes(), until)?;
        // A connection that is closed with something unread in it is reset, and the peer may lose
        // the answer.
        stream.shutdown(Shutdown::Write)?;
        let (mut unread, mut piece) = (0, [0; 4096]);
        while unread < ADMIN_UNREAD_BYTES_MAX {
            match read_until(&mut stream, &mut piece, until)? {
                0 => break,
                count => unread += count,
            }
        }
        Ok(())
    }

    /// None if the peer leaves before it has said what it wants.
    fn answer(&self, stream: &mut TcpStream, until: Instant) -> io::Result<Option<Response>> {
        let mut bytes = vec![0; ADMIN_HEAD_BYTES_MAX];
        let mut filled = 0;
        loop {
            match request(&self.site, &bytes[..filled]) {
                Action::Read => {}
                Action::Say(response) => return Ok(Some(response)),
                Action::Ask(question, form) => {
                    let (reply, answer) = flume::bounded(1);
                    self.core.post(Mail::Ask(question, reply));
                    self.core.ring();
                    let answer = answer.recv_timeout(ANSWER_MAX);
                    return Ok(Some(match answer {
                        Ok(material) => form.response(material.answer()),
                        Err(_) => form.no_answer(),
                    }));
                }
            }
            match read_until(stream, &mut bytes[filled..], until)? {
                0 => return Ok(None),
                count => filled += count,
            }
        }
    }
}

fn read_until(stream: &mut TcpStream, into: &mut [u8], until: Instant) -> io::Result<usize> {
    stream.set_read_timeout(Some(left(until)?))?;
    stream.read(into)
}

/// Whoever takes a long answer byte by byte has no more time for it than others.
fn write_until(stream: &mut TcpStream, mut bytes: &[u8], until: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        match stream.write(bytes)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => bytes = &bytes[count..],
        }
    }
    Ok(())
}

/// Time that is left; an error if there is none.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::super::mail::Mailbox;
    use super::*;
    use crate::admin::Material;
    use crate::admin::command::Question;

    fn open(patience: Duration) -> (SocketAddr, Mailbox) {
        let (address, mailbox) = Mailbox::new().expect("a letter box");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        (serve(any, Site::Metrics, patience, address).expect("a port"), mailbox)
    }

    fn all(mut stream: TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer and an end");
        text
    }

    /// Requests may come in pieces, with a body that nobody reads.
    #[test]
    fn a_question_is_put_to_the_core() {
        let (at, mailbox) = open(Duration::from_secs(30));
        let core = std::thread::spawn(move || {
            loop {
                if let Some(Mail::Ask(question, reply)) = mailbox.take() {
                    assert_eq!(question, Question::Metrics);
                    let refused = Material { question, facts: None, reports: Vec::new() };
                    reply.send(refused).expect("it waits");
                    return;
                }
                std::thread::yield_now();
            }
        });
        let mut stream = TcpStream::connect(at).expect("a connection");
        for piece in ["GET /met", "rics HTTP/1.1\r\nContent-Length: 9000\r\n\r", "\n"] {
            stream.write_all(piece.as_bytes()).expect("sent");
        }
        stream.write_all(&[b'b'; 9000]).expect("sent");
        stream.shutdown(Shutdown::Write).expect("that is all");
        let text = all(stream);
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("serving requests\n"),
            "{text}"
        );
        core.join().expect("it was asked");
    }

    /// Who says nothing holds a thread no longer than the patience, and others are served.
    #[test]
    fn the_silent_are_dropped() {
        let (at, _mailbox) = open(Duration::from_millis(50));
        let silent: Vec<_> =
            (0..2 * ADMIN_THREADS).map(|_| TcpStream::connect(at).expect("a connection")).collect();
        let mut stream = TcpStream::connect(at).expect("a connection");
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
        assert!(all(stream).starts_with("HTTP/1.1 404 Not Found\r\n"));
        for stream in silent {
            assert_eq!(all(stream), "");
        }
    }

    #[test]
    fn who_takes_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("it has an address");
        let _silent = TcpStream::connect(at).expect("a connection");
        let (mut stream, _) = listener.accept().expect("it came");
        let until = Instant::now() + Duration::from_millis(50);
        let more_than_fits = vec![0; 64 << 20];
        let fault = write_until(&mut stream, &more_than_fits, until).expect_err("nobody reads");
        let kinds = [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock];
        assert!(kinds.contains(&fault.kind()), "{fault}");
    }
}
