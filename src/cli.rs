//! What can be asked of the program, and whom it asks to do it.

use std::{
    fs::File,
    io::{BufReader, Write as _, stdout},
    path::PathBuf,
    str::FromStr,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use timingle::{
    app::{self, copy::Progress},
    chat,
    config::{self, Config, Profile, Sources},
    domain::{
        entry::{Hash, Head},
        id::{EventId, RoomId},
        user::UserRole,
    },
    http::openapi,
    service::export::verify,
    telemetry,
};
use uuid::Uuid;

const EXAMPLES: &str = "\
Examples:
  timingle                                   serve on 127.0.0.1:8080, data in ./data
  PORT=9000 timingle serve                   another port
  timingle --config my.toml check-config     every problem of a configuration, or its values
  timingle chat                              sign in and talk, from another terminal
  timingle export 7 --out event-7.jsonl      the record of event 7, also while serving
  timingle verify event-7.jsonl              check that record, offline, trusting nobody

Settings: config/default.toml lists every key. A file given with --config wins over it,
the environment over both: TIMINGLE__SECTION__KEY, for instance TIMINGLE__DATA__DIR=/srv/timingle.
TIMINGLE_PROFILE chooses between embedded (the default) and production.";

/// A messenger in which the appointment is the conversation.
#[derive(Debug, Parser)]
#[command(name = "timingle", version, after_help = EXAMPLES)]
struct Cli {
    /// A TOML file with settings that win over the defaults
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (the default); Ctrl-C stops it gracefully
    Serve,
    /// Name every problem of the configuration, or show its values with secrets masked
    CheckConfig,
    /// Bring the relational store to this version's schema; `serve` does so by itself
    Migrate {
        /// Only name the migrations that are missing
        #[arg(long)]
        dry_run: bool,
        /// Also make the keyspace of the room logs, with so many replicas, if there is none: for
        /// clusters of one datacenter
        #[arg(long, value_name = "REPLICAS", conflicts_with = "dry_run", value_parser = clap::value_parser!(u8).range(1..=9))]
        create_keyspace: Option<u8>,
    },
    /// Write an event's whole record into a file that anyone can verify
    Export(ExportArgs),
    /// Check an exported record: order, completeness, and that nothing was altered
    #[command(after_help = "\
A chain proves that nothing inside it was altered. That it is the chain you knew, only a head you \
noted earlier can prove: give it with --head.")]
    Verify(VerifyArgs),
    /// Bring the log and the relational store to one state, after one was restored from a backup
    Repair,
    /// Copy a whole installation to the engines of another profile, then compare every row and entry
    #[command(after_help = "\
Nothing may serve either of the two meanwhile. The target has to be empty, or to hold part of a copy \
of this very source: a copy that was interrupted goes on where it was. The source is only read.\n\n\
Where both are: [data] of the configuration says it for embedded, [postgres] and [scylla] for production.")]
    Copy(CopyArgs),
    /// Make a user an administrator, or something else to the service; the embedded server must not run
    Grant(GrantArgs),
    /// Print the description of the API as JSON, in the form of docs/openapi.json
    Openapi,
    /// Talk from this terminal: sign in, make an appointment, invite, chat
    Chat(chat::ChatArgs),
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// The event's number
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    event: i64,
    /// Where to write; an existing file is replaced once the new one is complete
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct CopyArgs {
    /// Whose data to copy
    #[arg(long)]
    from: Engines,
    /// Where to
    #[arg(long)]
    to: Engines,
}

/// A profile, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engines {
    Embedded,
    Production,
}

impl From<Engines> for Profile {
    fn from(engines: Engines) -> Self {
        match engines {
            Engines::Embedded => Self::Embedded,
            Engines::Production => Self::Production,
        }
    }
}

#[derive(Debug, Args)]
struct GrantArgs {
    /// The user's phone number
    #[arg(long)]
    phone: String,
    /// What to make of them: USER, BUSINESS, ADMIN or `SUPER_ADMIN`
    role: UserRole,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// A file made by `export`
    file: PathBuf,
    /// The room that the record must belong to
    #[arg(long, value_name = "UUID")]
    room: Option<Uuid>,
    /// A head that was noted earlier and must lie on this chain
    #[arg(long, value_name = "SEQ:HASH")]
    head: Option<NotedHead>,
}

/// A position of a log as people write it down: `12:3fa9...`.
#[derive(Debug, Clone, Copy)]
struct NotedHead(Head);

impl FromStr for NotedHead {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let form = "a head is written SEQ:HASH, with 64 hex digits of hash";
        let (seq, hash) = text.split_once(':').context(form)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(hash, &mut bytes).context(form)?;
        let (seq, hash) = (seq.parse().context(form)?, Hash(bytes));
        Ok(Self(Head { seq, hash }))
    }
}

