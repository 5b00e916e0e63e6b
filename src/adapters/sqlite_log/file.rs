//! The file `chat.db`: its schema, and connections to it that are set up right.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

/// Marks the file as ours in its header: "tmgl".
const APPLICATION_ID: i32 = 0x746d_676c;

/// Version of the schema, in the file's `user_version`.
const SCHEMA_VERSION: i32 = 1;

/// How long a connection waits for a lock of another one, such as a copy being made.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// One row an entry, stored in the order (room, seq): a page of history is one
/// stretch of the file. The salt and the body are null after an erasure.
const SCHEMA: &str = "
CREATE TABLE entries (
    room     BLOB    NOT NULL,
    seq      INTEGER NOT NULL CHECK (seq > 0),
    at       INTEGER NOT NULL,
    author   INTEGER,
    kind     INTEGER NOT NULL,
    key      BLOB    NOT NULL,
    msg_no   INTEGER NOT NULL,
    fact_no  INTEGER NOT NULL,
    reply_to INTEGER,
    target   INTEGER,
    salt     BLOB,
    body     BLOB,
    digest   BLOB    NOT NULL,
    hash     BLOB    NOT NULL,
    PRIMARY KEY (room, seq),
    CHECK ((salt IS NULL) = (body IS NULL))
) STRICT, WITHOUT ROWID;
";

/// Why the log's file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file or its directory cannot be used.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is a file of something else.
    #[error("{} is not a log of timingle", .0.display())]
    Foreign(PathBuf),
    /// A later version of timingle wrote it.
    #[error("{} has schema version {found}; this program knows up to {SCHEMA_VERSION}", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its schema version.
        found: i32,
    },
    /// SQLite cannot open it, or it is damaged.
    #[error("cannot open the log")]
    Sqlite(#[from] rusqlite::Error),
}

/// Opens or creates the file for appends, and makes what it holds durable.
pub(super) fn prepare(path: &Path) -> Result<Connection, OpenError> {
    let created = create(path)?;
    let mut conn = writer(path)?;
    let found = version(&conn, path)?;
    if found == 0 {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(SCHEMA)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        tx.commit()?;
    }
    sync_wal(path).map_err(|source| OpenError::Io {
        path: wal_of(path),
        source,
    })?;
    if created {
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|source| OpenError::Io {
                path: dir.to_owned(),
                source,
            })?;
    }
    Ok(conn)
}

/// Makes sure that the file is a log this program understands, without changing it.
pub(super) fn check(path: &Path) -> Result<(), OpenError> {
    let conn = reader(path)?;
    if version(&conn, path)? == 0 {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    Ok(())
}

/// A connection that appends. The file must exist.
pub(super) fn writer(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    // The write-ahead log is on disk before COMMIT returns: NORMAL can lose the last ones.
    conn.pragma_update(None, "synchronous", "FULL")?;
    // Inside COMMIT a checkpoint would delay the answer: the writer does it afterwards.
    conn.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    conn.pragma_update(None, "cache_size", -16_384)?;
    Ok(conn)
}

/// A connection that only reads. The file must exist.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update(None, "cache_size", -4_096)?;
    Ok(conn)
}

/// Syncs the write-ahead log.
///
/// After a kill it may hold commits that the kernel has and the disk has not.
/// SQLite shows them again without a sync of its own; nobody may see them before.
pub(super) fn sync_wal(path: &Path) -> io::Result<()> {
    match File::open(wal_of(path)) {
        Ok(wal) => wal.sync_data(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Creates the file, readable by its owner only. Whether it was not there.
fn create(path: &Path) -> Result<bool, OpenError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(OpenError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The schema's version; 0 of a file without anything in it.
fn version(conn: &Connection, path: &Path) -> Result<i32, OpenError> {
    let number = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version) {
        (0, 0) if tables == 0 => Ok(0),
        (APPLICATION_ID, SCHEMA_VERSION) => Ok(version),
        (APPLICATION_ID, found) if found > SCHEMA_VERSION => Err(OpenError::Newer {
            path: path.to_owned(),
            found,
        }),
        _ => Err(OpenError::Foreign(path.to_owned())),
    }
}

fn wal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}
