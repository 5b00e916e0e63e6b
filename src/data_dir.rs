//! The directory of the embedded stores: who may use it, and the secret kept in it.
//!
//! One server process at a time: two would both believe that they own the rooms'
//! order. The lock is the kernel's, so a killed process leaves none behind.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use rand::TryRngCore as _;
use secrecy::SecretString;

const LOCK: &str = "lock";
const SECRET: &str = "jwt_secret";
const SECRET_BYTES: usize = 32;

/// A data directory that this process holds; it is let go when this value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Holds the lock for as long as it is open.
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process holds it.
    #[error(
        "the data directory {} is in use by {}",
        path.display(),
        pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Which process, if it has written it down already.
        pid: Option<u32>,
    },
    /// It cannot be made, opened or written.
    #[error("{} cannot be used", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `jwt_secret` was changed by hand.
    #[error("{} does not hold {} hex digits; restore it, or remove it and everybody signs in again",
        path.display(), SECRET_BYTES * 2)]
    Secret {
        /// The file.
        path: PathBuf,
    },
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random(#[source] rand::rand_core::OsError),
}

impl DataDir {
    /// Makes the directory if it is not there (for its owner only) and takes it for
    /// this process.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] names the process that holds it.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        make_private_dir(path).map_err(failed(path))?;
        let lock_path = path.join(LOCK);
        let mut lock = private(OpenOptions::new().read(true).write(true).create(true))
            .truncate(false)
            .open(&lock_path)
            .map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = (&lock)
                    .take(32)
                    .read_to_string(&mut text)
                    .ok()
                    .and_then(|_| text.trim().parse().ok());
                return Err(DataDirError::InUse {
                    path: path.to_owned(),
                    pid,
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(&lock_path)(error)),
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(failed(&lock_path))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key of the access tokens, 64 hex digits: made at the first call ever, then
    /// always the same. Only the file's owner can read it.
    ///
    /// # Errors
    /// It cannot be written or read, or was changed by hand.
    pub fn secret(&self) -> Result<SecretString, DataDirError> {
        let path = self.path.join(SECRET);
        match File::open(&path) {
            Ok(file) => {
                keep_private(&file, &path).map_err(failed(&path))?;
                let mut text = String::new();
                (&file)
                    .take(1024)
                    .read_to_string(&mut text)
                    .map_err(failed(&path))?;
                let text = text.trim_end();
                if text.len() != SECRET_BYTES * 2 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(DataDirError::Secret { path });
                }
                Ok(SecretString::from(text))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_secret(&path),
            Err(error) => Err(failed(&path)(error)),
        }
    }

    fn make_secret(&self, path: &Path) -> Result<SecretString, DataDirError> {
        let mut bytes = [0; SECRET_BYTES];
        rand::rngs::OsRng
            .try_fill_bytes(&mut bytes)
            .map_err(DataDirError::Random)?;
        let text = hex::encode(bytes);
        // Whole or not at all: half a secret after a power cut would end every session.
        let unfinished = path.with_extension("new");
        let write = || {
            let mut file =
                private(OpenOptions::new().write(true).create(true).truncate(true)).open(&unfinished)?;
            keep_private(&file, &unfinished)?;
            writeln!(file, "{text}")?;
            file.sync_all()?;
            fs::rename(&unfinished, path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(failed(path))?;
        Ok(SecretString::from(text))
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Io { path, source }
}

#[cfg(unix)]
fn make_private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_private_dir(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Takes the file away from everybody but its owner, if somebody let others in.
#[cfg(unix)]
fn keep_private(file: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "the secret was readable by others; it is not any more");
        permissions.set_mode(0o600);
        file.set_permissions(permissions)?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn keep_private(_: &File, _: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        io::{BufRead as _, BufReader},
        os::unix::fs::PermissionsExt as _,
        path::Path,
        process::{Command, Stdio},
    };

    use secrecy::ExposeSecret as _;

    use super::{DataDir, DataDirError};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn directory_and_secret_are_for_the_owner_only() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("deep/data");
        let dir = DataDir::open(&path).unwrap();
        let secret = dir.secret().unwrap();
        assert_eq!(secret.expose_secret().len(), 64);
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("jwt_secret")), 0o600);
        assert_eq!(
            fs::read_to_string(path.join("lock")).unwrap().trim(),
            std::process::id().to_string()
        );
        assert!(!path.join("jwt_secret.new").exists());
    }

    #[test]
    fn secret_is_made_once() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        // What a process that died in between left behind does not count.
        fs::write(temp.path().join("jwt_secret.new"), "half").unwrap();
        let first = dir.secret().unwrap();
        fs::set_permissions(temp.path().join("jwt_secret"), fs::Permissions::from_mode(0o644)).unwrap();
        drop(dir);
        let again = DataDir::open(temp.path()).unwrap().secret().unwrap();
        assert_eq!(first.expose_secret(), again.expose_secret());
        assert_eq!(mode(&temp.path().join("jwt_secret")), 0o600);
    }

    #[test]
    fn damaged_secret_is_refused_not_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        fs::write(temp.path().join("jwt_secret"), "abc\n").unwrap();
        assert!(matches!(dir.secret(), Err(DataDirError::Secret { .. })));
        assert_eq!(
            fs::read_to_string(temp.path().join("jwt_secret")).unwrap(),
            "abc\n"
        );
    }

    #[test]
    fn second_process_is_refused_and_told_who_holds_it() {
        let temp = tempfile::tempdir().unwrap();
        let lock = temp.path().join("lock");
        File::create(&lock).unwrap();
        // flock(1) is another process that takes the very same lock.
        let mut other = Command::new("flock")
            .arg(&lock)
            .args(["sh", "-c", "echo $$; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pid = String::new();
        BufReader::new(other.stdout.as_mut().unwrap())
            .read_line(&mut pid)
            .unwrap();
        fs::write(&lock, &pid).unwrap();

        let error = DataDir::open(temp.path()).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, DataDirError::InUse { pid: Some(_), .. }),
            "{text}"
        );
        assert!(text.contains(&format!("process {}", pid.trim())), "{text}");
        assert!(text.contains(temp.path().to_str().unwrap()), "{text}");

        drop(other.stdin.take());
        other.wait().unwrap();
        DataDir::open(temp.path()).unwrap();
    }

    #[test]
    fn second_opening_in_one_process_is_refused_too() {
        let temp = tempfile::tempdir().unwrap();
        let first = DataDir::open(temp.path()).unwrap();
        assert!(DataDir::open(temp.path()).is_err());
        drop(first);
        DataDir::open(temp.path()).unwrap();
    }
}
