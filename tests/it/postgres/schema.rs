//! Both databases have the same tables.

use std::path::Path;

use timingle::adapters::sql::migrate::migrate;

use super::{
    catalog::{self, Catalog},
    migrated,
};
use crate::harness::database::Database;

/// The schema of a file that the migrations made.
async fn of_file(dir: &Path) -> Catalog {
    let file = dir.join("app.db");
    migrate(&file).await.unwrap();
    catalog::of_sqlite(&rusqlite::Connection::open(file).unwrap())
}

#[tokio::test]
async fn both_databases_have_the_same_tables_columns_indexes_and_rules() {
    let database = Database::shared().await;
    migrated(&database).await;
    let postgres = catalog::of_postgres(&database.connect().await).await;
    let dir = tempfile::tempdir().unwrap();
    let sqlite = of_file(dir.path()).await;

    let names = |catalog: &Catalog| catalog.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&postgres), names(&sqlite), "tables");
    for (name, table) in &postgres {
        let other = &sqlite[name];
        assert_eq!(table.columns, other.columns, "columns of {name}");
        assert_eq!(table.primary_key, other.primary_key, "key of {name}");
        assert_eq!(table.unique, other.unique, "what is unique in {name}");
        assert_eq!(table.references, other.references, "what {name} refers to");
        assert_eq!(table.indexes, other.indexes, "indexes of {name}");
        assert_eq!(table.checks, other.checks, "checks of {name}");
    }
    // The look was not at nothing.
    let all = postgres.values();
    let counts = [
        postgres.len(),
        all.clone().map(|table| table.columns.len()).sum(),
        all.clone().map(|table| table.references.len()).sum(),
        all.clone().map(|table| table.indexes.len()).sum(),
        all.map(|table| table.checks.len()).sum(),
    ];
    let least = [8, 72, 9, 11, 21];
    assert!(
        counts.iter().zip(least).all(|(count, least)| *count >= least),
        "{counts:?}"
    );
}
