//! Every figure the server publishes: its name, unit, help and buckets.
//!
//! Nobody else writes a metric's name. Labels come from closed sets, never from
//! ids or anything a client can choose, so that their number stays bounded.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;

use crate::error::ErrorCode;

const SESSIONS: &str = "timingle_sessions";
const SESSIONS_OPENED: &str = "timingle_sessions_opened_total";
const SESSIONS_CLOSED: &str = "timingle_sessions_closed_total";
const ROOMS: &str = "timingle_rooms";
const ROOMS_STOPPED: &str = "timingle_rooms_stopped_total";
const ROOM_RESTARTS: &str = "timingle_room_restarts_total";
const PUBLISHED: &str = "timingle_messages_published_total";
const PUBLISH_SECONDS: &str = "timingle_publish_duration_seconds";
const PUBLISH_REFUSED: &str = "timingle_publishes_refused_total";
const APPENDS: &str = "timingle_appends_total";
const APPEND_SECONDS: &str = "timingle_append_duration_seconds";
const APPEND_ENTRIES: &str = "timingle_append_entries";
const DELIVERIES: &str = "timingle_deliveries_total";
const OUTBOX_FULL: &str = "timingle_outbox_full_total";
const HTTP_REQUESTS: &str = "timingle_http_requests_total";
const HTTP_SECONDS: &str = "timingle_http_request_duration_seconds";
const FACTS_APPENDED: &str = "timingle_facts_appended_total";
const TRANSACTIONS_REPEATED: &str = "timingle_transactions_repeated_total";
const FACTS_PENDING: &str = "timingle_facts_pending";
const DUE: &str = "timingle_due_total";
const DUE_LATENESS: &str = "timingle_due_lateness_seconds";
const ENGINE_ANSWERS: &str = "timingle_engine_answers";
const COUNTED_ALONE: &str = "timingle_counted_alone_total";
const BRIDGE_TOLD: &str = "timingle_bridge_told_total";
const BRIDGE_HEARD: &str = "timingle_bridge_heard_total";
const BRIDGE_GAPS: &str = "timingle_bridge_gaps_total";
const BRIDGE_LOOKS: &str = "timingle_bridge_looks_total";
const BRIDGE_NODES: &str = "timingle_bridge_nodes";
const BRIDGE_UP: &str = "timingle_bridge_up";
const BUILD: &str = "timingle_build_info";
const UPTIME: &str = "timingle_uptime_seconds";

/// From 100 µs, below one local commit, to 10 s, beyond every deadline here.
const SECONDS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Powers of two up to the configured size of an append.
const ENTRIES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// How often recorded histograms leave their buffers.
const UPKEEP: Duration = Duration::from_secs(5);

static RECORDER: OnceLock<(PrometheusHandle, Instant)> = OnceLock::new();

/// How an append to a room's log ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendResult {
    /// The entries are on disk.
    Appended,
    /// Somebody else appended first.
    Conflict,
    /// Not known yet.
    InDoubt,
}

impl AppendResult {
    const fn label(self) -> &'static str {
        match self {
            Self::Appended => "appended",
            Self::Conflict => "conflict",
            Self::InDoubt => "in_doubt",
        }
    }
}

/// Why nothing is recorded.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The recorder cannot be set up, or somebody else's is in its place.
    #[error("the recorder cannot be set up")]
    Recorder(#[from] BuildError),
    /// The thread that keeps it small cannot be started.
    #[error("the recorder's thread cannot be started")]
    Thread(#[from] std::io::Error),
}

/// Starts recording, once for the process; later calls do nothing.
///
/// # Errors
/// It cannot be set up.
pub fn install() -> Result<(), MetricsError> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    if RECORDER.get().is_some() {
        return Ok(());
    }
    let mut builder = PrometheusBuilder::new();
    for name in [PUBLISH_SECONDS, APPEND_SECONDS, HTTP_SECONDS, DUE_LATENESS] {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), &SECONDS)?;
    }
    builder = builder.set_buckets_for_metric(Matcher::Full(APPEND_ENTRIES.to_owned()), &ENTRIES)?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(BuildError::from)?;
    describe();
    let kept = RECORDER.get_or_init(|| (handle, Instant::now())).0.clone();
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || keep_small(&kept))?;
    Ok(())
}

