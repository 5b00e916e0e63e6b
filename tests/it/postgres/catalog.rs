//! What a database says of its own tables, in words that both databases share.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Client;

/// Table by table.
pub(super) type Catalog = BTreeMap<String, Table>;

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) columns: BTreeMap<String, Column>,
    pub(super) primary_key: Vec<String>,
    /// Of every constraint that says so, its columns.
    pub(super) unique: BTreeSet<Vec<String>>,
    pub(super) references: BTreeSet<Reference>,
    pub(super) indexes: BTreeMap<String, Index>,
    pub(super) checks: BTreeSet<Check>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) kind: Kind,
    pub(super) nullable: bool,
    /// Its value where a row does not say it.
    pub(super) default: Option<String>,
}

/// What a column holds. SQLite has three kinds of storage for them; its checks, and what
/// the column refers to, say the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A number, or an instant: the same in SQLite.
    Number,
    Truth,
    Text,
    Json,
    Bytes,
    Uuid,
    /// A number that the table gives out.
    Numbering,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    column: String,
    table: String,
    to: String,
    cascades: bool,
}

impl Reference {
    /// The column that refers.
    pub(super) fn column(&self) -> &str {
        &self.column
    }
}

/// An index that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    columns: Vec<String>,
    unique: bool,
    /// Which rows are in it; empty: all.
    only: String,
}

/// A check: the databases write the same rule in different words, so only what it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Check {
    columns: BTreeSet<String>,
    values: BTreeSet<String>,
    of_length: bool,
}

impl Check {
    /// The columns that it is about.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(String::as_str)
    }

    fn of(rule: &str, table: &Table) -> Self {
        let (words, values) = words_and_values(rule);
        Self {
            columns: table
                .columns
                .keys()
                .filter(|name| words.contains(*name))
                .cloned()
                .collect(),
            values,
            of_length: words.contains("length"),
        }
    }
}

fn words_and_values(rule: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut words, mut values) = (BTreeSet::new(), BTreeSet::new());
    for (at, piece) in rule.split('\'').enumerate() {
        if at % 2 == 1 {
            values.insert(piece.to_owned());
            continue;
        }
        for word in piece.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.starts_with(|c: char| c.is_ascii_digit()) {
                values.insert(word.to_owned());
            } else if !word.is_empty() {
                words.insert(word.to_lowercase());
            }
        }
    }
    (words, values)
}

/// `'stay'::text`, `'stay'`, `false` and `0` as they are meant.
fn value(text: &str) -> String {
    let text = text.split("::").next().unwrap().trim_matches('\'');
    match text {
        "false" => "0",
        "true" => "1",
        other => other,
    }
    .to_owned()
}

/// `(revoked_at IS NOT NULL)` and `leaving = 1` in one way of writing.
fn predicate(text: &str) -> String {
    text.to_lowercase()
        .replace(['(', ')'], "")
        .replace(" = 1", "")
        .trim()
        .to_owned()
}

const COLUMNS: &str = "
    select c.relname, a.attname, format_type(a.atttypid, -1), not a.attnotnull,
        pg_get_expr(d.adbin, d.adrelid), a.attidentity <> ''
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname not like '\\_\\_diesel%'";

const CONSTRAINTS: &str = "
    select c.relname, o.contype::text, pg_get_constraintdef(o.oid), f.relname, o.confdeltype::text,
        array(select attname::text from unnest(o.conkey) with ordinality k(n, i)
            join pg_attribute on attrelid = c.oid and attnum = k.n order by k.i),
        array(select attname::text from unnest(o.confkey) with ordinality k(n, i)
            join pg_attribute on attrelid = f.oid and attnum = k.n order by k.i)
    from pg_constraint o join pg_class c on c.oid = o.conrelid left join pg_class f on f.oid = o.confrelid
    where c.relnamespace = 'public'::regnamespace and c.relname not like '\\_\\_diesel%'";

