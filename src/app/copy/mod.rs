//! Moves a whole installation to other engines, and proves that it came over whole.
//!
//! - `command`: opens both, and keeps servers off.
//! - `rows`: the relational tables, page by page in the order of their keys.
//! - `rooms`: the logs, entry by entry through the port, several rooms at a time.
//!
//! **Going on after an interruption is safe** because only two things are ever done to the
//! target: rows are added whose key it does not have, and entries are appended behind the
//! very head that it has. Before either, all that it holds is compared with the source: one
//! row that the source does not have in the same form, or one head that is not on the
//! source's chain, and nothing is written.

mod command;
mod error;
mod rooms;
mod rows;

use std::sync::Arc;

pub use self::{
    command::copy_installation,
    error::{CopyError, Difference, Side},
};
use crate::{adapters::sql::Sql, ports::RoomLog};

/// The stores of one installation.
#[derive(Clone)]
pub struct Place {
    /// The relational store, migrated.
    pub sql: Sql,
    /// The rooms' log.
    pub log: Arc<dyn RoomLog>,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// What the target already holds is compared with the source.
    Checking,
    /// A table is over.
    Table {
        /// Its name.
        name: &'static str,
        /// Its rows.
        rows: u64,
    },
    /// Logs are on their way, or are over.
    Logs {
        /// Rooms that are done.
        rooms: u64,
        /// Entries looked at in all rooms so far.
        entries: u64,
    },
    /// Everything is over; now all of it is read again and compared.
    Comparing,
}

/// What was compared and found equal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Rows of all tables.
    pub rows: u64,
    /// Rooms.
    pub rooms: u64,
    /// Entries of all rooms.
    pub entries: u64,
    /// Of these, entries whose content was erased.
    pub erased: u64,
    /// Rows that this run added; the others were there from an earlier one.
    pub new_rows: u64,
    /// Entries that this run appended.
    pub new_entries: u64,
}

/// Copies all of `from` to `to`, then reads both again and compares: every row of every
/// table, every entry of every room, every tip. Nobody else may write to either meanwhile.
///
/// # Errors
/// See [`CopyError`]. What was copied stays; the same call goes on there.
pub async fn copy(from: &Place, to: &Place, tell: &(dyn Fn(Progress) + Sync)) -> Result<Copied, CopyError> {
    tell(Progress::Checking);
    rows::check(from, to).await?;
    rooms::check(from, to).await?;
    let new_rows = rows::copy(from, to, tell).await?;
    let new_entries = rooms::copy(from, to, tell).await?;
    tell(Progress::Comparing);
    let rows = rows::compare(from, to).await?;
    let compared = rooms::compare(from, to, tell).await?;
    Ok(Copied {
        rows,
        new_rows,
        new_entries,
        ..compared
    })
}
