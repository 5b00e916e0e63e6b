//! Lines in, lines out: the person's side of the client.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
    time::Duration,
};

use anyhow::bail;
use chrono::Local;
use tokio::sync::mpsc;

use super::{
    ChatArgs,
    api::{Api, ApiError, Event, SignedIn},
    connection::{AccessToken, Connection, Credential, Ended, Pace, Request, Update},
    input::{self, Input, Line, Lines},
    wire::Entry,
};
use crate::{
    domain::{
        event::{Answer, EventStatus, Role},
        id::{EventId, UserId},
        time::{Clock, Micros},
    },
    i18n::{Arg, Language, text},
};

/// Requests waiting for the connection, and updates waiting for the screen.
const QUEUE: usize = 64;
/// Requests that one line may lead to, at most.
const REQUESTS_PER_LINE: usize = 4;
/// One-time codes that are asked for before giving up.
const MAX_CODES: u32 = 3;

/// The terminal of one person.
pub(super) struct Terminal {
    out: Box<dyn Write + Send>,
    language: Language,
    api: Api,
    clock: Clock,
    lines: Lines,
    names: HashMap<UserId, String>,
    /// The conversation that lines go to.
    room: Option<EventId>,
    /// The oldest entry on the screen, by conversation.
    oldest: BTreeMap<EventId, u64>,
    was_online: bool,
}

/// What a signed-in person's commands need.
struct SignIn {
    user: UserId,
    token: AccessToken,
    requests: mpsc::Sender<Request>,
}

impl Terminal {
    pub(super) fn new(
        out: Box<dyn Write + Send>,
        language: Language,
        api: Api,
        clock: Clock,
        lines: Lines,
    ) -> Self {
        Self {
            out,
            language,
            api,
            clock,
            lines,
            names: HashMap::new(),
            room: None,
            oldest: BTreeMap::new(),
            was_online: false,
        }
    }

    /// Signs in, then shows and takes lines to the end of either side.
    pub(super) async fn run(mut self, args: ChatArgs) -> anyhow::Result<()> {
        match self.talk(args).await {
            // Whoever read the output has gone; there is nobody to tell.
            Err(error) if is_broken_pipe(&error) => Ok(()),
            outcome => outcome,
        }
    }

