//! Where a page ended, in a form that a client hands back and need not understand.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};

use super::problems::Problems;

/// The longest cursor in bytes: several times what ours have.
const MAX_BYTES: usize = 256;

/// The cursor for `place`; `None` if it cannot be written, which none of ours is.
pub(super) fn encode(place: &impl Serialize) -> Option<String> {
    serde_json::to_vec(place)
        .ok()
        .map(|json| URL_SAFE_NO_PAD.encode(json))
}

/// The place that `cursor` names; `None` for the empty one, which is the first page's.
/// Notes one that is not ours.
pub(super) fn decode<T: DeserializeOwned>(problems: &mut Problems, cursor: &str) -> Option<T> {
    if cursor.is_empty() {
        return None;
    }
    let place = (cursor.len() <= MAX_BYTES)
        .then(|| URL_SAFE_NO_PAD.decode(cursor).ok())
        .flatten()
        .and_then(|json| serde_json::from_slice(&json).ok());
    if place.is_none() {
        problems.note("/cursor", "empty, or a next_cursor of the same list");
    }
    place
}

#[cfg(test)]
mod tests {
    use super::{MAX_BYTES, Problems, decode, encode};

    #[test]
    fn cursor_comes_back_and_others_are_noted() {
        let mut problems = Problems::default();
        let cursor = encode(&(i64::MIN, i64::MAX)).unwrap();
        assert!(cursor.len() < MAX_BYTES / 4);
        assert_eq!(decode(&mut problems, &cursor), Some((i64::MIN, i64::MAX)));
        assert_eq!(decode::<(i64, i64)>(&mut problems, ""), None);
        assert!(problems.list().is_empty());
        let long = "A".repeat(MAX_BYTES + 1);
        let other = encode(&"another").unwrap();
        for bad in ["!", "AAAA", "WzEsMl0=", other.as_str(), long.as_str()] {
            let mut problems = Problems::default();
            assert_eq!(decode::<(i64, i64)>(&mut problems, bad), None);
            assert_eq!(problems.list().len(), 1, "{bad}");
        }
    }
}
