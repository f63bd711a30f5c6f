//! Names of topics, subscriptions, platform applications and their endpoints, out of ARNs, in AWS's words when they are
//! none.

use serde::{Deserialize, Serialize};
use wire::{AccountId, Arn, Cx};

use crate::SnsError;
use crate::limits::ARN_BYTES_MAX;

/// A topic of an account and region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicName {
    /// 12 digits.
    pub account: String,
    /// Such as `us-east-1`.
    pub region: String,
    /// Such as `news` or `news.fifo`.
    pub name: String,
}

/// A subscription of a topic. Its id ends in its number within the topic, so that the ARN leads to the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubscriptionName {
    pub(crate) topic: TopicName,
    pub(crate) id: String,
}

/// A platform application, such as `app/GCM/news`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationName {
    /// 12 digits.
    pub account: String,
    /// Such as `us-east-1`.
    pub region: String,
    /// Such as `GCM`.
    pub platform: String,
    /// Such as `news`.
    pub name: String,
}

/// An ARN with six parts at least.
pub(crate) fn parse(parameter: &str, text: &str) -> Result<Arn, SnsError> {
    let count = text.split(':').count();
    if count < 6 {
        let reason = format!("{parameter} Reason: An ARN must have at least 6 elements, not {count}");
        return Err(SnsError::invalid(reason));
    }
    let arn = ours(text).filter(|arn| AccountId::parse(&arn.account).is_some());
    arn.ok_or_else(|| SnsError::invalid(parameter))
}

/// An ARN of this service, not longer than any that it gave out: names become keys of the store, which have an end.
fn ours(text: &str) -> Option<Arn> {
    Arn::parse(text).filter(|arn| arn.service == "sns" && text.len() <= ARN_BYTES_MAX)
}

impl TopicName {
    /// A topic of the caller's own account.
    pub(crate) fn own(cx: &Cx, name: &str) -> Self {
        Self { account: cx.account.as_str().to_owned(), region: cx.region.clone(), name: name.to_owned() }
    }

    /// The topic with the ARN in `parameter`, in the region of the request.
    pub(crate) fn of(cx: &Cx, parameter: &str, text: &str) -> Result<Self, SnsError> {
        let arn = parse(parameter, text)?;
        if arn.region != cx.region || arn.resource.contains([':', '/']) {
            return Err(SnsError::invalid(parameter));
        }
        Ok(Self { account: arn.account, region: arn.region, name: arn.resource })
    }

    /// The topic with this ARN; `None` when it is not the ARN of a topic.
    pub fn of_arn(text: &str) -> Option<Self> {
        let arn = ours(text)?;
        let plain = AccountId::parse(&arn.account).is_some() && !arn.resource.contains([':', '/']);
        plain.then_some(Self { account: arn.account, region: arn.region, name: arn.resource })
    }

    /// `arn:aws:sns:REGION:ACCOUNT:NAME`
    pub fn arn(&self) -> String {
        Arn::new("sns", &self.region, &self.account, self.name.as_str()).to_string()
    }

    /// Whether it is a FIFO topic: only their names end so.
    pub fn is_fifo(&self) -> bool {
        self.name.ends_with(".fifo")
    }
}

impl SubscriptionName {
    /// The subscription `number` of `topic`; `random` makes its ARN unguessable.
    pub(crate) fn new(topic: &TopicName, number: u64, random: &str) -> Self {
        // A UUID in form: 20 random digits, then the number.
        let (a, rest) = random.split_at(8);
        let (b, rest) = rest.split_at(4);
        let (c, rest) = rest.split_at(4);
        let id = format!("{a}-{b}-{c}-{}-{number:012x}", &rest[..4]);
        Self { topic: topic.clone(), id }
    }

    /// The subscription with this ARN; `None` when it is an ARN of something else.
    pub(crate) fn of_arn(text: &str) -> Option<Self> {
        let arn = ours(text)?;
        let (name, id) = arn.resource.split_once(':')?;
        let topic = TopicName { account: arn.account, region: arn.region, name: name.to_owned() };
        Some(Self { topic, id: id.to_owned() })
    }

    /// Its number; `None` when no id of ours ends so.
    pub(crate) fn number(&self) -> Option<u64> {
        let digits = self.id.rsplit('-').next().filter(|digits| digits.len() == 12)?;
        u64::from_str_radix(digits, 16).ok()
    }

    pub(crate) fn arn(&self) -> String {
        format!("{}:{}", self.topic.arn(), self.id)
    }
}

impl ApplicationName {
    /// The application with the ARN in `parameter`.
    pub(crate) fn of(parameter: &str, text: &str) -> Result<Self, SnsError> {
        let arn = parse(parameter, text)?;
        let slashes =
            SnsError::invalid(format!("{parameter} Reason: Wrong number of slashes in relative portion of the ARN."));
        match arn.resource.split('/').collect::<Vec<_>>().as_slice() {
            ["app", platform, name] => Ok(Self {
                platform: (*platform).to_owned(),
                name: (*name).to_owned(),
                account: arn.account,
                region: arn.region,
            }),
            _ => Err(slashes),
        }
    }

    /// The application and the id of the endpoint with the ARN in `parameter`.
    pub(crate) fn of_endpoint(parameter: &str, text: &str) -> Result<(Self, String), SnsError> {
        let arn = parse(parameter, text)?;
        match arn.resource.split('/').collect::<Vec<_>>().as_slice() {
            ["endpoint", platform, name, id] => {
                let (platform, name) = ((*platform).to_owned(), (*name).to_owned());
                Ok((Self { platform, name, account: arn.account, region: arn.region }, (*id).to_owned()))
            }
            _ => Err(SnsError::invalid(format!(
                "{parameter} Reason: Wrong number of slashes in relative portion of the ARN."
            ))),
        }
    }

    pub(crate) fn arn(&self) -> String {
        let Self { account, region, platform, name } = self;
        Arn::new("sns", region, account, format!("app/{platform}/{name}")).to_string()
    }

    pub(crate) fn endpoint_arn(&self, id: &str) -> String {
        let Self { account, region, platform, name } = self;
        Arn::new("sns", region, account, format!("endpoint/{platform}/{name}/{id}")).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriptions_arn_leads_to_its_number() {
        let topic = TopicName { account: "000000000000".into(), region: "us-east-1".into(), name: "t".into() };
        let name = SubscriptionName::new(&topic, 42, "0123456789abcdef0123");
        assert_eq!(name.arn(), "arn:aws:sns:us-east-1:000000000000:t:01234567-89ab-cdef-0123-00000000002a");
        let back = SubscriptionName::of_arn(&name.arn()).expect("an ARN of ours");
        assert_eq!((back.number(), &back), (Some(42), &name));
        assert_eq!(SubscriptionName::of_arn(&topic.arn()), None);
    }
}
