//! `./run --cluster`, as somebody who wants to see one would use it.

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{User, api::Sends as _, process::program, until};

/// How long a first start may take on a busy machine.
const START: Duration = Duration::from_secs(180);
/// How long stopping may take: nodes drain, Cassandra and PostgreSQL close.
const STOP: Duration = Duration::from_secs(60);
/// Ports that a cluster takes.
const PORTS: u16 = 13;

struct Cluster {
    script: Child,
    dir: PathBuf,
    port: u16,
    printed: Arc<Mutex<String>>,
}

fn script(dir: &Path, words: &[&str]) -> Command {
    // Whoever runs the tests in the background has Ctrl-C ignored, and all that is started from there.
    let mut command = Command::new("env");
    command.args([
        "--default-signal=INT",
        concat!(env!("CARGO_MANIFEST_DIR"), "/run"),
    ]);
    command.arg("--cluster").args(words).arg("--dir").arg(dir);
    command.stdin(Stdio::null());
    command
}

/// Thirteen free ports in a row, below those that the system gives to clients and apart from
/// those of other servers of the tests.
fn free_ports() -> u16 {
    let offset = u16::try_from(std::process::id() % 200).unwrap();
    (0..200)
        .map(|turn| 26_500 + (offset + turn) % 200 * PORTS)
        .find(|port| {
            (0..PORTS)
                .map(|more| TcpListener::bind(("127.0.0.1", port + more)))
                .all(|bound| bound.is_ok())
        })
        .unwrap()
}

