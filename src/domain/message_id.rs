//! The name of an entry of a room's record on wires that know no seq.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use super::id::EventId;

const SEQ_BITS: u32 = 62;
const EVENT_SHIFT: u32 = 80;
/// Version 8 and twelve zero bits (octets 6 and 7), then the variant (RFC 9562 section 5.8).
const FIXED: u128 = (0x8000 << 64) | (0b10 << SEQ_BITS);
const FIXED_MASK: u128 = (0xffff << 64) | (0b11 << SEQ_BITS);
const EVENT_MASK: u128 = (1 << 48) - 1;
const SEQ_MASK: u128 = (1 << SEQ_BITS) - 1;

/// Which entry of which event: a `UUIDv8` whose octets 0-5 are the event's number and
/// whose last 62 bits are the seq. The same entry has the same one everywhere, for ever.
///
/// Events are numbered one by one from 1, far below the 2^48 that have room in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId {
    /// The event, at least 1.
    pub event: EventId,
    /// The entry's number in the event's record, at least 1.
    pub seq: u64,
}

/// A text is not the name of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a message")]
pub struct NotAMessageId;

impl MessageId {
    /// It as a UUID.
    pub fn to_uuid(self) -> Uuid {
        let event = u128::from(self.event.0.unsigned_abs()) & EVENT_MASK;
        Uuid::from_u128((event << EVENT_SHIFT) | FIXED | (u128::from(self.seq) & SEQ_MASK))
    }
}

impl TryFrom<Uuid> for MessageId {
    type Error = NotAMessageId;

    fn try_from(uuid: Uuid) -> Result<Self, NotAMessageId> {
        let bits = uuid.as_u128();
        let event = i64::try_from(bits >> EVENT_SHIFT).map_err(|_| NotAMessageId)?;
        let seq = u64::try_from(bits & SEQ_MASK).map_err(|_| NotAMessageId)?;
        if bits & FIXED_MASK != FIXED || event == 0 || seq == 0 {
            return Err(NotAMessageId);
        }
        Ok(Self {
            event: EventId(event),
            seq,
        })
    }
}

impl FromStr for MessageId {
    type Err = NotAMessageId;

    fn from_str(text: &str) -> Result<Self, NotAMessageId> {
        let uuid = Uuid::try_parse(text).map_err(|_| NotAMessageId)?;
        uuid.try_into()
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_uuid().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{MessageId, NotAMessageId};
    use crate::domain::id::EventId;

    const VECTORS: [(i64, u64, &str); 4] = [
        (1, 1, "00000000-0001-8000-8000-000000000001"),
        (42, 4_096, "00000000-002a-8000-8000-000000001000"),
        (
            (1 << 48) - 1,
            (1 << 62) - 1,
            "ffffffff-ffff-8000-bfff-ffffffffffff",
        ),
        (
            0x0102_0304_0506,
            0x1122_3344_5566_7788,
            "01020304-0506-8000-9122-334455667788",
        ),
    ];

    #[test]
    fn event_and_seq_stand_where_they_are_said_to_stand() {
        for (event, seq, text) in VECTORS {
            let id = MessageId {
                event: EventId(event),
                seq,
            };
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse(), Ok(id));
            let uuid = id.to_uuid();
            assert_eq!(
                (uuid.get_version_num(), uuid.get_variant()),
                (8, uuid::Variant::RFC4122)
            );
        }
    }

    #[test]
    fn any_other_uuid_names_no_message() {
        for text in [
            "",
            "1",
            "00000000-0000-8000-8000-000000000001", // event 0
            "00000000-0001-8000-8000-000000000000", // seq 0
            "00000000-0001-4000-8000-000000000001", // version 4
            "00000000-0001-8001-8000-000000000001", // a bit that is zero
            "00000000-0001-8000-c000-000000000001", // another variant
            "6fa459ea-ee8a-4ca4-894e-db77e160355e",
            "00000000-0001-8000-8000-00000000000g",
        ] {
            assert_eq!(text.parse::<MessageId>(), Err(NotAMessageId), "{text}");
        }
    }
}
