//! The statements that the double understands.

use super::wire::{Type, Value};

/// A value in a statement.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Term {
    /// The n-th value that the statement leaves open.
    Open(usize),
    /// One that is written out.
    Text(String),
    Number(i64),
    Word(String),
    /// A collection that is written out, or the values after `IN`.
    Many(Vec<Term>),
}

/// What an open value is for: its name and its type follow from it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Role {
    Column(String),
    OneOf(String),
    Limit,
    Timestamp,
}

/// `column op term`
#[derive(Debug, Clone)]
pub(super) struct Relation {
    pub(super) column: String,
    pub(super) op: Op,
    pub(super) term: Term,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Is,
    Below,
    UpTo,
    Above,
    From,
    OneOf,
}

/// A keyspace and a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) keyspace: String,
    pub(super) table: String,
}

#[derive(Debug, Clone)]
pub(super) struct Select {
    pub(super) distinct: bool,
    /// None: all.
    pub(super) columns: Vec<String>,
    pub(super) table: Name,
    pub(super) filter: Vec<Relation>,
    /// The column to sort by, and whether downwards.
    pub(super) order: Option<(String, bool)>,
    pub(super) limit: Option<Term>,
}

/// On what an INSERT, UPDATE or DELETE depends.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    Never,
    Exists,
    NotExists,
    Columns(Vec<Relation>),
}

#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) insert: bool,
    pub(super) delete: bool,
    pub(super) table: Name,
    pub(super) sets: Vec<(String, Term)>,
    pub(super) filter: Vec<Relation>,
    pub(super) condition: Condition,
    pub(super) timestamp: Option<Term>,
}

impl Change {
    /// Which row it is about: an INSERT says so by what it sets.
    pub(super) fn relations(&self) -> Vec<Relation> {
        if !self.insert {
            return self.filter.clone();
        }
        let set = |(column, term): &(String, Term)| Relation {
            column: column.clone(),
            op: Op::Is,
            term: term.clone(),
        };
        self.sets.iter().map(set).collect()
    }
}

/// A column in a table's definition.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) typ: Type,
    pub(super) fixed: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    Select(Select),
    Change(Change),
    CreateKeyspace {
        name: String,
        if_missing: bool,
        options: Vec<(String, Term)>,
    },
    CreateTable {
        table: Name,
        if_missing: bool,
        columns: Vec<Definition>,
        partition: Vec<String>,
        clustering: Vec<(String, bool)>,
    },
    Use(String),
}

#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) action: Action,
    /// What the open values are for, in their order.
    pub(super) open: Vec<Role>,
}

/// The value of a term of that type, `values` being what was left open.
pub(super) fn evaluate(term: &Term, typ: &Type, values: &[Value]) -> Result<Value, String> {
    Ok(match (term, typ) {
        (Term::Open(index), _) => values.get(*index).ok_or("too few values")?.clone(),
        (Term::Word(word), _) if word == "null" => None,
        (Term::Word(word), Type::Boolean) => Some(vec![u8::from(word == "true")]),
        (Term::Word(word), Type::Uuid) => {
            let uuid = uuid::Uuid::parse_str(word).map_err(|error| error.to_string())?;
            Some(uuid.into_bytes().to_vec())
        }
        (Term::Text(text), Type::Text) => Some(text.clone().into_bytes()),
        (Term::Number(number), Type::Int) => {
            let number = i32::try_from(*number).map_err(|error| error.to_string())?;
            Some(number.to_be_bytes().to_vec())
        }
        (Term::Number(number), Type::BigInt) => Some(number.to_be_bytes().to_vec()),
        (term, typ) => return Err(format!("{term:?} is no {}", typ.name())),
    })
}
