//! A migrated database in a directory of its own, for tests.

use std::{path::PathBuf, time::Duration};

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{Sql, migrate::migrate, schema::users};
use crate::domain::{id::UserId, time::Micros};

/// A database that lives as long as this.
pub(crate) struct TestDb {
    /// Its pool of 8 connections.
    pub(crate) sql: Sql,
    /// Its file.
    pub(crate) path: PathBuf,
    _dir: tempfile::TempDir,
}

impl TestDb {
    pub(crate) async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        migrate(&path).await.unwrap();
        let sql = Sql::open(&path, 8, Duration::from_secs(30)).await.unwrap();
        Self { sql, path, _dir: dir }
    }

    /// Somebody with this name.
    pub(crate) async fn user(&self, name: &str) -> UserId {
        let now = Micros(1).to_datetime();
        let mut conn = self.sql.get().await.unwrap();
        let id = diesel::insert_into(users::table)
            .values((
                users::name.eq(name),
                users::language.eq("ko"),
                users::timezone.eq("Asia/Seoul"),
                users::role.eq("USER"),
                users::status.eq("ACTIVE"),
                users::created_at.eq(now),
                users::updated_at.eq(now),
            ))
            .returning(users::id)
            .get_result(&mut conn)
            .await
            .unwrap();
        UserId(id)
    }
}
