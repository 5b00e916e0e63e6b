//! One-time codes, counters, presence and the broker in the process's own memory: the embedded
//! engines, and what a node falls back on when the shared ones do not answer.

mod broker;
mod codes;
mod counters;
mod presence;

pub use broker::{MemoryBroker, MemoryHub};
pub use codes::MemoryCodes;
pub use counters::MemoryCounters;
pub use presence::MemoryPresence;
