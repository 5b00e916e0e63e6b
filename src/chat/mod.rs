//! The terminal client: a client like any other, and the example for client authors.
//!
//! `docs/protocol.md` explains the socket in words; this directory does what it says:
//!
//! - `wire`: the frames of version 2 as a client writes and reads them.
//! - `record`: where a client stands in a room, and how it notices a gap.
//! - `connection`: connect, authenticate, join, publish, resume. Start here.
//! - `api`: what goes over HTTP: signing in, making events, invite links.
//! - `input`: what a person typed.
//! - `terminal`: lines in, lines out.
//!
//! It knows the server only through its two wires and keeps nothing on disk.

mod api;
mod connection;
mod input;
mod record;
mod terminal;
mod wire;

use crate::{
    domain::time::Clock,
    i18n::{Language, text},
};

/// What `timingle chat` takes from the command line.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Type /help for what can be typed. Lines may come from a pipe:

  printf '%s\\n' '/open 7' 'On my way' | timingle chat --phone 010-1234-5678 --no-code

Nothing is kept on disk: every start signs in anew.")]
pub struct ChatArgs {
    /// Address of the server
    #[arg(long, value_name = "URL", default_value = "http://localhost:8080")]
    pub server: String,
    /// Your phone number; asked for if it is not given
    #[arg(long, value_name = "NUMBER")]
    pub phone: Option<String>,
    /// Your name, for a number that signs in for the first time
    #[arg(long)]
    pub name: Option<String>,
    /// Sign in without a one-time code, at a server that runs with auth.proof = "none"
    #[arg(long)]
    pub no_code: bool,
    /// Follow an invite link, or its code, and talk there
    #[arg(long, value_name = "LINK", conflicts_with = "event")]
    pub invite: Option<String>,
    /// Open an appointment by its number
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    pub event: Option<i64>,
    /// Language of the texts, ko or en; by default that of the terminal
    #[arg(long, value_name = "TAG", value_parser = language)]
    pub language: Option<Language>,
}

fn language(tag: &str) -> Result<Language, String> {
    Language::from_tag(tag).ok_or_else(|| "ko or en".to_owned())
}

/// The language that the terminal's environment names; Korean if it names none of ours.
fn terminal_language() -> Language {
    ["LC_ALL", "LC_MESSAGES", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .and_then(|value| Language::from_tag(&value))
        .unwrap_or_default()
}

/// Signs in and talks until the person quits or the input ends.
///
/// # Errors
/// A text for the person: the server cannot be used, the sign-in was refused or
/// revoked, or messages were left unsent.
pub async fn run(args: ChatArgs) -> anyhow::Result<()> {
    let language = args.language.unwrap_or_else(terminal_language);
    let api = api::Api::new(&args.server, language).map_err(|_| {
        anyhow::anyhow!(text(
            language,
            "chat-bad-server",
            &[("server", (&args.server).into())]
        ))
    })?;
    let lines = input::Lines::stdin();
    terminal::Terminal::new(Box::new(std::io::stdout()), language, api, Clock::system(), lines)
        .run(args)
        .await
}
