//! POST Object: a form as the head of a PutObject, and the answer that the form wants.
//!
//! Source: Amazon S3 API reference, "POST Object", form fields.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};

use super::xml::Xml;
use super::xml_tree;
use crate::ApiError;
use crate::form::Form;
use crate::shape::Shapes;
use crate::sigv4::encode;

/// Fields that are headers of the same name.
const HEADERS: [&str; 5] = ["cache-control", "content-type", "content-disposition", "content-encoding", "expires"];
/// Fields of the signature.
const OF_SIGNATURE: [&str; 5] =
    ["x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature", "x-amz-security-token"];

fn invalid(message: &str) -> ApiError {
    ApiError::client("InvalidArgument", 400, message)
}

/// The object's key; `${filename}` stands for the name of the file.
///
/// # Errors
/// `InvalidArgument`, 400, when there is none.
pub fn key(form: &Form) -> Result<String, ApiError> {
    let key = form.field("key").filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| invalid("Bucket POST must contain a field named 'key'."))?;
    Ok(key.replace("${filename}", form.filename()))
}

/// The head of the PutObject.
///
/// # Errors
/// `InvalidArgument`, 400, when a field cannot be a header or two are the same one; `MalformedXML`, 400, for broken tags.
pub fn head(form: &Form, bucket: &str, key: &str) -> Result<Parts, ApiError> {
    let uri = format!("/{}/{}", encode(bucket.as_bytes(), false), encode(key.as_bytes(), true));
    let request = Request::builder().method("PUT").uri(uri).body(());
    let (mut head, ()) = request.map_err(|_| invalid("The key cannot stand in a path."))?.into_parts();
    for (name, value) in form.fields() {
        let (name, value) = match name.as_str() {
            "acl" => ("x-amz-acl", value.clone()),
            "tagging" => ("x-amz-tagging", tags(value)?),
            name if OF_SIGNATURE.contains(&name) => continue,
            name if HEADERS.contains(&name) || name.starts_with("x-amz-") => (name, value.clone()),
            _ => continue,
        };
        let name = HeaderName::try_from(name).map_err(|_| invalid("A field's name cannot be a header."))?;
        let value = HeaderValue::from_bytes(value.as_bytes());
        let value = value.map_err(|_| invalid("A field's value cannot be a header."))?;
        // `acl` and `x-amz-acl`: a policy that names both allows each, not the choice between them.
        if head.headers.insert(name, value).is_some() {
            return Err(invalid("Two fields of the form say the same thing."));
        }
    }
    Ok(head)
}

/// A `Tagging` document as the header has it.
fn tags(document: &str) -> Result<String, ApiError> {
    let malformed = || {
        let message = "The XML you provided was not well-formed or did not validate against our published schema";
        ApiError::client("MalformedXML", 400, message)
    };
    let root = xml_tree::parse(document.as_bytes()).ok_or_else(malformed)?;
    let set = root.child("TagSet").ok_or_else(malformed)?;
    let mut pairs = Vec::new();
    for tag in set.children_named("Tag") {
        let (key, value) = (tag.child("Key").ok_or_else(malformed)?, tag.child("Value").ok_or_else(malformed)?);
        pairs.push(format!("{}={}", encode(key.text.as_bytes(), false), encode(value.text.as_bytes(), false)));
    }
    Ok(pairs.join("&"))
}

/// How the form wants to be answered.
#[derive(Clone, Debug)]
pub struct Answer {
    redirect: Option<String>,
    status: u16,
    bucket: String,
    key: String,
    location: String,
}

impl Answer {
    /// What `success_action_redirect` and `success_action_status` ask for. `root` is where the bucket's keys begin, such as
    /// `http://localhost/bucket` or `http://bucket.s3.localhost`.
    pub fn wanted(form: &Form, bucket: &str, key: &str, root: &str) -> Self {
        let redirect = form.field("success_action_redirect").or_else(|| form.field("redirect"));
        let is_url = |url: &&str| url.starts_with("http://") || url.starts_with("https://");
        let status = match form.field("success_action_status") {
            Some("200") => 200,
            Some("201") => 201,
            _ => 204,
        };
        Self {
            redirect: redirect.filter(is_url).map(str::to_owned),
            status,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            location: format!("{root}/{}", encode(key.as_bytes(), true)),
        }
    }

    /// Status, location and body, now that the object is there. `etag` stands in quotes.
    pub fn with_etag(&self, etag: &str) -> (u16, String, String) {
        if let Some(redirect) = &self.redirect {
            let separator = if redirect.contains('?') { '&' } else { '?' };
            let text = |text: &str| encode(text.as_bytes(), false);
            let (bucket, key, etag) = (text(&self.bucket), text(&self.key), text(etag));
            return (303, format!("{redirect}{separator}bucket={bucket}&key={key}&etag={etag}"), String::new());
        }
        let document = match self.status {
            201 => {
                let mut xml = Xml::new(Shapes(&[]));
                xml.open("PostResponse", None);
                for (name, text) in
                    [("Location", self.location.as_str()), ("Bucket", &self.bucket), ("Key", &self.key), ("ETag", etag)]
                {
                    xml.element(name, text);
                }
                xml.close("PostResponse");
                format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", xml.finish())
            }
            _ => String::new(),
        };
        (self.status, self.location.clone(), document)
    }
}
