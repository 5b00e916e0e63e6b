//! What a person typed, or a pipe brought.

use std::io::{BufRead, Read as _};

use tokio::sync::mpsc;

use crate::domain::id::EventId;

/// Bytes of a line; a message may have 32,000.
const MAX_LINE_BYTES: u64 = 40_000;
/// Lines read ahead.
const READ_AHEAD: usize = 16;

/// One line of input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its line end.
    Text(String),
    /// Longer than [`MAX_LINE_BYTES`]; thrown away.
    TooLong,
}

/// The lines of standard input, one after the other.
pub(super) struct Lines(mpsc::Receiver<Line>);

impl Lines {
    /// Reads standard input on a thread of its own, which ends with the process: a
    /// read from a terminal cannot be called off, and must not hold up the exit.
    pub(super) fn stdin() -> Self {
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        std::thread::spawn(move || read_all(&mut std::io::stdin().lock(), &sender));
        Self(receiver)
    }

    /// The next line; `None` when the input has ended. Nothing is lost when it is dropped while waiting.
    pub(super) async fn next(&mut self) -> Option<Line> {
        self.0.recv().await
    }
}

fn read_all(input: &mut impl BufRead, sender: &mpsc::Sender<Line>) {
    while let Some(line) = read_line(input) {
        if sender.blocking_send(line).is_err() {
            return;
        }
    }
}