const INDEXES: &str = "
    select c.relname, i.relname, x.indisunique, pg_get_expr(x.indpred, x.indrelid),
        array(select attname::text from unnest(x.indkey) with ordinality k(n, i)
            join pg_attribute on attrelid = c.oid and attnum = k.n order by k.i)
    from pg_index x join pg_class c on c.oid = x.indrelid join pg_class i on i.oid = x.indexrelid
    where c.relnamespace = 'public'::regnamespace and c.relname not like '\\_\\_diesel%'
        and not exists (select 1 from pg_constraint o where o.conindid = x.indexrelid)";

/// What PostgreSQL says.
pub(super) async fn of_postgres(client: &Client) -> Catalog {
    let mut tables = Catalog::new();
    for row in client.query(COLUMNS, &[]).await.unwrap() {
        let (table, name, kind): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let numbering: bool = row.get(5);
        let kind = match kind.as_str() {
            _ if numbering => Kind::Numbering,
            "bigint" | "timestamp with time zone" => Kind::Number,
            "boolean" => Kind::Truth,
            "text" => Kind::Text,
            "jsonb" => Kind::Json,
            "bytea" => Kind::Bytes,
            "uuid" => Kind::Uuid,
            other => panic!("{table}.{name} is {other}"),
        };
        let column = Column {
            kind,
            nullable: row.get(3),
            default: row.get::<_, Option<&str>>(4).map(value),
        };
        tables.entry(table).or_default().columns.insert(name, column);
    }
    for row in client.query(CONSTRAINTS, &[]).await.unwrap() {
        let (table, kind, text): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
        let columns: Vec<String> = row.get(5);
        let table = tables.get_mut(table).unwrap();
        match kind {
            "p" => table.primary_key = columns,
            "u" => {
                table.unique.insert(columns);
            }
            "c" => {
                let check = Check::of(text, table);
                table.checks.insert(check);
            }
            "f" => {
                let to: Vec<String> = row.get(6);
                for (column, to) in columns.into_iter().zip(to) {
                    table.references.insert(Reference {
                        column,
                        table: row.get(3),
                        to,
                        cascades: row.get::<_, &str>(4) == "c",
                    });
                }
            }
            other => panic!("a constraint of kind {other}: {text}"),
        }
    }
    for row in client.query(INDEXES, &[]).await.unwrap() {
        let index = Index {
            columns: row.get(4),
            unique: row.get(2),
            only: row.get::<_, Option<&str>>(3).map(predicate).unwrap_or_default(),
        };
        let table = tables.get_mut(row.get::<_, &str>(0)).unwrap();
        table.indexes.insert(row.get(1), index);
    }
    tables
}

/// What SQLite says.
pub(super) fn of_sqlite(conn: &rusqlite::Connection) -> Catalog {
    let made = rows(
        conn,
        "select name, sql from sqlite_schema where type = 'table' and name not like 'sqlite%' \
         and name not like '\\_\\_diesel%' escape '\\'",
        "",
    );
    let mut tables: Catalog = made
        .iter()
        .map(|row| (row[0].clone(), table_of(conn, &row[0], &row[1])))
        .collect();
    // What refers to a UUID is one.
    let uuids: BTreeSet<(String, String)> = columns_of(&tables, Kind::Uuid);
    for table in tables.values_mut() {
        for Reference {
            column,
            table: to,
            to: its,
            ..
        } in &table.references
        {
            if uuids.contains(&(to.clone(), its.clone())) {
                table.columns.get_mut(column).unwrap().kind = Kind::Uuid;
            }
        }
    }
    tables
}

fn columns_of(tables: &Catalog, kind: Kind) -> BTreeSet<(String, String)> {
    let of = |(name, table): (&String, &Table)| -> Vec<(String, String)> {
        let columns = table.columns.iter().filter(|(_, column)| column.kind == kind);
        columns
            .map(|(column, _)| (name.clone(), column.clone()))
            .collect()
    };
    tables.iter().flat_map(of).collect()
}

