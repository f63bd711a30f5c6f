//! SMS settings and opted-out numbers.

use crate::{borrowed, entries, entry, fixture, text};

#[tokio::test]
async fn set_sms_attributes_and_get_sms_attributes() {
    let at = fixture();
    assert_eq!(entry(&at.ok("GetSMSAttributes", &[]).await, "MonthlySpendLimit"), "1");
    let set = entries("attributes", &[("DefaultSMSType", "Promotional"), ("DefaultSenderID", "LSTest")]);
    at.ok("SetSMSAttributes", &borrowed(&set)).await;
    let body = at.ok("GetSMSAttributes", &[("attributes.member.1", "DefaultSenderID")]).await;
    assert_eq!((entry(&body, "DefaultSenderID"), entry(&body, "DefaultSMSType")), ("LSTest".into(), String::new()));
    for (name, value, message) in [
        ("InvalidAttribute", "x", "InvalidAttribute is not a valid attribute"),
        ("DefaultSMSType", "x", "DefaultSMSType is invalid"),
        ("DefaultSenderID", "1234", "DefaultSenderID is not a valid attribute"),
    ] {
        let refused = at.refused("SetSMSAttributes", &borrowed(&entries("attributes", &[(name, value)]))).await;
        assert_eq!(refused, format!("400 InvalidParameter: {message}"));
    }
}

#[tokio::test]
async fn nobody_has_opted_out() {
    let at = fixture();
    let number = [("phoneNumber", "+15551234567")];
    assert_eq!(text(&at.ok("CheckIfPhoneNumberIsOptedOut", &number).await, "isOptedOut"), "false");
    assert!(at.ok("ListPhoneNumbersOptedOut", &[]).await.contains("<phoneNumbers"));
    at.ok("OptInPhoneNumber", &number).await;
    for operation in ["CheckIfPhoneNumberIsOptedOut", "OptInPhoneNumber"] {
        let refused = at.refused(operation, &[("phoneNumber", "+44i00465")]).await;
        let wanted = "400 InvalidParameter: Invalid parameter: PhoneNumber Reason: input incorrectly formatted";
        assert_eq!(refused, wanted);
    }
}
