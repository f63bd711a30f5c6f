//! What can go wrong in the store: four kinds, no more.

/// An error of the store. [`crate::Kv::transact`] retries `Conflict` itself, so service code never sees one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::error_impl_error, reason = "the one error of this crate, read as `kv::Error`")]
pub enum Error {
    /// Another transaction wrote what this one had read, or the read version left the window of remembered commits.
    #[error("the transaction conflicts with another one")]
    Conflict,
    /// A key, a value, a transaction or its duration is beyond a limit of [`crate::limits`].
    #[error("{what} is {actual}, the limit is {limit}")]
    TooLarge {
        /// What was measured, with its unit.
        what: &'static str,
        /// The measured size.
        actual: u64,
        /// The largest size allowed.
        limit: u64,
    },
    /// The store cannot serve now: closed, contended beyond patience, or stopped by a failed write.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// Why, for the log. Not for clients.
        reason: String,
    },
    /// Stored bytes are not what was written, or acknowledged commits are missing.
    #[error("the store is corrupt: {reason}")]
    Corrupt {
        /// What was found, for the log. Not for clients.
        reason: String,
    },
}

impl Error {
    /// An [`Error::Unavailable`] that says why.
    pub fn unavailable(reason: impl std::fmt::Display) -> Self {
        Self::Unavailable { reason: reason.to_string() }
    }

    /// The error of a transaction that a full disk does not take. The store goes on.
    pub(crate) fn disk_full() -> Self {
        Self::unavailable("the disk is full")
    }

    /// An [`Error::Corrupt`] that says what was found.
    pub fn corrupt(reason: impl std::fmt::Display) -> Self {
        Self::Corrupt { reason: reason.to_string() }
    }

    /// `Ok` when `actual` is within `limit`.
    pub(crate) fn check(what: &'static str, actual: usize, limit: usize) -> Result<(), Self> {
        match actual <= limit {
            true => Ok(()),
            false => Err(Self::TooLarge { what, actual: actual as u64, limit: limit as u64 }),
        }
    }
}