/// Every figure in Prometheus' text format; empty before [`install`].
pub fn render() -> String {
    let Some((handle, started)) = RECORDER.get() else {
        return String::new();
    };
    gauge!(UPTIME).set(started.elapsed().as_secs_f64());
    handle.render()
}

/// Moves recorded histograms out of their buffers, which would grow without bound
/// between two scrapes, or for ever if nobody scrapes.
fn keep_small(handle: &PrometheusHandle) -> ! {
    loop {
        handle.run_upkeep();
        std::thread::sleep(UPKEEP);
    }
}

fn describe() {
    let n = Unit::Count;
    describe_gauge!(SESSIONS, n, "WebSockets that are open now");
    describe_counter!(SESSIONS_OPENED, n, "WebSockets opened");
    describe_counter!(SESSIONS_CLOSED, n, "WebSockets closed, by reason");
    describe_gauge!(ROOMS, n, "Rooms that are live on this node now");
    describe_counter!(ROOMS_STOPPED, n, "Rooms that stopped, by reason");
    describe_counter!(ROOM_RESTARTS, n, "Rooms rebuilt from the log after a panic");
    describe_counter!(PUBLISHED, n, "Messages acknowledged as durable");
    describe_histogram!(
        PUBLISH_SECONDS,
        Unit::Seconds,
        "From taking a publish to its acknowledgement"
    );
    describe_counter!(PUBLISH_REFUSED, n, "Publishes refused, by error code");
    describe_counter!(APPENDS, n, "Appends to the log, by result");
    describe_histogram!(APPEND_SECONDS, Unit::Seconds, "One append to the log, by result");
    describe_histogram!(
        APPEND_ENTRIES,
        n,
        "Entries of one append: how well commits are shared"
    );
    describe_counter!(DELIVERIES, n, "Pushes of entries handed to outboxes");
    describe_counter!(OUTBOX_FULL, n, "Sockets given up because their client was slow");
    describe_counter!(HTTP_REQUESTS, n, "HTTP requests, by route, method and status");
    describe_histogram!(HTTP_SECONDS, Unit::Seconds, "HTTP requests, by route");
    describe_counter!(FACTS_APPENDED, n, "Facts that found their place in the log");
    describe_counter!(
        TRANSACTIONS_REPEATED,
        n,
        "Transactions that the relational store had to be asked for once more"
    );
    describe_gauge!(
        FACTS_PENDING,
        n,
        "Events with facts that are not known to be in the log"
    );
    describe_counter!(
        DUE,
        n,
        "Events to which something happened by itself: a deadline, an end"
    );
    describe_histogram!(
        DUE_LATENESS,
        Unit::Seconds,
        "How long after its moment that happened"
    );
    describe_gauge!(
        ENGINE_ANSWERS,
        n,
        "1 if the engine answered when this node last asked, else 0"
    );
    describe_counter!(
        COUNTED_ALONE,
        n,
        "Requests that this node counted by itself, because redis did not answer"
    );
    describe_counter!(
        BRIDGE_TOLD,
        n,
        "What this node had to tell other nodes, by what became of it"
    );
    describe_counter!(
        BRIDGE_HEARD,
        n,
        "What this node heard from other nodes, by what became of it"
    );
    describe_counter!(
        BRIDGE_GAPS,
        n,
        "Losses noticed in what other nodes tell, by what it is about"
    );
    describe_counter!(
        BRIDGE_LOOKS,
        n,
        "Rooms that looked at the log for entries of other nodes"
    );
    describe_gauge!(BRIDGE_NODES, n, "Other nodes that this node hears");
    describe_gauge!(
        BRIDGE_UP,
        n,
        "1 if this node hears itself through the bridge, else 0"
    );
    describe_gauge!(BUILD, n, "Always 1; the label says which version runs");
    describe_gauge!(UPTIME, Unit::Seconds, "Since this process began to record");
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// A WebSocket was opened.
pub fn session_opened() {
    counter!(SESSIONS_OPENED).increment(1);
    gauge!(SESSIONS).increment(1.0);
}

/// A WebSocket was closed; `reason` is a close code's name or another constant.
pub fn session_closed(reason: &'static str) {
    counter!(SESSIONS_CLOSED, "reason" => reason).increment(1);
    gauge!(SESSIONS).decrement(1.0);
}

/// A room came alive.
pub fn room_started() {
    gauge!(ROOMS).increment(1.0);
}

/// A room stopped, for a reason from the code (`"idle"`, `"panic"`, `"shutdown"`).
pub fn room_stopped(reason: &'static str) {
    counter!(ROOMS_STOPPED, "reason" => reason).increment(1);
    gauge!(ROOMS).decrement(1.0);
}

/// A room was rebuilt after a panic.
pub fn room_restarted() {
    counter!(ROOM_RESTARTS).increment(1);
}

/// A message was acknowledged, `elapsed` after the room took it.
pub fn message_published(elapsed: Duration) {
    counter!(PUBLISHED).increment(1);
    histogram!(PUBLISH_SECONDS).record(elapsed);
}

/// A publish was refused.
pub fn publish_refused(code: ErrorCode) {
    counter!(PUBLISH_REFUSED, "code" => code.as_str()).increment(1);
}

/// An append of `entries` entries ended.
pub fn append(elapsed: Duration, result: AppendResult, entries: usize) {
    counter!(APPENDS, "result" => result.label()).increment(1);
    histogram!(APPEND_SECONDS, "result" => result.label()).record(elapsed);
    if result == AppendResult::Appended {
        histogram!(APPEND_ENTRIES).record(f64::from(u32::try_from(entries).unwrap_or(u32::MAX)));
    }
}

/// `n` pushes of entries went into outboxes.
pub fn deliveries(n: u64) {
    counter!(DELIVERIES).increment(n);
}

/// An outbox was full and its socket given up.
pub fn outbox_full() {
    counter!(OUTBOX_FULL).increment(1);
}

/// An HTTP request was answered. `route` is the pattern of the route table, never a
/// path; `method` one of the methods that HTTP defines.
pub fn http_request(route: String, method: &'static str, status: u16, elapsed: Duration) {
    counter!(HTTP_REQUESTS, "route" => route.clone(), "method" => method, "status" => status.to_string())
        .increment(1);
    histogram!(HTTP_SECONDS, "route" => route).record(elapsed);
}

/// `n` facts found their place in the log.
pub fn facts_appended(n: u64) {
    counter!(FACTS_APPENDED).increment(n);
}

/// A transaction collided with another, or lost its connection, and runs again.
pub fn transaction_repeated() {
    counter!(TRANSACTIONS_REPEATED).increment(1);
}

/// Whether `engine` answered when it was last asked.
pub fn engine_answers(engine: &'static str, answers: bool) {
    gauge!(ENGINE_ANSWERS, "engine" => engine).set(f64::from(u8::from(answers)));
}

/// This node counted a request by itself, because the shared counters did not answer.
pub fn counted_alone() {
    counter!(COUNTED_ALONE).increment(1);
}

/// What became of something that this node had to tell the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// The carrier took it.
    Sent,
    /// The carrier did not take it: too much waits, or it is away.
    Dropped,
    /// No other node wants to hear it.
    Unwanted,
}

