//! Lines in, lines out: the person's side of the client.

mod screen;
mod sign_in;

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
    time::Duration,
};

use anyhow::bail;
use tokio::sync::mpsc;

use super::{
    ChatArgs,
    api::Api,
    connection::{AccessToken, Connection, Credential, Pace, Request},
    input::{self, Input, Line, Lines},
};
use crate::{
    domain::{
        id::{EventId, UserId},
        time::{Clock, Micros},
    },
    i18n::Language,
};

/// Requests waiting for the connection, and updates waiting for the screen.
const QUEUE: usize = 64;
/// Requests that one line may lead to, at most.
const REQUESTS_PER_LINE: usize = 4;

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
            | Input::Accept(_)
            | Input::Decline(_)
            | Input::Confirm
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
            Input::Accept(reason) => self.api.act(&token, room, "accept", reason).await,
            Input::Decline(reason) => self.api.act(&token, room, "decline", reason).await,
            Input::Confirm => self.api.act(&token, room, "confirm", None).await,
            Input::Cancel(reason) => self.api.act(&token, room, "cancel", reason).await,
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

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
