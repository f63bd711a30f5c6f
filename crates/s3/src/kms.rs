//! The keys of SSE-KMS, until there is a key service (ADR 0012).
//!
//! ```text
//!   node key ──HKDF──► key of arn:aws:kms:REGION:ACCOUNT:key/ID ──wraps──► data key of a segment
//!                                                                └─ bound to: encryption context, ARN of the object
//! ```
//!
//! Every account has `alias/aws/s3` and the keys that the operator named; they belong to the bucket's account and
//! region. A name that is an alias stands for a key whose id is a UUID, always the same. A key that is named no more
//! opens nothing until it is named again.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use wire::permission::{ConditionKeys, ResourceFacts};
use wire::{AccountId, Asked, Cx};

use crate::encryption::At;
use crate::error::S3Error;
use crate::keys::{BucketRecord, Encryption};
use crate::limits::{KMS_CONTEXT_BYTES_MAX, KMS_NAME_BYTES_MAX};
use crate::seal::Key;
use crate::state::S3;

/// The key that every account has, without anybody's doing.
const MANAGED: &str = "alias/aws/s3";

/// What reading bytes needs.
pub(crate) const DECRYPT: &str = "kms:Decrypt";
/// What writing bytes needs.
pub(crate) const GENERATE: &str = "kms:GenerateDataKey";
const USES: [&str; 2] = [DECRYPT, GENERATE];

/// A key that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KmsKey {
    pub(crate) arn: String,
    /// It is `alias/aws/s3`.
    pub(crate) is_managed: bool,
}

/// Whether an operator may give a key this name: `[alias/]NAME` of letters, digits, `_`, `-` and, in aliases, `/`; at
/// most 256 bytes; not below `alias/aws/`.
///
/// # Errors
/// What is wrong, in words.
pub fn check_key_name(name: &str) -> Result<(), String> {
    let (text, separator) = name.strip_prefix("alias/").map_or((name, None), |text| (text, Some(b'/')));
    let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || Some(byte) == separator;
    match () {
        () if name.len() > KMS_NAME_BYTES_MAX => Err("the name of a key has at most 256 bytes".to_owned()),
        () if name.starts_with("alias/aws/") => Err(format!("{name:?}: alias/aws/ is reserved")),
        () if text.is_empty() || !text.bytes().all(is_sound) => {
            Err(format!("{name:?} is not the name of a key: letters, digits, _ and -, or alias/ and such a name"))
        }
        () => Ok(()),
    }
}

impl S3 {
    /// The key that `named` (id, ARN, `alias/NAME`) means for objects of a bucket; `alias/aws/s3` when none is named.
    ///
    /// # Errors
    /// `KMS.NotFoundException` when there is none, or it is another account's or region's.
    pub(crate) fn kms_key(&self, bucket: &BucketRecord, named: Option<&str>) -> Result<KmsKey, S3Error> {
        let named = named.unwrap_or(MANAGED);
        let place = format!("arn:aws:kms:{}:{}:", bucket.region, bucket.account);
        let below = match named.starts_with("arn:") {
            true => named.strip_prefix(&place),
            false => Some(named),
        };
        // An alias is a name in its own place only: `key/alias/…` is the id of nothing.
        let (alias, id) = match below {
            Some(alias) if alias.starts_with("alias/") => (Some(alias), None),
            Some(id) if named.starts_with("arn:") => (None, id.strip_prefix("key/")),
            id => (None, id),
        };
        for name in std::iter::once(MANAGED).chain(self.config.kms_keys.iter().map(String::as_str)) {
            // An alias has a key's id of its own, derived from where it is: the same after every start.
            let own = match name.starts_with("alias/") {
                true => self.node_key.derive(&format!("s3 kms key id of {place}{name}")).uuid(),
                false => name.to_owned(),
            };
            if alias == Some(name) || id == Some(own.as_str()) {
                return Ok(KmsKey { arn: format!("{place}key/{own}"), is_managed: name == MANAGED });
            }
        }
        Err(S3Error::KmsNotFound(match named {
            arn if arn.starts_with("arn:") => format!("Key '{arn}' does not exist"),
            alias if alias.starts_with("alias/") => format!("Alias {place}{alias} is not found."),
            id => format!("Key '{place}key/{id}' does not exist"),
        }))
    }

