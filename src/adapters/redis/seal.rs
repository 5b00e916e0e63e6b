//! Telephone numbers that only nodes can read.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    error::Unspecified,
    hmac,
};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::domain::phone::Phone;

/// What the key is for: no other use of the same secret makes the same key.
const PURPOSE: &[u8] = b"timingle: numbers of one-time codes, version 1";
/// Numbers are filled up to a multiple of this, so that their length tells nothing: E.164 has
/// 16 characters at most.
const FILL: usize = 32;

/// The cryptography library refuses its work.
#[derive(Debug, thiserror::Error)]
#[error("a number cannot be encrypted")]
pub struct SealError(#[from] Unspecified);

/// Encrypts with a key made of the installation's secret: AES-256-GCM, bound to the code's id.
pub(super) struct Seal(RandomizedNonceKey);

impl Seal {
    /// With the key that belongs to `secret`.
    pub(super) fn new(secret: &SecretString) -> Result<Self, SealError> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let key = hmac::sign(&root, PURPOSE);
        Ok(Self(RandomizedNonceKey::new(&AES_256_GCM, key.as_ref())?))
    }

    /// The nonce, then the number encrypted.
    pub(super) fn close(&self, id: Uuid, phone: &Phone) -> Result<Vec<u8>, SealError> {
        let mut text = phone.as_str().as_bytes().to_vec();
        text.resize(text.len().next_multiple_of(FILL), 0);
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(id.as_bytes()), &mut text)?;
        Ok([&nonce.as_ref()[..], &text].concat())
    }

    /// What was closed with the same secret and id; else nothing.
    pub(super) fn open(&self, id: Uuid, mut sealed: Vec<u8>) -> Option<Phone> {
        let (nonce, text) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.0.open_in_place(nonce, Aad::from(id.as_bytes()), text).ok()?;
        let text = std::str::from_utf8(text).ok()?.trim_end_matches('\0');
        Some(Phone::from_stored(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use uuid::Uuid;

    use super::Seal;
    use crate::domain::phone::Phone;

    fn seal(secret: &str) -> Seal {
        Seal::new(&SecretString::from(secret)).unwrap()
    }

    #[test]
    fn only_the_same_secret_and_id_open_a_seal() {
        let (id, phone) = (Uuid::from_u128(1), Phone::from_stored("+821012345678".into()));
        let sealed = seal("one").close(id, &phone).unwrap();
        assert_eq!(seal("one").open(id, sealed.clone()), Some(phone.clone()));
        assert_eq!(seal("two").open(id, sealed.clone()), None);
        assert_eq!(seal("one").open(Uuid::from_u128(2), sealed.clone()), None);
        assert_eq!(seal("one").open(id, sealed[..5].to_vec()), None);
        let mut changed = sealed.clone();
        changed[20] ^= 1;
        assert_eq!(seal("one").open(id, changed), None);
        assert_ne!(
            seal("one").close(id, &phone).unwrap(),
            sealed,
            "the nonce is random"
        );
    }

    #[test]
    fn length_of_a_number_does_not_show() {
        let of = |number: &str| {
            let phone = Phone::from_stored(number.into());
            seal("one").close(Uuid::nil(), &phone).unwrap().len()
        };
        assert_eq!(of("+49301234"), of("+821012345678901"));
    }
}
