//! A table in memory: what it shows, and what a conditional statement does to it and answers.

use std::collections::{BTreeMap, HashMap};

use super::{
    failure::Failure,
    text::{Action, Change, Condition, Name, Op, Relation, Role, Select, Statement, Term, evaluate},
    wire::{Spec, Type, Value},
};

/// What a statement did.
pub(super) enum Done {
    Nothing,
    Rows(Vec<Spec>, Vec<Vec<Value>>),
    Keyspace(String),
    /// Something was made: a keyspace, or a table in it.
    Made(String, Option<String>),
}

pub(super) fn invalid(text: impl Into<String>) -> Failure {
    Failure::Invalid(text.into())
}

/// Where in a table a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Partition,
    /// Part of a row's key, whether sorted downwards.
    Clustering(bool),
    Static,
    Regular,
}

#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) typ: Type,
    pub(super) place: Place,
}

/// A table: its columns in the order in which `SELECT *` shows them, and its partitions.
pub(super) struct Table {
    pub(super) name: Name,
    pub(super) columns: Vec<Column>,
    pub(super) partitions: BTreeMap<Vec<Value>, Partition>,
}

/// Values by their columns, and when each was written.
pub(super) type Cells = HashMap<String, (Value, i64)>;

#[derive(Default)]
pub(super) struct Partition {
    pub(super) fixed: Cells,
    /// By a key that sorts as the table wants it.
    pub(super) rows: BTreeMap<Vec<Vec<u8>>, (Vec<Value>, Cells)>,
}

fn live<'a>(cells: &'a Cells, name: &str) -> Option<&'a Vec<u8>> {
    cells.get(name).and_then(|(value, _)| value.as_ref())
}

/// Whether `found` stands to the relation's values as it asks.
pub(super) fn holds(
    column: &Column,
    relation: &Relation,
    found: &Value,
    values: &[Value],
) -> Result<bool, Failure> {
    if relation.op == Op::OneOf {
        let wanted = match &relation.term {
            Term::Many(terms) => terms
                .iter()
                .map(|term| evaluate(term, &column.typ, values))
                .collect::<Result<Vec<_>, _>>()
                .map_err(invalid)?,
            open => super::wire::list(&evaluate(open, &column.typ, values).map_err(invalid)?),
        };
        return Ok(wanted.contains(found));
    }
    let wanted = evaluate(&relation.term, &column.typ, values).map_err(invalid)?;
    if relation.op == Op::Is {
        return Ok(wanted == *found);
    }
    let (Some(wanted), Some(found)) = (wanted, found) else {
        return Ok(false);
    };
    let order = column.typ.ordered(found).cmp(&column.typ.ordered(&wanted));
    Ok(match relation.op {
        Op::Below => order.is_lt(),
        Op::UpTo => order.is_le(),
        Op::Above => order.is_gt(),
        Op::From => order.is_ge(),
        Op::Is | Op::OneOf => false,
    })
}

impl Table {
    pub(super) fn new(name: Name, columns: Vec<Column>) -> Self {
        Self {
            name,
            columns,
            partitions: BTreeMap::new(),
        }
    }

    pub(super) fn column(&self, name: &str) -> Result<&Column, Failure> {
        let found = self.columns.iter().find(|column| column.name == name);
        found.ok_or_else(|| {
            invalid(format!(
                "Undefined column name {name} in table {}",
                self.name.table
            ))
        })
    }

    pub(super) fn spec(&self, name: &str, typ: Type) -> Spec {
        Spec {
            keyspace: self.name.keyspace.clone(),
            table: self.name.table.clone(),
            name: name.to_owned(),
            typ,
        }
    }

