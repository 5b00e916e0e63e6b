//! The terminal client, driven through pipes as a script would.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    thread,
};

use tokio::sync::mpsc;

use crate::harness::{
    process::{Launch, Server, program},
    soon, until,
};

/// A running `timingle chat`. Dropped, it is killed.
struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    output: mpsc::UnboundedReceiver<String>,
    /// Every line so far.
    seen: Vec<String>,
}

impl Client {
    fn start(server: &Server, args: &[&str]) -> Self {
        let mut child = Command::new(program())
            .args(["chat", "--server", &format!("http://{}", server.address)])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, output) = mpsc::unbounded_channel();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let errors = sender.clone();
        thread::spawn(move || {
            BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .all(|line| sender.send(line).is_ok())
        });
        thread::spawn(move || {
            BufReader::new(stderr)
                .lines()
                .map_while(Result::ok)
                .all(|line| errors.send(line).is_ok())
        });
        let stdin = child.stdin.take();
        Self {
            child,
            stdin,
            output,
            seen: Vec::new(),
        }
    }

    fn signed_in(server: &Server, phone: &str, name: &str, language: &str, more: &[&str]) -> Self {
        let mut args = vec![
            "--no-code",
            "--phone",
            phone,
            "--name",
            name,
            "--language",
            language,
        ];
        args.extend(more);
        Self::start(server, &args)
    }

    fn types(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next line that has `part` in it.
    async fn shows(&mut self, part: &str) -> String {
        let what = format!("{part:?}");
        let line = soon(&what, async {
            while let Some(line) = self.output.recv().await {
                self.seen.push(line.clone());
                if line.contains(part) {
                    return Some(line);
                }
            }
            None
        })
        .await;
        line.unwrap_or_else(|| panic!("the client ended without {part:?}: {:#?}", self.seen))
    }

    /// Reads on until each of `parts` was in a line, in whatever order.
    async fn shows_all(&mut self, parts: &[&str]) {
        let from = self.seen.len();
        let missing = |seen: &[String]| {
            parts
                .iter()
                .find(|part| !seen.iter().any(|line| line.contains(*part)))
                .copied()
        };
        while let Some(part) = missing(&self.seen[from..]) {
            let what = format!("{part:?}");
            let line = soon(&what, self.output.recv()).await;
            self.seen
                .push(line.unwrap_or_else(|| panic!("the client ended without {what}: {:#?}", self.seen)));
        }
    }

    /// Ends its input, and gives all that it showed and whether it ended well.
    async fn end(mut self) -> (Vec<String>, bool) {
        self.stdin = None;
        soon("the client's end", async {
            while let Some(line) = self.output.recv().await {
                self.seen.push(line);
            }
        })
        .await;
        let child = &mut self.child;
        let status = until("the client's exit", || {
            let status = child.try_wait().unwrap();
            async move { status }
        })
        .await;
        (std::mem::take(&mut self.seen), status.success())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The entries among the lines, without their times: `#3 Tom: hello`.
fn entries(lines: &[String]) -> Vec<String> {
    let entry = |line: &String| {
        let (seq, rest) = line.strip_prefix('#')?.split_once(' ')?;
        let (time, words) = rest.split_once(' ')?;
        (time.len() == 5 && time.contains(':')).then(|| format!("#{seq} {words}"))
    };
    lines.iter().filter_map(entry).collect()
}

async fn restart(dir: &Path, port: u16) -> Server {
    let port = port.to_string();
    Server::launch(Launch {
        dir,
        env: &[("TIMINGLE__SERVER__PORT", &port)],
        through: &[],
    })
    .await
}

#[tokio::test]
async fn two_terminals_talk_while_the_server_falls() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::spawn(dir.path()).await;
    let mut minji = Client::signed_in(&server, "010-1111-2222", "민지", "ko", &[]);
    minji.types("/new 점심 같이");
    minji.shows("* 민지님이 ‘점심 같이’ 약속을 만들었어요.").await;
    minji.types("/invite");
    let link = minji.shows("/invite/").await;
    let mut tom = Client::signed_in(&server, "010-3333-4444", "Tom", "en", &["--invite", &link]);
    tom.shows("* Tom joined.").await;
    minji.shows("* Tom님이 들어왔어요.").await;
    tom.types("hello");
    minji.shows("Tom: hello").await;
    minji.types("안녕");
    tom.shows("민지: 안녕").await;
    tom.types("/people");
    tom.shows("민지 (host)").await;
    tom.shows("Tom (has not answered)").await;

    let port = server.address.port();
    server.kill().await;
    minji.shows("연결이 끊겼어요").await;
    tom.shows("The connection is lost").await;
    for words in ["one", "two", "three"] {
        tom.types(words);
    }
    minji.types("하나");
    let mut server = restart(dir.path(), port).await;
    tom.shows_all(&["three", "하나"]).await;
    minji.shows_all(&["three", "하나"]).await;

    // A stop that says when to come back.
    server.terminate();
    assert!(server.wait().await.success());
    minji.shows("연결이 끊겼어요").await;
    let _server = restart(dir.path(), port).await;
    minji.shows("다시 연결됐어요").await;
    minji.types("/confirm");
    minji.shows("아직 1명이 더 참석한다고 해야").await;
    tom.types("/accept sure");
    minji.shows("* Tom님이 참석하기로 했어요. 한마디: sure").await;
    minji.shows("* 약속이 확정됐어요.").await;
    minji.types("/cancel 비");
    minji.shows("* 민지님이 약속을 취소했어요. 이유: 비").await;
    tom.shows("* 민지 canceled the appointment. Reason: 비").await;
    tom.types("/leave");
    tom.shows("You left the appointment.").await;
    minji.types("마지막");

    // What was typed before the input ended is sent before the client ends.
    let (minji, minji_ended_well) = minji.end().await;
    let (tom, tom_ended_well) = tom.end().await;
    assert!(minji_ended_well && tom_ended_well);
    let (minji, tom) = (entries(&minji), entries(&tom));
    let seqs = |entries: &[String]| -> Vec<usize> {
        entries
            .iter()
            .map(|entry| entry[1..].split_once(' ').unwrap().0.parse().unwrap())
            .collect()
    };
    assert_eq!(seqs(&minji), (1..=13).collect::<Vec<_>>(), "{minji:#?}");
    assert_eq!(seqs(&tom), (1..=12).collect::<Vec<_>>(), "{tom:#?}");
    assert_eq!(minji[12], "#13 민지: 마지막");
    let said = |entries: &[String]| -> Vec<String> {
        entries
            .iter()
            .filter(|entry| !entry.contains(" * "))
            .cloned()
            .collect()
    };
    assert_eq!(said(&tom), said(&minji)[..6]);
    let toms: Vec<String> = said(&tom)
        .into_iter()
        .filter(|entry| entry.contains("Tom: "))
        .collect();
    assert!(
        ["hello", "one", "two", "three"]
            .iter()
            .zip(&toms)
            .all(|(words, entry)| entry.ends_with(words)),
        "{toms:?}"
    );
}

#[tokio::test]
async fn sign_in_asks_for_the_code_until_it_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::launch(Launch {
        dir: dir.path(),
        env: &[("TIMINGLE__AUTH__PROOF", "code")],
        through: &[],
    })
    .await;
    let mut client = Client::start(&server, &["--no-code", "--language", "en", "--name", "Tom"]);
    client.shows("Enter your phone number.").await;
    client.types("010-5555-6666");
    client.shows("has to be confirmed").await;
    client.shows("Enter the six-digit code").await;
    let code = until("the code", || {
        let printed = server.stdout();
        async move {
            let line = printed.lines().find(|line| line.contains("code for"))?.to_owned();
            line.rsplit_once(": ").map(|(_, code)| code.trim().to_owned())
        }
    })
    .await;
    client.types(if code == "000000" { "000001" } else { "000000" });
    client.shows("This code is not right.").await;
    client.types(&code);
    client.shows("Welcome, Tom.").await;
    client.types("/list");
    client.shows("You have no appointments yet.").await;
    client.types("words to nobody");
    client.shows("No conversation is open.").await;
    client.types("/open 999999");
    client.shows("We could not find this appointment.").await;
    let (seen, ended_well) = client.end().await;
    assert!(ended_well);
    let seen = seen.join("\n");
    assert!(
        !seen.contains(&code) && !seen.contains("5555"),
        "a secret was shown: {seen}"
    );
}

#[tokio::test]
async fn server_that_is_not_there_is_said_plainly() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::spawn(dir.path()).await;
    server.terminate();
    server.wait().await;
    let client = Client::signed_in(&server, "010-1111-2222", "Tom", "en", &[]);
    let (seen, ended_well) = client.end().await;
    assert!(!ended_well);
    assert!(
        seen.join("\n").contains("The server cannot be reached."),
        "{seen:?}"
    );
}
