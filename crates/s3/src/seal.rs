//! Encryption at rest: AES-256-GCM in chunks, so that any range can be read and checked alone.
//!
//! ```text
//!   node key (file, 0600), one derived from it, or the customer's key ──wraps──► data key, random, one per segment
//!   plain   │ 64 KiB │ 64 KiB │ … │ rest │
//!   sealed  │ 64 KiB + 16 │ …            │      nonce = number of the chunk, associated data = segment id
//! ```
//!
//! A data key is used for one segment only, so counting nonces never repeat under a key
//! (NIST SP 800-38D, section 8.2.1). That nothing was cut off is known by the size in the record.

use aes_gcm::aead::{Aead, AeadInOut as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sys::Rng;
use zeroize::Zeroizing;

/// Plain bytes of every chunk but the last.
pub(crate) const CHUNK: usize = 64 * 1024;
/// Bytes that sealing adds to a chunk.
pub(crate) const TAG: usize = 16;

/// A 256-bit key; wiped when dropped, never shown.
#[derive(Clone)]
pub(crate) struct Key(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key([redacted])")
    }
}

/// A data key as it is stored: sealed under another key. Base64 of nonce and ciphertext.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wrapped(String);

impl std::fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wrapped")
    }
}

/// The key is another one, or the bytes were changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes do not open")]
pub(crate) struct DoesNotOpen;

impl Key {
    /// The key with these bytes.
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A fresh one.
    pub(crate) fn random(rng: &Rng) -> Self {
        Self::new(rng.bytes())
    }

    /// The key that follows from this one for the purpose `info`: HKDF-Expand with SHA-256 (RFC 5869, section 2.3). A
    /// random key needs no extraction before (section 3.3), and one block is all of 32 bytes.
    pub(crate) fn derive(&self, info: &str) -> Key {
        let mut mac = <Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(&self.0[..]).expect("any length is a key");
        mac.update(info.as_bytes());
        mac.update(&[1]);
        Self::new(mac.finalize().into_bytes().into())
    }

    /// The bytes as a UUID's text, for keys that are names.
    pub(crate) fn uuid(&self) -> String {
        let digits = sys::hex(&self.0[..16]);
        let (a, b, c, d, e) = (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
        format!("{a}-{b}-{c}-{d}-{e}")
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&(*self.0).into())
    }

    /// Seals the data key `inner` under this one, bound to `context`.
    pub(crate) fn wrap(&self, inner: &Key, context: &str, rng: &Rng) -> Wrapped {
        let nonce = rng.bytes::<12>();
        let payload = Payload { msg: &inner.0[..], aad: context.as_bytes() };
        let sealed = self.cipher().encrypt(&Nonce::from(nonce), payload).expect("32 bytes are within GCM's limit");
        Wrapped(BASE64.encode([&nonce[..], &sealed].concat()))
    }

    /// Opens a wrapped data key.
    ///
    /// # Errors
    /// When it was wrapped under another key or for another context, or is damaged.
    pub(crate) fn unwrap_key(&self, wrapped: &Wrapped, context: &str) -> Result<Key, DoesNotOpen> {
        let bytes = BASE64.decode(&wrapped.0).map_err(|_| DoesNotOpen)?;
        let (nonce, sealed) = bytes.split_first_chunk::<12>().ok_or(DoesNotOpen)?;
        let payload = Payload { msg: sealed, aad: context.as_bytes() };
        let opened = self.cipher().decrypt(&Nonce::from(*nonce), payload).map_err(|_| DoesNotOpen)?;
        let opened = Zeroizing::new(opened);
        Ok(Key::new(opened[..].try_into().map_err(|_| DoesNotOpen)?))
    }
}

/// What data keys are wrapped under, and what that binds them to beside their segment.
#[derive(Clone, Debug)]
pub(crate) struct Wrapping {
    key: Key,
    context: String,
}

impl Wrapping {
    /// Under `key`, bound to the segment alone.
    pub(crate) fn of(key: Key) -> Self {
        Self { key, context: String::new() }
    }

