//! The statements of the log on a session, prepared once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use scylla::{
    client::{execution_profile::ExecutionProfileHandle, session::Session},
    errors::{DbError, ExecutionError, RequestAttemptError},
    response::query_result::{QueryResult, QueryRowsResult},
    serialize::row::SerializeRow,
    statement::prepared::PreparedStatement,
};
use tokio::{sync::Notify, time::Duration};

use super::{
    Tuning,
    connect::{Profiles, Settings},
    link::{LinkError, fault},
    schema::Server,
};
use crate::ports::ReadError;

/// Why something could not be read.
#[derive(Debug)]
pub(super) enum Fault {
    /// The servers did not answer.
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
    /// What they hold at this seq is not ours.
    Corrupt(u64),
}

impl Fault {
    pub(super) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Box::new(error))
    }

    pub(super) fn of(self, room: crate::domain::id::RoomId) -> ReadError {
        match self {
            Self::Unavailable(error) => ReadError::Unavailable(error),
            Self::Corrupt(seq) => {
                tracing::error!(room.id = %room, seq, "the log of room {room} is damaged at seq {seq}");
                ReadError::Corrupt { room, seq }
            }
        }
    }
}

/// How often what happened to appends. For tests and for curiosity.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Conditional writes without an answer.
    pub(super) doubts: AtomicU64,
    /// Of these, writes that were applied after an exact read had not seen them.
    pub(super) late: AtomicU64,
}

/// A connected log.
pub(super) struct Store {
    session: Session,
    pub(super) server: Server,
    pub(super) tuning: Tuning,
    pub(super) patience: Duration,
    pub(super) counts: Arc<Counts>,
    renew: Arc<Notify>,
    pub(super) statements: Statements,
}

/// What the log says to the servers. The names of columns are in `schema`.
pub(super) struct Statements {
    /// The conditional write of one chunk, first time and later.
    pub(super) append: [PreparedStatement; 2],
    /// Rewrites a chunk.
    pub(super) rewrite: PreparedStatement,
    /// A bucket's head.
    pub(super) head: PreparedStatement,
    /// A bucket's head and its last chunk.
    pub(super) newest: PreparedStatement,
    /// The chunk that begins at or before a number; approximately and exactly.
    pub(super) cover: [PreparedStatement; 2],
    /// Chunks that begin behind a number, ascending; approximately and exactly.
    pub(super) after: [PreparedStatement; 2],
    pub(super) hint: PreparedStatement,
    pub(super) set_hint: PreparedStatement,
}

impl Store {
    /// Prepares everything on `session`; `home` is the datacenter to keep to, if there is one.
    pub(super) async fn prepare(
        session: Session,
        server: Server,
        settings: &Settings,
        home: Option<&str>,
        renew: Arc<Notify>,
    ) -> Result<Self, LinkError> {
        let profiles = Profiles::new(&settings.config, home);
        let (log, hints) = (
            format!("\"{}\".room_log", settings.config.keyspace),
            format!("\"{}\".room_hint", settings.config.keyspace),
        );
        let prepare = async |profile: &ExecutionProfileHandle, repeatable: bool, text: String| {
            let mut statement = session.prepare(text).await.map_err(fault)?;
            statement.set_execution_profile_handle(Some(profile.clone()));
            statement.set_is_idempotent(repeatable);
            Ok::<_, LinkError>(statement)
        };
        let sent_as = |statement: &PreparedStatement, profile: &ExecutionProfileHandle| {
            let mut statement = statement.clone();
            statement.set_execution_profile_handle(Some(profile.clone()));
            statement
        };
        let append = prepare(
            &profiles.write,
            false,
            format!(
                "UPDATE {log} SET head_seq = ?, head_hash = ?, hash = ?, rev = 0, chunk = ? \
                 WHERE room = ? AND bucket = ? AND first_seq = ? IF head_seq = ? AND head_hash = ?"
            ),
        )
        .await?;
        let rewrite = format!(
            "UPDATE {log} SET chunk = ?, rev = ? \
             WHERE room = ? AND bucket = ? AND first_seq = ? IF rev = ? AND hash = ?"
        );
        let head = format!(
            "SELECT DISTINCT room, bucket, head_seq, head_hash FROM {log} WHERE room = ? AND bucket = ?"
        );
        let columns = "head_seq, head_hash, first_seq, rev, hash, chunk";
        let newest = format!("SELECT {columns} FROM {log} WHERE room = ? AND bucket = ? LIMIT 1");
        let cover =
            format!("SELECT {columns} FROM {log} WHERE room = ? AND bucket = ? AND first_seq <= ? LIMIT 1");
        let after = format!(
            "SELECT {columns} FROM {log} WHERE room = ? AND bucket = ? AND first_seq > ? AND first_seq <= ? \
             ORDER BY first_seq ASC LIMIT ?"
        );
        let hint = format!("SELECT bucket FROM {hints} WHERE room = ?");
        // The bucket is also the write's timestamp: the greatest stays, whoever writes it when.
        let set_hint = format!("UPDATE {hints} USING TIMESTAMP ? SET bucket = ? WHERE room = ?");
        let (cover, after) = (
            prepare(&profiles.read, true, cover).await?,
            prepare(&profiles.read, true, after).await?,
        );
        let statements = Statements {
            append: [append.clone(), sent_as(&append, &profiles.again)],
            rewrite: prepare(&profiles.again, false, rewrite).await?,
            head: prepare(&profiles.exact, true, head).await?,
            newest: prepare(&profiles.exact, true, newest).await?,
            cover: [cover.clone(), sent_as(&cover, &profiles.exact)],
            after: [after.clone(), sent_as(&after, &profiles.exact)],
            hint: prepare(&profiles.hint, true, hint).await?,
            set_hint: prepare(&profiles.hint, true, set_hint).await?,
        };
        Ok(Self {
            session,
            server,
            tuning: settings.tuning.clone(),
            patience: settings.config.append_timeout * 2,
            counts: Arc::clone(&settings.counts),
            renew,
            statements,
        })
    }

    /// Executes `statement`, within the time that its kind is given.
    pub(super) async fn run(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryResult, ExecutionError> {
        let told = match self.tuning.timeout.as_ref().and_then(|timeout| timeout()) {
            None => self.session.execute_unpaged(statement, values).await,
            Some(limit) => {
                let mut hurried = statement.clone();
                hurried.set_request_timeout(Some(limit));
                self.session.execute_unpaged(&hurried, values).await
            }
        };
        if let Err(ExecutionError::LastAttemptError(RequestAttemptError::RepreparedIdChanged { .. })) = &told
        {
            // A server was upgraded to one that prepares otherwise: everything is prepared anew.
            self.renew.notify_one();
        }
        told
    }

    /// Executes a statement that reads.
    pub(super) async fn rows(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryRowsResult, Fault> {
        let result = self.run(statement, values).await.map_err(Fault::unavailable)?;
        result.into_rows_result().map_err(Fault::unavailable)
    }

    pub(super) fn doubted(&self) {
        self.counts.doubts.fetch_add(1, Relaxed);
    }
}

/// Whether the servers said that they did not begin: then nothing is in doubt, and saying it
/// again does not help.
pub(super) fn never_ran(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::BadQuery(_) => true,
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _)) => matches!(
            error,
            DbError::Invalid | DbError::SyntaxError | DbError::Unauthorized | DbError::ConfigError
        ),
        _ => false,
    }
}
