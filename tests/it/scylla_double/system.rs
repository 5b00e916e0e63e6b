//! The tables in which a server describes itself and what it keeps.

use uuid::Uuid;

use super::{
    shape::Shape,
    store::Store,
    table::{Column, Place, Table},
    text::Name,
    wire::{Type, Value, collection},
};

/// A node of the double, as it describes itself.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) id: Uuid,
    /// The last octet of its address, 127.0.0.x.
    pub(super) octet: u8,
    pub(super) tokens: Vec<i64>,
}

/// The datacenter of every node.
pub(super) const DATACENTER: &str = "somewhere";

/// Whether a keyspace is the server's own.
pub(super) fn owns(keyspace: &str) -> bool {
    matches!(keyspace, "system" | "system_schema")
}

#[expect(clippy::unnecessary_wraps, reason = "what stands in a row may be null")]
fn text(value: impl AsRef<str>) -> Value {
    Some(value.as_ref().as_bytes().to_vec())
}

#[expect(clippy::unnecessary_wraps, reason = "what stands in a row may be null")]
fn texts(values: impl Iterator<Item = String>) -> Value {
    let parts: Vec<_> = values.map(String::into_bytes).collect();
    Some(collection(parts.len(), &parts))
}

/// A table of the server's own: its key, its other columns, its rows.
fn table(name: &Name, columns: &[(&str, Type)], keys: usize, rows: Vec<Vec<Value>>) -> Table {
    let columns = columns.iter().enumerate().map(|(index, (name, typ))| Column {
        name: (*name).to_owned(),
        typ: typ.clone(),
        place: match index {
            0 => Place::Partition,
            index if index < keys => Place::Clustering(false),
            _ => Place::Regular,
        },
    });
    let mut table = Table::new(name.clone(), columns.collect());
    for row in rows {
        table.fill(row);
    }
    table
}

/// The table `name` as `node` shows it; none if this kind of server has no such table.
pub(super) fn show(name: &Name, node: &Node, nodes: &[Node], store: &Store, shape: &Shape) -> Option<Table> {
    let tokens = Type::Set(Box::new(Type::Text));
    let release = if shape.scylla {
        "3.0.8".to_owned()
    } else {
        shape.version_text()
    };
    let schema = Uuid::from_u128((store.keyspaces.len() + store.tables.len() + 1) as u128);
    let of_node = |node: &Node| {
        vec![
            Some(vec![127, 0, 0, node.octet]),
            Some(node.id.as_bytes().to_vec()),
            text(DATACENTER),
            text("rack1"),
            texts(node.tokens.iter().map(i64::to_string)),
            text(&release),
            Some(schema.as_bytes().to_vec()),
        ]
    };
    let described = [
        ("rpc_address", Type::Inet),
        ("host_id", Type::Uuid),
        ("data_center", Type::Text),
        ("rack", Type::Text),
        ("tokens", tokens),
        ("release_version", Type::Text),
        ("schema_version", Type::Uuid),
    ];
    Some(match (name.keyspace.as_str(), name.table.as_str()) {
        ("system", "local") => {
            let mut columns = vec![("key", Type::Text)];
            columns.extend(described);
            columns.extend([("cluster_name", Type::Text), ("partitioner", Type::Text)]);
            let mut row = vec![text("local")];
            row.extend(of_node(node));
            row.push(text("a double"));
            row.push(text("org.apache.cassandra.dht.Murmur3Partitioner"));
            table(name, &columns, 1, vec![row])
        }
        ("system", "peers") => {
            let mut columns = vec![("peer", Type::Inet)];
            columns.extend(described);
            let peers = nodes.iter().filter(|other| other.id != node.id);
            let rows = peers.map(|peer| {
                let mut row = vec![Some(vec![127, 0, 0, peer.octet])];
                row.extend(of_node(peer));
                row
            });
            table(name, &columns, 1, rows.collect())
        }
        ("system", "versions") if shape.scylla => {
            let columns = [
                ("key", Type::Text),
                ("build_mode", Type::Text),
                ("version", Type::Text),
            ];
            let version = format!("{}-0.20251201.abcdef", shape.version_text());
            table(
                name,
                &columns,
                1,
                vec![vec![text("local"), text("release"), text(version)]],
            )
        }
        ("system_schema", _) => return schema_table(name, store, shape),
        _ => return None,
    })
}

