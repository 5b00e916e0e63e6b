//! What an INSERT, UPDATE or DELETE does to a table, and what a conditional one answers.

use super::{
    failure::Failure,
    shape::Shape,
    table::{Cells, Done, Partition, Place, Table, holds, invalid},
    text::{Change, Condition, evaluate},
    wire::{Type, Value},
};

impl Table {
    pub(super) fn change(
        &mut self,
        change: &Change,
        values: &[Value],
        now: i64,
        shape: &Shape,
    ) -> Result<Done, Failure> {
        let conditional = !matches!(change.condition, Condition::Never);
        let filter = change.relations();
        let key = Self::exact(self.key(), &filter, values)?;
        let key = key.ok_or_else(|| invalid("Some partition key parts are missing"))?;
        let clustering = Self::exact(self.clustering(), &filter, values)?;
        let sorted: Option<Vec<Vec<u8>>> = clustering.as_ref().map(|clustering| {
            let parts = self.clustering().zip(clustering);
            parts
                .map(|(column, value)| {
                    let mut bytes = column.typ.ordered(value.as_deref().unwrap_or_default());
                    if column.place == Place::Clustering(true) {
                        for byte in &mut bytes {
                            *byte = !*byte;
                        }
                    }
                    bytes
                })
                .collect()
        });

        let none = Partition::default();
        let partition = self.partitions.get(&key).unwrap_or(&none);
        let found = sorted.as_ref().and_then(|sorted| partition.rows.get(sorted));
        let old = self.row(
            &key,
            &partition.fixed,
            found.map(|(key, cells)| (&key[..], cells)),
        );
        let exists = found.is_some();
        let applied = match &change.condition {
            Condition::Never => true,
            Condition::Exists => exists,
            Condition::NotExists => !exists,
            Condition::Columns(relations) => {
                let mut all = true;
                for relation in relations {
                    let column = self.column(&relation.column)?;
                    let at = self.columns.iter().position(|one| one.name == column.name);
                    all &= at.map_or(Ok(false), |at| holds(column, relation, &old[at], values))?;
                }
                all
            }
        };
        if applied {
            self.write(change, values, key, sorted.zip(clustering), now)?;
        }
        if !conditional {
            return Ok(Done::Nothing);
        }
        // What differs: Cassandra shows the old row only to who was refused, ScyllaDB always,
        // so that the answer's columns are the same each time.
        let specs = if shape.scylla || !applied {
            self.old(change)
        } else {
            vec![self.spec("[applied]", Type::Boolean)]
        };
        let row = specs.iter().map(|spec| {
            if spec.name == "[applied]" {
                return Some(vec![u8::from(applied)]);
            }
            // Where there was no row, its key is as null as the rest.
            let at = self.columns.iter().position(|column| column.name == spec.name)?;
            let fixed = self.columns[at].place == Place::Static;
            if exists || fixed { old[at].clone() } else { None }
        });
        let row = row.collect();
        Ok(Done::Rows(specs, vec![row]))
    }

    fn write(
        &mut self,
        change: &Change,
        values: &[Value],
        key: Vec<Value>,
        row: Option<(Vec<Vec<u8>>, Vec<Value>)>,
        now: i64,
    ) -> Result<(), Failure> {
        let stamp = match &change.timestamp {
            None => now,
            Some(_) if !matches!(change.condition, Condition::Never) => {
                return Err(invalid("Cannot provide custom timestamp for conditional updates"));
            }
            Some(term) => {
                let stamp = evaluate(term, &Type::BigInt, values)
                    .map_err(invalid)?
                    .unwrap_or_default();
                i64::from_be_bytes(stamp.try_into().map_err(|_| invalid("no timestamp"))?)
            }
        };
        let mut cells = Vec::new();
        for (name, term) in &change.sets {
            let column = self.column(name)?;
            if matches!(column.place, Place::Static | Place::Regular) {
                let value = evaluate(term, &column.typ, values).map_err(invalid)?;
                cells.push((name.clone(), column.place, value));
            }
        }
        let regular = cells.iter().any(|(_, place, _)| *place == Place::Regular);
        let partition = self.partitions.entry(key).or_default();
        if change.delete {
            match row {
                Some((sorted, _)) => drop(partition.rows.remove(&sorted)),
                None => partition.rows.clear(),
            }
            return Ok(());
        }
        let (sorted, clustering) = row.unwrap_or_default();
        for (name, place, value) in cells {
            let cells = if place == Place::Static {
                &mut partition.fixed
            } else {
                let made = || (clustering.clone(), Cells::new());
                &mut partition.rows.entry(sorted.clone()).or_insert_with(made).1
            };
            // The last write wins; of two at one moment the greater value.
            let newer = cells
                .get(&name)
                .is_none_or(|(was, at)| (*at, was) <= (stamp, &value));
            if newer {
                cells.insert(name, (value, stamp));
            }
        }
        if change.insert && !regular {
            partition.rows.entry(sorted).or_insert((clustering, Cells::new()));
        }
        Ok(())
    }
}
