//! AWS's published test suite. It is not committed: it comes with the sources of the dev-dependency `aws-sigv4`, or from
//! the folder in `SIGV4_SUITE`. Without it the test says so and passes, except in CI, where it fails.

use std::fs;
use std::path::{Path, PathBuf};

use wire::sigv4::canonical_request;

use super::{Key, Sent, VECTOR_TIME};

/// Directories of the suite, at least.
const DIRECTORIES_MIN: usize = 38;

fn suite() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("SIGV4_SUITE") {
        return Some(PathBuf::from(folder));
    }
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let registries = fs::read_dir(home.join("registry/src")).ok()?;
    let crates = registries.flatten().filter_map(|registry| fs::read_dir(registry.path()).ok()).flatten().flatten();
    let suites = crates
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("aws-sigv4-"))
        .map(|entry| entry.path().join("aws-signing-test-suite/v4"));
    suites.filter(|path| path.is_dir()).max()
}

fn read(directory: &Path, file: &str) -> String {
    let path = directory.join(file);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Reads a request as the suite writes it: also with folded header lines and raw UTF-8 in the path.
fn parse(text: &str) -> Sent {
    let text = text.replace("\r\n", "\n");
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let mut lines = head.lines();
    let first = lines.next().expect("a request line");
    let (method, rest) = first.split_once(' ').expect("a method");
    let target = rest.strip_suffix(" HTTP/1.1").unwrap_or(rest);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        match line.split_once(':') {
            Some((name, value)) if !line.starts_with(' ') => headers.push((name.to_owned(), value.to_owned())),
            _ => {
                let (_, value) = headers.last_mut().expect("a line to continue");
                value.push(' ');
                value.push_str(line.trim());
            }
        }
    }
    let body = if body.trim().is_empty() { Vec::new() } else { body.as_bytes().to_vec() };
    Sent { method: method.to_owned(), path: path.to_owned(), query: query.to_owned(), headers, body }
}

struct Vector {
    name: String,
    directory: PathBuf,
    context: serde_json::Value,
}

impl Vector {
    fn flag(&self, name: &str, default: bool) -> bool {
        self.context[name].as_bool().unwrap_or(default)
    }

    fn key(&self) -> Key {
        let text = |name: &str| self.context["credentials"][name].as_str().map(str::to_owned);
        Key { secret: text("secret_access_key").expect("a secret"), token: text("token"), ..Key::example() }
    }

    /// The canonical request of the signed request is the published one.
    fn check_canonical(&self, form: &str) {
        let mut sent = parse(&read(&self.directory, &format!("{form}-signed-request.txt")));
        if self.flag("omit_session_token", false) {
            // Added after signing.
            let kept = sent.query.split('&').filter(|pair| !pair.starts_with("X-Amz-Security-Token="));
            sent.query = kept.collect::<Vec<_>>().join("&");
        }
        let published = read(&self.directory, &format!("{form}-canonical-request.txt"));
        let mut end = published.trim_end().rsplit('\n');
        let (hash, signed) = (end.next().expect("a hash"), end.next().expect("signed headers"));
        let signed: Vec<String> = signed.split(';').map(str::to_owned).collect();
        // Our rule for S3 is the one that leaves paths as they are.
        let service = if self.flag("normalize", true) { "service" } else { "s3" };
        let headers = sent.header_map();
        let parts =
            wire::sigv4::RequestParts { method: &sent.method, path: &sent.path, query: &sent.query, headers: &headers };
        let ours = canonical_request(&parts, service, &signed, hash);
        assert_eq!(ours, published.trim_end(), "{} ({form})", self.name);
    }

    /// The signed request verifies, unless it is one that we refuse on purpose.
    fn check_verified(&self, form: &str) {
        let sent = parse(&read(&self.directory, &format!("{form}-signed-request.txt")));
        let verified = sent.verify(&self.key(), VECTOR_TIME, "service");
        let token_unsigned = self.flag("omit_session_token", false);
        // Paths of services other than S3 are normalised before they are signed (W8).
        let path_untidy = !self.flag("normalize", true) && !self.name.contains("space");
        // The header form of the suite leaves out a body that it does not sign.
        let body_unsigned = !self.flag("sign_body", false) && !sent.body.is_empty();
        let refused = token_unsigned || path_untidy || body_unsigned;
        assert_eq!(verified.is_err(), refused, "{} ({form}): {verified:?}", self.name);
    }
}

#[test]
fn i9_the_published_vectors_hold() {
    let Some(suite) = suite().filter(|suite| suite.is_dir()) else {
        assert!(std::env::var_os("CI").is_none(), "the SigV4 vectors were not found: set SIGV4_SUITE");
        eprintln!("SKIPPED: the SigV4 vectors were not found; set SIGV4_SUITE to the folder with the directories");
        return;
    };
    let mut seen = 0;
    for entry in fs::read_dir(&suite).expect("the suite's folder").flatten() {
        let directory = entry.path();
        if !directory.join("context.json").is_file() {
            continue;
        }
        let context = serde_json::from_str(&read(&directory, "context.json")).expect("JSON");
        let vector = Vector { name: entry.file_name().to_string_lossy().into_owned(), directory, context };
        for form in ["header", "query"] {
            if !vector.directory.join(format!("{form}-signed-request.txt")).is_file() {
                continue;
            }
            vector.check_canonical(form);
            vector.check_verified(form);
        }
        seen += 1;
    }
    assert!(seen >= DIRECTORIES_MIN, "only {seen} directories in {}", suite.display());
}