fn table_of(conn: &rusqlite::Connection, name: &str, made_by: &str) -> Table {
    let mut table = Table::default();
    let rules = checks_in(made_by);
    let info =
        "select name, type, \"notnull\" or pk > 0, dflt_value, pk from pragma_table_info(?) order by pk";
    for row in rows(conn, info, name) {
        let [column, kind, filled, default, key] = &row[..] else {
            unreachable!()
        };
        let says = |rule: String| rules.contains(&rule);
        let kind = match kind.as_str() {
            "INTEGER" if key == "1" && made_by.contains("autoincrement") => Kind::Numbering,
            "INTEGER" if says(format!("{column} in (0, 1)")) => Kind::Truth,
            "INTEGER" => Kind::Number,
            "TEXT" if says(format!("json_valid({column})")) => Kind::Json,
            "TEXT" => Kind::Text,
            "BLOB" if says(format!("length({column}) = 16")) => Kind::Uuid,
            "BLOB" => Kind::Bytes,
            other => panic!("{name}.{column} is {other}"),
        };
        let default = (!default.is_empty()).then(|| value(default));
        if key != "0" {
            table.primary_key.push(column.clone());
        }
        let column_of = Column {
            kind,
            nullable: filled == "0",
            default,
        };
        table.columns.insert(column.clone(), column_of);
    }
    for rule in rules {
        let check = Check::of(&rule, &table);
        // PostgreSQL's types say so.
        let says_kind = check.columns.iter().any(|column| {
            let kind = table.columns[column].kind;
            matches!(kind, Kind::Truth | Kind::Json) || kind == Kind::Uuid && check.of_length
        });
        if !says_kind {
            table.checks.insert(check);
        }
    }
    let references =
        "select \"from\", \"table\", \"to\", on_delete = 'CASCADE' from pragma_foreign_key_list(?)";
    for row in rows(conn, references, name) {
        table.references.insert(Reference {
            column: row[0].clone(),
            table: row[1].clone(),
            to: row[2].clone(),
            cascades: row[3] == "1",
        });
    }
    let indexes = "select list.name, \"unique\", origin, coalesce(sql, '') from pragma_index_list(?) list \
                   left join sqlite_schema made on made.name = list.name";
    for row in rows(conn, indexes, name) {
        let columns = rows(
            conn,
            "select name from pragma_index_info(?) order by seqno",
            &row[0],
        )
        .concat();
        match row[2].as_str() {
            "pk" => {}
            "u" => {
                table.unique.insert(columns);
            }
            _ => {
                let only = row[3].split_once(" where ").map_or("", |(_, only)| only);
                let index = Index {
                    columns,
                    unique: row[1] == "1",
                    only: predicate(only),
                };
                table.indexes.insert(row[0].clone(), index);
            }
        }
    }
    table
}

/// Every field as a text, null as nothing.
fn rows(conn: &rusqlite::Connection, sql: &str, of: &str) -> Vec<Vec<String>> {
    let mut query = conn.prepare(sql).unwrap();
    let (fields, wants_one) = (query.column_count(), query.parameter_count() == 1);
    let given: &[&dyn rusqlite::ToSql] = if wants_one { &[&of] } else { &[] };
    let rows = query.query_map(given, |row| {
        (0..fields)
            .map(|at| {
                Ok(match row.get_ref(at)? {
                    rusqlite::types::ValueRef::Null => String::new(),
                    rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                    other => other.as_str()?.to_owned(),
                })
            })
            .collect::<rusqlite::Result<Vec<String>>>()
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// What stands in brackets behind each `check`.
fn checks_in(made_by: &str) -> Vec<String> {
    let mut checks = Vec::new();
    for piece in made_by.split("check (").skip(1) {
        let mut depth = 1;
        let ends = piece.find(|c| {
            depth += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            depth == 0
        });
        checks.push(piece[..ends.unwrap()].to_owned());
    }
    checks
}
