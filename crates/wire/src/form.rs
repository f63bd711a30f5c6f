//! `multipart/form-data` whose last part is a file that streams (RFC 7578; what browsers send to S3).
//!
//! ```text
//!  preamble ─► delimiter ─► headers ─► value ─┐          fields: kept, within bounds
//!                  ▲                          │
//!                  └──────────────────────────┤
//!                                             └─► file   bytes come out as they arrive; what follows it is not looked at
//! ```

use bytes::{Bytes, BytesMut};

use crate::ApiError;

/// Everything before the file, in bytes. Source: Amazon S3 API reference, "POST Object", form data of 20 KB.
const FIELDS_BYTES_MAX: usize = 20 * 1024;
/// Fields before the file.
const FIELDS_MAX: usize = 200;

/// A form that is being read.
#[derive(Debug)]
pub struct Form {
    /// Line end, two dashes, boundary.
    delimiter: Vec<u8>,
    buffer: BytesMut,
    state: State,
    taken: usize,
    fields: Vec<(String, String)>,
    filename: String,
}

#[derive(Debug)]
enum State {
    Preamble,
    Delimiter,
    Headers,
    Value(String),
    File,
    End,
}

impl Form {
    /// A form with that `Content-Type`; `None` when it is no form or has no boundary.
    pub fn new(content_type: &str) -> Option<Self> {
        let (kind, parameters) = content_type.split_once(';')?;
        let boundary = parameters.split(';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
        })?;
        let is_form = kind.trim().eq_ignore_ascii_case("multipart/form-data");
        (is_form && (1..=70).contains(&boundary.len())).then(|| Self {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            // The first delimiter needs no line end before it.
            buffer: BytesMut::from(&b"\r\n"[..]),
            state: State::Preamble,
            taken: 0,
            fields: Vec::new(),
            filename: String::new(),
        })
    }

    /// The fields before the file, in order; names in lower case.
    pub fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// The value of a field (lower case).
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The name that the file has where it comes from, without folders.
    pub fn filename(&self) -> &str {
        self.filename.rsplit(['/', '\\']).next().unwrap_or_default()
    }

    /// Whether all fields are known: what comes now is the file.
    pub fn is_at_file(&self) -> bool {
        matches!(self.state, State::File | State::End)
    }

    /// The next bytes from the wire; what they hold of the file, often nothing.
    ///
    /// # Errors
    /// `MalformedPOSTRequest`, `MaxPostPreDataLengthExceeded`, and `InvalidArgument` for a field that comes twice, 400.
    pub fn push(&mut self, wire: &[u8]) -> Result<Bytes, ApiError> {
        if matches!(self.state, State::End) {
            return Ok(Bytes::new());
        }
        self.buffer.extend_from_slice(wire);
        while !self.is_at_file() && self.step()? {}
        match self.state {
            State::File => Ok(self.file()),
            _ => Ok(Bytes::new()),
        }
    }

    /// The body has ended.
    ///
    /// # Errors
    /// `MalformedPOSTRequest`, 400, when the file has not.
    pub fn finish(&self) -> Result<(), ApiError> {
        if matches!(self.state, State::End) { Ok(()) } else { Err(malformed()) }
    }

    /// One step towards the file; `false` when more bytes are needed.
    fn step(&mut self) -> Result<bool, ApiError> {
        let needed = match &self.state {
            State::Preamble | State::Value(_) => find(&self.buffer, &self.delimiter),
            State::Headers => find(&self.buffer, b"\r\n\r\n"),
            State::Delimiter => (self.buffer.len() >= 2).then_some(0),
            State::File | State::End => return Ok(false),
        };
        let Some(at) = needed else {
            return if self.taken + self.buffer.len() > FIELDS_BYTES_MAX { Err(too_long()) } else { Ok(false) };
        };
        let before = self.buffer.split_to(at);
        let behind = match self.state {
            State::Preamble | State::Value(_) => self.delimiter.len(),
            State::Headers => 4,
            _ => 2,
        };
        let behind = self.buffer.split_to(behind);
        self.taken += before.len() + behind.len();
        if self.taken > FIELDS_BYTES_MAX || self.fields.len() > FIELDS_MAX {
            return Err(too_long());
        }
        self.state = match std::mem::replace(&mut self.state, State::End) {
            State::Preamble => State::Delimiter,
            State::Delimiter if &behind[..] == b"\r\n" => State::Headers,
            State::Headers => self.part(&before)?,
            State::Value(name) => {
                let value = String::from_utf8(before.to_vec()).map_err(|_| malformed())?;
                self.fields.push((name, value));
                State::Delimiter
            }
            // The end without a file, or something that is no form.
            _ => return Err(no_file()),
        };
        Ok(true)
    }

    fn part(&mut self, headers: &[u8]) -> Result<State, ApiError> {
        let headers = std::str::from_utf8(headers).map_err(|_| malformed())?;
        let disposition = headers.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
        });
        let disposition = disposition.ok_or_else(malformed)?;
        let parameter = |wanted: &str| {
            disposition.split(';').skip(1).find_map(|parameter| {
                let (name, value) = parameter.split_once('=')?;
                name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().trim_matches('"').to_owned())
            })
        };
        let name = parameter("name").ok_or_else(malformed)?.to_lowercase();
        // Of two, the policy would be compared with one and the object made with the other.
        if self.field(&name).is_some() {
            let message = format!("POST requires exactly one field named '{name}'.");
            return Err(ApiError::client("InvalidArgument", 400, message));
        }
        if name != "file" {
            return Ok(State::Value(name));
        }
        self.filename = parameter("filename").unwrap_or_default();
        Ok(State::File)
    }

    /// What of the buffer is certainly the file's.
    fn file(&mut self) -> Bytes {
        if let Some(end) = find(&self.buffer, &self.delimiter) {
            self.state = State::End;
            return self.buffer.split_to(end).freeze();
        }
        // The last bytes may be the beginning of the delimiter.
        let certain = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
        self.buffer.split_to(certain).freeze()
    }
}

