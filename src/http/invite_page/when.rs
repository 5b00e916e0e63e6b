//! When an event is, written out as people do.

use chrono::{DateTime, Datelike as _, Offset as _, Timelike as _, Weekday};
use chrono_tz::Tz;
use serde::Serialize;

use crate::{
    domain::time::Micros,
    i18n::{Arg, Language, text},
};

/// When an event is.
#[derive(Debug, Serialize)]
pub(super) struct When {
    /// RFC 3339.
    start: Micros,
    /// RFC 3339.
    end: Micros,
    /// IANA name of the zone of the lines.
    timezone: String,
    /// The day and the time of day, or where it ends on another day, from when and until when.
    lines: [Line; 2],
    /// Whether it ends on another day, which makes the lines long.
    is_long: bool,
    /// The zone in words.
    zone: String,
}

/// A line with the instant it speaks of.
#[derive(Debug, Serialize)]
struct Line {
    datetime: String,
    text: String,
}

impl When {
    /// An event from `start` to `end` in the zone with this IANA name; UTC stands in for a
    /// zone that is not known.
    pub(super) fn new(language: Language, start: Micros, end: Micros, timezone: &str) -> Self {
        let zone: Tz = timezone.parse().unwrap_or(Tz::UTC);
        let (from, to) = (local(start, zone), local(end, zone));
        let is_long = from.date_naive() != to.date_naive();
        let lines = if is_long {
            let (starts, ends) = (moment_of(language, &from), moment_of(language, &to));
            [
                (
                    from.to_rfc3339(),
                    text(language, "invite-from", &[("moment", Arg::Text(&starts))]),
                ),
                (
                    to.to_rfc3339(),
                    text(language, "invite-to", &[("moment", Arg::Text(&ends))]),
                ),
            ]
        } else {
            let (from_time, to_time) = (time(language, &from), time(language, &to));
            let times = if from_time == to_time {
                from_time
            } else {
                let args = [("from", Arg::Text(&from_time)), ("to", Arg::Text(&to_time))];
                text(language, "invite-time-range", &args)
            };
            [
                (from.date_naive().to_string(), date(language, &from)),
                (from.to_rfc3339(), times),
            ]
        };
        Self {
            start,
            end,
            timezone: zone.name().to_owned(),
            lines: lines.map(|(datetime, text)| Line { datetime, text }),
            is_long,
            zone: zone_name(language, zone, &from),
        }
    }

    /// All of it in one line.
    pub(super) fn in_one_line(&self, language: Language) -> String {
        let [first, second] = &self.lines;
        let args = [
            ("first", Arg::Text(&first.text)),
            ("second", Arg::Text(&second.text)),
            ("zone", Arg::Text(&self.zone)),
        ];
        text(language, "invite-when-line", &args)
    }
}

/// Day and time of day of `at` in the zone with this IANA name.
pub(super) fn moment(language: Language, at: Micros, timezone: &str) -> String {
    moment_of(language, &local(at, timezone.parse().unwrap_or(Tz::UTC)))
}

fn local(at: Micros, zone: Tz) -> DateTime<Tz> {
    at.to_datetime().with_timezone(&zone)
}

fn moment_of(language: Language, at: &DateTime<Tz>) -> String {
    let (date, time) = (date(language, at), time(language, at));
    let args = [("date", Arg::Text(&date)), ("time", Arg::Text(&time))];
    text(language, "invite-moment", &args)
}

fn date(language: Language, at: &DateTime<Tz>) -> String {
    let weekday = match at.weekday() {
        Weekday::Mon => "mon",
        Weekday::Tue => "tue",
        Weekday::Wed => "wed",
        Weekday::Thu => "thu",
        Weekday::Fri => "fri",
        Weekday::Sat => "sat",
        Weekday::Sun => "sun",
    };
    let args = [
        ("year", Arg::Number(u64::try_from(at.year()).unwrap_or_default())),
        ("month", Arg::Number(at.month().into())),
        ("day", Arg::Number(at.day().into())),
        ("weekday", Arg::Text(weekday)),
    ];
    text(language, "invite-date", &args)
}

fn time(language: Language, at: &DateTime<Tz>) -> String {
    let (is_afternoon, hour) = at.hour12();
    let minute = format!("{:02}", at.minute());
    let args = [
        ("half", Arg::Text(if is_afternoon { "pm" } else { "am" })),
        ("hour", Arg::Number(hour.into())),
        ("minute", Arg::Text(&minute)),
    ];
    text(language, "invite-time", &args)
}

/// The zone by the place that people know it by, with what it is ahead of GMT at `at`.
fn zone_name(language: Language, zone: Tz, at: &DateTime<Tz>) -> String {
    let seconds = at.offset().fix().local_minus_utc();
    let sign = if seconds < 0 { "-" } else { "+" };
    let (hours, minutes) = (seconds.abs() / 3_600, seconds.abs() / 60 % 60);
    let offset = match (hours, minutes) {
        (0, 0) => "GMT".to_owned(),
        (hours, 0) => format!("GMT{sign}{hours}"),
        (hours, minutes) => format!("GMT{sign}{hours}:{minutes:02}"),
    };
    // `America/Argentina/Buenos_Aires` is named after its last part.
    let place = zone.name().rsplit('/').next().unwrap_or_default();
    let city = place.replace('_', " ");
    let args = [
        ("place", Arg::Text(place)),
        ("city", Arg::Text(&city)),
        ("offset", Arg::Text(&offset)),
    ];
    text(language, "invite-zone", &args)
}