    async fn talk(&mut self, args: ChatArgs) -> anyhow::Result<()> {
        if self.api.is_insecure() {
            self.say("chat-insecure", &[])?;
        }
        let Some(signed_in) = self.sign_in(&args).await? else {
            return Ok(());
        };
        let (requests, receiver) = mpsc::channel(QUEUE);
        let (sender, mut updates) = mpsc::channel(QUEUE);
        let user = signed_in.user.id;
        let credential = Credential::new(signed_in);
        let sign_in = SignIn {
            user,
            token: credential.access(),
            requests,
        };
        let connection = Connection::new(self.api.clone(), credential, Pace::default(), sender);
        let connection = tokio::spawn(connection.run(receiver));

        if let Some(link) = &args.invite {
            let input = input::code_of(link).map_or(Input::Unknown("--invite"), Input::Join);
            self.follow(input, &sign_in).await?;
        } else if let Some(event) = args.event {
            self.open(EventId(event), &sign_in);
        }
        let mut ended = false;
        loop {
            tokio::select! {
                line = next_line(&mut self.lines, &sign_in.requests), if !ended => {
                    ended = match line {
                        Some(Line::Text(line)) => self.follow(input::parse(&line), &sign_in).await?,
                        Some(Line::TooLong) => { self.say("BODY_TOO_LONG", &[])?; false }
                        None => { ask(&sign_in, Request::Finish); true }
                    };
                }
                update = updates.recv() => match update {
                    Some(update) => self.show(update)?,
                    None => break,
                },
            }
        }
        match connection.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ended)) => bail!(self.why(ended)),
            Err(error) => Err(error.into()),
        }
    }

    // ---- signing in

    /// `None` when the input ended before anybody was signed in.
    async fn sign_in(&mut self, args: &ChatArgs) -> anyhow::Result<Option<SignedIn>> {
        let phone = if let Some(phone) = &args.phone {
            phone.clone()
        } else {
            self.say("chat-ask-phone", &[])?;
            let Some(phone) = self.answer().await else {
                return Ok(None);
            };
            phone
        };
        let name = args.name.as_deref();
        if args.no_code {
            match self.api.register(&phone, name).await {
                Err(error) if error.is("AUTH_PROOF_REQUIRED") => self.complain(&error)?,
                outcome => return outcome.map(Some).or_else(|error| bail!(self.words(&error))),
            }
        }
        for _ in 0..MAX_CODES {
            let verification = match self.api.send_code(&phone).await {
                Ok(verification) => verification,
                Err(error) => bail!(self.words(&error)),
            };
            self.say("chat-ask-code", &[])?;
            loop {
                let Some(code) = self.answer().await else {
                    return Ok(None);
                };
                match self.api.verify(verification, &code, name).await {
                    Ok(signed_in) => return Ok(Some(signed_in)),
                    Err(error) if error.is("AUTH_PHONE_CODE_INVALID") => self.complain(&error)?,
                    Err(error) if error.is("AUTH_PHONE_CODE_EXPIRED") => {
                        self.complain(&error)?;
                        break;
                    }
                    Err(error) => bail!(self.words(&error)),
                }
            }
        }
        bail!(text(self.language, "chat-ended-signed-out", &[]))
    }

    /// The next line that is not blank.
    async fn answer(&mut self) -> Option<String> {
        loop {
            if let Line::Text(line) = self.lines.next().await?
                && !line.trim().is_empty()
            {
                return Some(line.trim().to_owned());
            }
        }
    }

    // ---- what the person typed

    /// Does what a line asks for. Whether it was the last one.
    async fn follow(&mut self, input: Input<'_>, sign_in: &SignIn) -> io::Result<bool> {
        match input {
            Input::Blank => {}
            Input::Quit => {
                ask(sign_in, Request::Finish);
                return Ok(true);
            }
            Input::Help => self.say("chat-help", &[])?,
            Input::Unknown(name) => self.say("chat-unknown", &[("command", name.into())])?,
            Input::Open(event) => self.open(event, sign_in),
            Input::List => match self.api.events(&sign_in.token.get()).await {
                Ok(events) => self.list(&events)?,
                Err(error) => self.complain(&error)?,
            },
            Input::New(title) => self.make(title, sign_in).await?,
            Input::Join(code) => match self.api.join(&sign_in.token.get(), code).await {
                Ok(event) => self.open(event, sign_in),
                Err(error) => self.complain(&error)?,
            },
            Input::Invite
            | Input::Close
            | Input::People
            | Input::History
            | Input::Leave
            | Input::Cancel(_)
            | Input::Say(_) => match self.room {
                Some(room) => self.follow_in(room, input, sign_in).await?,
                None => self.say("chat-no-room", &[])?,
            },
        }
        Ok(false)
    }

    /// What needs an open conversation.
    async fn follow_in(&mut self, room: EventId, input: Input<'_>, sign_in: &SignIn) -> io::Result<()> {
        let token = sign_in.token.get();
        let done = match input {
            Input::Say(words) => {
                ask(sign_in, Request::Publish(room, words.to_owned()));
                Ok(())
            }
            Input::History => {
                ask(sign_in, Request::Older(room, self.oldest.get(&room).copied()));
                Ok(())
            }
            Input::Close => {
                ask(sign_in, Request::Close(room));
                self.room = None;
                return self.say("chat-closed", &[]);
            }
            Input::Invite => match self.api.invite_link(&token, room).await {
                Ok(link) => return self.line(&link),
                Err(error) => Err(error),
            },
            Input::People => match self.api.event(&token, room).await {
                Ok(event) => return self.people(&event),
                Err(error) => Err(error),
            },
            Input::Leave => self.api.leave(&token, room, sign_in.user).await,
            Input::Cancel(reason) => self.api.cancel(&token, room, reason).await,
            _ => Ok(()),
        };
        match done {
            Ok(()) => Ok(()),
            Err(error) => self.complain(&error),
        }
    }

    /// Makes an event that starts in an hour and lasts one, and opens it.
    async fn make(&mut self, title: &str, sign_in: &SignIn) -> io::Result<()> {
        const HOUR: Duration = Duration::from_secs(3_600);
        const MINUTE: i64 = 60_000_000;
        let in_an_hour = self.clock.now().plus(HOUR);
        let start = Micros(in_an_hour.0 - in_an_hour.0.rem_euclid(MINUTE));
        match self
            .api
            .create_event(&sign_in.token.get(), title, start, start.plus(HOUR))
            .await
        {
            Ok(event) => {
                self.open(event.id, sign_in);
                let id = event.id.to_string();
                self.say(
                    "chat-made",
                    &[("title", (&event.title).into()), ("event", (&id).into())],
                )
            }
            Err(error) => self.complain(&error),
        }
    }

    fn open(&mut self, event: EventId, sign_in: &SignIn) {
        if let Some(other) = self.room.replace(event).filter(|other| *other != event) {
            ask(sign_in, Request::Close(other));
        }
        ask(sign_in, Request::Open(event));
    }

    // ---- what the person sees

    fn show(&mut self, update: Update) -> io::Result<()> {
        match update {
            Update::Online(person) => {
                let key = if std::mem::replace(&mut self.was_online, true) {
                    "chat-online"
                } else {
                    "chat-signed-in"
                };
                self.say(key, &[("name", (&person.name).into())])?;
                self.names.insert(person.id, person.name);
            }
            Update::Offline(again_in) => {
                let seconds = again_in.as_millis().div_ceil(1_000).max(1);
                let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
                self.say("chat-offline", &[("seconds", seconds.into())])?;
            }
            Update::Opened {
                room,
                title,
                people,
                is_first,
                reset,
            } => {
                if reset {
                    self.oldest.remove(&room);
                    self.say("chat-reset", &[])?;
                }
                let names: Vec<&str> = people.iter().map(|person| person.name.as_str()).collect();
                if is_first {
                    let (event, people) = (room.to_string(), names.join(", "));
                    let args = [
                        ("title", (&title).into()),
                        ("event", (&event).into()),
                        ("people", (&people).into()),
                    ];
                    self.say("chat-opened", &args)?;
                }
                self.names
                    .extend(people.into_iter().map(|person| (person.id, person.name)));
            }
            Update::NotOpened { room, message } => {
                self.room.take_if(|open| *open == room);
                self.line(&message)?;
            }
            Update::Entries { room, entries } if self.room == Some(room) => self.entries(room, &entries)?,
            Update::Entries { .. } => {}
            Update::Older {
                room,
                entries,
                complete,
            } => {
                self.entries(room, &entries)?;
                if complete {
                    self.say("chat-beginning", &[])?;
                }
            }
            Update::StillTrying { message } => {
                self.say("chat-still-trying", &[("message", (&message).into())])?
            }
            Update::NotPublished { text: words, message } => {
                let why = if message.is_empty() {
                    text(self.language, "chat-no-room", &[])
                } else {
                    message
                };
                self.say(
                    "chat-not-sent",
                    &[("text", (&words).into()), ("message", (&why).into())],
                )?;
            }
            Update::Failed { message } => self.line(&message)?,
            Update::Removed { room, reason } => {
                self.room.take_if(|open| *open == room);
                self.say(
                    match reason.as_str() {
                        "left" => "chat-left",
                        "removed" => "chat-removed",
                        _ => "chat-gone",
                    },
                    &[],
                )?;
            }
        }
        Ok(())
    }

    fn entries(&mut self, room: EventId, entries: &[Entry]) -> io::Result<()> {
        for entry in entries {
            if let Some(person) = entry.fact.as_ref().and_then(|fact| fact.user.as_ref()) {
                self.names.insert(person.id, person.name.clone());
            }
            let oldest = self.oldest.entry(room).or_insert(entry.seq);
            *oldest = entry.seq.min(*oldest);
            if let Some(line) = self.entry(entry) {
                self.line(&line)?;
            }
        }
        Ok(())
    }

    /// An entry as one line; `None` for a kind that this client does not know.
    fn entry(&self, entry: &Entry) -> Option<String> {
        let place = format!(
            "#{} {}",
            entry.seq,
            entry.at.to_datetime().with_timezone(&Local).format("%H:%M")
        );
        match (entry.kind.as_str(), &entry.fact, &entry.body) {
            ("fact", Some(fact), _) => {
                Some(format!("{place} * {}", fact.text.as_ref().unwrap_or(&fact.name)))
            }
            ("message", _, body) => {
                let name = entry
                    .author
                    .and_then(|author| self.names.get(&author))
                    .filter(|name| !name.is_empty());
                let name = name
                    .cloned()
                    .unwrap_or_else(|| text(self.language, "person-unknown", &[]));
                let reply = entry
                    .reply_to
                    .map(|seq| format!(" (↩ #{seq})"))
                    .unwrap_or_default();
                let words = match body {
                    Some(body) if !entry.erased => body.text.clone(),
                    _ => text(self.language, "chat-erased", &[]),
                };
                Some(format!("{place} {name}{reply}: {words}"))
            }
            _ => None,
        }
    }

    fn list(&mut self, events: &[Event]) -> io::Result<()> {
        if events.is_empty() {
            return self.say("chat-no-events", &[]);
        }
        for event in events {
            let status = match event.status {
                EventStatus::Proposed => "chat-proposed",
                EventStatus::Confirmed => "chat-confirmed",
                EventStatus::Canceled => "chat-canceled",
                EventStatus::Done => "chat-done",
            };
            let start = event
                .start_time
                .to_datetime()
                .with_timezone(&Local)
                .format("%Y-%m-%d %H:%M");
            let status = text(self.language, status, &[]);
            self.line(&format!("#{}  {start}  {}  ({status})", event.id, event.title))?;
        }
        Ok(())
    }

    fn people(&mut self, event: &Event) -> io::Result<()> {
        let host = [(&event.creator, Role::Host, Answer::Accepted)];
        let others = event
            .participants
            .iter()
            .map(|other| (&other.person, other.role, other.answer));
        for (person, role, answer) in host.into_iter().chain(others) {
            let standing = match (role, answer) {
                (Role::Host, _) => "chat-host",
                (Role::Guest, Answer::Pending) => "chat-pending",
                (Role::Guest, Answer::Accepted) => "chat-accepted",
                (Role::Guest, Answer::Declined) => "chat-declined",
            };
            let standing = text(self.language, standing, &[]);
            self.names.insert(person.id, person.name.clone());
            self.line(&format!("  {} ({standing})", person.name))?;
        }
        Ok(())
    }

    fn why(&self, ended: Ended) -> String {
        let (key, code) = match ended {
            Ended::SignedOut | Ended::Closed(4500 | 4502) => ("chat-ended-signed-out", 0),
            Ended::Closed(4503) => ("TOO_MANY_SOCKETS", 0),
            Ended::Closed(code) | Ended::Refused(code) => ("chat-ended-closed", code),
            Ended::Unsent => ("chat-unsent", 0),
        };
        text(self.language, key, &[("code", Arg::Text(&code.to_string()))])
    }

    fn words(&self, error: &ApiError) -> String {
        match error {
            ApiError::Refused { text, .. } => text.clone(),
            ApiError::Unreachable(_) => text(self.language, "chat-unreachable", &[]),
            ApiError::Unreadable | ApiError::BadServer => text(self.language, "chat-unreadable", &[]),
        }
    }

    fn complain(&mut self, error: &ApiError) -> io::Result<()> {
        let words = self.words(error);
        self.line(&words)
    }

    fn say(&mut self, key: &str, args: &[(&str, Arg<'_>)]) -> io::Result<()> {
        let words = text(self.language, key, args);
        self.line(&words)
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{}", printable(line))?;
        self.out.flush()
    }
}

async fn next_line(lines: &mut Lines, requests: &mpsc::Sender<Request>) -> Option<Line> {
    // No line is taken before there is room for what it may lead to: a pipe waits.
    if requests.reserve_many(REQUESTS_PER_LINE).await.is_err() {
        return None;
    }
    lines.next().await
}

/// Hands a request to the connection, for which `next_line` has seen to a place. A
/// connection that ended hears nothing; its end is shown by whoever waits for it.
fn ask(sign_in: &SignIn, request: Request) {
    let _ = sign_in.requests.try_send(request);
}

/// `text` without anything that a terminal would obey: what others write must not move
/// the cursor, turn the direction of the line, or pass for a line of ours.
fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\u{2028}' | '\u{2029}' => safe.push_str("\n    "),
            '\t' => safe.push(' '),
            '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => safe.push('\u{FFFD}'),
            c => safe.push(c),
        }
    }
    safe
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn words_of_others_cannot_drive_the_terminal() {
        assert_eq!(
            printable("안녕 \u{1F642} \u{1b}[2J\u{7}\u{9b}"),
            "안녕 \u{1F642} \u{FFFD}[2J\u{FFFD}\u{FFFD}"
        );
        assert_eq!(
            printable("a\n#9 12:00 민지: b\r"),
            "a\n    #9 12:00 민지: b\u{FFFD}"
        );
        assert_eq!(printable("a\u{202E}b\u{2028}c\td"), "ab\n    c d");
    }
}
