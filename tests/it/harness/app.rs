//! The real server in this process.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, thread};

use tempfile::TempDir;
use timingle::{
    app::{App, Overrides},
    config::{Config, Sources},
};
use tokio::sync::oneshot;

use super::{
    User,
    cluster::{self, Stage},
    soon,
};

/// A running server and its data directory.
pub(crate) struct TestApp {
    pub(crate) address: SocketAddr,
    pub(crate) dir: Arc<TempDir>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The settings of a test's server: the defaults, a free port, no proof of numbers, no haste.
pub(crate) fn config(dir: &std::path::Path) -> Config {
    let env = env(dir);
    Config::load(&Sources { file: None, env }).unwrap()
}

/// The same, as the environment says it.
pub(super) fn env(dir: &std::path::Path) -> Vec<(String, String)> {
    [
        ("TIMINGLE__SERVER__PORT", "0"),
        ("TIMINGLE__SERVER__WORKERS", "2"),
        ("TIMINGLE__ROOM__THREADS", "2"),
        ("TIMINGLE__METRICS__PORT", "0"),
        ("TIMINGLE__AUTH__PROOF", "none"),
        ("TIMINGLE__LIMITS__SIGN_INS_PER_ADDRESS", "100000"),
        ("TIMINGLE__LIMITS__REQUESTS_PER_USER", "1000000"),
        ("TIMINGLE__DATA__DIR", dir.to_str().unwrap()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

impl TestApp {
    /// A server as the defaults make it.
    pub(crate) async fn spawn() -> Self {
        Self::with(|_| {}).await
    }

    /// A server with some settings changed.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start(
            Arc::new(tempfile::tempdir().unwrap()),
            change,
            Overrides::default(),
        )
        .await
    }

    /// A server on `dir`, perhaps with something real replaced.
    pub(crate) async fn start(
        dir: Arc<TempDir>,
        change: impl FnOnce(&mut Config),
        overrides: Overrides,
    ) -> Self {
        if !cluster::everywhere() {
            let mut config = config(dir.path());
            change(&mut config);
            return Self::run(dir, config, overrides).await;
        }
        let mut config = Stage::of(&dir).await.config(dir.path());
        change(&mut config);
        let app = Self::run(dir, config, overrides).await;
        cluster::until_ready(app.address).await;
        app
    }

    /// A server with exactly this configuration, once it listens.
    pub(super) async fn run(dir: Arc<TempDir>, config: Config, overrides: Overrides) -> Self {
        let (tell, told) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let background = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let handle = background.handle().clone();
            actix_rt::System::new().block_on(async move {
                let app = App::build(config, &handle, overrides).await.unwrap();
                tell.send(app.address()).unwrap();
                app.run(async {
                    let _ = stopped.await;
                })
                .await
                .unwrap();
            });
        });
        let address = soon("the server", told).await.expect("the server did not start");
        Self {
            address,
            dir,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Somebody new, signed in.
    pub(crate) async fn user(&self, name: &str) -> User {
        User::register(self.address, name).await
    }

    /// A file of the data directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Changes rows of the relational store below all rules; how many.
    pub(crate) async fn alter(&self, statement: &str) -> u64 {
        if cluster::everywhere() {
            let sql = Stage::of(&self.dir).await.database.connect().await;
            return sql.execute(statement, &[]).await.unwrap();
        }
        let sql = rusqlite::Connection::open(self.file("app.db")).unwrap();
        sql.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        sql.execute(statement, []).unwrap() as u64
    }

    /// Stops the server as SIGTERM would, and gives its data directory back.
    pub(crate) async fn stop(mut self) -> Arc<TempDir> {
        self.end().await;
        Arc::clone(&self.dir)
    }

    async fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(move || thread.join());
            soon("the server's end", joined)
                .await
                .unwrap()
                .expect("the server fell");
        }
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}
