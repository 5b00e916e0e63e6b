//! Relational queries, written once for both databases.
