//! The rules that an event's values keep, whether it is made or changed.

use chrono::{DateTime, Datelike};

use super::super::problems::Problems;
use crate::domain::{
    event::{ConfirmRule, OnDeadline},
    time::Micros,
};

pub(super) const MAX_TITLE_CHARS: usize = 200;
pub(super) const MAX_DESCRIPTION_CHARS: usize = 4_000;
pub(super) const MAX_LOCATION_CHARS: usize = 200;
/// More changes than anybody counts; who wants more sets no limit.
const MAX_CHANGES: i64 = 100;

/// The instant that `text` names.
pub(super) fn instant(problems: &mut Problems, pointer: &'static str, text: Option<&str>) -> Option<Micros> {
    let time = text
        .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
        .map(|time| time.to_utc())
        // Years beyond these do not come back in four digits.
        .filter(|time| (1..=9999).contains(&time.year()));
    if time.is_none() {
        problems.note(pointer, "RFC 3339 with a zone, as 2026-11-24T06:52:31Z");
    }
    time.map(Micros::from)
}

/// The zone, if one is named.
pub(super) fn zone(problems: &mut Problems, zone: Option<String>) -> Option<String> {
    let zone = zone.filter(|zone| !zone.is_empty())?;
    if zone.parse::<chrono_tz::Tz>().is_err() {
        problems.note("/timezone", "the IANA name of a time zone, as Asia/Seoul");
    }
    Some(zone)
}

/// What confirms the event, if that is said: `quorum` alone says it too, and the quorum of
/// an event that has one already (`known`) need not be repeated.
pub(super) fn confirm_rule(
    problems: &mut Problems,
    word: Option<&str>,
    quorum: Option<i64>,
    known: ConfirmRule,
    participants: i64,
) -> Option<ConfirmRule> {
    match (word, quorum) {
        (None, None) => None,
        (Some("everyone"), None) => Some(ConfirmRule::Everyone),
        (Some("everyone"), Some(_)) => {
            problems.note("/quorum", "only with the confirm_rule quorum");
            None
        }
        (None | Some("quorum"), Some(quorum)) => {
            let counted = u32::try_from(quorum).ok();
            let counted = counted.filter(|_| (2..=participants).contains(&quorum));
            if counted.is_none() {
                problems.note("/quorum", format!("a number from 2 to {participants}"));
            }
            counted.map(ConfirmRule::Quorum)
        }
        (Some("quorum"), None) => {
            let has_one = matches!(known, ConfirmRule::Quorum(_));
            if !has_one {
                problems.note("/quorum", format!("a number from 2 to {participants}"));
            }
            has_one.then_some(known)
        }
        (Some(_), _) => {
            problems.note("/confirm_rule", "everyone or quorum");
            None
        }
    }
}

/// What becomes of the event when its time to answer ran out, if that is said.
pub(super) fn on_deadline(problems: &mut Problems, word: Option<&str>) -> Option<OnDeadline> {
    match word? {
        "stay" => Some(OnDeadline::Stay),
        "cancel" => Some(OnDeadline::Cancel),
        _ => {
            problems.note("/on_deadline", "stay or cancel");
            None
        }
    }
}

/// How many changes the event may have once it was confirmed, if that is said.
pub(super) fn change_limit(problems: &mut Problems, limit: Option<i64>) -> Option<u32> {
    let limit = limit?;
    let counted = u32::try_from(limit).ok();
    let counted = counted.filter(|_| (0..=MAX_CHANGES).contains(&limit));
    if counted.is_none() {
        problems.note("/change_limit", format!("a number from 0 to {MAX_CHANGES}"));
    }
    counted
}

/// Until when the event's rule has to be met, if that is said.
pub(super) fn confirm_by(
    problems: &mut Problems,
    text: Option<&str>,
    end_time: Option<Micros>,
    known: Option<Micros>,
    now: Micros,
) -> Option<Micros> {
    let by = instant(problems, "/confirm_by", Some(text?))?;
    if known == Some(by) {
        // A client that sends the whole event back changes nothing by it.
        return Some(by);
    }
    if by <= now {
        problems.note("/confirm_by", "in the future");
    } else if end_time.is_some_and(|end_time| by > end_time) {
        problems.note("/confirm_by", "not after end_time");
    }
    Some(by)
}
