//! Signed messages: the node's RSA key, its certificate, and the texts that are signed.
//!
//! Source: developer guide, "Verifying the signatures of Amazon SNS messages": PKCS #1 v1.5 over SHA-1
//! (`SignatureVersion` 1) or SHA-256 (2) of the message's fields by name, each name and value on a line of its own.
//! The certificate is an X.509 one (RFC 5280) that the key itself signed; `SigningCertURL` leads to it.
//!
//! The key is made when the first message or certificate asks for it, and kept in the store.

use std::convert::Infallible;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kv::Kv;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey};
use rsa::rand_core::{TryCryptoRng, TryRng};
use rsa::{Pkcs1v15Sign, PrivateKey};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use sys::{Clock, Rng};
use tokio::sync::OnceCell;

use crate::SnsError;
use crate::keys::{self, Key, SigningKey};

/// Where certificates are served; the file's name follows.
pub const CERTIFICATE_PATH: &str = "/_tinderbox/sns/";
const KEY_BITS: usize = 2_048;
const VALID_S: i64 = 10 * 365 * 86_400;

/// Signs messages. Cloning is cheap.
#[derive(Clone)]
pub struct Signer(Arc<Inner>);

struct Inner {
    kv: Kv,
    clock: Clock,
    rng: Rng,
    ready: OnceCell<Ready>,
}

struct Ready {
    key: PrivateKey,
    certificate: Certificate,
}

/// The certificate that messages are verified with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// `SimpleNotificationService-….pem`
    pub file: String,
    /// The certificate.
    pub pem: String,
}

impl Signer {
    pub(crate) fn new(kv: Kv, clock: Clock, rng: Rng) -> Self {
        Self(Arc::new(Inner { kv, clock, rng, ready: OnceCell::new() }))
    }

    /// The signature of `text` in base64; version `2` is SHA-256, any other SHA-1, as AWS's default is.
    ///
    /// # Errors
    /// The store's, while the key is made or read.
    pub async fn sign(&self, version: &str, text: &str) -> Result<String, SnsError> {
        let ready = self.ready().await?;
        let mut chance = Chance(&self.0.rng);
        let signed = match version {
            "2" => ready.key.sign_with_rng(&mut chance, Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(text)),
            _ => ready.key.sign_with_rng(&mut chance, Pkcs1v15Sign::new::<Sha1>(), &Sha1::digest(text)),
        };
        signed.map(|signature| STANDARD.encode(signature)).map_err(broken)
    }

    /// The certificate.
    ///
    /// # Errors
    /// As [`Signer::sign`].
    pub async fn certificate(&self) -> Result<Certificate, SnsError> {
        Ok(self.ready().await?.certificate.clone())
    }

    async fn ready(&self) -> Result<&Ready, SnsError> {
        self.0.ready.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<Ready, SnsError> {
        let read = self.0.kv.read(|tx| async move { keys::get::<SigningKey>(&tx, &Key::SigningKey).await });
        let stored = match read.await? {
            Some(stored) => stored,
            None => self.make().await?,
        };
        let der = STANDARD.decode(&stored.private).map_err(broken)?;
        let key = PrivateKey::from_pkcs8_der(&der).map_err(broken)?;
        let digest = Sha256::digest(&stored.certificate);
        let name = sys::hex(&digest[..16]);
        let certificate =
            Certificate { file: format!("SimpleNotificationService-{name}.pem"), pem: stored.certificate };
        Ok(Ready { key, certificate })
    }

    /// A new key, unless another one was stored meanwhile.
    async fn make(&self) -> Result<SigningKey, SnsError> {
        let (rng, now_s) = (self.0.rng.clone(), self.0.clock.now().unix_s());
        let made = sys::task::blocking(move || make_key(&rng, now_s)).await;
        let made = &made.ok_or_else(|| SnsError::InternalError("no signing key could be made".to_owned()))??;
        self.0
            .kv
            .transact(|tx| async move {
                if let Some(first) = keys::get::<SigningKey>(&tx, &Key::SigningKey).await? {
                    return Ok(first);
                }
                keys::set(&tx, &Key::SigningKey, made);
                Ok(made.clone())
            })
            .await
    }
}

fn broken(error: impl std::error::Error) -> SnsError {
    SnsError::InternalError(format!("the signing key: {error}"))
}

/// [`Rng`] as the RSA crate wants chance.
struct Chance<'a>(&'a Rng);

impl TryRng for Chance<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.0.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

/// The operating system's generator stands behind it in production ([`Rng::system`]).
impl TryCryptoRng for Chance<'_> {}

