//! What subscribers read: the envelope for queues and URLs, the event for functions, and the text that is signed.
//!
//! Source: developer guide, "Parsing Amazon SNS message formats" (members, their order, their spaces) and "Verifying the
//! signatures of Amazon SNS messages".

use std::fmt::Write;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Delivery, Kind};
use crate::SnsError;
use crate::sign::{CERTIFICATE_PATH, Signer};

/// Whether readers find a signature: FIFO topics sign nothing, raw messages have no place for one.
pub(super) fn is_signed(delivery: &Delivery) -> bool {
    let has_envelope = !delivery.is_raw || delivery.kind != Kind::Notification || delivery.protocol == "lambda";
    !delivery.topic.is_fifo() && has_envelope
}

/// The signature of a message.
pub(super) async fn sign(signer: &Signer, delivery: &Delivery) -> Result<String, SnsError> {
    signer.sign(&delivery.signature_version, &to_sign(delivery)).await
}

/// Names and values on lines of their own, in the order of the names.
fn to_sign(delivery: &Delivery) -> String {
    let message = &delivery.message;
    let mut fields = vec![("Message", message.text.clone()), ("MessageId", message.id.clone())];
    match &delivery.kind {
        Kind::Notification => fields.extend(message.subject.clone().map(|subject| ("Subject", subject))),
        Kind::SubscriptionConfirmation { token } | Kind::UnsubscribeConfirmation { token } => {
            fields.push(("SubscribeURL", subscribe_url(delivery, token)));
            fields.push(("Token", token.clone()));
        }
    }
    fields.push(("Timestamp", message.timestamp()));
    fields.push(("TopicArn", delivery.topic.arn()));
    fields.push(("Type", delivery.kind.name().to_owned()));
    fields.sort_by_key(|(name, _)| *name);
    fields.into_iter().fold(String::new(), |mut text, (name, value)| {
        writeln!(text, "{name}\n{value}").expect("writing to a string does not fail");
        text
    })
}

fn subscribe_url(delivery: &Delivery, token: &str) -> String {
    let topic = delivery.topic.arn();
    format!("http://{}/?Action=ConfirmSubscription&TopicArn={topic}&Token={token}", delivery.host)
}

fn unsubscribe_url(delivery: &Delivery) -> String {
    format!("http://{}/?Action=Unsubscribe&SubscriptionArn={}", delivery.host, delivery.subscription)
}

struct Signature {
    text: String,
    certificate_url: String,
}

async fn signature(signer: &Signer, delivery: &Delivery) -> Result<Signature, SnsError> {
    let text = match &delivery.signature {
        Some(signature) => signature.clone(),
        None => sign(signer, delivery).await?,
    };
    let file = signer.certificate().await?.file;
    Ok(Signature { text, certificate_url: format!("http://{}{CERTIFICATE_PATH}{file}", delivery.host) })
}

fn attributes(delivery: &Delivery) -> Map<String, Value> {
    let of = delivery.message.attributes.iter();
    of.map(|(name, value)| (name.clone(), json!({"Type": value.data_type, "Value": value.value}))).collect()
}

/// The envelope as queues and URLs get it.
pub(super) async fn json(signer: &Signer, delivery: &Delivery) -> Result<String, SnsError> {
    let message = &delivery.message;
    let text = |text: &str| Value::String(text.to_owned()).to_string();
    let mut members = vec![("Type", text(delivery.kind.name())), ("MessageId", text(&message.id))];
    if let Some(sequence) = &message.sequence {
        members.push(("SequenceNumber", text(sequence)));
    }
    let token = match &delivery.kind {
        Kind::Notification => None,
        Kind::SubscriptionConfirmation { token } | Kind::UnsubscribeConfirmation { token } => Some(token),
    };
    members.extend(token.map(|token| ("Token", text(token))));
    members.push(("TopicArn", text(&delivery.topic.arn())));
    members.extend(message.subject.as_ref().map(|subject| ("Subject", text(subject))));
    members.push(("Message", text(&message.text)));
    members.extend(token.map(|token| ("SubscribeURL", text(&subscribe_url(delivery, token)))));
    members.push(("Timestamp", text(&message.timestamp())));
    if is_signed(delivery) || delivery.is_dead && !delivery.topic.is_fifo() {
        let signature = signature(signer, delivery).await?;
        members.push(("SignatureVersion", text(&delivery.signature_version)));
        members.push(("Signature", text(&signature.text)));
        members.push(("SigningCertURL", text(&signature.certificate_url)));
    }
    if delivery.kind == Kind::Notification {
        members.push(("UnsubscribeURL", text(&unsubscribe_url(delivery))));
        if !message.attributes.is_empty() {
            members.push(("MessageAttributes", attribute_lines(delivery)));
        }
    }
    let lines: Vec<String> = members.into_iter().map(|(name, value)| format!("  \"{name}\" : {value}")).collect();
    Ok(format!("{{\n{}\n}}", lines.join(",\n")))
}

/// `{` · a line for each attribute · `}`
fn attribute_lines(delivery: &Delivery) -> String {
    let line = |(name, value): (String, Value)| format!("    {} : {value}", Value::String(name));
    let lines: Vec<String> = attributes(delivery).into_iter().map(line).collect();
    format!("{{\n{}\n  }}", lines.join(",\n"))
}

/// The event as functions get it.
pub(super) async fn function_event(signer: &Signer, delivery: &Delivery) -> Result<Bytes, SnsError> {
    let message = &delivery.message;
    let signature = signature(signer, delivery).await?;
    let event = json!({"Records": [{
        "EventSource": "aws:sns",
        "EventVersion": "1.0",
        "EventSubscriptionArn": delivery.subscription,
        "Sns": {
            "Type": delivery.kind.name(),
            "MessageId": message.id,
            "TopicArn": delivery.topic.arn(),
            "Subject": message.subject,
            "Message": message.text,
            "Timestamp": message.timestamp(),
            "SignatureVersion": delivery.signature_version,
            "Signature": signature.text,
            "SigningCertUrl": signature.certificate_url,
            "UnsubscribeUrl": unsubscribe_url(delivery),
            "MessageAttributes": attributes(delivery),
        },
    }]});
    Ok(Bytes::from(event.to_string()))
}
