//! The older query protocol on the same table (wire:W4).

use bytes::Bytes;
use wire::shape::Protocol;

use super::{Fixture, HOST, cx, fixture};

impl Fixture {
    /// Status and XML of a form sent to `path`.
    async fn form(&self, path: &str, form: &str) -> (u16, String) {
        let request = http::Request::post(path).header("content-type", "application/x-www-form-urlencoded").body(());
        let (parts, ()) = request.expect("a well-formed request").into_parts();
        let body = Bytes::from(format!("{form}&Version=2012-11-05"));
        let answer = self.service.call(cx(), Protocol::AwsQuery, &parts, body).await;
        (answer.status().as_u16(), String::from_utf8(answer.body().to_vec()).expect("UTF-8"))
    }

    async fn form_ok(&self, path: &str, form: &str) -> String {
        let (status, xml) = self.form(path, form).await;
        assert_eq!(status, 200, "{form}: {xml}");
        xml
    }
}

/// The text of the first element of that name.
fn text<'x>(xml: &'x str, element: &str) -> &'x str {
    let (_, rest) = xml.split_once(&format!("<{element}>")).unwrap_or_else(|| panic!("{element} in {xml}"));
    rest.split_once('<').expect("an end").0
}

#[tokio::test]
async fn a_message_goes_round_in_query() {
    let f = fixture();
    let made = "Action=CreateQueue&QueueName=q&Attribute.1.Name=VisibilityTimeout&Attribute.1.Value=7&Tag.1.Key=k&Tag.1.Value=v";
    let xml = f.form_ok("/", made).await;
    assert!(
        xml.starts_with(
            "<CreateQueueResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\"><CreateQueueResult>"
        )
    );
    assert_eq!(text(&xml, "QueueUrl"), format!("http://{HOST}/000000000000/q"));
    let path = "/000000000000/q";
    let send = "Action=SendMessage&MessageBody=a%20b&MessageAttribute.1.Name=n&MessageAttribute.1.Value.DataType=String\
                &MessageAttribute.1.Value.StringValue=v";
    let sent = f.form_ok(path, send).await;
    assert_eq!(text(&sent, "MD5OfMessageBody"), "0cc9cd4dd26c5137b675a0d819cb9ab0");
    let receive = "Action=ReceiveMessage&MaxNumberOfMessages=10&AttributeName.1=All&MessageAttributeName.1=All";
    let got = f.form_ok(path, receive).await;
    assert_eq!(text(&got, "Body"), "a b");
    assert!(got.contains("<Attribute><Name>ApproximateReceiveCount</Name><Value>1</Value></Attribute>"), "{got}");
    assert!(
        got.contains("<MessageAttribute><Name>n</Name><Value><DataType>String</DataType><StringValue>v</StringValue>"),
        "{got}"
    );
    let handle = text(&got, "ReceiptHandle").replace('+', "%2B").replace('=', "%3D").replace('/', "%2F");
    let deleted = f.form_ok(path, &format!("Action=DeleteMessage&ReceiptHandle={handle}")).await;
    assert!(deleted.contains("<ResponseMetadata><RequestId>"), "{deleted}");
    let attributes = f.form_ok(path, "Action=GetQueueAttributes&AttributeName.1=VisibilityTimeout").await;
    assert!(
        attributes.contains("<Attribute><Name>VisibilityTimeout</Name><Value>7</Value></Attribute>"),
        "{attributes}"
    );
    let tags = f.form_ok("/", &format!("Action=ListQueueTags&QueueUrl=http%3A%2F%2F{HOST}{path}")).await;
    assert!(tags.contains("<Tag><Key>k</Key><Value>v</Value></Tag>"), "{tags}");
    let listed = f.form_ok("/", "Action=ListQueues").await;
    assert_eq!(text(&listed, "QueueUrl"), format!("http://{HOST}/000000000000/q"));
}

#[tokio::test]
async fn batches_and_errors_speak_query() {
    let f = fixture();
    f.form_ok("/", "Action=CreateQueue&QueueName=q").await;
    let send = "Action=SendMessageBatch&SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.1.MessageBody=1\
                &SendMessageBatchRequestEntry.2.Id=b&SendMessageBatchRequestEntry.2.MessageBody=2";
    let sent = f.form_ok("/000000000000/q", send).await;
    assert_eq!(sent.matches("<SendMessageBatchResultEntry>").count(), 2, "{sent}");
    let (status, xml) = f.form("/000000000000/q", "Action=SendMessageBatch").await;
    assert_eq!((status, text(&xml, "Code")), (400, "AWS.SimpleQueueService.EmptyBatchRequest"));
    let (status, xml) = f.form("/000000000000/nobody", "Action=ReceiveMessage").await;
    assert_eq!((status, text(&xml, "Code")), (400, "AWS.SimpleQueueService.NonExistentQueue"));
    assert_eq!(text(&xml, "Type"), "Sender");
    let (status, xml) = f.form("/", "Action=SendMessage&MessageBody=m").await;
    assert_eq!((status, text(&xml, "Code")), (400, "MissingParameter"));
}
