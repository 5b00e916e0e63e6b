//! What the person sees.

use std::io::{self, Write as _};

use chrono::Local;

use super::Terminal;
use crate::{
    chat::{
        api::{ApiError, Event},
        connection::{Ended, Update},
        wire::Entry,
    },
    domain::{
        event::{Answer, EventStatus, Role},
        id::EventId,
    },
    i18n::{Arg, text},
};

impl Terminal {
    pub(super) fn show(&mut self, update: Update) -> io::Result<()> {
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
                self.say("chat-still-trying", &[("message", (&message).into())])?;
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

    pub(super) fn list(&mut self, events: &[Event]) -> io::Result<()> {
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

    pub(super) fn people(&mut self, event: &Event) -> io::Result<()> {
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

    pub(super) fn why(&self, ended: Ended) -> String {
        let (key, code) = match ended {
            Ended::SignedOut | Ended::Closed(4500 | 4502) => ("chat-ended-signed-out", 0),
            Ended::Closed(4503) => ("TOO_MANY_SOCKETS", 0),
            Ended::Closed(code) | Ended::Refused(code) => ("chat-ended-closed", code),
            Ended::Unsent => ("chat-unsent", 0),
        };
        text(self.language, key, &[("code", Arg::Text(&code.to_string()))])
    }

    pub(super) fn words(&self, error: &ApiError) -> String {
        match error {
            ApiError::Refused { text, .. } => text.clone(),
            ApiError::Unreachable(_) => text(self.language, "chat-unreachable", &[]),
            ApiError::Unreadable | ApiError::BadServer => text(self.language, "chat-unreadable", &[]),
        }
    }

    pub(super) fn complain(&mut self, error: &ApiError) -> io::Result<()> {
        let words = self.words(error);
        self.line(&words)
    }

    pub(super) fn say(&mut self, key: &str, args: &[(&str, Arg<'_>)]) -> io::Result<()> {
        let words = text(self.language, key, args);
        self.line(&words)
    }

    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{}", printable(line))?;
        self.out.flush()
    }
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
