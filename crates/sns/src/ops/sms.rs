//! SMS settings and opted-out numbers. No SMS is ever sent, so nobody has ever opted out.

use std::collections::BTreeMap;

use model::sns as m;
use wire::Cx;

use crate::keys::{self, Key};
use crate::message::is_phone_number;
use crate::{Sns, SnsError};

const NAMES: [&str; 6] = [
    "MonthlySpendLimit",
    "DeliveryStatusIAMRole",
    "DeliveryStatusSuccessSamplingRate",
    "DefaultSenderID",
    "DefaultSMSType",
    "UsageReportS3Bucket",
];

fn key(cx: &Cx) -> Key {
    Key::Sms(cx.account.as_str().to_owned(), cx.region.clone())
}

fn check(name: &str, value: &str) -> Result<(), SnsError> {
    let refuse = |message: String| Err(SnsError::InvalidParameter(message));
    match name {
        "DefaultSMSType" if !["Promotional", "Transactional"].contains(&value) => {
            refuse("DefaultSMSType is invalid".to_owned())
        }
        // 1 to 11 letters and digits, a letter among them (developer guide, sender ids).
        "DefaultSenderID"
            if !((1..=11).contains(&value.len())
                && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && value.bytes().any(|b| b.is_ascii_alphabetic())) =>
        {
            refuse("DefaultSenderID is not a valid attribute".to_owned())
        }
        name if NAMES.contains(&name) => Ok(()),
        name => refuse(format!("{name} is not a valid attribute")),
    }
}

pub(crate) async fn set(
    sns: Sns,
    cx: Cx,
    input: m::SetSMSAttributesInput,
) -> Result<m::SetSMSAttributesOutput, SnsError> {
    for (name, value) in &input.attributes {
        check(name, value)?;
    }
    let (key, given) = (&key(&cx), &input.attributes);
    sns.0
        .kv
        .transact(|tx| async move {
            let mut all: BTreeMap<String, String> = keys::get(&tx, key).await?.unwrap_or_default();
            all.extend(given.clone());
            keys::put(&tx, key, &all)
        })
        .await?;
    Ok(m::SetSMSAttributesOutput {})
}

pub(crate) async fn get(
    sns: Sns,
    cx: Cx,
    input: m::GetSMSAttributesInput,
) -> Result<m::GetSMSAttributesOutput, SnsError> {
    let key = key(&cx);
    let read = sns.0.kv.read(|tx| async move { keys::get::<BTreeMap<String, String>>(&tx, &key).await });
    let mut all = read.await?.unwrap_or_default();
    all.entry("MonthlySpendLimit".to_owned()).or_insert_with(|| "1".to_owned());
    if let Some(wanted) = input.attributes.filter(|wanted| !wanted.is_empty()) {
        all.retain(|name, _| wanted.contains(name));
    }
    Ok(m::GetSMSAttributesOutput { attributes: Some(all) })
}

fn check_number(number: &str) -> Result<(), SnsError> {
    if is_phone_number(number) {
        return Ok(());
    }
    Err(SnsError::invalid("PhoneNumber Reason: input incorrectly formatted"))
}

pub(crate) async fn check_opted_out(
    _: Sns,
    _: Cx,
    input: m::CheckIfPhoneNumberIsOptedOutInput,
) -> Result<m::CheckIfPhoneNumberIsOptedOutOutput, SnsError> {
    check_number(&input.phone_number)?;
    Ok(m::CheckIfPhoneNumberIsOptedOutOutput { is_opted_out: Some(false) })
}

pub(crate) async fn list_opted_out(
    _: Sns,
    _: Cx,
    _: m::ListPhoneNumbersOptedOutInput,
) -> Result<m::ListPhoneNumbersOptedOutOutput, SnsError> {
    Ok(m::ListPhoneNumbersOptedOutOutput { next_token: None, phone_numbers: Some(Vec::new()) })
}

pub(crate) async fn opt_in(
    _: Sns,
    _: Cx,
    input: m::OptInPhoneNumberInput,
) -> Result<m::OptInPhoneNumberOutput, SnsError> {
    check_number(&input.phone_number)?;
    Ok(m::OptInPhoneNumberOutput {})
}
