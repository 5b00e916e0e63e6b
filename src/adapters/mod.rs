//! The ports and the relational queries on real systems.

pub mod sql;