fn read_line(input: &mut impl BufRead) -> Option<Line> {
    let mut line = Vec::new();
    let read = input
        .by_ref()
        .take(MAX_LINE_BYTES)
        .read_until(b'\n', &mut line)
        .ok()?;
    if read == 0 {
        return None;
    }
    let is_whole = line.ends_with(b"\n") || (read as u64) < MAX_LINE_BYTES;
    if is_whole {
        let text = String::from_utf8_lossy(&line);
        return Some(Line::Text(text.trim_end_matches(['\n', '\r']).to_owned()));
    }
    // The rest of the line goes the same way, piece by piece.
    loop {
        line.clear();
        let read = input
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line)
            .ok()?;
        if read == 0 || line.ends_with(b"\n") {
            return Some(Line::TooLong);
        }
    }
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input<'a> {
    /// Nothing.
    Blank,
    /// Make an appointment with this title.
    New(&'a str),
    /// Show one's appointments.
    List,
    /// Make an invite link.
    Invite,
    /// Follow an invite link, given by its code.
    Join(&'a str),
    /// Open a conversation.
    Open(EventId),
    /// Close it, without leaving the appointment.
    Close,
    /// Show who takes part.
    People,
    /// Show what was said before.
    History,
    /// Take part no longer.
    Leave,
    /// Say that one comes, perhaps with a word about it.
    Accept(Option<&'a str>),
    /// Say that one does not come, perhaps with a reason.
    Decline(Option<&'a str>),
    /// Confirm the appointment by hand.
    Confirm,
    /// Call the appointment off, perhaps with a reason.
    Cancel(Option<&'a str>),
    /// Show what can be typed.
    Help,
    /// End.
    Quit,
    /// Say this.
    Say(&'a str),
    /// A command that there is not, or that lacks what it needs.
    Unknown(&'a str),
}

/// Reads a line. A message that begins with a slash is typed with two.
pub(super) fn parse(line: &str) -> Input<'_> {
    if line.trim().is_empty() {
        return Input::Blank;
    }
    let Some(command) = line.trim().strip_prefix('/') else {
        return Input::Say(line);
    };
    if command.starts_with('/') {
        return Input::Say(command);
    }
    let (name, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let argument = Some(argument.trim()).filter(|argument| !argument.is_empty());
    match (name, argument) {
        ("new", Some(title)) => Input::New(title),
        ("list", None) => Input::List,
        ("invite", None) => Input::Invite,
        ("join", Some(invite)) => code_of(invite).map_or(Input::Unknown(name), Input::Join),
        ("open", Some(id)) => event_id(id).map_or(Input::Unknown(name), Input::Open),
        ("close", None) => Input::Close,
        ("people", None) => Input::People,
        ("history", None) => Input::History,
        ("leave", None) => Input::Leave,
        ("accept", reason) => Input::Accept(reason),
        ("decline", reason) => Input::Decline(reason),
        ("confirm", None) => Input::Confirm,
        ("cancel", reason) => Input::Cancel(reason),
        ("help", _) => Input::Help,
        ("quit", None) => Input::Quit,
        _ => Input::Unknown(name),
    }
}

fn event_id(text: &str) -> Option<EventId> {
    let id: i64 = text.trim_start_matches('#').parse().ok()?;
    (1..=crate::domain::id::MAX_SAFE_INTEGER)
        .contains(&id)
        .then_some(EventId(id))
}

/// The code of an invite link, or of a code alone.
pub(super) fn code_of(link: &str) -> Option<&str> {
    let path = link.trim().split(['?', '#']).next()?.trim_end_matches('/');
    let code = path.rsplit('/').next()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    ((1..=128).contains(&code.len()) && code.chars().all(is_plain)).then_some(code)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::{Input, Line, MAX_LINE_BYTES, code_of, parse, read_line};
    use crate::domain::id::EventId;

    #[test]
    fn commands_and_messages() {
        for (line, input) in [
            ("", Input::Blank),
            ("  \t", Input::Blank),
            ("hello /all", Input::Say("hello /all")),
            ("  indented", Input::Say("  indented")),
            ("//new is a command", Input::Say("/new is a command")),
            ("/new  점심 같이 ", Input::New("점심 같이")),
            ("/new", Input::Unknown("new")),
            ("/open #12", Input::Open(EventId(12))),
            ("/open 0", Input::Unknown("open")),
            ("/open 9007199254740992", Input::Unknown("open")),
            ("/join http://localhost:8080/invite/aB-9_x", Input::Join("aB-9_x")),
            ("/join ../../x y", Input::Unknown("join")),
            ("/accept", Input::Accept(None)),
            ("/decline 출장이에요", Input::Decline(Some("출장이에요"))),
            ("/confirm", Input::Confirm),
            ("/confirm now", Input::Unknown("confirm")),
            ("/cancel", Input::Cancel(None)),
            ("/cancel 비가 와서", Input::Cancel(Some("비가 와서"))),
            ("/quit now", Input::Unknown("quit")),
            (" /list ", Input::List),
            ("/nonsense x", Input::Unknown("nonsense")),
            ("/", Input::Unknown("")),
        ] {
            assert_eq!(parse(line), input, "{line:?}");
        }
    }

    #[test]
    fn code_of_a_link() {
        assert_eq!(code_of("abc"), Some("abc"));
        assert_eq!(
            code_of(" https://t.example/app/invite/abc/?utm=1#x "),
            Some("abc")
        );
        for bad in ["", "/", "a b", "a%2fb", "http://x/invite/é", &"a".repeat(129)] {
            assert_eq!(code_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn lines_are_bounded_and_the_next_one_is_whole() {
        let long = usize::try_from(MAX_LINE_BYTES).unwrap();
        let mut bytes = b"one\r\n".to_vec();
        bytes.extend(vec![b'x'; long * 2 + 7]);
        bytes.extend(b"\ntwo\n");
        bytes.extend(vec![b'y'; long - 1]);
        bytes.extend(b"\nz\xff\nend");
        let mut input = Cursor::new(bytes);
        let text = |text: &str| Some(Line::Text(text.into()));
        assert_eq!(read_line(&mut input), text("one"));
        assert_eq!(read_line(&mut input), Some(Line::TooLong));
        assert_eq!(read_line(&mut input), text("two"));
        assert_eq!(read_line(&mut input), text(&"y".repeat(long - 1)));
        assert_eq!(read_line(&mut input), text("z\u{fffd}"));
        assert_eq!(read_line(&mut input), text("end"));
        assert_eq!(read_line(&mut input), None);
    }
}
