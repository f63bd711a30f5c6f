"""Node: a streaming handler's chunks leave as they are written, when the caller takes a stream."""

import json

STREAMS = """
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  if (event.prelude) stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201 });
  else stream.setContentType("text/plain");
  for (const part of event.parts) stream.write(part);
  if (event.fails) throw new Error("in the midst");
  stream.end();
});
"""


def frames(environment, event):
    environment.send(event, stream=True)
    while True:
        frame = environment.receive()
        yield frame.kind, frame.body
        if frame.kind in ("RESPONSE", "ERROR"):
            return


def test_chunks_come_one_by_one_and_an_empty_response_ends_them(start):
    environment = start("node", STREAMS).ready()
    seen = list(frames(environment, {"parts": ["one", "two"]}))
    assert seen == [("HEAD", b"text/plain"), ("CHUNK", b"one"), ("CHUNK", b"two"), ("RESPONSE", b"")]
    assert list(frames(environment, {"parts": []})) == [("HEAD", b"text/plain"), ("RESPONSE", b"")]


def test_the_prelude_of_http_comes_first(start):
    seen = list(frames(start("node", STREAMS).ready(), {"parts": ["body"], "prelude": True}))
    assert seen[0] == ("HEAD", b"application/vnd.awslambda.http-integration-response")
    assert b"".join(body for kind, body in seen if kind == "CHUNK") == b'{"statusCode":201}' + bytes(8) + b"body"


def test_an_error_in_the_midst_ends_the_stream(start):
    seen = list(frames(start("node", STREAMS).ready(), {"parts": ["one"], "fails": True}))
    assert [kind for kind, _ in seen] == ["HEAD", "CHUNK", "ERROR"]
    assert json.loads(seen[-1][1])["errorMessage"] == "in the midst"


def test_a_large_chunk_is_cut(start):
    seen = list(frames(start("node", STREAMS).ready(), {"parts": ["x" * 2_500_000]}))
    sizes = [len(body) for kind, body in seen if kind == "CHUNK"]
    assert sum(sizes) == 2_500_000 and max(sizes) <= 1 << 20


def test_without_a_stream_the_answer_is_whole(start):
    answer = start("node", STREAMS).ready().invoke({"parts": ["one", "two"]})
    assert (answer.kind, answer.body) == ("RESPONSE", b"onetwo")
