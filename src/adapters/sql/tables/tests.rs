use diesel::{prelude::*, sql_types::Text};
use diesel_async::RunQueryDsl;

use super::{NAMES, Numbered, last_number, skip_numbers};
use crate::adapters::sql::fixture::TestDb;

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

#[tokio::test]
async fn no_table_and_no_numbering_is_forgotten() {
    let db = TestDb::in_file().await;
    let mut conn = db.sql.get().await.unwrap();
    let names = async |conn: &mut _, sql: &str| -> Vec<String> {
        let names: Vec<Name> = diesel::sql_query(sql).load(conn).await.unwrap();
        names.into_iter().map(|row| row.name).collect()
    };
    let found = names(
        &mut conn,
        "select name from sqlite_schema where type = 'table' and name not like 'sqlite%' \
         and name not like '\\_\\_diesel%' escape '\\' order by name",
    )
    .await;
    let mut known = NAMES.to_vec();
    known.sort_unstable();
    assert_eq!(found, known, "tables that are copied");
    let found = names(
        &mut conn,
        "select name from sqlite_schema where sql like '%autoincrement%' and type = 'table' order by name",
    )
    .await;
    let mut known = Numbered::ALL.map(Numbered::name);
    known.sort_unstable();
    assert_eq!(found, known, "tables that number their rows");
}

#[tokio::test]
async fn numbers_are_skipped_and_never_given_back() {
    let db = TestDb::open().await;
    let mut conn = db.sql.get().await.unwrap();
    assert_eq!(last_number(&mut conn, Numbered::Users).await.unwrap(), 0);
    skip_numbers(&mut conn, Numbered::Users, 6).await.unwrap();
    assert_eq!(db.user("Ada").await.0, 7);
    skip_numbers(&mut conn, Numbered::Users, 3).await.unwrap();
    assert_eq!(last_number(&mut conn, Numbered::Users).await.unwrap(), 7);
    skip_numbers(&mut conn, Numbered::Users, 9).await.unwrap();
    assert_eq!(db.user("Min").await.0, 10);
    assert_eq!(last_number(&mut conn, Numbered::Events).await.unwrap(), 0);
}
