//! Connections, many on one thread, in the two protocols that are measured: ZooKeeper's and
//! etcd's.
//!
//! Everything above sees [`Arrival`]s and sends frames made beforehand from a [`Template`], so a
//! request costs the generator a copy and a patch, whichever protocol it is in.

mod client;
mod connection;
mod etcd;
mod fleet;
mod http2;
mod pump;
mod template;

pub(crate) use client::Client;
pub(crate) use connection::{Arrival, PATIENCE, Ticket};
pub(crate) use etcd::VALUE_MAX;
pub(crate) use fleet::{Fleet, Opening, check};
pub(crate) use pump::{Plan, Stopped, Tally, Verb, run};
pub(crate) use template::{Requests, Template};
