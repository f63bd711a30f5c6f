//! Access control lists: canned ones, headers, documents, and what they mean as statements of a policy.
//!
//! ACLs decide nothing by themselves: [`statements`] turns grants into policy statements, and the identity service
//! decides over those together with the bucket's own policy. So there is one engine and one order of evaluation.
//! Source: S3 user guide, "Access control list (ACL) overview".

use model::s3 as m;
use serde_json::{Value as Json, json};

use crate::error::S3Error;
use crate::keys::{Acl, BucketRecord, Grant, Grantee, Ownership};
use crate::limits::GRANTS_MAX;
use crate::state::{account_of, owner, owner_id};

const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const AUTHENTICATED: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
const LOG_DELIVERY: &str = "http://acs.amazonaws.com/groups/s3/LogDelivery";

impl Acl {
    /// The owner alone, with full control.
    pub(crate) fn private(account: &str) -> Self {
        let owner = owner_id(account);
        let grants = vec![grant(Grantee::User { id: owner.clone() }, "FULL_CONTROL")];
        Self { owner, grants }
    }

    /// Whether it grants anything to everybody.
    pub(crate) fn is_public(&self) -> bool {
        self.grants.iter().any(Grant::is_public)
    }
}

impl Grant {
    fn is_public(&self) -> bool {
        matches!(&self.grantee, Grantee::Group { uri } if uri == ALL_USERS || uri == AUTHENTICATED)
    }
}

fn grant(grantee: Grantee, permission: &str) -> Grant {
    Grant { grantee, permission: permission.to_owned() }
}

fn group(uri: &str) -> Grantee {
    Grantee::Group { uri: uri.to_owned() }
}

/// What the headers of a request say about the ACL.
#[derive(Clone, Debug, Default)]
pub(crate) struct AclHeaders {
    /// The canned ACL's name.
    pub(crate) canned: Option<&'static str>,
    /// Header values with the permission that they grant.
    pub(crate) grants: Vec<(&'static str, String)>,
}

/// Reads ACL headers out of an input; buckets have one more.
macro_rules! acl_headers {
    ($input:expr) => {
        $crate::acl::AclHeaders {
            canned: $input.acl.map(|acl| acl.as_str()),
            grants: [
                ("FULL_CONTROL", $input.grant_full_control.clone()),
                ("READ", $input.grant_read.clone()),
                ("READ_ACP", $input.grant_read_acp.clone()),
                ("WRITE_ACP", $input.grant_write_acp.clone()),
            ]
            .into_iter()
            .filter_map(|(permission, header)| Some((permission, header?)))
            .collect(),
        }
    };
    (with write $input:expr) => {{
        let mut headers = $crate::acl::acl_headers!($input);
        headers.grants.extend($input.grant_write.clone().map(|header| ("WRITE", header)));
        headers
    }};
}
pub(crate) use acl_headers;

impl AclHeaders {
    /// Whether the request says nothing.
    pub(crate) fn is_none(&self) -> bool {
        self.canned.is_none() && self.grants.is_empty()
    }

    /// The ACL that they make for something owned by `owner` in a bucket owned by `bucket_owner` (accounts).
    /// `None` when they say nothing.
    ///
    /// # Errors
    /// `InvalidArgument`, `InvalidRequest`, `MalformedACLError` when there are too many.
    pub(crate) fn acl(&self, owner: &str, bucket_owner: &str) -> Result<Option<Acl>, S3Error> {
        if self.canned.is_some() && !self.grants.is_empty() {
            return Err(S3Error::request("Specifying both Canned ACLs and Header Grants is not allowed"));
        }
        let mut acl = Acl::private(owner);
        let bucket_owner = Grantee::User { id: owner_id(bucket_owner) };
        match self.canned {
            None if self.grants.is_empty() => return Ok(None),
            None => acl.grants = self.header_grants()?,
            Some("public-read") => acl.grants.push(grant(group(ALL_USERS), "READ")),
            Some("public-read-write") => {
                acl.grants.extend([grant(group(ALL_USERS), "READ"), grant(group(ALL_USERS), "WRITE")]);
            }
            Some("authenticated-read") => acl.grants.push(grant(group(AUTHENTICATED), "READ")),
            Some("bucket-owner-read") => acl.grants.push(grant(bucket_owner, "READ")),
            Some("bucket-owner-full-control") => acl.grants.push(grant(bucket_owner, "FULL_CONTROL")),
            Some("log-delivery-write") => {
                acl.grants.extend([grant(group(LOG_DELIVERY), "WRITE"), grant(group(LOG_DELIVERY), "READ_ACP")]);
            }
            Some(_) => {}
        }
        acl.grants.dedup();
        Ok(Some(acl))
    }

