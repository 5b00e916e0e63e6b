//! The types that columns may have, and how each database keeps them.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use diesel::{
    QueryResult,
    backend::Backend,
    deserialize::{self, FromSql},
    pg::Pg,
    query_builder::{AstPass, QueryFragment},
    serialize::{self, IsNull, Output, ToSql},
    sql_types::{self as st, HasSqlType, Nullable},
    sqlite::Sqlite,
};
use serde_json::Value;
use uuid::Uuid;

use super::Common;

/// A value to be bound, `None` for NULL, which each database encodes in its own way.
#[derive(Debug, Clone)]
pub struct Stored<T>(Option<T>);

/// One line per type: its variant, its SQL type, its Rust type; behind `=>` its SQL type
/// in SQLite and how a value is written there.
macro_rules! kinds {
    ($($kind:ident: $st:ty, $t:ty, $v:ident => $sqlite_st:ty, $to_sqlite:expr;)*) => {
        /// A value on its way to a database.
        #[derive(Debug, Clone)]
        pub enum Bind {
            $(#[doc = concat!("A `", stringify!($t), "` or NULL.")] $kind(Stored<$t>),)*
        }

        $(impl HasSqlType<$st> for Common {
            fn metadata((): &mut ()) -> Bind {
                Bind::$kind(Stored(None))
            }
        })*

        $(impl ToSql<Nullable<$st>, Pg> for Stored<$t> {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
                ToSql::<Nullable<$st>, Pg>::to_sql(&self.0, out)
            }
        })*

        $(impl ToSql<Nullable<$sqlite_st>, Sqlite> for Stored<$t> {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
                Ok(match &self.0 {
                    Some($v) => {
                        out.set_value($to_sqlite);
                        IsNull::No
                    }
                    None => IsNull::Yes,
                })
            }
        })*

        impl QueryFragment<Pg> for Bind {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
                match self {
                    $(Self::$kind(value) => out.push_bind_param::<Nullable<$st>, _>(value),)*
                }
            }
        }

        impl QueryFragment<Sqlite> for Bind {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
                match self {
                    $(Self::$kind(value) => out.push_bind_param::<Nullable<$sqlite_st>, _>(value),)*
                }
            }
        }
    };
}

kinds! {
    SmallInt: st::SmallInt, i16, v => st::SmallInt, i32::from(*v);
    Integer: st::Integer, i32, v => st::Integer, *v;
    BigInt: st::BigInt, i64, v => st::BigInt, *v;
    Double: st::Double, f64, v => st::Double, *v;
    Bool: st::Bool, bool, v => st::Bool, i32::from(*v);
    Text: st::Text, String, v => st::Text, v.as_str();
    Binary: st::Binary, Vec<u8>, v => st::Binary, v.as_slice();
    Timestamptz: st::Timestamptz, DateTime<Utc>, v => st::BigInt, v.timestamp_micros();
    Uuid: st::Uuid, Uuid, v => st::Binary, v.as_bytes().as_slice();
    Jsonb: st::Jsonb, Value, v => st::Text, v.to_string();
    // Diesel asks every backend for these; no table has such a column.
    Float: st::Float, f32, v => st::Float, f64::from(*v);
    Date: st::Date, NaiveDate, v => st::Text, v.to_string();
    Time: st::Time, NaiveTime, v => st::Text, v.to_string();
    Timestamp: st::Timestamp, NaiveDateTime, v => st::Text, v.to_string();
}

macro_rules! to_common {
    ($($st:ty, $t:ty, $kind:ident, $v:ident => $owned:expr;)*) => {$(
        impl ToSql<$st, Common> for $t {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Common>) -> serialize::Result {
                let $v = self;
                out.set_value(Some(Bind::$kind(Stored(Some($owned)))));
                Ok(IsNull::No)
            }
        }
    )*};
}

to_common! {
    st::SmallInt, i16, SmallInt, v => *v;
    st::Integer, i32, Integer, v => *v;
    st::BigInt, i64, BigInt, v => *v;
    st::Double, f64, Double, v => *v;
    st::Bool, bool, Bool, v => *v;
    st::Text, str, Text, v => v.to_owned();
    st::Binary, [u8], Binary, v => v.to_owned();
    st::Timestamptz, DateTime<Utc>, Timestamptz, v => *v;
    st::Uuid, Uuid, Uuid, v => *v;
    st::Jsonb, Value, Jsonb, v => v.clone();
}

/// A value as one of the databases answered it.
pub enum AnyValue<'a> {
    /// From PostgreSQL.
    Pg(<Pg as Backend>::RawValue<'a>),
    /// From SQLite.
    Sqlite(<Sqlite as Backend>::RawValue<'a>),
}

macro_rules! from_common {
    ($($st:ty, $t:ty, $sqlite_st:ty, $sqlite_t:ty, $v:ident => $value:expr;)*) => {$(
        impl FromSql<$st, Common> for $t {
            fn from_sql(value: AnyValue<'_>) -> deserialize::Result<Self> {
                match value {
                    AnyValue::Pg(value) => <$t as FromSql<$st, Pg>>::from_sql(value),
                    AnyValue::Sqlite(value) => {
                        let $v = <$sqlite_t as FromSql<$sqlite_st, Sqlite>>::from_sql(value)?;
                        $value
                    }
                }
            }
        }
    )*};
}

from_common! {
    st::SmallInt, i16, st::SmallInt, i16, v => Ok(v);
    st::Integer, i32, st::Integer, i32, v => Ok(v);
    st::BigInt, i64, st::BigInt, i64, v => Ok(v);
    st::Double, f64, st::Double, f64, v => Ok(v);
    st::Bool, bool, st::Bool, bool, v => Ok(v);
    st::Text, String, st::Text, String, v => Ok(v);
    st::Binary, Vec<u8>, st::Binary, Vec<u8>, v => Ok(v);
    st::Timestamptz, DateTime<Utc>, st::BigInt, i64, v =>
        DateTime::from_timestamp_micros(v).ok_or_else(|| "an instant is out of range".into());
    st::Uuid, Uuid, st::Binary, Vec<u8>, v => Ok(Uuid::from_slice(&v)?);
    st::Jsonb, Value, st::Text, String, v => Ok(serde_json::from_str(&v)?);
}
