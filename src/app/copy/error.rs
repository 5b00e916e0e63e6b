//! Why a copy did not come to its end.

use std::fmt;

use crate::{
    adapters::sql::SqlError,
    domain::{chain::ChainFault, id::EventId},
    ports::{AppendError, ReadError},
};

/// One of the two installations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What is copied.
    Source,
    /// Where it goes.
    Target,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "the source",
            Self::Target => "the target",
        })
    }
}

/// Where source and target are not the same. Keys are not named: some are secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// A row that the target lacks.
    #[error("the target lacks row {row} of table {table}, counted in the order of its key")]
    Missing {
        /// The table.
        table: &'static str,
        /// Which row, from 1.
        row: u64,
    },
    /// A row that only the target has.
    #[error("the target has a row in table {table} that the source lacks, behind {row} rows of its own")]
    Extra {
        /// The table.
        table: &'static str,
        /// How many rows of the source come before it.
        row: u64,
    },
    /// A row that is not the same in both.
    #[error("row {row} of table {table}, counted in the order of its key, is another one in the target")]
    Row {
        /// The table.
        table: &'static str,
        /// Which row, from 1.
        row: u64,
    },
    /// The target would give out numbers that the source has given out before.
    #[error("table {table} would number its next row {target} in the target, {from} in the source", target = target + 1, from = source_last + 1)]
    Numbers {
        /// The table.
        table: &'static str,
        /// The last number of the source.
        source_last: i64,
        /// The last number of the target.
        target: i64,
    },
    /// An entry that only one side has, or that is not the same in both.
    #[error("the records of event {event} differ from seq {seq} on")]
    Entry {
        /// Whose record.
        event: EventId,
        /// The first entry that differs.
        seq: u64,
    },
}

/// Why a copy did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A relational store failed.
    #[error("the relational store of {0} failed")]
    Store(Side, #[source] SqlError),
    /// A log could not be read.
    #[error("the log of {0} cannot be read")]
    Log(Side, #[source] ReadError),
    /// A log does not take entries.
    #[error("the target's log does not take the entries of event {event}")]
    Append {
        /// Whose entries.
        event: EventId,
        /// What it said.
        #[source]
        source: AppendError,
    },
    /// A database does not sort a key by its bytes.
    #[error("table {table} of {side} is not sorted by the bytes of its key: is its collation \"C\"?")]
    Unsorted {
        /// Whose.
        side: Side,
        /// Which table.
        table: &'static str,
    },
    /// A record that was damaged before it was copied, or on its way.
    #[error("the record of event {event} in {side} is damaged at seq {seq}")]
    Damaged {
        /// Whose.
        side: Side,
        /// Which record.
        event: EventId,
        /// Where.
        seq: u64,
        /// Which rule it breaks.
        #[source]
        source: ChainFault,
    },
    /// The target is neither empty nor part of a copy of this source. Nothing was written to it.
    #[error("the target holds something else; nothing was written to it: empty it first")]
    Foreign(#[source] Difference),
    /// Source and target are not the same at the end.
    #[error("the copy is not complete: something changed the source or the target meanwhile")]
    Differs(#[source] Difference),
}