/// Does what the command line asks.
pub(crate) fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let sources = Sources::of_process(cli.config);
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => app::serve(ready(&sources)?),
        Command::CheckConfig => {
            write!(stdout(), "{}", config::effective(&sources)?)?;
            Ok(())
        }
        Command::Migrate {
            dry_run,
            create_keyspace,
        } => migrate(&ready(&sources)?, dry_run, create_keyspace),
        Command::Export(args) => export(&ready(&sources)?, &args),
        Command::Verify(args) => verify_file(args),
        Command::Repair => repair(&ready(&sources)?),
        Command::Copy(args) => copy(&ready(&sources)?, &args),
        Command::Grant(args) => grant(&ready(&sources)?, &args),
        Command::Openapi => {
            write!(stdout(), "{}", openapi::text())?;
            Ok(())
        }
        Command::Chat(args) => block_on(chat::run(args)),
    }
}

/// The configuration, checked, with log lines flowing as it says.
fn ready(sources: &Sources) -> anyhow::Result<Config> {
    let config = Config::load(sources)?;
    telemetry::init(&config.log)?;
    Ok(config)
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let done = runtime.block_on(work);
    // A read of the terminal cannot be called back: leave without it.
    runtime.shutdown_background();
    done
}

fn migrate(config: &Config, dry_run: bool, replicas: Option<u8>) -> anyhow::Result<()> {
    let mut out = stdout();
    if let Some(replicas) = replicas {
        let keyspace = &config.scylla.keyspace;
        if block_on(app::create_keyspace(config, replicas))? {
            writeln!(out, "made keyspace {keyspace} with {replicas} replicas")?;
        } else {
            writeln!(out, "keyspace {keyspace} exists, and stays as it is")?;
        }
    }
    let names = block_on(app::migrate(config, dry_run))?;
    for name in &names {
        writeln!(out, "{} {name}", if dry_run { "missing" } else { "ran" })?;
    }
    if names.is_empty() {
        writeln!(out, "nothing to do")?;
    }
    Ok(())
}

fn export(config: &Config, ExportArgs { event, out }: &ExportArgs) -> anyhow::Result<()> {
    let exported = block_on(app::export(config, EventId(*event), out))?;
    let (Head { seq, hash }, bytes) = (exported.head, exported.bytes);
    writeln!(
        stdout(),
        "{}: {seq} entries, {bytes} bytes, head {seq}:{hash}",
        out.display()
    )?;
    Ok(())
}

fn grant(config: &Config, GrantArgs { phone, role }: &GrantArgs) -> anyhow::Result<()> {
    let user = block_on(app::grant(config, phone, *role))?;
    writeln!(stdout(), "user {user} is {} now", role.as_str())?;
    Ok(())
}

