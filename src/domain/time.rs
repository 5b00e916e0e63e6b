//! Instants in microseconds, as the log and the wire carry them.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// An instant: microseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
///
/// On the wire RFC 3339 in UTC with `Z` and six digits of fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, utoipa::ToSchema)]
#[schema(as = Time, value_type = String, format = DateTime, example = "2030-05-01T10:00:00.000000Z")]
pub struct Micros(pub i64);

impl Micros {
    /// The instant `duration` later; saturates.
    pub fn plus(self, duration: std::time::Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// The same instant for chrono; instants outside its range become its limits.
    pub fn to_datetime(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or(if self.0 < 0 {
            DateTime::<Utc>::MIN_UTC
        } else {
            DateTime::<Utc>::MAX_UTC
        })
    }
}

impl From<DateTime<Utc>> for Micros {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_micros())
    }
}

impl std::fmt::Display for Micros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_datetime().to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        DateTime::parse_from_rfc3339(&text)
            .map(|time| time.to_utc().into())
            .map_err(D::Error::custom)
    }
}

/// The wall clock, passed in so that a test can turn its hands.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Micros + Send + Sync>);

impl Clock {
    /// The machine's wall clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    pub fn system() -> Self {
        Self::from_fn(|| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
        })
    }

    /// A clock that reads what `now` says.
    pub fn from_fn(now: impl Fn() -> Micros + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The instant this clock shows.
    pub fn now(&self) -> Micros {
        (self.0)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::Micros;

    #[test]
    fn wire_form_has_six_digits_and_z_and_reads_back() {
        let at = Micros(1_790_000_000_000_001);
        let text = serde_json::to_string(&at).unwrap();
        assert_eq!(text, "\"2026-09-21T14:13:20.000001Z\"");
        assert_eq!(serde_json::from_str::<Micros>(&text).unwrap(), at);
        assert_eq!(
            serde_json::from_str::<Micros>("\"2026-09-21T23:13:20.000001+09:00\"").unwrap(),
            at
        );
        assert!(serde_json::from_str::<Micros>("\"2026-09-21T23:13:20\"").is_err());
    }
}
