//! Log lines: one JSON object each, on stderr, with the ids of the request or session.
//!
//! Standard output belongs to people (the address, one-time codes). What must never
//! be in a log line: tokens, codes, phone numbers, message texts.

use std::io::IsTerminal as _;

use tracing_subscriber::{
    EnvFilter, fmt,
    layer::SubscriberExt as _,
    util::{SubscriberInitExt as _, TryInitError},
};

use crate::config::{Log, LogFormat};

/// Lines of dependencies that quote what a client sent, a token pasted into a path for instance:
/// off, whatever the filter says.
const QUOTING: &str = "actix_web::types=off";

/// Why log lines cannot be written as configured.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.filter` is no filter.
    #[error("log.filter cannot be understood")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
}

/// Begins to write log lines as `config` says, once for the process: later calls keep
/// the first one's settings, so that tests may call it as often as they like.
///
/// # Errors
/// The filter cannot be understood.
pub fn init(config: &Log) -> Result<(), TelemetryError> {
    let registry = tracing_subscriber::registry()
        .with(EnvFilter::try_new(&config.filter)?.add_directive(QUOTING.parse()?));
    let done: Result<(), TryInitError> = match config.format {
        LogFormat::Json => registry
            .with(
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    // The list holds the current span too, and the request around it.
                    .with_current_span(false)
                    .with_span_list(true)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
        LogFormat::Pretty => registry
            .with(
                fmt::layer()
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_writer(std::io::stderr),
            )
            .try_init(),
    };
    // The only failure is that somebody was first.
    drop(done);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::init;
    use crate::config::{Log, LogFormat};

    #[test]
    fn second_start_is_no_error_but_a_bad_filter_is() {
        let log = |filter: &str| Log {
            filter: filter.into(),
            format: LogFormat::Json,
        };
        init(&log("warn")).unwrap();
        init(&log("info")).unwrap();
        assert!(init(&log("=,=")).is_err());
    }
}