impl Cluster {
    fn start(dir: &Path) -> Self {
        let port = free_ports();
        let mut command = script(dir, &["--port", &port.to_string()]);
        command.arg("--program").arg(program());
        // One stream, as on a terminal; a process group, as a shell gives it.
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut script = command.spawn().unwrap();
        let printed: Arc<Mutex<String>> = Arc::default();
        let streams: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(script.stdout.take().unwrap()),
            Box::new(script.stderr.take().unwrap()),
        ];
        for stream in streams {
            let kept = Arc::clone(&printed);
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    kept.lock().unwrap().extend([line.as_str(), "\n"]);
                }
            });
        }
        Self {
            script,
            dir: dir.to_owned(),
            port,
            printed,
        }
    }

    fn printed(&self) -> String {
        self.printed.lock().unwrap().clone()
    }

    async fn until_printed(&mut self, what: &str, patience: Duration) {
        let begun = Instant::now();
        while !self.printed().contains(what) {
            let ended = self.script.try_wait().unwrap();
            assert!(
                ended.is_none() && begun.elapsed() < patience,
                "no {what:?} after {:?}, {ended:?}:\n{}",
                begun.elapsed(),
                self.printed()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The proxy, or a node.
    fn at(&self, part: u16) -> SocketAddr {
        ([127, 0, 0, 1], self.port + part).into()
    }

    fn pid(&self, part: &str) -> Pid {
        let pid = fs::read_to_string(self.dir.join(part).join("pid")).unwrap();
        Pid::from_raw(pid.trim().parse().unwrap()).unwrap()
    }

    /// Signs in as people do: with the code that stands on the terminal.
    async fn sign_in(&self, name: &str, number: &str) -> User {
        let (status, sent) = self.post("send", json!({ "phone": number })).await;
        assert_eq!(status, StatusCode::OK, "{sent}");
        let last = &number[number.len() - 4..];
        let code = until("the code on the terminal", || async {
            let printed = self.printed();
            let line = printed
                .lines()
                .find(|line| line.contains("code for") && line.contains(last))?;
            Some(line.rsplit(' ').next().unwrap().to_owned())
        })
        .await;
        let body = json!({ "verification_id": sent["verification_id"], "code": code, "name": name });
        let (status, signed_in) = self.post("verify", body).await;
        assert_eq!(status, StatusCode::CREATED, "{signed_in}");
        User::of(self.at(0), name, number, &signed_in)
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let answer = reqwest::Client::new()
            .post(format!("http://{}/api/v1/auth/phone/{path}", self.at(0)))
            .json(&body)
            .sent()
            .await
            .unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn until_ready(&self, part: u16) {
        until("a node that lacks nothing", || async {
            let answer = reqwest::get(format!("http://{}/readyz", self.at(part)))
                .await
                .ok()?;
            let ready = answer.status() == StatusCode::OK;
            let body: Value = answer.json().await.ok()?;
            (ready && body == json!({ "status": "ready" })).then_some(())
        })
        .await;
    }

    /// Returns once the script has ended, in good order.
    async fn until_end(&mut self) {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.script.try_wait().unwrap() {
                assert!(status.success(), "{status}:\n{}", self.printed());
                return;
            }
            assert!(begun.elapsed() < STOP, "still running:\n{}", self.printed());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Processes that work in its folder or name it.
    fn processes(&self) -> Vec<String> {
        let mut found = Vec::new();
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let works_there =
                fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&self.dir));
            let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            if works_there || command.contains(self.dir.to_str().unwrap()) {
                found.push(format!("{} {command}", process.file_name().display()));
            }
        }
        found
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // After a failure everything still runs.
        let _ = script(&self.dir, &["wipe"]).output();
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[tokio::test]
async fn three_nodes_behind_a_proxy_are_one_service_and_stop_without_a_trace() {
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // PostgreSQL does not run as root.
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
    let begun = Instant::now();
    let mut cluster = Cluster::start(&home.path().join("cluster"));
    cluster.until_printed("stop      Ctrl-C", START).await;
    eprintln!("started in {:?}", begun.elapsed());
    let secret = fs::metadata(cluster.dir.join("jwt-secret")).unwrap();
    assert_eq!(secret.permissions().mode() & 0o777, 0o600);
    for part in 0..=3 {
        cluster.until_ready(part).await;
    }

    let ada = cluster.sign_in("Ada", "010-3141-5926").await;
    let min = cluster.sign_in("Min", "010-2718-2818").await;
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let mut through_proxy = ada.connect().await;
    let mut at_one = ada.at(cluster.at(1)).connect().await;
    let mut at_two = min.at(cluster.at(2)).connect().await;
    for socket in [&mut through_proxy, &mut at_one, &mut at_two] {
        socket.join(room).await;
    }
    let words = [
        through_proxy.publish(room, "through the proxy").await,
        at_one.publish(room, "on node 1").await,
        at_two.publish(room, "on node 2").await,
    ];
    let last = words[2]["publish"]["seq"].as_u64().unwrap();
    for socket in [&mut through_proxy, &mut at_one, &mut at_two] {
        socket.read_to(room, last).await;
        let texts = socket.copy(room).texts();
        assert_eq!(texts, ["through the proxy", "on node 1", "on node 2"]);
    }

    // Node 1 dies; through the proxy everything goes on; it comes back by itself.
    kill_process(cluster.pid("node-1"), Signal::KILL).unwrap();
    at_one.end().await;
    let mut again = until("a way in", || async {
        let (status, _) = ada.try_call(reqwest::Method::GET, "/users/me", None).await.ok()?;
        if status == StatusCode::OK {
            Some(ada.connect().await)
        } else {
            None
        }
    })
    .await;
    again.join(room).await;
    assert_eq!(
        again.publish(room, "node 1 is gone").await["publish"]["room"],
        room
    );
    cluster.until_printed("node 1 has ended", START).await;
    cluster.until_ready(1).await;

    let second = script(&cluster.dir, &[]).output().unwrap();
    assert!(!second.status.success());
    let refused = String::from_utf8_lossy(&second.stderr);
    assert!(refused.contains("it runs already"), "{refused}");

    // Ctrl-C goes to all processes of the terminal's group.
    let begun = Instant::now();
    let group = Pid::from_raw(cluster.script.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process_group(group, Signal::INT).unwrap();
    cluster.until_end().await;
    eprintln!("stopped in {:?}", begun.elapsed());
    assert_eq!(cluster.processes(), [""; 0]);
    // Every port is free again.
    let listening = (0..PORTS).filter(|part| TcpListener::bind(cluster.at(*part)).is_err());
    assert_eq!(listening.collect::<Vec<_>>(), [0; 0]);
}