fn schema_table(name: &Name, store: &Store, shape: &Shape) -> Option<Table> {
    let map = Type::Map(Box::new(Type::Text), Box::new(Type::Text));
    let list = Type::List(Box::new(Type::Text));
    let keyspace = ("keyspace_name", Type::Text);
    Some(match name.table.as_str() {
        "keyspaces" => {
            let columns = [keyspace, ("replication", map), ("durable_writes", Type::Boolean)];
            let rows = store.keyspaces.iter().map(|(name, keyspace)| {
                let pairs = keyspace.replication.iter();
                let parts: Vec<_> = pairs
                    .flat_map(|(key, value)| [key.clone().into_bytes(), value.clone().into_bytes()])
                    .collect();
                let replication = collection(parts.len() / 2, &parts);
                vec![text(name), Some(replication), Some(vec![1])]
            });
            table(name, &columns, 1, rows.collect())
        }
        "tables" => {
            let columns = [keyspace, ("table_name", Type::Text)];
            let rows = store.tables.keys();
            let rows = rows.map(|name| vec![text(&name.keyspace), text(&name.table)]);
            table(name, &columns, 2, rows.collect())
        }
        "columns" => {
            let columns = [
                keyspace,
                ("table_name", Type::Text),
                ("column_name", Type::Text),
                ("clustering_order", Type::Text),
                ("kind", Type::Text),
                ("position", Type::Int),
                ("type", Type::Text),
            ];
            let rows = store.tables.values().flat_map(columns_of);
            table(name, &columns, 3, rows.collect())
        }
        "views" => {
            let columns = [
                keyspace,
                ("view_name", Type::Text),
                ("base_table_name", Type::Text),
            ];
            table(name, &columns, 2, Vec::new())
        }
        "types" => {
            let columns = [
                keyspace,
                ("type_name", Type::Text),
                ("field_names", list.clone()),
                ("field_types", list),
            ];
            table(name, &columns, 2, Vec::new())
        }
        "scylla_tables" if shape.scylla => {
            let columns = [keyspace, ("table_name", Type::Text), ("partitioner", Type::Text)];
            let rows = store.tables.keys();
            let rows = rows.map(|name| vec![text(&name.keyspace), text(&name.table), None]);
            table(name, &columns, 2, rows.collect())
        }
        "scylla_keyspaces" if shape.scylla => {
            let columns = [keyspace, ("initial_tablets", Type::Int)];
            let rows = store.keyspaces.iter().map(|(name, keyspace)| {
                let tablets = keyspace.tablets.then(|| 0_i32.to_be_bytes().to_vec());
                vec![text(name), tablets]
            });
            table(name, &columns, 1, rows.collect())
        }
        _ => return None,
    })
}

fn columns_of(table: &Table) -> impl Iterator<Item = Vec<Value>> + '_ {
    let mut positions = [0_i32; 2];
    table.columns.iter().map(move |column| {
        let mut next = |which: usize| {
            positions[which] += 1;
            positions[which] - 1
        };
        let (kind, position, order) = match column.place {
            Place::Partition => ("partition_key", next(0), "none"),
            Place::Clustering(false) => ("clustering", next(1), "asc"),
            Place::Clustering(true) => ("clustering", next(1), "desc"),
            Place::Static => ("static", -1, "none"),
            Place::Regular => ("regular", -1, "none"),
        };
        vec![
            text(&table.name.keyspace),
            text(&table.name.table),
            text(&column.name),
            text(order),
            text(kind),
            Some(position.to_be_bytes().to_vec()),
            text(column.typ.name()),
        ]
    })
}