/// This node had something to tell the others.
pub fn bridge_told(what: Telling) {
    let result = match what {
        Telling::Sent => "sent",
        Telling::Dropped => "dropped",
        Telling::Unwanted => "unwanted",
    };
    counter!(BRIDGE_TOLD, "result" => result).increment(1);
}

/// What became of something that another node told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// It was taken in.
    Taken,
    /// It was heard before, or came after it had been given up.
    Repeated,
    /// This version cannot read it.
    Unreadable,
    /// This node is too slow: it was never heard.
    Lost,
}

/// Another node told something.
pub fn bridge_heard(what: Hearing) {
    let result = match what {
        Hearing::Taken => "taken",
        Hearing::Repeated => "repeated",
        Hearing::Unreadable => "unreadable",
        Hearing::Lost => "lost",
    };
    counter!(BRIDGE_HEARD, "result" => result).increment(1);
}

/// Something that another node told about `what` (a closed set of words) is lost.
pub fn bridge_gap(what: &'static str) {
    counter!(BRIDGE_GAPS, "about" => what).increment(1);
}

/// `n` rooms look at the log for entries of other nodes.
pub fn bridge_looks(n: usize) {
    counter!(BRIDGE_LOOKS).increment(n as u64);
}

/// So many other nodes are heard.
pub fn bridge_nodes(n: usize) {
    gauge!(BRIDGE_NODES).set(f64::from(u32::try_from(n).unwrap_or(u32::MAX)));
}

