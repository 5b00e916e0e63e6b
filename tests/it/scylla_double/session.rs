//! One connection of a client: requests in, answers out.

use std::{collections::HashMap, sync::Arc};

use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use super::{
    failure::Failure,
    page::{Parameters, write_page},
    parse::parse,
    server::{Asked, Effect, Seen, Shared, State, token},
    shape::LWT_MARK,
    system,
    table::{Done, Table},
    tablets,
    text::{Action, Condition, Name, Statement},
    wire::{Answer, Frame, Reader, Writer, answer, level, request},
};

struct Session {
    shared: Arc<Shared>,
    node: usize,
    shard: u16,
    startup: HashMap<String, String>,
    let_in: bool,
    keyspace: Option<String>,
}

/// What comes of a request.
enum Outcome {
    Answer(Answer),
    Nothing,
    HangUp,
}

/// Serves a connection until its end.
pub(super) async fn serve(shared: Arc<Shared>, node: usize, core: u16, stream: TcpStream) {
    let let_in = shared.shape.credentials.is_none();
    let mut session = Session {
        shared,
        node,
        shard: core,
        startup: HashMap::new(),
        let_in,
        keyspace: None,
    };
    stream.set_nodelay(true).unwrap();
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    while let Some(frame) = Frame::read(&mut read).await {
        match session.handle(&frame) {
            Outcome::Answer(answer) => {
                if write.write_all(&answer.frame(frame.stream)).await.is_err() {
                    return;
                }
            }
            Outcome::Nothing => {}
            Outcome::HangUp => return,
        }
    }
}

impl Session {
    fn handle(&mut self, frame: &Frame) -> Outcome {
        let mut body = Reader(&frame.body);
        let done = match frame.opcode {
            request::OPTIONS => Ok(self.supported()),
            request::STARTUP => Ok(self.started(&mut body)),
            request::AUTH_RESPONSE => self.authenticated(body.bytes()),
            _ if !self.let_in => Err(Failure::Credentials),
            request::REGISTER => Ok(Answer::new(answer::READY, Writer::default())),
            request::PREPARE => self.prepare(body.long_string()),
            request::QUERY => {
                let text = body.long_string();
                return self.query(text, &Parameters::read(&mut body));
            }
            request::EXECUTE => {
                let id = body.short_bytes();
                return self.execute(id, &Parameters::read(&mut body));
            }
            other => panic!("a client asked {other:#x}"),
        };
        Outcome::Answer(done.unwrap_or_else(|failure| refusal(&failure)))
    }

    fn supported(&self) -> Answer {
        let port = self.shared.shard_ports[self.node];
        let options = self.shared.shape.options(self.shard, port);
        let mut body = Writer::default();
        body.short(u16::try_from(options.len()).unwrap());
        for (name, value) in options {
            body.string(name).short(1).string(&value);
        }
        Answer::new(answer::SUPPORTED, body)
    }

    fn started(&mut self, body: &mut Reader<'_>) -> Answer {
        self.startup = body.string_map().into_iter().collect();
        self.shared.state.lock().startups.push(self.startup.clone());
        let mut body = Writer::default();
        if self.let_in {
            return Answer::new(answer::READY, body);
        }
        body.string("org.apache.cassandra.auth.PasswordAuthenticator");
        Answer::new(answer::AUTHENTICATE, body)
    }

    fn authenticated(&mut self, token: Option<&[u8]>) -> Result<Answer, Failure> {
        let (user, password) = self.shared.shape.credentials.unwrap_or_default();
        if token != Some(format!("\0{user}\0{password}").as_bytes()) {
            return Err(Failure::Credentials);
        }
        self.let_in = true;
        let mut body = Writer::default();
        body.bytes(None);
        Ok(Answer::new(answer::AUTH_SUCCESS, body))
    }