/// Where `wanted`, which begins with a carriage return, begins.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| *byte == b'\r')?;
        if bytes[at..].starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
}

fn malformed() -> ApiError {
    let message = "The body of your POST request is not well-formed multipart/form-data.";
    ApiError::client("MalformedPOSTRequest", 400, message)
}

fn no_file() -> ApiError {
    let message = "POST requires exactly one file upload per request.";
    ApiError::client("IncorrectNumberOfFilesInPostRequest", 400, message)
}

fn too_long() -> ApiError {
    let message = "Your POST request fields preceding the upload file were too large.";
    ApiError::client("MaxPostPreDataLengthExceeded", 400, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; charset=utf-8; boundary=\"b\"";
    const BODY: &str = "--b\r\nContent-Disposition: form-data; name=\"KEY\"; filename=\"x\"\r\n\r\na\r\n-b\r\n\
                        --b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"C:\\d\\f.txt\"\r\n\
                        Content-Type: text/plain\r\n\r\n\r\n--a\r\r\n--\r\n--b--\r\n";

    fn read(body: &str, step: usize) -> Result<(Form, String), String> {
        let mut form = Form::new(TYPE).expect("a form");
        let mut file = Vec::new();
        for piece in body.as_bytes().chunks(step) {
            file.extend_from_slice(&form.push(piece).map_err(|error| error.code.into_owned())?);
        }
        form.finish().map_err(|error| error.code.into_owned())?;
        Ok((form, String::from_utf8(file).expect("text")))
    }

    #[test]
    fn fields_and_file_are_read_however_they_arrive() {
        for step in 1..BODY.len() {
            let (form, file) = read(BODY, step).expect("well formed");
            assert_eq!(form.fields(), [("key".to_owned(), "a\r\n-b".to_owned())], "in pieces of {step}");
            assert_eq!((form.filename(), file.as_str()), ("f.txt", "\r\n--a\r\r\n--"), "in pieces of {step}");
        }
    }

    #[test]
    fn i9_a_field_stands_once() {
        let field = |name: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nx\r\n");
        for (one, other, expected) in [
            ("acl", "acl", Some("InvalidArgument")),
            ("acl", "ACL", Some("InvalidArgument")),
            ("x-amz-meta-a", "X-Amz-Meta-A", Some("InvalidArgument")),
            // The control.
            ("acl", "acl2", None),
        ] {
            let body = format!("{}{}{BODY}", field(one), field(other));
            assert_eq!(read(&body, 7).map(|_| ()).err().as_deref(), expected, "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_form_with_a_file_is_refused() {
        let field = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n";
        for (body, code) in [
            (String::new(), "MalformedPOSTRequest"),
            ("x".repeat(30_000), "MaxPostPreDataLengthExceeded"),
            (format!("{field}{}", "x".repeat(30_000)), "MaxPostPreDataLengthExceeded"),
            (format!("{field}x\r\n--b--\r\n"), "IncorrectNumberOfFilesInPostRequest"),
            (format!("{field}x"), "MalformedPOSTRequest"),
            ("--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--".to_owned(), "MalformedPOSTRequest"),
            (BODY[..BODY.len() - 8].to_owned(), "MalformedPOSTRequest"),
        ] {
            assert_eq!(read(&body, 1_000).map(|_| ()).expect_err("refused"), code, "{body:.40}");
        }
        for content_type in ["multipart/form-data", "text/plain; boundary=b", "multipart/form-data; boundary="] {
            assert!(Form::new(content_type).is_none(), "{content_type}");
        }
    }
}
