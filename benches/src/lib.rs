//! Micro-benchmarks live in `benches/`, the driver for instruction counts in `src/bin/`; this
//! library is empty.
