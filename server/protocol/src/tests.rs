//! Captured frames, round trips, and hostile bytes.

mod vectors;
