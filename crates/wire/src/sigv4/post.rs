//! Uploads by HTML forms: the policy in the form, its signature, and what the policy lets the form say.
//!
//! Sources: Amazon S3 API reference, "Browser-based uploads using POST (AWS signature version 4)", "POST policy"; the
//! version 2 form is that of the Amazon S3 user guide of 2012, which old clients still send.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use subtle::ConstantTimeEq;
use sys::Timestamp;

use super::canonical::{hmac, parse_amz_date, signing_key};
use super::{ALGORITHM, Credential, SigV4Error, v2};
use crate::ApiError;
use crate::form::Form;

/// Fields that no condition has to name.
const FREE: [&str; 5] = ["awsaccesskeyid", "signature", "policy", "x-amz-signature", "file"];

/// A signed policy as a form carries it. Nothing here is verified. `Debug` shows neither signature nor session token.
#[derive(Clone)]
pub struct PostClaim {
    /// Access key id.
    pub access_key_id: String,
    /// Session token.
    pub session_token: Option<String>,
    /// The policy as sent, in base64: the text under the signature.
    pub policy: String,
    signature: String,
    version: Version,
}

#[derive(Clone, Debug)]
enum Version {
    /// Signature version 2.
    Two,
    Four {
        scope: String,
    },
}

impl fmt::Debug for PostClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { access_key_id, policy, version, .. } = self;
        f.debug_struct("PostClaim")
            .field("access_key_id", access_key_id)
            .field("policy", policy)
            .field("version", version)
            .finish_non_exhaustive()
    }
}

impl PostClaim {
    /// Reads the claim of a form; `None` when it carries neither policy nor signature.
    ///
    /// # Errors
    /// `InvalidArgument`, 400, when a part is absent or malformed.
    pub fn read(form: &Form) -> Result<Option<Self>, ApiError> {
        let Some(policy) = form.field("policy") else {
            let is_signed = form.field("signature").is_some() || form.field("x-amz-signature").is_some();
            return if is_signed { Err(missing("policy")) } else { Ok(None) };
        };
        let required = |name: &str| form.field(name).map(str::to_owned).ok_or_else(|| missing(name));
        let (access_key_id, signature, version) = match form.field("awsaccesskeyid") {
            Some(id) => (id.to_owned(), required("signature")?, Version::Two),
            None => {
                let malformed = || ApiError::client("InvalidArgument", 400, "The form's signature is malformed.");
                if required("x-amz-algorithm")? != ALGORITHM {
                    return Err(malformed());
                }
                let credential = required("x-amz-credential")?;
                let (id, scope) = credential.split_once('/').ok_or_else(malformed)?;
                let day = parse_amz_date(&required("x-amz-date")?).map(super::canonical::amz_date);
                let is_of_that_day = day.is_some_and(|day| scope.starts_with(&day[..8]));
                let parts: Vec<&str> = scope.split('/').collect();
                if !(is_of_that_day && matches!(parts.as_slice(), [_, _, "s3", "aws4_request"])) {
                    return Err(malformed());
                }
                (id.to_owned(), required("x-amz-signature")?, Version::Four { scope: scope.to_owned() })
            }
        };
        let session_token = form.field("x-amz-security-token").map(str::to_owned);
        Ok(Some(Self { access_key_id, session_token, policy: policy.to_owned(), signature, version }))
    }

    /// Whether it is signed as of old (version 2).
    pub fn is_version_2(&self) -> bool {
        matches!(self.version, Version::Two)
    }

    /// The region that the signature names; none as of old.
    pub fn region(&self) -> Option<&str> {
        match &self.version {
            Version::Two => None,
            Version::Four { scope } => scope.split('/').nth(1),
        }
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`SigV4Error::Mismatch`], and [`SigV4Error::UnknownKey`] for a wrong session token.
    pub fn check(&self, credential: &Credential) -> Result<(), SigV4Error> {
        let token_matches = match (&credential.session_token, &self.session_token) {
            (None, None) => true,
            (Some(token), Some(sent)) => token.matches(sent),
            _ => false,
        };
        if !token_matches {
            return Err(SigV4Error::UnknownKey);
        }
        let expected = match &self.version {
            Version::Two => v2::signature(&credential.secret, &self.policy),
            Version::Four { scope } => sys::hex(&hmac(&signing_key(&credential.secret, scope), self.policy.as_bytes())),
        };
        let equal: bool = expected.as_bytes().ct_eq(self.signature.as_bytes()).into();
        if equal { Ok(()) } else { Err(SigV4Error::Mismatch) }
    }

    /// Whether the form is what the policy, which must be verified, allows; the sizes that the file may have.
    ///
    /// # Errors
    /// `InvalidPolicyDocument`, 400, for a malformed policy; `AccessDenied`, 403, for what it does not allow.
    pub fn allows(&self, form: &Form, bucket: &str, key: &str, now: Timestamp) -> Result<(u64, u64), ApiError> {
        let decoded = STANDARD.decode(&self.policy).ok();
        let policy: Option<Json> = decoded.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let policy = policy.ok_or_else(|| invalid("Policy could not be read."))?;
        let expiration = policy["expiration"].as_str().ok_or_else(|| invalid("Policy missing expiration."))?;
        // ISO 8601 in UTC, as documented; the parser would also take a space and other zones.
        let is_utc = expiration.contains('T') && expiration.ends_with('Z');
        let expiration = Some(expiration).filter(|_| is_utc).and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let expiration = expiration.ok_or_else(|| invalid("Invalid 'expiration' value."))?;
        let conditions = policy["conditions"].as_array().filter(|conditions| !conditions.is_empty());
        let conditions = conditions.ok_or_else(|| invalid("Policy missing conditions."))?;
        if expiration.as_microsecond() <= now.unix_us() {
            return Err(denied("Policy expired."));
        }
        let mut check = Check { form, bucket, key, named: Vec::new(), sizes: (0, u64::MAX) };
        for condition in conditions {
            check.condition(condition)?;
        }
        check.nothing_else()?;
        Ok(check.sizes)
    }
}

