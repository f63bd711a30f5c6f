//! The root key: from the environment, else made on first start and kept in the data folder.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sys::Rng;

use crate::access_key;

/// Environment variables that hold the root key.
const ENV: (&str, &str) = ("TINDERBOX_ROOT_ACCESS_KEY_ID", "TINDERBOX_ROOT_SECRET_ACCESS_KEY");

/// The key of the account's root user. `Debug` does not show the secret.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct RootKey {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
}

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RootKey").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// Where a root key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From the environment.
    Environment,
    /// From the data folder.
    Kept,
    /// Made just now: print it, for it is shown only once.
    New,
}

impl RootKey {
    /// From the environment, else from `data`, else new (and kept in `data`, mode 0600, durably).
    ///
    /// # Errors
    /// When only one of the two variables is set, or the file cannot be read or written.
    pub(crate) fn obtain(data: &Path, rng: &Rng) -> anyhow::Result<(Self, Origin)> {
        if let Some(key) = Self::from_environment()? {
            return Ok((key, Origin::Environment));
        }
        if let Some(key) = Self::kept(data)? {
            return Ok((key, Origin::Kept));
        }
        let key = Self { access_key_id: access_key::id("AKIA", rng), secret_access_key: access_key::secret(40, rng) };
        key.keep(data)?;
        Ok((key, Origin::New))
    }

    /// The key of `TINDERBOX_ROOT_*`, for clients.
    ///
    /// # Errors
    /// When only one of the two variables is set.
    pub(crate) fn from_environment() -> anyhow::Result<Option<Self>> {
        Self::from_env(|name| std::env::var(name).ok())
    }

    fn from_env(read: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<Self>> {
        let read = |name| read(name).filter(|value| !value.is_empty());
        match (read(ENV.0), read(ENV.1)) {
            (Some(access_key_id), Some(secret_access_key)) => Ok(Some(Self { access_key_id, secret_access_key })),
            (None, None) => Ok(None),
            _ => anyhow::bail!("{} and {} must be set together", ENV.0, ENV.1),
        }
    }

    /// The key that the data folder holds, if any.
    ///
    /// # Errors
    /// When the file is there but cannot be read.
    pub(crate) fn kept(data: &Path) -> anyhow::Result<Option<Self>> {
        let path = file(data);
        match fs::read(&path) {
            Ok(text) => {
                let key = serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
                Ok(Some(key))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("could not read {}", path.display())),
        }
    }

    /// Written beside, fsynced, then renamed: a crash leaves either no key or a whole one.
    fn keep(&self, data: &Path) -> anyhow::Result<()> {
        let path = file(data);
        let beside = path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            out.write_all(serde_json::to_string(self)?.as_bytes())?;
            out.sync_all()?;
            fs::rename(&beside, &path)?;
            fs::File::open(data)?.sync_all()
        };
        write().with_context(|| format!("could not write {}", path.display()))
    }
}

fn file(data: &Path) -> PathBuf {
    data.join("root-key.json")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_key_is_kept_for_its_owner_only_and_found_again() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let key = RootKey {
            access_key_id: access_key::id("AKIA", &Rng::seeded(1)),
            secret_access_key: access_key::secret(40, &Rng::seeded(1)),
        };
        key.keep(data.path()).expect("kept");
        let mode = fs::metadata(file(data.path())).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = RootKey::kept(data.path()).expect("readable").expect("present");
        assert_eq!(again.secret_access_key, key.secret_access_key);
        assert_eq!(key.access_key_id.len(), 20);
        assert!(!format!("{key:?}").contains(&key.secret_access_key));
    }

    #[test]
    fn half_a_key_in_the_environment_is_refused() {
        let only_id = |name: &str| (name == ENV.0).then(|| "AKIAX".to_owned());
        assert!(RootKey::from_env(only_id).is_err());
        assert!(RootKey::from_env(|_| None).expect("nothing set is fine").is_none());
    }
}
