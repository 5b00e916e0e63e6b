//! A query rendered once, to be replayed by either native connection.

use diesel::{
    QueryResult,
    pg::Pg,
    query_builder::{
        AstPass, BindCollector, BoxedLimitOffsetClause, IntoBoxedClause, LimitOffsetClause, NoLimitClause,
        NoOffsetClause, Query, QueryBuilder, QueryFragment, QueryId,
    },
    serialize::{Output, ToSql},
    sql_types::{HasSqlType, Untyped},
    sqlite::Sqlite,
};

use super::{Common, value::Bind};

/// SQL text, cut where a value goes.
#[derive(Debug, Default)]
pub struct Builder {
    parts: Vec<String>,
    current: String,
}

impl QueryBuilder<Common> for Builder {
    fn push_sql(&mut self, sql: &str) {
        self.current.push_str(sql);
    }

    fn push_identifier(&mut self, identifier: &str) -> QueryResult<()> {
        self.current.push('"');
        self.current.push_str(&identifier.replace('"', "\"\""));
        self.current.push('"');
        Ok(())
    }

    fn push_bind_param(&mut self) {
        self.parts.push(std::mem::take(&mut self.current));
    }

    fn finish(self) -> String {
        self.into_parts().join("?")
    }
}

impl Builder {
    fn into_parts(mut self) -> Vec<String> {
        self.parts.push(self.current);
        self.parts
    }
}

/// The values of a query, owned, in the order of their places.
#[derive(Debug, Default)]
pub struct Binds(Vec<Bind>);

impl<'a> BindCollector<'a, Common> for Binds {
    type Buffer = Option<Bind>;

    fn push_bound_value<T, U>(&mut self, bind: &'a U, lookup: &mut ()) -> QueryResult<()>
    where
        Common: HasSqlType<T>,
        U: ToSql<T, Common> + ?Sized + 'a,
    {
        let mut output = Output::<Common>::new(None, lookup);
        bind.to_sql(&mut output)
            .map_err(diesel::result::Error::SerializationError)?;
        let value = output.into_inner();
        self.0.push(value.unwrap_or_else(|| Common::metadata(lookup)));
        Ok(())
    }
}

/// A rendered query: always one more part of SQL than there are values.
pub(super) struct Statement {
    parts: Vec<String>,
    binds: Vec<Bind>,
    is_cacheable: bool,
}

impl Statement {
    /// Renders `query` in the common dialect.
    pub(super) fn render<Q: QueryFragment<Common>>(query: &Q) -> QueryResult<Self> {
        let mut builder = Builder::default();
        query.to_sql(&mut builder, &Common)?;
        let mut binds = Binds::default();
        query.collect_binds(&mut binds, &mut (), &Common)?;
        Ok(Self {
            parts: builder.into_parts(),
            binds: binds.0,
            is_cacheable: query.is_safe_to_cache_prepared(&Common)?,
        })
    }
}

impl QueryId for Statement {
    type QueryId = ();
    // Prepared statements are then cached by their text.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Statement {
    type SqlType = Untyped;
}

macro_rules! replay_on {
    ($backend:ty) => {
        impl QueryFragment<$backend> for Statement {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, $backend>) -> QueryResult<()> {
                if !self.is_cacheable {
                    out.unsafe_to_cache_prepared();
                }
                for (at, part) in self.parts.iter().enumerate() {
                    out.push_sql(part);
                    if let Some(bind) = self.binds.get(at) {
                        bind.walk_ast(out.reborrow())?;
                    }
                }
                Ok(())
            }
        }
    };
}
replay_on!(Pg);
replay_on!(Sqlite);

impl<L, O> QueryFragment<Common> for LimitOffsetClause<L, O>
where
    L: QueryFragment<Common>,
    O: QueryFragment<Common>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Common>) -> QueryResult<()> {
        self.limit_clause.walk_ast(out.reborrow())?;
        self.offset_clause.walk_ast(out.reborrow())
    }
}

impl QueryFragment<Common> for BoxedLimitOffsetClause<'_, Common> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Common>) -> QueryResult<()> {
        if let Some(limit) = &self.limit {
            limit.walk_ast(out.reborrow())?;
        }
        if let Some(offset) = &self.offset {
            offset.walk_ast(out.reborrow())?;
        }
        Ok(())
    }
}

// A query is boxed before it gets its LIMIT and OFFSET.
impl<'a> IntoBoxedClause<'a, Common> for LimitOffsetClause<NoLimitClause, NoOffsetClause> {
    type BoxedClause = BoxedLimitOffsetClause<'a, Common>;

    fn into_boxed(self) -> Self::BoxedClause {
        BoxedLimitOffsetClause {
            limit: None,
            offset: None,
        }
    }
}
