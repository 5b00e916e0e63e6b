//! What ScyllaDB answers differently from Cassandra, shown against a double of it.
//!
//! The server here is a **double**, not a ScyllaDB: none can be had where these tests run, so
//! a small program speaks the native protocol as ScyllaDB's documents and its driver's source
//! describe it, and keeps the few tables of the room log in memory. What it shows is that our
//! adapter reads and routes such answers rightly; what a real ScyllaDB does with its disks,
//! its replicas and its rounds it cannot show. In the shape of a Cassandra it is here only to
//! hold the two beside each other: the real one has its own tests.
//!
//! It runs one statement after another and so decides every race; it sends no events, has no
//! batches, and deletes without a trace.

mod change;
mod doubt;
mod driver;
mod failure;
mod fixture;
mod log;
mod page;
mod parse;
mod server;
mod session;
mod shape;
mod store;
mod system;
mod table;
mod tablets;
mod text;
mod wire;