struct Check<'f> {
    form: &'f Form,
    bucket: &'f str,
    key: &'f str,
    named: Vec<String>,
    sizes: (u64, u64),
}

impl Check<'_> {
    fn condition(&mut self, condition: &Json) -> Result<(), ApiError> {
        let malformed = || invalid("Invalid condition.");
        match condition {
            Json::Object(pairs) if !pairs.is_empty() => {
                for (name, value) in pairs {
                    self.compare("eq", name, value.as_str().ok_or_else(malformed)?)?;
                }
                Ok(())
            }
            Json::Array(parts) => match parts.as_slice() {
                [Json::String(what), min, max] if what == "content-length-range" => {
                    let (min, max) = (number(min).ok_or_else(malformed)?, number(max).ok_or_else(malformed)?);
                    self.sizes = (self.sizes.0.max(min), self.sizes.1.min(max));
                    Ok(())
                }
                [Json::String(what), Json::String(name), Json::String(value)] => {
                    let name = name.strip_prefix('$').ok_or_else(malformed)?;
                    self.compare(&what.to_ascii_lowercase(), name, value)
                }
                _ => Err(malformed()),
            },
            _ => Err(malformed()),
        }
    }

    fn compare(&mut self, what: &str, name: &str, value: &str) -> Result<(), ApiError> {
        let lower = name.to_lowercase();
        let given = match lower.as_str() {
            "bucket" => self.bucket,
            "key" => self.key,
            other => self.form.field(other).unwrap_or_default(),
        };
        let holds = match what {
            "eq" => given == value,
            "starts-with" => given.starts_with(value),
            _ => return Err(invalid("Invalid condition.")),
        };
        self.named.push(lower);
        match holds {
            true => Ok(()),
            false => Err(denied(&format!("Policy Condition failed: [\"{what}\", \"${name}\", \"{value}\"]"))),
        }
    }

    /// Whatever the form says must stand in the policy.
    fn nothing_else(&self) -> Result<(), ApiError> {
        let fields = self.form.fields().iter().map(|(name, _)| name.as_str());
        let must_be_named = |name: &&str| !FREE.contains(name) && !name.starts_with("x-ignore-");
        let extra = fields.filter(must_be_named).chain(["bucket"]).find(|name| !self.named.iter().any(|n| n == name));
        match extra {
            None => Ok(()),
            Some(name) => Err(denied(&format!("Extra input fields: {name}"))),
        }
    }
}

/// Numbers may be written as texts.
fn number(json: &Json) -> Option<u64> {
    json.as_u64().or_else(|| json.as_str()?.parse().ok())
}

fn missing(name: &str) -> ApiError {
    ApiError::client("InvalidArgument", 400, format!("Bucket POST must contain a field named '{name}'."))
}

fn invalid(what: &str) -> ApiError {
    ApiError::client("InvalidPolicyDocument", 400, format!("Invalid Policy: {what}"))
}

fn denied(what: &str) -> ApiError {
    ApiError::client("AccessDenied", 403, format!("Invalid according to Policy: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigv4::Secret;

    const SCOPE: &str = "20260101/us-east-1/s3/aws4_request";

    /// A form with these fields beside those of its signature.
    fn form(fields: &[(&str, &str)]) -> Result<Form, ApiError> {
        let mut form = Form::new("multipart/form-data; boundary=b").expect("a form");
        let part = |name: &str, value: &str| {
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let text: String = fields.iter().map(|(name, value)| part(name, value)).collect();
        form.push(format!("{text}{}--b--\r\n", part("file", "x")).as_bytes())?;
        Ok(form)
    }

    fn claim(policy: &Json) -> PostClaim {
        PostClaim {
            access_key_id: "AKIA".to_owned(),
            session_token: Some("hunter2".to_owned()),
            policy: STANDARD.encode(policy.to_string()),
            signature: "5ec2e7".to_owned(),
            version: Version::Four { scope: SCOPE.to_owned() },
        }
    }

    #[test]
    fn i9_what_the_policy_says_of_a_field_holds_for_the_field_that_counts() {
        let policy = serde_json::json!({
            "expiration": "2999-01-01T00:00:00Z",
            "conditions": [{"bucket": "b"}, {"key": "k"}, {"acl": "private"}],
        });
        let claim = claim(&policy);
        let allows =
            |form: &Form| claim.allows(form, "b", "k", Timestamp::from_unix_s(0)).map_err(|error| error.status);
        assert_eq!(allows(&form(&[("key", "k"), ("acl", "private")]).expect("well formed")), Ok((0, u64::MAX)));
        assert_eq!(allows(&form(&[("key", "k"), ("acl", "public-read")]).expect("well formed")), Err(403));
        let twice = form(&[("key", "k"), ("acl", "private"), ("acl", "public-read")]);
        assert_eq!(twice.expect_err("refused").code, "InvalidArgument");
    }

    #[test]
    fn i9_a_signed_policy_is_printed_without_what_makes_it_valid() {
        let claim = claim(&serde_json::json!({}));
        let secret = Credential { secret: Secret::new("s"), session_token: Some(Secret::new("hunter2")) };
        assert_eq!(claim.check(&secret), Err(SigV4Error::Mismatch));
        let printed = format!("{claim:?}");
        assert!(printed.contains("AKIA") && !printed.contains("hunter2") && !printed.contains("5ec2e7"), "{printed}");
    }
}
