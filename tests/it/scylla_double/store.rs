//! Keyspaces and tables in memory.

use std::collections::BTreeMap;

use super::{
    failure::Failure,
    shape::Shape,
    table::{Column, Done, Place, Table, invalid},
    text::{Action, Condition, Definition, Name, Statement, Term},
    wire::Value,
};

pub(super) struct Keyspace {
    pub(super) replication: Vec<(String, String)>,
    pub(super) tablets: bool,
}

/// Everything that the double keeps.
pub(super) struct Store {
    pub(super) keyspaces: BTreeMap<String, Keyspace>,
    pub(super) tables: BTreeMap<Name, Table>,
    clock: i64,
}

impl Store {
    pub(super) fn new() -> Self {
        Self {
            keyspaces: BTreeMap::new(),
            tables: BTreeMap::new(),
            clock: 1_900_000_000_000_000,
        }
    }

    pub(super) fn table(&self, name: &Name) -> Result<&Table, Failure> {
        if !self.keyspaces.contains_key(&name.keyspace) {
            return Err(invalid(format!("Keyspace {} does not exist", name.keyspace)));
        }
        let table = self.tables.get(name);
        table.ok_or_else(|| invalid(format!("unconfigured table {}", name.table)))
    }

    /// Does what `statement` says to a table or a keyspace that is not the server's own.
    pub(super) fn run(
        &mut self,
        statement: &Statement,
        values: &[Value],
        shape: &Shape,
    ) -> Result<Done, Failure> {
        match &statement.action {
            Action::Select(select) => self.table(&select.table)?.select(select, values),
            Action::Change(change) => {
                self.table(&change.table)?;
                let conditional = !matches!(change.condition, Condition::Never);
                if conditional
                    && self.keyspaces[&change.table.keyspace].tablets
                    && !shape.tablets_take_conditions()
                {
                    return Err(invalid(format!(
                        "Cannot use LightWeight Transactions for table {}.{}: LWT is not yet supported with tablets",
                        change.table.keyspace, change.table.table
                    )));
                }
                self.clock += 1;
                let now = self.clock;
                let table = self.tables.get_mut(&change.table);
                let table = table.ok_or_else(|| invalid("unconfigured table"))?;
                table.change(change, values, now, shape)
            }
            Action::Use(name) => {
                let known = self.keyspaces.contains_key(name);
                known
                    .then(|| Done::Keyspace(name.clone()))
                    .ok_or_else(|| invalid(format!("Keyspace '{name}' does not exist")))
            }
            Action::CreateKeyspace {
                name,
                if_missing,
                options,
            } => self.create_keyspace(name, *if_missing, options, shape),
            Action::CreateTable {
                table,
                if_missing,
                columns,
                partition,
                clustering,
            } => self.create_table(table, *if_missing, columns, partition, clustering),
        }
    }

    fn create_keyspace(
        &mut self,
        name: &str,
        if_missing: bool,
        options: &[(String, Term)],
        shape: &Shape,
    ) -> Result<Done, Failure> {
        if self.keyspaces.contains_key(name) {
            let there = || Failure::AlreadyExists(name.to_owned(), String::new());
            return if if_missing {
                Ok(Done::Nothing)
            } else {
                Err(there())
            };
        }
        let (mut replication, mut tablets) = (Vec::new(), shape.has_tablets());
        for (option, term) in options {
            match (option.as_str(), term) {
                ("replication", Term::Many(pairs)) => replication = words(pairs),
                ("tablets", Term::Many(pairs)) if shape.has_tablets() => {
                    tablets = !words(pairs).contains(&("enabled".to_owned(), "false".to_owned()));
                }
                ("durable_writes", Term::Word(_)) => {}
                (other, _) => return Err(Failure::Syntax(format!("Unknown property '{other}'"))),
            }
        }
        if !replication.iter().any(|(key, _)| key == "class") {
            return Err(Failure::Config(
                "Missing mandatory replication strategy class".to_owned(),
            ));
        }
        self.keyspaces
            .insert(name.to_owned(), Keyspace { replication, tablets });
        Ok(Done::Made(name.to_owned(), None))
    }

    fn create_table(
        &mut self,
        name: &Name,
        if_missing: bool,
        columns: &[Definition],
        partition: &[String],
        clustering: &[(String, bool)],
    ) -> Result<Done, Failure> {
        if !self.keyspaces.contains_key(&name.keyspace) {
            return Err(invalid(format!("Keyspace '{}' does not exist", name.keyspace)));
        }
        if self.tables.contains_key(name) {
            let there = || Failure::AlreadyExists(name.keyspace.clone(), name.table.clone());
            return if if_missing {
                Ok(Done::Nothing)
            } else {
                Err(there())
            };
        }
        let find = |wanted: &String| {
            let found = columns.iter().find(|column| column.name == *wanted);
            found.ok_or_else(|| invalid(format!("Unknown definition {wanted} referenced in PRIMARY KEY")))
        };
        let made = |definition: &Definition, place| Column {
            name: definition.name.clone(),
            typ: definition.typ.clone(),
            place,
        };
        let mut all = Vec::new();
        for column in partition {
            all.push(made(find(column)?, Place::Partition));
        }
        for (column, down) in clustering {
            all.push(made(find(column)?, Place::Clustering(*down)));
        }
        let mut rest: Vec<_> = columns
            .iter()
            .filter(|one| all.iter().all(|column| column.name != one.name))
            .collect();
        rest.sort_by_key(|one| (!one.fixed, one.name.clone()));
        for column in rest {
            all.push(made(
                column,
                if column.fixed {
                    Place::Static
                } else {
                    Place::Regular
                },
            ));
        }
        self.tables.insert(name.clone(), Table::new(name.clone(), all));
        Ok(Done::Made(name.keyspace.clone(), Some(name.table.clone())))
    }
}

/// A map that is written out, as pairs of words.
fn words(pairs: &[Term]) -> Vec<(String, String)> {
    let word = |term: &Term| match term {
        Term::Text(word) | Term::Word(word) => word.clone(),
        Term::Number(number) => number.to_string(),
        Term::Open(_) | Term::Many(_) => String::new(),
    };
    pairs
        .chunks(2)
        .map(|pair| (word(&pair[0]), pair.get(1).map(word).unwrap_or_default()))
        .collect()
}