    /// Does `what` with the table of `name`, be it a client's or the server's own.
    fn with_table<T>(
        &self,
        state: &State,
        name: &Name,
        what: impl FnOnce(&Table) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if !system::owns(&name.keyspace) {
            return what(state.store.table(name)?);
        }
        let shared = &self.shared;
        let node = &shared.nodes[self.node];
        let table = system::show(name, node, &shared.nodes, &state.store, &shared.shape);
        let table = table.ok_or_else(|| Failure::Invalid(format!("unconfigured table {}", name.table)))?;
        what(&table)
    }

    fn prepare(&self, text: &str) -> Result<Answer, Failure> {
        let statement = parse(text, self.keyspace.as_deref()).map_err(Failure::Syntax)?;
        let mut state = self.shared.state.lock();
        let scylla = self.shared.shape.scylla;
        let (open, routing, shown) = match table_of(&statement) {
            None => (Vec::new(), Vec::new(), Vec::new()),
            Some(name) => self.with_table(&state, name, |table| {
                let shown = match &statement.action {
                    Action::Select(select) => table.shown(select)?,
                    // ScyllaDB knows at once what a conditional statement will answer.
                    Action::Change(change) if scylla && conditional(&statement) => table.old(change),
                    _ => Vec::new(),
                };
                Ok((table.open(&statement)?, table.routing(&statement), shown))
            })?,
        };
        let id = Sha256::digest(text)[..16].to_vec();
        let marked = conditional(&statement) && self.startup.contains_key("SCYLLA_LWT_ADD_METADATA_MARK");
        let mut body = Writer::default();
        body.int(0x0004).short_bytes(&id);
        let flags = if marked { LWT_MARK } else { 0 };
        body.int(flags.cast_signed())
            .count(open.len())
            .count(routing.len());
        for index in routing {
            body.short(index);
        }
        body.specs(&open);
        let flags = if shown.is_empty() { 0x0004 } else { 0 };
        body.int(flags).count(shown.len()).specs(&shown);
        state.statements.insert(id.clone(), (text.to_owned(), statement));
        state.prepared.insert((self.node, id));
        Ok(Answer::new(answer::RESULT, body))
    }

    fn query(&mut self, text: &str, parameters: &Parameters) -> Outcome {
        let statement = match parse(text, self.keyspace.as_deref()) {
            Ok(statement) => statement,
            Err(text) => return Outcome::Answer(refusal(&Failure::Syntax(text))),
        };
        self.run(text, &statement, parameters)
    }

    fn execute(&mut self, id: &[u8], parameters: &Parameters) -> Outcome {
        let known = {
            let state = self.shared.state.lock();
            let here = state.prepared.contains(&(self.node, id.to_vec()));
            state.statements.get(id).filter(|_| here).cloned()
        };
        match known {
            Some((text, statement)) => self.run(&text, &statement, parameters),
            None => Outcome::Answer(refusal(&Failure::Unprepared(id.to_vec()))),
        }
    }