    /// Under `key`, bound to `context` too.
    pub(crate) fn bound(key: Key, context: String) -> Self {
        Self { key, context }
    }

    /// Seals the data key of a segment. Segments' ids have one length: where the context begins is never in doubt.
    pub(crate) fn wrap(&self, inner: &Key, segment: &str, rng: &Rng) -> Wrapped {
        self.key.wrap(inner, &format!("{segment}{}", self.context), rng)
    }

    /// Opens the data key of a segment.
    ///
    /// # Errors
    /// As [`Key::unwrap_key`].
    pub(crate) fn unwrap_key(&self, wrapped: &Wrapped, segment: &str) -> Result<Key, DoesNotOpen> {
        self.key.unwrap_key(wrapped, &format!("{segment}{}", self.context))
    }
}

/// Seals and opens the chunks of one segment.
#[derive(Clone)]
pub(crate) struct Cipher {
    cipher: Aes256Gcm,
    context: String,
}

impl Cipher {
    /// Of the segment `context` under its own data key.
    pub(crate) fn new(key: &Key, context: &str) -> Self {
        Self { cipher: key.cipher(), context: context.to_owned() }
    }

    /// Seals chunk number `index`.
    pub(crate) fn seal(&self, index: u64, plain: &[u8]) -> Vec<u8> {
        let payload = Payload { msg: plain, aad: self.context.as_bytes() };
        self.cipher.encrypt(&nonce(index), payload).expect("a chunk is within GCM's limit")
    }

    /// Opens the chunks from number `first` on, and gives out the plain bytes without gaps: in the same memory when nobody
    /// else has it.
    ///
    /// # Errors
    /// When the bytes are not what was sealed. They are of no use then.
    pub(crate) fn open(&self, first: u64, sealed: Bytes) -> Result<Bytes, DoesNotOpen> {
        let mut sealed = sealed.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let (mut start, mut plain) = (0, 0);
        for index in first.. {
            if start == sealed.len() {
                break;
            }
            let end = sealed.len().min(start + CHUNK + TAG);
            let (bytes, tag) = sealed[start..end].split_last_chunk_mut::<TAG>().ok_or(DoesNotOpen)?;
            let (tag, length) = (Tag::from(*tag), bytes.len());
            let opened = self.cipher.decrypt_inout_detached(&nonce(index), self.context.as_bytes(), bytes.into(), &tag);
            opened.map_err(|_| DoesNotOpen)?;
            sealed.copy_within(start..start + length, plain);
            (start, plain) = (end, plain + length);
        }
        sealed.truncate(plain);
        Ok(sealed.freeze())
    }
}

fn nonce(index: u64) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&index.to_be_bytes());
    Nonce::from(nonce)
}

