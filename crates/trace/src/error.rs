//! Why spans could not be written or read.

/// Errors of the trace store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TraceError {
    /// The key-value store failed.
    #[error(transparent)]
    Store(#[from] kv::Error),
    /// A stored key or value is not one of ours.
    #[error("a stored span cannot be read: {0}")]
    Corrupt(String),
    /// Spans that were waited for could not be written. They are counted as dropped.
    #[error("spans were lost: the store refused them, or nobody writes any more")]
    Lost,
}