    /// `id="…", uri="…"` lists.
    fn header_grants(&self) -> Result<Vec<Grant>, S3Error> {
        let mut grants = Vec::new();
        for (permission, header) in &self.grants {
            for one in header.split(',') {
                let (kind, value) =
                    one.trim().split_once('=').ok_or_else(|| S3Error::argument("Argument format not recognized"))?;
                let value = value.trim().trim_matches('"');
                let grantee = match kind.trim().to_ascii_lowercase().as_str() {
                    "id" => user(value)?,
                    "uri" => known_group(value)?,
                    "emailaddress" => return Err(S3Error::UnresolvableGrantByEmailAddress),
                    _ => return Err(S3Error::argument("Argument format not recognized")),
                };
                grants.push(grant(grantee, permission));
                if grants.len() > GRANTS_MAX {
                    return Err(S3Error::MalformedACLError);
                }
            }
        }
        Ok(grants)
    }
}

fn user(id: &str) -> Result<Grantee, S3Error> {
    match account_of(id) {
        Some(_) => Ok(Grantee::User { id: id.to_owned() }),
        None => Err(S3Error::argument("Invalid id")),
    }
}

fn known_group(uri: &str) -> Result<Grantee, S3Error> {
    match [ALL_USERS, AUTHENTICATED, LOG_DELIVERY].contains(&uri) {
        true => Ok(group(uri)),
        false => Err(S3Error::argument("Invalid group uri")),
    }
}

/// The ACL of a document. Its owner cannot be changed by it.
///
/// # Errors
/// `MalformedACLError`, `AccessDenied` when it names another owner.
pub(crate) fn of_document(document: m::AccessControlPolicy, owner: &str) -> Result<Acl, S3Error> {
    let named = document.owner.and_then(|named| named.id).ok_or(S3Error::MalformedACLError)?;
    if named != owner {
        return Err(S3Error::AccessDenied("Access Denied".to_owned()));
    }
    let lines = document.grants.unwrap_or_default();
    if lines.len() > GRANTS_MAX {
        return Err(S3Error::MalformedACLError);
    }
    let mut grants = Vec::with_capacity(lines.len());
    for line in lines {
        let permission = line.permission.ok_or(S3Error::MalformedACLError)?;
        let grantee = line.grantee.ok_or(S3Error::MalformedACLError)?;
        let grantee = match (grantee.id, grantee.uri, grantee.email_address) {
            (Some(id), _, _) => user(&id)?,
            (_, Some(uri), _) => known_group(&uri)?,
            (_, _, Some(_)) => return Err(S3Error::UnresolvableGrantByEmailAddress),
            _ => return Err(S3Error::MalformedACLError),
        };
        grants.push(grant(grantee, permission.as_str()));
    }
    Ok(Acl { owner: named, grants })
}

/// Owner and grants as documents have them: groups first, then accounts.
pub(crate) fn to_document(acl: &Acl) -> (m::Owner, Vec<m::Grant>) {
    let mut lines: Vec<_> = acl.grants.iter().collect();
    lines.sort_by_key(|line| matches!(line.grantee, Grantee::User { .. }));
    let grants = lines.into_iter().map(|line| {
        let grantee = match &line.grantee {
            Grantee::User { id } => {
                let m::Owner { id, display_name } = named(id);
                m::Grantee { id, display_name, ..grantee_of(m::Type::CanonicalUser) }
            }
            Grantee::Group { uri } => m::Grantee { uri: Some(uri.clone()), ..grantee_of(m::Type::Group) },
        };
        m::Grant { grantee: Some(grantee), permission: line.permission.parse().ok() }
    });
    (named(&acl.owner), grants.collect())
}

/// The account with this canonical id.
fn named(id: &str) -> m::Owner {
    match account_of(id) {
        Some(account) => owner(account),
        None => m::Owner { id: Some(id.to_owned()), display_name: None },
    }
}

fn grantee_of(r#type: m::Type) -> m::Grantee {
    m::Grantee { display_name: None, email_address: None, id: None, r#type, uri: None }
}

/// Whether the bucket's settings allow a write with this ACL.
///
/// # Errors
/// `AccessControlListNotSupported` where ACLs are off, `AccessDenied` where public ones are blocked.
pub(crate) fn check_allowed(bucket: &BucketRecord, headers: &AclHeaders, acl: Option<&Acl>) -> Result<(), S3Error> {
    let harmless = matches!(headers.canned, None | Some("bucket-owner-full-control")) && headers.grants.is_empty();
    if bucket.ownership == Some(Ownership::BucketOwnerEnforced) && acl.is_some() && !harmless {
        return Err(S3Error::AccessControlListNotSupported);
    }
    if bucket.block_public.is_some_and(|block| block.block_acls) && acl.is_some_and(Acl::is_public) {
        return Err(S3Error::AccessDenied("Access Denied".to_owned()));
    }
    Ok(())
}

const ON_BUCKET: [(&str, &[&str]); 4] = [
    ("READ", &["s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"]),
    ("WRITE", &[]),
    ("READ_ACP", &["s3:GetBucketAcl"]),
    ("WRITE_ACP", &["s3:PutBucketAcl"]),
];

/// Versions and other people's uploads are the bucket's account's business (S3 user guide, "Access control list (ACL)
/// overview": `s3:DeleteObjectVersion` goes with WRITE for the bucket's owner only).
const WRITES: &[&str] = &["s3:PutObject", "s3:DeleteObject"];

/// Condition key of the rights to an upload: its id, by which [`of_initiator`] finds whose it is.
pub(crate) const UPLOAD: &str = "tinderbox:UploadId";

/// What whoever started an upload may do with it without being asked (S3 user guide, "Multipart upload API and
/// permissions"); nothing for strangers, who are nobody in particular. As a principal the root user's ARN means everybody of
/// its account: the condition leaves the root user alone.
pub(crate) fn of_initiator(initiator: &str, arn: &str) -> Option<Json> {
    let condition = match initiator.ends_with(":root") {
        true => json!({ "StringEquals": { "aws:PrincipalType": "Account" } }),
        false => json!({}),
    };
    initiator.starts_with("arn:").then(|| {
        json!({
            "Effect": "Allow", "Principal": { "AWS": initiator }, "Resource": arn, "Condition": condition,
            "Action": ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
        })
    })
}

/// Condition key of the rights that ride on a write: its value is the write's action. Operations of their own, such as
/// PutObjectAcl, do not have it.
pub(crate) const RIDES_ON: &str = "tinderbox:RidesOn";

/// Who may write by a bucket's ACL owns what it writes, and so may give it its ACL and tags with the same request.
const RIDES: &[&str] = &["s3:PutObjectAcl", "s3:PutObjectTagging"];

const ON_OBJECT: [(&str, &[&str]); 3] = [
    ("READ", &["s3:GetObject", "s3:GetObjectVersion"]),
    ("READ_ACP", &["s3:GetObjectAcl", "s3:GetObjectVersionAcl"]),
    ("WRITE_ACP", &["s3:PutObjectAcl", "s3:PutObjectVersionAcl"]),
];

/// The statements that a bucket's ACL amounts to, about the bucket and about writes to its keys.
pub(crate) fn of_bucket(bucket: &BucketRecord, arn: &str) -> Vec<Json> {
    let Some(acl) = counting(bucket, bucket.acl.as_ref()) else { return Vec::new() };
    let keys = format!("{arn}/*");
    let on_bucket = statements(bucket, acl, &ON_BUCKET, arn);
    let on_keys = statements(bucket, acl, &[("WRITE", WRITES)], &keys);
    let mut riding = statements(bucket, acl, &[("WRITE", RIDES)], &keys);
    for statement in &mut riding {
        statement["Condition"]["StringEquals"] = json!({ RIDES_ON: "s3:PutObject" });
    }
    on_bucket.into_iter().chain(on_keys).chain(riding).collect()
}

/// The statements that an object's ACL amounts to.
pub(crate) fn of_object(bucket: &BucketRecord, acl: Option<&Acl>, arn: &str) -> Vec<Json> {
    counting(bucket, acl).map(|acl| statements(bucket, acl, &ON_OBJECT, arn)).unwrap_or_default()
}

fn counting<'a>(bucket: &BucketRecord, acl: Option<&'a Acl>) -> Option<&'a Acl> {
    acl.filter(|_| bucket.ownership != Some(Ownership::BucketOwnerEnforced))
}

