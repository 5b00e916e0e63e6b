//! What may be lost, on Redis: presence, rate counters, one-time codes.
//!
//! - [`Redis`] (`server.rs`): one server, asked within a deadline, and not asked while it is
//!   known to be away; `links.rs` holds the connections, `health.rs` knows whether it answers.
//! - [`RedisCounters`], [`RedisCodes`], [`RedisPresence`]: the ports. Where two nodes could
//!   race, one script decides (`scripts/`).
//!
//! Every key begins with the configured prefix, is made here, and ends by itself:
//!
//! | key | holds | ends |
//! |---|---|---|
//! | `rate:WINDOW:LIMIT:KEY` | when the allowance will be whole again, in µs | then |
//! | `code:ID` | a code's hash, its number (encrypted), its end, tries left | with the code |
//! | `here:USER` | the nodes that hold sockets of the user, when the user was last here | after 7 days |
//! | `node:NODE` | that this node lives | after 15 s |
//! | `probe` | whether anything can be written | after 10 s |

mod codes;
mod counters;
mod health;
mod links;
mod presence;
mod seal;
mod server;

pub use codes::RedisCodes;
pub use counters::RedisCounters;
pub use presence::RedisPresence;
pub use seal::SealError;
pub use server::{Redis, RedisAway, RedisConfigError};