    fn run(&mut self, text: &str, statement: &Statement, parameters: &Parameters) -> Outcome {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        let own = table_of(statement).filter(|name| system::owns(&name.keyspace));
        if let (Some(name), Action::Select(select)) = (own, &statement.action) {
            let done = self.with_table(&state, name, |table| table.select(select, &parameters.values));
            return Outcome::Answer(finish(done, parameters, None));
        }
        if matches!(
            statement.action,
            Action::CreateKeyspace { .. } | Action::CreateTable { .. }
        ) {
            state.definitions.push(text.to_owned());
        }
        let key = table_of(statement).and_then(|name| {
            let table = state.store.table(name).ok()?;
            table.partition(statement, &parameters.values)
        });
        let token = key.as_deref().map(token);
        let asked = asked(statement, parameters.consistency);
        if let (Some(asked), Some(name)) = (asked, table_of(statement)) {
            state.seen.push(Seen {
                asked,
                table: name.table.clone(),
                node: self.node,
                shard: self.shard,
                consistency: parameters.consistency,
                serial: parameters.serial,
                token,
            });
        }
        let effect = asked.and_then(|asked| state.effect(asked));
        let go = |state: &mut State| state.store.run(statement, &parameters.values, &shared.shape);
        let done = match effect {
            None => go(&mut state),
            Some(Effect::Refuse(failure)) => Err(failure),
            Some(Effect::DoBut(failure)) => go(&mut state).and(Err(failure)),
            Some(Effect::DoLateBut(failure)) => {
                state.late.push((statement.clone(), parameters.values.clone()));
                Err(failure)
            }
            Some(Effect::Mute { done }) => {
                let _ = done.then(|| go(&mut state));
                return Outcome::Nothing;
            }
            Some(Effect::HangUp { done }) => {
                let _ = done.then(|| go(&mut state));
                return Outcome::HangUp;
            }
        };
        if asked == Some(Asked::SerialRead) {
            for (statement, values) in std::mem::take(&mut state.late) {
                let late = state.store.run(&statement, &values, &shared.shape);
                assert!(late.is_ok(), "a late write is refused");
            }
        }
        if let Ok(Done::Keyspace(name)) = &done {
            self.keyspace = Some(name.clone());
        }
        let tablet = table_of(statement)
            .filter(|name| {
                state
                    .store
                    .keyspaces
                    .get(&name.keyspace)
                    .is_some_and(|one| one.tablets)
            })
            .and(token)
            .filter(|_| self.startup.contains_key("TABLETS_ROUTING_V1"))
            .and_then(|token| tablets::lesson(&shared, token, self.shard));
        Outcome::Answer(finish(done, parameters, tablet))
    }
}

/// The answer that tells what was done.
fn finish(
    done: Result<Done, Failure>,
    parameters: &Parameters,
    tablet: Option<(&'static str, Vec<u8>)>,
) -> Answer {
    let mut body = Writer::default();
    match done {
        Err(failure) => return refusal(&failure),
        Ok(Done::Nothing) => {
            body.int(0x0001);
        }
        Ok(Done::Keyspace(name)) => {
            body.int(0x0003).string(&name);
        }
        Ok(Done::Made(keyspace, None)) => {
            body.int(0x0005)
                .string("CREATED")
                .string("KEYSPACE")
                .string(&keyspace);
        }
        Ok(Done::Made(keyspace, Some(table))) => {
            body.int(0x0005).string("CREATED").string("TABLE");
            body.string(&keyspace).string(&table);
        }
        Ok(Done::Rows(specs, rows)) => write_page(&mut body, &specs, &rows, parameters),
    }
    let mut answer = Answer::new(answer::RESULT, body);
    answer.payload = tablet;
    answer
}

fn refusal(failure: &Failure) -> Answer {
    Answer::new(answer::ERROR, failure.body())
}

fn table_of(statement: &Statement) -> Option<&Name> {
    match &statement.action {
        Action::Select(select) => Some(&select.table),
        Action::Change(change) => Some(&change.table),
        Action::CreateKeyspace { .. } | Action::CreateTable { .. } | Action::Use(_) => None,
    }
}

fn conditional(statement: &Statement) -> bool {
    matches!(&statement.action, Action::Change(change) if !matches!(change.condition, Condition::Never))
}

fn asked(statement: &Statement, consistency: u16) -> Option<Asked> {
    match &statement.action {
        Action::Select(_) if matches!(consistency, level::SERIAL | level::LOCAL_SERIAL) => {
            Some(Asked::SerialRead)
        }
        Action::Select(_) => Some(Asked::Read),
        Action::Change(_) if conditional(statement) => Some(Asked::Conditional),
        Action::Change(_) => Some(Asked::Plain),
        _ => None,
    }
}

impl State {
    fn effect(&mut self, asked: Asked) -> Option<Effect> {
        let rule = self
            .rules
            .iter_mut()
            .find(|(kind, times, _)| *kind == asked && *times > 0)?;
        rule.1 -= 1;
        Some(rule.2.clone())
    }
}
