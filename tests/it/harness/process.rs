//! The real binary, which can be killed.

use std::{
    ffi::OsStr,
    fs::OpenOptions,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;

use super::{soon, until};

/// What a server runs with, beside [`super::app::config`]'s own settings.
const SETTINGS: [(&str, &str); 8] = [
    ("TIMINGLE__SERVER__PORT", "0"),
    ("TIMINGLE__SERVER__WORKERS", "2"),
    ("TIMINGLE__ROOM__THREADS", "2"),
    ("TIMINGLE__METRICS__PORT", "0"),
    ("TIMINGLE__AUTH__PROOF", "none"),
    ("TIMINGLE__LIMITS__SIGN_INS_PER_ADDRESS", "100000"),
    ("TIMINGLE__LIMITS__REQUESTS_PER_USER", "1000000"),
    ("TIMINGLE__LOG__FORMAT", "json"),
];

/// A running `timingle serve`. Dropped, it is killed.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    stdout: Arc<Mutex<String>>,
    log: PathBuf,
}

/// How a server is started.
pub(crate) struct Launch<'a> {
    /// Holds the data, in `data`, and the log lines, in `server.log`.
    pub(crate) dir: &'a Path,
    /// Settings that win over the usual ones.
    pub(crate) env: &'a [(&'a str, &'a str)],
    /// A command that ends by running the one that follows it in its own process
    /// (`strace -D ...`, `unshare -m ...`), so that what is killed is the server itself.
    pub(crate) through: &'a [&'a OsStr],
}

/// The binary under test; `TIMINGLE_TEST_PROGRAM` puts another build in its place.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("TIMINGLE_TEST_PROGRAM")
        .map_or_else(|| env!("CARGO_BIN_EXE_timingle").into(), PathBuf::from)
}

impl Server {
    /// A server with its data in `dir/data`, once it says where it listens.
    pub(crate) async fn spawn(dir: &Path) -> Self {
        Self::launch(Launch {
            dir,
            env: &[],
            through: &[],
        })
        .await
    }

    /// As [`Server::spawn`], in a way of its own.
    pub(crate) async fn launch(Launch { dir, env, through }: Launch<'_>) -> Self {
        let log = dir.join("server.log");
        let stderr = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let program = program();
        let mut words: Vec<&OsStr> = through.to_vec();
        words.extend([program.as_os_str(), OsStr::new("serve")]);
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr);
        for (name, _) in std::env::vars_os() {
            // Settings of whoever runs the tests are not the tests'.
            if name.to_str().is_some_and(|name| name.starts_with("TIMINGLE__")) {
                command.env_remove(name);
            }
        }
        command
            .envs(SETTINGS)
            .env("TIMINGLE__DATA__DIR", dir.join("data"))
            .envs(env.iter().copied());

        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{words:?} cannot be run: {error}"));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stdout = Arc::new(Mutex::new(String::new()));
        let (tell, told) = oneshot::channel();
        let kept = Arc::clone(&stdout);
        thread::spawn(move || {
            let mut tell = Some(tell);
            for line in lines.map_while(Result::ok) {
                let address = line
                    .trim()
                    .strip_prefix("address")
                    .and_then(|rest| rest.trim().strip_prefix("http://"));
                kept.lock().unwrap().extend([line.as_str(), "\n"]);
                if let Some(address) = address.and_then(|address| address.parse().ok())
                    && let Some(tell) = tell.take()
                {
                    let _ = tell.send(address);
                }
            }
        });
        // In the struct before anything can fail, so that a failing test leaves nothing behind.
        let mut server = Self {
            address: ([0, 0, 0, 0], 0).into(),
            child,
            stdout,
            log,
        };
        let Ok(address) = soon("the server's address", told).await else {
            panic!("the server ended before it listened:\n{}", server.log());
        };
        server.address = address;
        server
    }

    /// The id of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it printed so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    /// All log lines of this server and of those before it in the same directory.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills it (SIGKILL). When this returns, the process is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.wait().await;
        assert_eq!(
            status.signal(),
            Some(9),
            "it had ended before: {status}\n{}",
            self.log()
        );
    }

    /// Asks it to stop (SIGTERM).
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Freezes it (SIGSTOP): its connections stay open, and nothing is answered.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on where it was frozen (SIGCONT).
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Returns once it has ended.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until("the server's end", || {
            let status = child.try_wait().unwrap();
            async move { status }
        })
        .await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