/// Whether this node hears itself through the bridge.
pub fn bridge_up(is_up: bool) {
    gauge!(BRIDGE_UP).set(f64::from(u8::from(is_up)));
}

/// Something happened to an event by itself, `late` after its moment.
pub fn fell_due(late: Duration) {
    counter!(DUE).increment(1);
    histogram!(DUE_LATENESS).record(late);
}

/// So many events have facts that are not known to be in the log, as last counted.
pub fn facts_pending(n: usize) {
    gauge!(FACTS_PENDING).set(f64::from(u32::try_from(n).unwrap_or(u32::MAX)));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{AppendResult, append, http_request, install, message_published, publish_refused, render};
    use crate::error::ErrorCode;

    #[test]
    fn every_figure_has_prefix_help_and_buckets() {
        install().unwrap();
        install().unwrap();
        super::session_opened();
        super::session_closed("slow");
        super::room_started();
        super::room_stopped("idle");
        super::room_restarted();
        message_published(Duration::from_micros(300));
        publish_refused(ErrorCode::KeyConflict);
        append(Duration::from_millis(1), AppendResult::Appended, 3);
        super::deliveries(2);
        super::outbox_full();
        http_request("/api/v1/events/{id}".into(), "GET", 200, Duration::from_millis(2));
        super::facts_appended(1);
        super::transaction_repeated();
        super::facts_pending(4);
        super::fell_due(Duration::from_millis(120));
        super::bridge_told(super::Telling::Sent);
        super::bridge_heard(super::Hearing::Taken);
        super::bridge_gap("room");
        super::bridge_looks(1);
        super::bridge_nodes(2);
        super::bridge_up(true);
        super::engine_answers("redis", true);
        super::counted_alone();
        let text = render();
        for line in text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
        {
            assert!(line.starts_with("timingle_"), "{line}");
            let name = line.split(['{', ' ']).next().unwrap();
            let family = name
                .trim_end_matches("_bucket")
                .trim_end_matches("_sum")
                .trim_end_matches("_count");
            assert!(text.contains(&format!("# HELP {family} ")), "{name} has no help");
        }
        assert!(
            text.contains("timingle_publish_duration_seconds_bucket{le=\"0.0005\"}"),
            "{text}"
        );
        assert!(
            text.contains("timingle_append_entries_bucket{le=\"4\"}"),
            "{text}"
        );
        assert!(
            text.contains("timingle_publishes_refused_total{code=\"KEY_CONFLICT\"}"),
            "{text}"
        );
    }
}