    /// Whether the caller may do `actions` with the key that something is under; nothing is asked about other kinds of
    /// encryption. The policy of `alias/aws/s3` is that of AWS's managed key: everybody in its account who may use the
    /// objects. A key that the operator named has a new key's: its account's own policies decide (AWS KMS developer guide,
    /// "AWS managed keys", "Default key policy").
    ///
    /// # Errors
    /// `AccessDenied`; `KMS.NotFoundException` when the key is not there.
    pub(crate) async fn may_use(
        &self,
        cx: &Cx,
        at: At<'_>,
        encryption: Option<&Encryption>,
        actions: &[&'static str],
    ) -> Result<(), S3Error> {
        let Some(Encryption::Kms { arn, context, bucket_key }) = encryption else { return Ok(()) };
        let key = self.kms_key(at.record, Some(arn))?;
        let policy = key.is_managed.then(|| managed_policy(&at.record.account).into());
        let facts = ResourceFacts { owner: AccountId::parse(&at.record.account), policy, ..ResourceFacts::default() };
        // S3 asks on the caller's behalf, also when the caller is the platform (IAM user guide, "Forward access sessions").
        let mut keys = ConditionKeys::new()
            .with("kms:ViaService", format!("s3.{}.amazonaws.com", at.record.region))
            .with("aws:ViaAWSService", "true");
        for name in ["aws:CalledVia", "aws:CalledViaFirst", "aws:CalledViaLast"] {
            keys = keys.with(name, "s3.amazonaws.com");
        }
        let context = place(context, at.bucket, (!bucket_key).then_some(at.key));
        for (name, value) in &context {
            keys = keys.with(format!("kms:EncryptionContext:{name}"), value);
        }
        keys = keys.with_all("kms:EncryptionContextKeys", context.into_keys());
        if let Some(account) = cx.principal.account() {
            keys = keys.with("kms:CallerAccount", account.as_str());
        }
        let asked = actions.iter().map(|action| Asked {
            action,
            resource: key.arn.clone(),
            keys: keys.clone(),
            facts: facts.clone(),
        });
        (self.may_do)(cx.clone(), asked.collect()).await.map_err(|error| match error.status {
            403 => S3Error::AccessDenied(error.message),
            _ => S3Error::InternalError(error.to_string()),
        })
    }

    /// The bytes of the key with this ARN.
    pub(crate) fn kms_secret(&self, arn: &str) -> Key {
        self.node_key.derive(&format!("s3 kms key {arn}"))
    }
}

/// The encryption context in a header: base64 of a JSON object of texts.
///
/// # Errors
/// `InvalidArgument` in AWS's words when it is something else or too long.
pub(crate) fn read_context(header: Option<&str>) -> Result<BTreeMap<String, String>, S3Error> {
    let Some(header) = header else { return Ok(BTreeMap::new()) };
    let json = BASE64.decode(header).ok().filter(|json| json.len() <= KMS_CONTEXT_BYTES_MAX);
    json.and_then(|json| serde_json::from_slice(&json).ok()).ok_or_else(|| {
        S3Error::argument(
            "The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string holding JSON which \
             represents a string-string map",
        )
    })
}

/// The same as an answer has it; `None` when the client gave none.
pub(crate) fn show_context(context: &BTreeMap<String, String>) -> Option<String> {
    (!context.is_empty()).then(|| BASE64.encode(serde_json::json!(context).to_string()))
}

/// What data keys are bound to: what the client gave, and the ARN of the object, or of its bucket with a bucket key
/// (S3 user guide, "Encryption context"). Canonical: JSON with sorted keys.
pub(crate) fn full_context(context: &BTreeMap<String, String>, bucket: &str, key: Option<&str>) -> String {
    serde_json::json!(place(context, bucket, key)).to_string()
}

fn place(context: &BTreeMap<String, String>, bucket: &str, key: Option<&str>) -> BTreeMap<String, String> {
    let mut context = context.clone();
    let arn = key.map_or_else(|| format!("arn:aws:s3:::{bucket}"), |key| format!("arn:aws:s3:::{bucket}/{key}"));
    context.entry("aws:s3:arn".to_owned()).or_insert(arn);
    context
}

/// The policy of an account's `alias/aws/s3`.
fn managed_policy(account: &str) -> String {
    let statement = serde_json::json!({
        "Effect": "Allow", "Principal": { "AWS": "*" }, "Action": USES, "Resource": "*",
        "Condition": { "StringEquals": { "aws:PrincipalAccount": account } }
    });
    serde_json::json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys_are_short_and_plain() {
        for name in ["k", "testkey-1", "A_b", "alias/a/b", &"k".repeat(256)] {
            assert_eq!(check_key_name(name), Ok(()), "{name}");
        }
        for name in ["", "alias/", "alias/aws/s3", "a/b", "a:b", "ü", "a b", &"k".repeat(257)] {
            assert!(check_key_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn contexts_are_maps_of_texts_and_bound_to_a_place() {
        let given = read_context(Some(&BASE64.encode(r#"{"b":"2","a":"1"}"#))).expect("a map");
        assert_eq!(full_context(&given, "bkt", Some("k")), r#"{"a":"1","aws:s3:arn":"arn:aws:s3:::bkt/k","b":"2"}"#);
        assert_eq!(full_context(&BTreeMap::new(), "bkt", None), r#"{"aws:s3:arn":"arn:aws:s3:::bkt"}"#);
        let own = BTreeMap::from([("aws:s3:arn".to_owned(), "mine".to_owned())]);
        assert_eq!(full_context(&own, "bkt", Some("k")), r#"{"aws:s3:arn":"mine"}"#);
        assert_eq!(read_context(show_context(&given).as_deref()).expect("its own"), given);
        assert_eq!((read_context(None).expect("none"), show_context(&BTreeMap::new())), (BTreeMap::new(), None));
        let long = BASE64.encode(format!(r#"{{"a":"{}"}}"#, "x".repeat(KMS_CONTEXT_BYTES_MAX)));
        for bad in ["{}", &BASE64.encode("[]"), &BASE64.encode(r#"{"a":1}"#), &BASE64.encode("x"), &long] {
            assert!(read_context(Some(bad)).is_err(), "{bad}");
        }
    }
}