fn copy(config: &Config, &CopyArgs { from, to }: &CopyArgs) -> anyhow::Result<()> {
    let progress = |progress| {
        // Where nobody reads, nobody misses it.
        let _ = match progress {
            Progress::Checking => writeln!(stdout(), "looking at what the target holds"),
            Progress::Table { name, rows } => writeln!(stdout(), "{name}: {rows} rows"),
            Progress::Logs { rooms, entries } => writeln!(stdout(), "logs: {rooms} rooms, {entries} entries"),
            Progress::Comparing => writeln!(stdout(), "comparing"),
        };
    };
    let done = block_on(app::copy::copy_installation(
        config,
        from.into(),
        to.into(),
        &progress,
    ))?;
    let mut out = stdout();
    writeln!(
        out,
        "equal: {} rows ({} new), {} rooms, {} entries ({} new, {} erased), every chain verified",
        done.rows, done.new_rows, done.rooms, done.entries, done.new_entries, done.erased
    )?;
    let dir = config.data.dir.display();
    match to {
        Engines::Production => writeln!(
            out,
            "next: give every node as JWT_SECRET what {dir}/jwt_secret holds (or the JWT_SECRET that the \
             embedded server had); with another one all access tokens end at once"
        )?,
        Engines::Embedded => writeln!(
            out,
            "next: start the embedded server with the nodes' JWT_SECRET; without it all access tokens end at once"
        )?,
    }
    Ok(())
}

fn repair(config: &Config) -> anyhow::Result<()> {
    let progress = |events| {
        // Where nobody reads, nobody misses it.
        let _ = writeln!(stdout(), "{events} events looked at");
    };
    let done = block_on(app::repair(config, progress))?;
    writeln!(
        stdout(),
        "{} events: {} facts into the log, {} facts into the store, {} places noted, {} events failed",
        done.events,
        done.healed.appended,
        done.healed.adopted,
        done.healed.marked,
        done.failed
    )?;
    anyhow::ensure!(done.failed == 0, "{} events could not be repaired", done.failed);
    Ok(())
}

fn verify_file(VerifyArgs { file, room, head }: VerifyArgs) -> anyhow::Result<()> {
    let name = file.display();
    let open = File::open(&file).with_context(|| format!("{name} cannot be opened"))?;
    let noted = head.map(|NotedHead(head)| head);
    let valid = verify(BufReader::new(open), room.map(RoomId), noted)
        .with_context(|| format!("{name} is not a valid record"))?;
    writeln!(
        stdout(),
        "valid: event {}, room {}, {} entries ({} erased), head {}:{}",
        valid.event,
        valid.room,
        valid.entries,
        valid.erased,
        valid.head.seq,
        valid.head.hash
    )?;
    if valid.unexplained > 0 {
        writeln!(
            stdout(),
            "note: {} entries have no content and no later entry takes them back; \
             the chain shows that they stood there, not why their words are gone",
            valid.unexplained
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Cli, Command, NotedHead};

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn nothing_asked_means_serve_and_options_stand_anywhere() {
        assert!(Cli::parse_from(["timingle"]).command.is_none());
        let cli = Cli::parse_from(["timingle", "migrate", "--create-keyspace", "3"]);
        assert!(matches!(
            cli.command,
            Some(Command::Migrate {
                dry_run: false,
                create_keyspace: Some(3)
            })
        ));
        assert!(Cli::try_parse_from(["timingle", "migrate", "--create-keyspace", "0"]).is_err());
        let cli = Cli::parse_from(["timingle", "export", "7", "--out", "x", "--config", "c"]);
        assert!(matches!(cli.command, Some(Command::Export(args)) if args.event == 7));
        assert!(cli.config.is_some());
        assert!(Cli::try_parse_from(["timingle", "export", "0", "--out", "x"]).is_err());
    }

    #[test]
    fn heads_are_read_strictly() {
        let hash = "ab".repeat(32);
        assert_eq!(format!("12:{hash}").parse::<NotedHead>().unwrap().0.seq, 12);
        for bad in [
            "",
            "12",
            "12:",
            ":ab",
            "-1:ab",
            &format!("12:{hash}0"),
            &format!("x:{hash}"),
        ] {
            assert!(bad.parse::<NotedHead>().is_err(), "{bad}");
        }
    }
}
