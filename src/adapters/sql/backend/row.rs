//! A row as one of the databases answered it.

use std::ops::Range;

use diesel::{
    pg::Pg,
    row::{Field, PartialRow, Row, RowIndex, RowSealed},
    sqlite::Sqlite,
};
use diesel_async::AsyncConnectionCore;

use super::{Common, conn::SqliteConn, guarded::PgConn, value::AnyValue};

type PgRow = <PgConn as AsyncConnectionCore>::Row<'static, 'static>;
type SqliteRow = <SqliteConn as AsyncConnectionCore>::Row<'static, 'static>;

/// A row of either database.
pub enum AnyRow {
    /// From PostgreSQL.
    Pg(PgRow),
    /// From SQLite.
    Sqlite(SqliteRow),
}

/// A field of a row of either database.
pub enum AnyField<'a> {
    /// From PostgreSQL.
    Pg(<PgRow as Row<'a, Pg>>::Field<'a>),
    /// From SQLite.
    Sqlite(<SqliteRow as Row<'a, Sqlite>>::Field<'a>),
}

impl<'a> Field<'a, Common> for AnyField<'a> {
    fn field_name(&self) -> Option<&str> {
        match self {
            Self::Pg(field) => field.field_name(),
            Self::Sqlite(field) => field.field_name(),
        }
    }

    fn value(&self) -> Option<AnyValue<'_>> {
        match self {
            Self::Pg(field) => field.value().map(AnyValue::Pg),
            Self::Sqlite(field) => field.value().map(AnyValue::Sqlite),
        }
    }
}

impl RowSealed for AnyRow {}

impl RowIndex<usize> for AnyRow {
    fn idx(&self, at: usize) -> Option<usize> {
        match self {
            Self::Pg(row) => row.idx(at),
            Self::Sqlite(row) => row.idx(at),
        }
    }
}

impl<'n> RowIndex<&'n str> for AnyRow {
    fn idx(&self, name: &'n str) -> Option<usize> {
        match self {
            Self::Pg(row) => row.idx(name),
            Self::Sqlite(row) => row.idx(name),
        }
    }
}

impl<'c> Row<'c, Common> for AnyRow {
    type Field<'f>
        = AnyField<'f>
    where
        'c: 'f,
        Self: 'f;
    type InnerPartialRow = Self;

    fn field_count(&self) -> usize {
        match self {
            Self::Pg(row) => Row::<Pg>::field_count(row),
            Self::Sqlite(row) => Row::<Sqlite>::field_count(row),
        }
    }

    fn get<'f, I>(&'f self, index: I) -> Option<Self::Field<'f>>
    where
        'c: 'f,
        Self: RowIndex<I>,
    {
        let at = self.idx(index)?;
        match self {
            Self::Pg(row) => Row::<Pg>::get(row, at).map(AnyField::Pg),
            Self::Sqlite(row) => Row::<Sqlite>::get(row, at).map(AnyField::Sqlite),
        }
    }

    fn partial_row(&self, range: Range<usize>) -> PartialRow<'_, Self> {
        PartialRow::new(self, range)
    }
}
