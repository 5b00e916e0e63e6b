//! The relational tables: copied in pages, compared row by row.

use std::{cmp::Ordering, collections::VecDeque};

use super::{CopyError, Difference, Place, Progress, Side};
use crate::adapters::sql::{
    Conn, SqlError,
    tables::{Numbered, Table, Visitor, each, last_number, skip_numbers},
};

/// Rows of one statement. Rows are small, those of `event_history` up to 64 KiB.
const PAGE: i64 = 200;

/// Makes sure that `to` holds nothing but rows of `from`, in the same form.
pub(super) async fn check(from: &Place, to: &Place) -> Result<(), CopyError> {
    walk(from, to, Mode::Part).await.map(|_| ())
}

/// Makes sure that both hold the same rows and number the next ones alike; how many rows.
pub(super) async fn compare(from: &Place, to: &Place) -> Result<u64, CopyError> {
    let rows = walk(from, to, Mode::Whole).await?;
    let mut from = from.sql.get().await.map_err(failed(Side::Source))?;
    let mut to = to.sql.get().await.map_err(failed(Side::Target))?;
    for table in Numbered::ALL {
        let source_last = last_number(&mut from, table)
            .await
            .map_err(failed(Side::Source))?;
        let target = last_number(&mut to, table).await.map_err(failed(Side::Target))?;
        if target < source_last {
            let table = table.name();
            return Err(CopyError::Differs(Difference::Numbers {
                table,
                source_last,
                target,
            }));
        }
    }
    Ok(rows)
}

/// Adds the rows that `to` lacks, then what numbers the next ones; how many were added.
pub(super) async fn copy(
    from: &Place,
    to: &Place,
    tell: &(dyn Fn(Progress) + Sync),
) -> Result<u64, CopyError> {
    let mut copying = Copying {
        from: &mut *from.sql.get().await.map_err(failed(Side::Source))?,
        to: &mut *to.sql.get().await.map_err(failed(Side::Target))?,
        added: 0,
        tell,
    };
    each(&mut copying).await?;
    for table in Numbered::ALL {
        let last = last_number(copying.from, table)
            .await
            .map_err(failed(Side::Source))?;
        skip_numbers(copying.to, table, last)
            .await
            .map_err(failed(Side::Target))?;
    }
    Ok(copying.added)
}

struct Copying<'a> {
    from: &'a mut Conn,
    to: &'a mut Conn,
    added: u64,
    tell: &'a (dyn Fn(Progress) + Sync),
}

impl Visitor for Copying<'_> {
    type Error = CopyError;

    async fn visit<T: Table>(&mut self) -> Result<(), CopyError> {
        let mut rows = 0;
        let mut after = None;
        loop {
            let page = T::page(self.from, after.as_ref(), PAGE)
                .await
                .map_err(failed(Side::Source))?;
            let Some(last) = page.last() else { break };
            after = Some(T::key(last));
            let added = T::insert(self.to, &page).await.map_err(failed(Side::Target))?;
            self.added += count(added);
            rows += count(page.len());
        }
        (self.tell)(Progress::Table { name: T::NAME, rows });
        Ok(())
    }
}

/// How much of the source the target must have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Any part.
    Part,
    /// All of it.
    Whole,
}

async fn walk(from: &Place, to: &Place, mode: Mode) -> Result<u64, CopyError> {
    let mut comparing = Comparing {
        from: &mut *from.sql.get().await.map_err(failed(Side::Source))?,
        to: &mut *to.sql.get().await.map_err(failed(Side::Target))?,
        mode,
        rows: 0,
    };
    each(&mut comparing).await?;
    Ok(comparing.rows)
}

struct Comparing<'a> {
    from: &'a mut Conn,
    to: &'a mut Conn,
    mode: Mode,
    rows: u64,
}

impl Visitor for Comparing<'_> {
    type Error = CopyError;

    async fn visit<T: Table>(&mut self) -> Result<(), CopyError> {
        let table = T::NAME;
        let (mut source, mut target) = (Rows::<T>::of(Side::Source), Rows::<T>::of(Side::Target));
        let mut row = 0;
        loop {
            let ours = source.first(self.from).await?;
            let theirs = target.first(self.to).await?;
            let order = match (ours, theirs) {
                (None, None) => break,
                (Some(_), None) if self.mode == Mode::Part => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(ours), Some(theirs)) => T::key(ours).cmp(&T::key(theirs)),
            };
            let difference = match order {
                Ordering::Equal if ours == theirs => None,
                Ordering::Equal => Some(Difference::Row { table, row: row + 1 }),
                Ordering::Less if self.mode == Mode::Part => None,
                Ordering::Less => Some(Difference::Missing { table, row: row + 1 }),
                Ordering::Greater => Some(Difference::Extra { table, row }),
            };
            if let Some(difference) = difference {
                return Err(match self.mode {
                    Mode::Part => CopyError::Foreign(difference),
                    Mode::Whole => CopyError::Differs(difference),
                });
            }
            source.take();
            if order == Ordering::Equal {
                target.take();
            }
            row += 1;
        }
        self.rows += row;
        Ok(())
    }
}

/// The rows of one table in the order of their keys, a page in memory.
struct Rows<T: Table> {
    side: Side,
    page: VecDeque<T::Row>,
    /// The key of the last row that was read.
    last: Option<T::Key>,
    is_over: bool,
}

impl<T: Table> Rows<T> {
    fn of(side: Side) -> Self {
        Self {
            side,
            page: VecDeque::new(),
            last: None,
            is_over: false,
        }
    }

    async fn first(&mut self, conn: &mut Conn) -> Result<Option<&T::Row>, CopyError> {
        if self.page.is_empty() && !self.is_over {
            let page = T::page(conn, self.last.as_ref(), PAGE)
                .await
                .map_err(failed(self.side))?;
            for row in &page {
                let key = T::key(row);
                if self.last.as_ref().is_some_and(|last| *last >= key) {
                    let (side, table) = (self.side, T::NAME);
                    return Err(CopyError::Unsorted { side, table });
                }
                self.last = Some(key);
            }
            self.is_over = page.is_empty();
            self.page = page.into();
        }
        Ok(self.page.front())
    }

    fn take(&mut self) {
        self.page.pop_front();
    }
}

fn failed(side: Side) -> impl FnOnce(SqlError) -> CopyError {
    move |error| CopyError::Store(side, error)
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
