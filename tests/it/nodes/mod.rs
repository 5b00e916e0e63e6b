//! Many equal nodes on one installation.
//!
//! - [`together`]: one room's sessions on several nodes.
//! - [`race`]: two nodes append to one room as fast as they can.
//! - [`failover`]: nodes that are killed, restarted one by one, frozen.
//! - [`revoked`]: sign-ins that end reach sockets everywhere.
//! - [`once`]: what every node would do is done once.
//! - [`lists`]: what `.ci` says of the tests.
//! - [`down`]: nodes that start before their engines.
//! - [`talker`]: a client that goes to another node when it is told to, or has to.

mod down;
mod failover;
mod lists;
mod once;
mod race;
mod revoked;
mod talker;
mod together;
