"""InvokeWithResponseStream through boto3's event stream parser, which checks every length and checksum."""

from blackbox.functions import PYTHON, javascript, python

STREAMS = javascript(
    """
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  stream.setContentType("text/plain");
  for (let n = 0; n < event.parts; n++) stream.write(`part ${n};`);
  if (event.fails) throw new Error("in the midst");
  stream.end();
});
"""
)


def streamed(client, name, payload):
    answer = client.invoke_with_response_stream(FunctionName=name, Payload=payload, LogType="Tail")
    chunks, complete = [], None
    for event in answer["EventStream"]:
        if "PayloadChunk" in event:
            chunks.append(event["PayloadChunk"]["Payload"])
        else:
            complete = event["InvokeComplete"]
    return chunks, complete


def test_a_streaming_handler_streams(deploy, lambda_client):
    function = deploy(STREAMS)
    chunks, complete = streamed(lambda_client, function.name, b'{"parts": 40}')
    assert b"".join(chunks) == b"".join(b"part %d;" % n for n in range(40))
    assert len(chunks) > 1, "parts, and not one whole"
    assert "ErrorCode" not in complete and complete["LogResult"]
    chunks, complete = streamed(lambda_client, function.name, b'{"parts": 2, "fails": true}')
    assert b"".join(chunks) == b"part 0;part 1;"
    assert complete["ErrorCode"] == "Unhandled" and "in the midst" in complete["ErrorDetails"]
    buffered = lambda_client.invoke(FunctionName=function.name, Payload=b'{"parts": 2}')
    assert buffered["Payload"].read() == b"part 0;part 1;"


def test_a_buffered_answer_is_one_chunk(deploy, lambda_client):
    function = deploy(python("def handler(event, context):\n    return event\n"), PYTHON)
    chunks, _ = streamed(lambda_client, function.name, b'{"a": 1}')
    assert chunks == [b'{"a": 1}']
