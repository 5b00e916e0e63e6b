//! One-time codes and counters in the process's own memory: the embedded engines,
//! and what a node falls back on when the shared ones do not answer.

mod codes;
mod counters;

pub use codes::MemoryCodes;
pub use counters::MemoryCounters;
