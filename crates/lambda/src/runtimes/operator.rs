//! Runtimes that the operator brings: a folder with AWS's runtime client for a language, behind a `bootstrap`.
//!
//! ```text
//!   --runtime ruby3.3=/srv/ruby   →   /srv/ruby is /var/runtime inside; /var/runtime/bootstrap speaks the Runtime API
//! ```
//! The layout is that of AWS's own images: the runtime client lies in `/var/runtime` and is started by the file
//! `bootstrap` there (github.com/aws/aws-lambda-base-images).

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use model::lambda::Runtime;

/// What a runtime's folder must hold.
const ENTRY: &str = "bootstrap";

/// Folders by runtime identifier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorRuntimes(BTreeMap<String, PathBuf>);

/// Why a setting names no runtime.
#[derive(Debug, thiserror::Error)]
pub enum BadOperatorRuntime {
    /// The text has another form.
    #[error("{0:?} is not of the form IDENTIFIER=FOLDER, as in ruby3.3=/srv/ruby")]
    Form(String),
    /// Lambda has no such runtime, so no client could ask for it.
    #[error("{0} is none of Lambda's runtime identifiers")]
    Unknown(String),
    /// The same identifier twice.
    #[error("the runtime {0} has two folders")]
    Twice(String),
    /// The folder has no executable `bootstrap`, or is not there.
    #[error("the runtime {identifier} needs an executable file {}", .entry.display())]
    NoEntry {
        /// The runtime.
        identifier: String,
        /// The file that is missing.
        entry: PathBuf,
    },
}

impl OperatorRuntimes {
    /// Reads settings of the form `IDENTIFIER=FOLDER` and looks into each folder.
    ///
    /// # Errors
    /// See [`BadOperatorRuntime`].
    pub fn parse<'text>(settings: impl IntoIterator<Item = &'text str>) -> Result<Self, BadOperatorRuntime> {
        let mut folders = BTreeMap::new();
        for text in settings {
            let (identifier, folder) = text
                .split_once('=')
                .filter(|(_, folder)| Path::new(folder).is_absolute())
                .ok_or_else(|| BadOperatorRuntime::Form(text.to_owned()))?;
            if identifier.starts_with("provided") || identifier.parse::<Runtime>().is_err() {
                return Err(BadOperatorRuntime::Unknown(identifier.to_owned()));
            }
            let entry = Path::new(folder).join(ENTRY);
            let is_executable =
                entry.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
            if !is_executable {
                return Err(BadOperatorRuntime::NoEntry { identifier: identifier.to_owned(), entry });
            }
            if folders.insert(identifier.to_owned(), PathBuf::from(folder)).is_some() {
                return Err(BadOperatorRuntime::Twice(identifier.to_owned()));
            }
        }
        Ok(Self(folders))
    }

    /// The folder of `identifier`.
    pub(super) fn folder(&self, identifier: &str) -> Option<&Path> {
        self.0.get(identifier).map(PathBuf::as_path)
    }

    /// What the operator brings.
    pub fn identifiers(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_an_executable_bootstrap_is_a_runtime_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let parse = |texts: &[String]| OperatorRuntimes::parse(texts.iter().map(String::as_str));
        let said = |texts: &[String]| parse(texts).unwrap_err().to_string();
        let ruby = format!("ruby3.3={path}");
        assert!(said(std::slice::from_ref(&ruby)).ends_with("/bootstrap"));
        let entry = folder.path().join(ENTRY);
        std::fs::write(&entry, "#!/bin/sh\n").unwrap();
        assert!(said(std::slice::from_ref(&ruby)).contains("needs an executable file"));
        std::fs::set_permissions(&entry, std::fs::Permissions::from_mode(0o755)).unwrap();
        let read = parse(&[ruby.clone(), format!("java21={path}")]).unwrap();
        assert_eq!(read.folder("java21"), Some(folder.path()));
        assert_eq!((read.folder("java17"), read.identifiers().count()), (None, 2));
        for (text, says) in [
            ("ruby3.3", "not of the form"),
            ("ruby3.3=relative", "not of the form"),
            ("cobol1=/srv", "none of Lambda's"),
            ("provided.al2023=/srv", "none of Lambda's"),
        ] {
            assert!(said(&[text.to_owned()]).contains(says), "{text}");
        }
        assert!(said(&[ruby.clone(), ruby]).contains("two folders"));
    }
}
