//! A plain blocking session, for setting things up and for writers that measure themselves.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use model::op::Create;
use model::{CreateMode, ErrorCode, Op, OpCode, Perms, acl};

use super::connection::{Arrival, PATIENCE, Ticket};
use super::fleet::{self, Fleet, Opening};
use super::template::Requests;
use crate::cli::{Api, Target};

/// One session, one request at a time.
pub(crate) struct Client {
    fleet: Fleet,
    api: Api,
    requests: Requests,
}

impl Client {
    /// Opens a session.
    pub(crate) fn open(target: &Target) -> Result<Client> {
        Client::resume(target, None)
    }

    /// Comes back to a session, or opens a new one.
    pub(crate) fn resume(target: &Target, ticket: Option<Ticket>) -> Result<Client> {
        let opening = Opening { tickets: ticket.as_slice(), ..Opening::default() };
        let fleet = Fleet::open(target, 1, opening, |_| {})?;
        Ok(Client { fleet, api: target.api, requests: Requests::new(target.api, false) })
    }

    /// To come back to the session.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        self.fleet.tickets.first().copied().flatten()
    }

    /// Sends a write and waits for the reply's error number.
    pub(crate) fn write(&mut self, op: &Op<'_>) -> Result<i32> {
        self.write_within(op, PATIENCE)
    }

    /// The same with a limit of time.
    pub(crate) fn write_within(&mut self, op: &Op<'_>, limit: Duration) -> Result<i32> {
        let wanted = self.fleet.next_tag(0);
        self.requests.once(wanted, op, self.fleet.out(0));
        let sent = Instant::now();
        self.fleet.flush(0, sent)?;
        let mut answer = None;
        let mut ready = Vec::new();
        while answer.is_none() {
            self.fleet.poll(Duration::from_millis(20), &mut ready, |_, arrival| {
                if let Arrival::Reply { tag, err } = arrival {
                    ensure!(tag == wanted, "reply to request {tag} instead of {wanted}");
                    answer = Some(err);
                }
                Ok(())
            })?;
            if sent.elapsed() > limit && answer.is_none() {
                bail!("no reply to a write within {:.1} s", limit.as_secs_f64());
            }
        }
        answer.context("the loop ends with an answer")
    }

    /// Makes a znode if it is missing, and the znodes above it.
    pub(crate) fn ensure_path(&mut self, path: &str) -> Result<()> {
        if self.api == Api::Etcd {
            // Keys have no parents.
            return Ok(());
        }
        let open = acl::world(Perms::ALL);
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        for end in ends {
            let path = &path[..end];
            let err = self.write(&create(path.as_bytes(), b"", &open))?;
            if err != ErrorCode::NodeExists.code() {
                fleet::check(&format!("create {path}"), err)?;
            }
        }
        Ok(())
    }

    /// Sends pings if it has been silent.
    pub(crate) fn keep_alive(&mut self) -> Result<()> {
        let mut ready = Vec::new();
        self.fleet.ping_silent(Instant::now())?;
        self.fleet.poll(Duration::ZERO, &mut ready, |_, _| Ok(()))
    }

    /// Ends the session.
    pub(crate) fn close(self) -> Result<()> {
        self.fleet.close(PATIENCE)
    }
}

/// An ordinary persistent create.
pub(crate) fn create<'a>(path: &'a [u8], data: &'a [u8], acl: &'a [u8]) -> Op<'a> {
    create_as(CreateMode::Persistent, path, data, acl)
}

fn create_as<'a>(mode: CreateMode, path: &'a [u8], data: &'a [u8], acl: &'a [u8]) -> Op<'a> {
    Op::Create(Create {
        opcode: OpCode::Create,
        path,
        data: Some(data),
        acl: Some(acl),
        mode,
        sequential: false,
    })
}

/// The same, for as long as the session lives.
pub(crate) fn create_ephemeral<'a>(path: &'a [u8], data: &'a [u8], acl: &'a [u8]) -> Op<'a> {
    create_as(CreateMode::Ephemeral, path, data, acl)
}