    fn at(&self, place: fn(Place) -> bool) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(move |column| place(column.place))
    }

    pub(super) fn key(&self) -> impl Iterator<Item = &Column> {
        self.at(|place| place == Place::Partition)
    }

    pub(super) fn clustering(&self) -> impl Iterator<Item = &Column> {
        self.at(|place| matches!(place, Place::Clustering(_)))
    }

    /// The value that `filter` demands of each column, if it names them all.
    pub(super) fn exact<'a>(
        columns: impl Iterator<Item = &'a Column>,
        filter: &[Relation],
        values: &[Value],
    ) -> Result<Option<Vec<Value>>, Failure> {
        let mut key = Vec::new();
        for column in columns {
            let asked = |relation: &&Relation| relation.column == column.name && relation.op == Op::Is;
            let Some(relation) = filter.iter().find(asked) else {
                return Ok(None);
            };
            key.push(evaluate(&relation.term, &column.typ, values).map_err(invalid)?);
        }
        Ok(Some(key))
    }

    /// The key of the one partition that `statement` is about.
    pub(super) fn partition(&self, statement: &Statement, values: &[Value]) -> Option<Vec<Value>> {
        match &statement.action {
            Action::Select(select) => Self::exact(self.key(), &select.filter, values).ok()?,
            Action::Change(change) => Self::exact(self.key(), &change.relations(), values).ok()?,
            _ => None,
        }
    }

    /// What is open in `statement`.
    pub(super) fn open(&self, statement: &Statement) -> Result<Vec<Spec>, Failure> {
        let open = statement.open.iter().map(|role| match role {
            Role::Column(name) => Ok(self.spec(name, self.column(name)?.typ.clone())),
            Role::OneOf(name) => {
                let typ = Type::List(Box::new(self.column(name)?.typ.clone()));
                Ok(self.spec(&format!("in({name})"), typ))
            }
            Role::Limit => Ok(self.spec("[limit]", Type::Int)),
            Role::Timestamp => Ok(self.spec("[timestamp]", Type::BigInt)),
        });
        open.collect()
    }

    /// Which of the open values make up the partition's key, in its order.
    pub(super) fn routing(&self, statement: &Statement) -> Vec<u16> {
        let filter = match &statement.action {
            Action::Select(select) => select.filter.clone(),
            Action::Change(change) => change.relations(),
            _ => return Vec::new(),
        };
        let key = self.key().map(|column| {
            let asked = |relation: &&Relation| relation.column == column.name && relation.op == Op::Is;
            match filter.iter().find(asked).map(|relation| &relation.term) {
                Some(Term::Open(index)) => u16::try_from(*index).ok(),
                _ => None,
            }
        });
        key.collect::<Option<_>>().unwrap_or_default()
    }

    /// The columns that `select` shows.
    pub(super) fn shown(&self, select: &Select) -> Result<Vec<Spec>, Failure> {
        if select.columns.is_empty() {
            let all = self.columns.iter();
            return Ok(all
                .map(|column| self.spec(&column.name, column.typ.clone()))
                .collect());
        }
        let shown = select.columns.iter();
        shown
            .map(|name| Ok(self.spec(name, self.column(name)?.typ.clone())))
            .collect()
    }

    /// The columns of a conditional statement's old row.
    pub(super) fn old(&self, change: &Change) -> Vec<Spec> {
        let applied = self.spec("[applied]", Type::Boolean);
        let old = self.columns.iter().filter(|column| match &change.condition {
            Condition::Never => false,
            Condition::Exists | Condition::NotExists => true,
            Condition::Columns(relations) => relations.iter().any(|one| one.column == column.name),
        });
        let old = old.map(|column| self.spec(&column.name, column.typ.clone()));
        std::iter::once(applied).chain(old).collect()
    }

    pub(super) fn row(&self, key: &[Value], fixed: &Cells, row: Option<(&[Value], &Cells)>) -> Vec<Value> {
        let mut parts = key.iter();
        let mut clustering = row.map(|(key, _)| key.iter());
        let value = |column: &Column| match column.place {
            Place::Partition => parts.next().cloned().flatten(),
            Place::Clustering(_) => clustering.as_mut().and_then(Iterator::next).cloned().flatten(),
            Place::Static => live(fixed, &column.name).cloned(),
            Place::Regular => row.and_then(|(_, cells)| live(cells, &column.name).cloned()),
        };
        self.columns.iter().map(value).collect()
    }

    /// All rows as they lie, whole; a partition that has only static columns shows them once.
    fn rows(&self, select: &Select, values: &[Value]) -> Result<Vec<Vec<Value>>, Failure> {
        let narrow = self
            .clustering()
            .any(|column| select.filter.iter().any(|one| one.column == column.name));
        let only = Self::exact(self.key(), &select.filter, values)?;
        let partitions = self
            .partitions
            .iter()
            .filter(|(key, _)| only.as_ref().is_none_or(|only| only == *key));
        let mut rows = Vec::new();
        for (key, partition) in partitions {
            let alone = partition.rows.is_empty() && !narrow;
            if select.distinct || alone {
                let empty =
                    partition.rows.is_empty() && partition.fixed.values().all(|cell| cell.0.is_none());
                rows.extend((!empty).then(|| self.row(key, &partition.fixed, None)));
                continue;
            }
            let all = partition.rows.values();
            rows.extend(
                all.map(|(clustering, cells)| self.row(key, &partition.fixed, Some((clustering, cells)))),
            );
        }
        Ok(rows)
    }

    /// Adds a row that nobody can change.
    pub(super) fn fill(&mut self, row: Vec<Value>) {
        let cells = |place: fn(Place) -> bool, row: &[Value]| -> Vec<Value> {
            let all = self.columns.iter().zip(row);
            all.filter(|(column, _)| place(column.place))
                .map(|(_, value)| value.clone())
                .collect()
        };
        let key = cells(|place| place == Place::Partition, &row);
        let clustering = cells(|place| matches!(place, Place::Clustering(_)), &row);
        let cells = self.columns.iter().map(|column| column.name.clone()).zip(row);
        let cells = cells.map(|(name, value)| (name, (value, 0))).collect();
        let sorted = clustering
            .iter()
            .map(|value| value.clone().unwrap_or_default())
            .collect();
        let partition = self.partitions.entry(key).or_default();
        partition.rows.insert(sorted, (clustering, cells));
    }

    pub(super) fn select(&self, select: &Select, values: &[Value]) -> Result<Done, Failure> {
        let shown = self.shown(select)?;
        let mut rows = Vec::new();
        'rows: for row in self.rows(select, values)? {
            for relation in &select.filter {
                let column = self.column(&relation.column)?;
                let at = self.columns.iter().position(|one| one.name == column.name);
                if !at.map_or(Ok(false), |at| holds(column, relation, &row[at], values))? {
                    continue 'rows;
                }
            }
            let cell = |spec: &Spec| {
                let at = self.columns.iter().position(|column| column.name == spec.name);
                at.and_then(|at| row[at].clone())
            };
            rows.push(shown.iter().map(cell).collect::<Vec<_>>());
        }
        if let Some((name, down)) = &select.order
            && self.column(name)?.place != Place::Clustering(*down)
        {
            rows.reverse();
        }
        if let Some(limit) = &select.limit {
            let limit = evaluate(limit, &Type::Int, values)
                .map_err(invalid)?
                .unwrap_or_default();
            let limit = i32::from_be_bytes(limit.try_into().map_err(|_| invalid("no limit"))?);
            if limit < 1 {
                return Err(invalid("LIMIT must be strictly positive"));
            }
            rows.truncate(usize::try_from(limit).unwrap());
        }
        Ok(Done::Rows(shown, rows))
    }
}