fn statements(bucket: &BucketRecord, acl: &Acl, meanings: &[(&str, &[&str])], resource: &str) -> Vec<Json> {
    let ignored = bucket.block_public.is_some_and(|block| block.ignore_acls);
    let mut statements = Vec::new();
    for line in acl.grants.iter().filter(|line| !(ignored && line.is_public())) {
        let (principal, condition) = match &line.grantee {
            Grantee::Group { uri } if uri == ALL_USERS => (json!("*"), json!({})),
            Grantee::Group { uri } if uri == AUTHENTICATED => {
                (json!("*"), json!({ "Null": { "aws:PrincipalAccount": "false" } }))
            }
            Grantee::Group { .. } => continue,
            Grantee::User { id } => match account_of(id) {
                Some(account) => (json!({ "AWS": format!("arn:aws:iam::{account}:root") }), json!({})),
                None => continue,
            },
        };
        let means = |permission: &str| line.permission == "FULL_CONTROL" || line.permission == permission;
        let actions = meanings.iter().filter(|(permission, _)| means(permission)).flat_map(|(_, actions)| *actions);
        let actions: Vec<_> = actions.collect();
        if !actions.is_empty() {
            statements.push(json!({
                "Effect": "Allow", "Principal": principal, "Action": actions, "Resource": resource, "Condition": condition
            }));
        }
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canned_acls_become_grants() {
        let acl = |canned| AclHeaders { canned: Some(canned), grants: Vec::new() }.acl("111111111111", "222222222222");
        let permissions = |canned| {
            let acl = acl(canned).expect("sound").expect("given");
            acl.grants.iter().map(|line| line.permission.clone()).collect::<Vec<_>>().join(",")
        };
        assert_eq!(permissions("private"), "FULL_CONTROL");
        assert_eq!(permissions("public-read"), "FULL_CONTROL,READ");
        assert_eq!(permissions("public-read-write"), "FULL_CONTROL,READ,WRITE");
        assert_eq!(permissions("bucket-owner-full-control"), "FULL_CONTROL,FULL_CONTROL");
        assert!(acl("authenticated-read").expect("sound").expect("given").is_public());
        assert!(AclHeaders::default().acl("1", "2").expect("sound").is_none());
    }

    #[test]
    fn headers_name_accounts_by_their_canonical_id() {
        let id = owner_id("123456789012");
        assert_eq!((id.len(), account_of(&id)), (64, Some("123456789012")));
        let read = |header: &str| {
            AclHeaders { canned: None, grants: vec![("READ", header.to_owned())] }.acl("123456789012", "123456789012")
        };
        let acl = read(&format!("id=\"{id}\", uri={ALL_USERS}")).expect("sound").expect("given");
        assert_eq!(acl.grants.len(), 2);
        for bad in ["id=abc", "uri=http://nowhere", "emailAddress=a@b", "nonsense"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