fn make_key(rng: &Rng, now_s: i64) -> Result<SigningKey, SnsError> {
    let mut chance = Chance(rng);
    let key = PrivateKey::new(&mut chance, KEY_BITS).map_err(broken)?;
    let private = STANDARD.encode(key.to_pkcs8_der().map_err(broken)?.as_bytes());
    let public = key.to_public_key().to_public_key_der().map_err(broken)?;
    let to_sign = der::to_be_signed(&rng.bytes::<8>(), now_s - 86_400, now_s + VALID_S, public.as_bytes());
    let digest = Sha256::digest(&to_sign);
    let signature = key.sign_with_rng(&mut chance, Pkcs1v15Sign::new::<Sha256>(), &digest).map_err(broken)?;
    Ok(SigningKey { private, certificate: der::pem(&der::certificate(&to_sign, &signature)) })
}

/// The few forms of DER (X.690) that one certificate needs.
mod der {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    /// 1.2.840.113549.1.1.11 and no parameters: sha256WithRSAEncryption.
    const ALGORITHM: &[u8] =
        &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00];
    /// 2.5.4.3: commonName.
    const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];
    const NAME: &str = "sns.tinderbox";
    const SEQUENCE: u8 = 0x30;

    fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut out = vec![tag];
        match u8::try_from(content.len()) {
            Ok(short) if short < 0x80 => out.push(short),
            _ => {
                let length = content.len().to_be_bytes();
                let digits: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
                out.push(0x80 | u8::try_from(digits.len()).expect("a length has at most 8 bytes"));
                out.extend(digits);
            }
        }
        out.extend(content);
        out
    }

    fn time(unix_s: i64) -> Vec<u8> {
        let moment = jiff::Timestamp::from_second(unix_s).unwrap_or_default();
        value(0x17, &[moment.strftime("%y%m%d%H%M%SZ").to_string().as_bytes()])
    }

    /// What is signed of a certificate: version 3, serial number, names, validity, public key.
    pub(super) fn to_be_signed(serial: &[u8; 8], from_s: i64, until_s: i64, public: &[u8]) -> Vec<u8> {
        let text = value(0x0c, &[NAME.as_bytes()]);
        let name = value(SEQUENCE, &[&value(0x31, &[&value(SEQUENCE, &[COMMON_NAME, &text])])]);
        let version = value(0xa0, &[&value(0x02, &[&[2]])]);
        let validity = value(SEQUENCE, &[&time(from_s), &time(until_s)]);
        // A first byte of 1 keeps the number positive and of full length.
        let serial = value(0x02, &[&[1], serial]);
        value(SEQUENCE, &[&version, &serial, ALGORITHM, &name, &validity, &name, public])
    }

    pub(super) fn certificate(to_be_signed: &[u8], signature: &[u8]) -> Vec<u8> {
        value(SEQUENCE, &[to_be_signed, ALGORITHM, &value(0x03, &[&[0], signature])])
    }

    pub(super) fn pem(der: &[u8]) -> String {
        let text = STANDARD.encode(der);
        let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
        for line in text.as_bytes().chunks(64) {
            pem.extend(line.iter().map(|byte| char::from(*byte)));
            pem.push('\n');
        }
        pem + "-----END CERTIFICATE-----\n"
    }
}

#[cfg(test)]
mod tests {
    use sys::Timestamp;

    use super::*;

    #[tokio::test]
    async fn both_versions_verify_and_the_key_is_kept() {
        let clock = Clock::manual(Timestamp::from_unix_s(1_700_000_000));
        let kv = Kv::memory(clock.clone(), Rng::seeded(1));
        let signer = Signer::new(kv.clone(), clock.clone(), Rng::seeded(2));
        let public = signer.ready().await.expect("a key").key.to_public_key();
        for (version, is_1) in [("1", true), ("2", false)] {
            let signature = STANDARD.decode(signer.sign(version, "text").await.expect("signed")).expect("base64");
            let sha1 = public.verify(Pkcs1v15Sign::new::<Sha1>(), &Sha1::digest("text"), &signature);
            let sha256 = public.verify(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest("text"), &signature);
            assert_eq!((sha1.is_ok(), sha256.is_ok()), (is_1, !is_1), "{version}");
            let other = public.verify(Pkcs1v15Sign::new::<Sha1>(), &Sha1::digest("other"), &signature);
            assert!(other.is_err(), "{version}");
        }
        let certificate = signer.certificate().await.expect("a certificate");
        let again = Signer::new(kv, clock, Rng::seeded(3)).certificate().await.expect("a certificate");
        assert_eq!(again, certificate);
        assert!(certificate.pem.starts_with("-----BEGIN CERTIFICATE-----\n"), "{}", certificate.pem);
    }
}
