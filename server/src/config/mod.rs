//! What the operator wrote, and what it means.
//!
//! [`ZooCfg`] is the file as written, every value checked for its form; [`Resolved`] is what the
//! server does with it. Every key of ZooKeeper's is acted on, or accepted with a reason that is
//! logged, or refused; unknown keys warn, as in ZooKeeper.

mod administration;
mod authentication;
mod ensemble;
mod keys;
mod properties;
mod resolved;
mod typed;

pub use administration::{AdminKeys, AdminPort};
pub use authentication::AuthKeys;
pub use ensemble::{Beside, EnsembleKeys, PeerListen, ServerLine, data_dir};
pub use properties::{Property, parse, without_secrets};
pub use resolved::{CommandLine, Host, LogBackend, Resolved, resolve};
pub use typed::{Notice, Problems, ZooCfg};

#[cfg(test)]
mod tests;