/// Size of `plain` bytes once sealed.
pub(crate) fn sealed_size(plain: u64) -> u64 {
    plain + plain.div_ceil(CHUNK as u64) * TAG as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_in_its_place_only() {
        let rng = Rng::seeded(1);
        let key = Key::random(&rng);
        let cipher = Cipher::new(&key, "a");
        let sealed = Bytes::from(cipher.seal(3, b"secret"));
        assert_eq!(sealed.len() as u64, sealed_size(6));
        assert_eq!(cipher.open(3, sealed.clone()), Ok(Bytes::from_static(b"secret")));
        assert_eq!(cipher.open(4, sealed.clone()), Err(DoesNotOpen));
        assert_eq!(Cipher::new(&key, "b").open(3, sealed.clone()), Err(DoesNotOpen));
        assert_eq!(Cipher::new(&Key::random(&rng), "a").open(3, sealed.clone()), Err(DoesNotOpen));
        for at in 0..sealed.len() {
            let mut flipped = sealed.to_vec();
            flipped[at] ^= 1;
            assert_eq!(cipher.open(3, flipped.into()), Err(DoesNotOpen), "byte {at}");
        }
    }

    #[test]
    fn chunks_open_together_in_their_order_only() {
        let rng = Rng::seeded(5);
        let cipher = Cipher::new(&Key::random(&rng), "a");
        let mut plain = vec![0; 2 * CHUNK + 100];
        rng.fill(&mut plain);
        let chunks: Vec<_> = (7..).zip(plain.chunks(CHUNK)).map(|(index, chunk)| cipher.seal(index, chunk)).collect();
        let sealed = Bytes::from(chunks.concat());
        assert_eq!(sealed.len() as u64, sealed_size(plain.len() as u64));
        let plain = Bytes::from(plain);
        assert!(cipher.open(7, sealed.clone()) == Ok(plain.clone()), "shared with this test");
        assert!(cipher.open(7, Bytes::from(chunks.concat())) == Ok(plain.clone()), "its own");
        assert!(cipher.open(8, sealed.slice(CHUNK + TAG..)) == Ok(plain.slice(CHUNK..)));
        assert_eq!(cipher.open(7, Bytes::new()), Ok(Bytes::new()));
        assert!(cipher.open(7, [&chunks[1][..], &chunks[0]].concat().into()).is_err());
        assert!(cipher.open(7, sealed.slice(..CHUNK)).is_err());
        assert!(cipher.open(7, sealed.slice(..CHUNK + TAG + 3)).is_err());
        for at in [0, CHUNK + TAG, 2 * (CHUNK + TAG), sealed.len() - 1] {
            let mut flipped = sealed.to_vec();
            flipped[at] ^= 1;
            assert!(cipher.open(7, flipped.into()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_wrapped_key_opens_under_its_own_key_and_context() {
        let rng = Rng::seeded(2);
        let (outer, inner) = (Key::random(&rng), Key::random(&rng));
        let wrapped = outer.wrap(&inner, "a", &rng);
        assert_eq!(*outer.unwrap_key(&wrapped, "a").expect("opens").0, *inner.0);
        assert!(outer.unwrap_key(&wrapped, "b").is_err());
        assert!(inner.unwrap_key(&wrapped, "a").is_err());
        assert_eq!(format!("{outer:?} {wrapped:?}"), "Key([redacted]) Wrapped");
    }

    #[test]
    fn a_bound_key_opens_in_its_context_only() {
        let rng = Rng::seeded(3);
        let (outer, inner) = (Key::random(&rng), Key::random(&rng));
        let wrapped = Wrapping::bound(outer.clone(), "{\"a\":\"b\"}".to_owned()).wrap(&inner, "s", &rng);
        let opens = |context: &str, segment: &str| {
            Wrapping::bound(outer.clone(), context.to_owned()).unwrap_key(&wrapped, segment).is_ok()
        };
        assert!(opens("{\"a\":\"b\"}", "s"));
        assert!(!opens("{\"a\":\"c\"}", "s") && !opens("", "s") && !opens("{\"a\":\"b\"}", "t"));
        // Without a context it is what objects had before there were contexts.
        let plain = outer.wrap(&inner, "s", &rng);
        assert!(Wrapping::of(outer).unwrap_key(&plain, "s").is_ok());
    }

    #[test]
    fn derived_keys_follow_from_key_and_purpose() {
        let (a, b) = (Key::new([1; 32]), Key::new([2; 32]));
        assert_eq!(*a.derive("x").0, *Key::new([1; 32]).derive("x").0);
        assert_ne!(*a.derive("x").0, *a.derive("y").0);
        assert_ne!(*a.derive("x").0, *b.derive("x").0);
        // python: hmac.new(bytes([1]) * 32, b"x\x01", "sha256").hexdigest()
        let expected = "ab3929d6c8647f8af20c3d35a9565ce49f653dfa8207423c8bb1288fd963caa7";
        assert_eq!(sys::hex(&a.derive("x").0[..]), expected);
        assert_eq!(a.derive("x").uuid().len(), 36);
    }

    #[test]
    fn sizes_count_a_tag_for_each_chunk() {
        for (plain, sealed) in [(0, 0), (1, 17), (65_536, 65_552), (65_537, 65_569)] {
            assert_eq!(sealed_size(plain), sealed);
        }
    }
}
