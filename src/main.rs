//! The command line: see `cli` for what can be asked, `timingle::app` for what it does.

mod cli;

use std::{io::Write as _, process::ExitCode};

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // To a closed stream nothing can be said; the exit code still speaks.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
