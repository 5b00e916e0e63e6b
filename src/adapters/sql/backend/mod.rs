//! One diesel backend for the SQL that PostgreSQL and SQLite share.
//!
//! A query is ordinary diesel against [`Common`] and is rendered once, into pieces of
//! SQL and owned values (`statement`); the native connection ([`Conn`]) then adds its
//! own placeholders and encodings. Rows come back through `row`, values through
//! `value`. So there is one set of queries, one set of row types and no generics.
//!
//! What the two share: RETURNING, ON CONFLICT with named columns, VALUES of many rows,
//! LIMIT and OFFSET, `IN (...)`, `||`. What SQLite lacks is stored so that it sorts and
//! comes back exactly: instants as microseconds, UUIDs as 16 bytes, JSON as text.
//!
//! This uses diesel's interface for backends of third parties, which may change with
//! each minor version: diesel stays at `~2.3`, diesel-async at `~0.9`.

mod blocking;
mod conn;
mod guarded;
mod row;
mod statement;
#[cfg(test)]
mod tests;
mod value;

use diesel::{
    backend::{Backend, DieselReserveSpecialization, SqlDialect, TrustedBackend, sql_dialect as dialect},
    sql_types::TypeMetadata,
};

pub use self::{
    conn::{Conn, Snapshots},
    guarded::Guarded,
    value::AnyValue,
};
use self::{
    statement::{Binds, Builder},
    value::Bind,
};

/// The dialect that both databases speak.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Common;

impl Backend for Common {
    type QueryBuilder = Builder;
    type RawValue<'a> = AnyValue<'a>;
    type BindCollector<'a> = Binds;
}

impl TypeMetadata for Common {
    /// A typed NULL: what is bound when there is no value.
    type TypeMetadata = Bind;
    type MetadataLookup = ();
}

impl TrustedBackend for Common {}
impl DieselReserveSpecialization for Common {}

/// `ON CONFLICT (columns) DO ...`, the same in both databases.
#[derive(Debug, Clone, Copy)]
pub struct OnConflict;

impl dialect::on_conflict_clause::SupportsOnConflictClause for OnConflict {}
impl dialect::on_conflict_clause::SupportsOnConflictClauseWhere for OnConflict {}
impl dialect::on_conflict_clause::PgLikeOnConflictClause for OnConflict {}

impl SqlDialect for Common {
    type ReturningClause = dialect::returning_clause::PgLikeReturningClause;
    type OnConflictClause = OnConflict;
    // SQLite has no DEFAULT in VALUES: an Insertable with an Option says
    // `treat_none_as_default_value = false`.
    type InsertWithDefaultKeyword = dialect::default_keyword_for_insert::IsoSqlDefaultKeyword;
    type BatchInsertSupport = dialect::batch_insert_support::PostgresLikeBatchInsertSupport;
    type ConcatClause = dialect::concat_clause::ConcatWithPipesClause;
    type DefaultValueClauseForInsert = dialect::default_value_clause::AnsiDefaultValueClause;
    type EmptyFromClauseSyntax = dialect::from_clause_syntax::AnsiSqlFromClauseSyntax;
    type SelectStatementSyntax = dialect::select_statement_syntax::AnsiSqlSelectStatement;
    type ExistsSyntax = dialect::exists_syntax::AnsiSqlExistsSyntax;
    type ArrayComparison = dialect::array_comparison::AnsiSqlArrayComparison;
    type AliasSyntax = dialect::alias_syntax::AsAliasSyntax;
    type WindowFrameClauseGroupSupport = dialect::window_frame_clause_group_support::IsoGroupWindowFrameUnit;
    type WindowFrameExclusionSupport = dialect::window_frame_exclusion_support::FrameExclusionSupport;
    type AggregateFunctionExpressions =
        dialect::aggregate_function_expressions::PostgresLikeAggregateFunctionExpressions;
    type BuiltInWindowFunctionRequireOrder = dialect::built_in_window_function_require_order::NoOrderRequired;
}
