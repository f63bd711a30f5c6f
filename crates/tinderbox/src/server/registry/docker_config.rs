//! Credentials as `docker login`, `crane auth login` and `podman login` write them: `auths` of a `config.json`.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    /// `user:password` in base64.
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// `user:password` for the first of `hosts` that the file knows; `None` for none. Messages name no secret.
pub(super) fn user_of(path: &Path, hosts: &[String]) -> Result<Option<String>, String> {
    let fail = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let text = std::fs::read(path).map_err(|error| fail(&error))?;
    let file: File = serde_json::from_slice(&text).map_err(|_| fail(&"it is no config.json of Docker"))?;
    let entry = hosts.iter().find_map(|host| file.auths.iter().find(|(key, _)| host_of(key) == host));
    let Some((_, Entry { auth, username, password })) = entry else { return Ok(None) };
    match (auth.as_deref().filter(|auth| !auth.is_empty()), username, password) {
        (Some(auth), ..) => {
            let decoded = STANDARD.decode(auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            decoded.map(Some).ok_or_else(|| fail(&"an entry of auths is malformed"))
        }
        (None, Some(username), Some(password)) => Ok(Some(format!("{username}:{password}"))),
        // Such as those whose secret is in a credential store: programs of the user's that are not run here.
        _ => Ok(None),
    }
}

/// Older keys are URLs.
fn host_of(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    bare.split('/').next().unwrap_or(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_however_they_are_written_and_secrets_are_not_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.json");
        let user = |text: &str, host: &str| {
            std::fs::write(&path, text).expect("written");
            user_of(&path, &["other".to_owned(), host.to_owned()])
        };
        let text = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpzM2NyZXQ="},
                                 "localhost:5000": {"username": "a", "password": "b:c"},
                                 "stored": {}, "torn": {"auth": "s3cret!"}}, "credsStore": "pass"}"#;
        assert_eq!(user(text, "index.docker.io"), Ok(Some("u:s3cret".to_owned())));
        assert_eq!(user(text, "localhost:5000"), Ok(Some("a:b:c".to_owned())));
        assert_eq!(user(text, "stored"), Ok(None));
        assert_eq!(user(text, "absent"), Ok(None));
        for (text, host) in [(text, "torn"), ("s3cret", "x"), ("{\"auths\": \"s3cret\"}", "x")] {
            let error = user(text, host).expect_err("refused");
            assert!(error.contains("config.json") && !error.contains("s3cret"), "{error}");
        }
        assert!(user_of(&folder.path().join("absent"), &[]).is_err());
    }
}
