//! A plain blocking session, for setting things up and for writers that measure themselves.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use model::op::Create;
use model::{CreateMode, ErrorCode, Op, OpCode, Perms, Xid, acl};
use protocol::{ServerFrame, encode_write};

use crate::cli::Target;
use crate::connection::PATIENCE;
use crate::fleet::{self, Fleet};

/// One session, one request at a time.
pub(crate) struct Client {
    fleet: Fleet,
    xid: i32,
}

impl Client {
    /// Opens a session.
    pub(crate) fn open(target: &Target) -> Result<Client> {
        Ok(Client { fleet: Fleet::open(target, 1, 1, None, |_| {})?, xid: 0 })
    }

    /// Sends a write and waits for the reply's error number.
    pub(crate) fn write(&mut self, op: &Op<'_>) -> Result<i32> {
        self.xid += 1;
        let xid = Xid(self.xid);
        encode_write(xid, op, self.fleet.out(0));
        let sent = Instant::now();
        self.fleet.flush(0, sent)?;
        let mut answer = None;
        let mut ready = Vec::new();
        while answer.is_none() {
            self.fleet.poll(Duration::from_millis(100), &mut ready, |_, frame| {
                if let ServerFrame::Reply(header, _) = frame {
                    ensure!(header.xid == xid, "reply to {:?} instead of {xid:?}", header.xid);
                    answer = Some(header.err);
                }
                Ok(())
            })?;
            if sent.elapsed() > PATIENCE && answer.is_none() {
                bail!("no reply to a write within {} s", PATIENCE.as_secs());
            }
        }
        answer.context("the loop ends with an answer")
    }

    /// Makes a znode if it is missing, and the znodes above it.
    pub(crate) fn ensure_path(&mut self, path: &str) -> Result<()> {
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
    Op::Create(Create {
        opcode: OpCode::Create,
        path,
        data: Some(data),
        acl: Some(acl),
        mode: CreateMode::Persistent,
        sequential: false,
    })
}
