//! Which queue: account, region and name, out of a name, a URL or an ARN.

use wire::{AccountId, Arn, Cx};

use crate::SqsError;
use crate::limits::{NAME_CHARACTERS_MAX, REGION_CHARACTERS_MAX};

/// A queue of an account and region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName {
    /// 12 digits.
    pub account: String,
    /// Such as `us-east-1`.
    pub region: String,
    /// Such as `jobs` or `jobs.fifo`.
    pub name: String,
}

impl QueueName {
    /// A queue of the caller's own account.
    pub fn own(cx: &Cx, name: &str) -> Self {
        Self { account: cx.account.as_str().to_owned(), region: cx.region.clone(), name: name.to_owned() }
    }

    /// The queue at `url`: the last two segments of its path, whatever host the client used (wire:W4).
    ///
    /// # Errors
    /// `NonExistentQueue` when the path does not end in an account and a name.
    pub fn of_url(cx: &Cx, url: &str) -> Result<Self, SqsError> {
        Self::parse_url(cx, url).ok_or(SqsError::NonExistentQueue)
    }

    pub(crate) fn parse_url(cx: &Cx, url: &str) -> Option<Self> {
        let path = match url.split_once("://") {
            Some((_, rest)) => rest.split_once('/')?.1,
            None => url.trim_start_matches('/'),
        };
        let (before, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
        let account = match before.rsplit('/').next().unwrap_or_default() {
            // AWS also takes the bare name of a queue of one's own.
            "" => cx.account.as_str().to_owned(),
            account => AccountId::parse(account)?.as_str().to_owned(),
        };
        is_plausible(name).then(|| Self { account, region: cx.region.clone(), name: name.to_owned() })
    }

    /// The queue with this ARN; `None` when it is not the ARN of a queue.
    pub fn of_arn(arn: &str) -> Option<Self> {
        let arn = Arn::parse(arn).filter(|arn| arn.service == "sqs")?;
        let account = AccountId::parse(&arn.account)?;
        let plain = (1..=REGION_CHARACTERS_MAX).contains(&arn.region.len())
            && is_plausible(&arn.resource)
            && !arn.resource.contains([':', '/']);
        plain.then(|| Self { account: account.as_str().to_owned(), region: arn.region, name: arn.resource })
    }

    /// `arn:aws:sqs:REGION:ACCOUNT:NAME`
    pub fn arn(&self) -> String {
        Arn::new("sqs", &self.region, &self.account, self.name.as_str()).to_string()
    }

    /// The queue's URL at the host that the client used, so that it works wherever the client is.
    pub fn url(&self, host: &str) -> String {
        format!("http://{host}/{}/{}", self.account, self.name)
    }

    /// Whether the name is that of a FIFO queue.
    pub fn is_fifo(&self) -> bool {
        self.name.ends_with(".fifo")
    }
}

/// Whether a queue could have this name: it is not too long. Other names are looked for in the store.
pub(crate) fn is_plausible(name: &str) -> bool {
    (1..=NAME_CHARACTERS_MAX).contains(&name.len())
}

/// Checks a name for a new queue.
///
/// # Errors
/// `InvalidParameterValue` in AWS's words.
pub(crate) fn check(name: &str, fifo: bool) -> Result<(), SqsError> {
    let stem = if fifo { name.strip_suffix(".fifo") } else { Some(name) };
    let letters = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let good = stem.is_some_and(|stem| !stem.is_empty() && letters(stem)) && name.len() <= NAME_CHARACTERS_MAX;
    match (good, fifo) {
        (true, _) => Ok(()),
        (false, false) => Err(SqsError::invalid(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        )),
        (false, true) => Err(SqsError::invalid(
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with \
             .fifo suffix and be 1 to 80 in length.",
        )),
    }
}
