//! The project's own tools: checks that run as tests, and the commands that run everything.

pub mod seeds;
pub mod tidy;
pub mod workspace;
