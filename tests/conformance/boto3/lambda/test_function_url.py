"""Function URLs: their configuration through boto3, their requests through plain HTTP."""

import base64
import json

import pytest
from blackbox.functions import javascript

ECHO = javascript("exports.handler = async (event) => ({ statusCode: 200, body: JSON.stringify(event) });")
ANSWER = javascript("exports.handler = async (event) => JSON.parse(event.body);")


def request(server, function, path, method="GET", body=None, headers=None):
    status, answer_headers, answer = server.get(f"/_tinderbox/url/{function.url_id}{path}", method, body, headers)
    return status, answer_headers, answer


def test_configuration_lives_and_dies(deploy, lambda_client):
    function = deploy(ECHO)
    created = lambda_client.create_function_url_config(
        FunctionName=function.name, AuthType="NONE", Cors={"AllowOrigins": ["*"], "MaxAge": 60}
    )
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert created["FunctionUrl"].startswith("http") and created["FunctionUrl"].endswith("/")
    assert ".lambda-url." in created["FunctionUrl"]
    found = lambda_client.get_function_url_config(FunctionName=function.name)
    assert (found["FunctionUrl"], found["AuthType"], found["Cors"]["MaxAge"]) == (created["FunctionUrl"], "NONE", 60)
    updated = lambda_client.update_function_url_config(FunctionName=function.name, AuthType="AWS_IAM")
    assert (updated["FunctionUrl"], updated["AuthType"]) == (created["FunctionUrl"], "AWS_IAM")
    with pytest.raises(lambda_client.exceptions.ResourceConflictException):
        lambda_client.create_function_url_config(FunctionName=function.name, AuthType="NONE")
    lambda_client.delete_function_url_config(FunctionName=function.name)
    for call in (lambda_client.get_function_url_config, lambda_client.delete_function_url_config):
        with pytest.raises(lambda_client.exceptions.ResourceNotFoundException):
            call(FunctionName=function.name)


def test_url_of_no_function(lambda_client):
    with pytest.raises(lambda_client.exceptions.ResourceNotFoundException):
        lambda_client.create_function_url_config(FunctionName="there-is-none", AuthType="NONE")


def test_payload_2_0(server, deploy):
    function = deploy(ECHO)
    function.url()
    headers = {"Cookie": "a=1; b=2", "X-Twice": "one", "Content-Type": "text/plain", "User-Agent": "black-box"}
    status, answer_headers, body = request(server, function, "/p%20q/r?x=1&x=2&y=a%26b&z", "POST", b"hello", headers)
    assert status == 200 and answer_headers["content-type"].startswith("application/json")
    event = json.loads(body)
    assert event["version"] == "2.0" and event["routeKey"] == "$default"
    assert event["rawPath"] == "/p%20q/r" or event["rawPath"] == "/p q/r"
    assert event["rawQueryString"] == "x=1&x=2&y=a%26b&z"
    assert event["queryStringParameters"] == {"x": "1,2", "y": "a&b", "z": ""}
    assert event["cookies"] == ["a=1", "b=2"]
    assert event["headers"]["x-twice"] == "one" and event["headers"]["content-type"] == "text/plain"
    assert "cookie" not in event["headers"] and all(name == name.lower() for name in event["headers"])
    assert (event["body"], event["isBase64Encoded"]) == ("hello", False)
    context = event["requestContext"]
    assert context["http"]["method"] == "POST" and context["http"]["protocol"] == "HTTP/1.1"
    assert context["http"]["sourceIp"] == "127.0.0.1" and context["http"]["userAgent"] == "black-box"
    assert context["apiId"] == function.url_id and context["stage"] == "$default"
    assert context["domainPrefix"] == function.url_id
    assert context["requestId"] and context["timeEpoch"] > 1_700_000_000_000 and context["time"]


def test_binary_bodies_arrive_as_base64(server, deploy):
    function = deploy(ECHO)
    function.url()
    data = bytes(range(256))
    _, _, body = request(server, function, "/", "POST", data, {"Content-Type": "application/octet-stream"})
    event = json.loads(body)
    assert event["isBase64Encoded"] is True and base64.b64decode(event["body"]) == data


def test_no_body_no_query_no_cookies(server, deploy):
    function = deploy(ECHO)
    function.url()
    event = json.loads(request(server, function, "/")[2])
    assert event["rawPath"] == "/" and event["rawQueryString"] == ""
    assert "body" not in event and "cookies" not in event and "queryStringParameters" not in event
    assert event["isBase64Encoded"] is False


ANSWERS = {
    "full": ({"statusCode": 201, "headers": {"X-Mine": "1"}, "body": "made"}, 201, b"made"),
    "base64": ({"statusCode": 200, "body": "AAEC", "isBase64Encoded": True}, 200, b"\x00\x01\x02"),
    "no_status": ({"a": 1}, 200, b'{"a":1}'),
    "text": ("plain", 200, b"plain"),
    "number": (7, 200, b"7"),
    "no_body": ({"statusCode": 204}, 204, b""),
    "object_body": ({"statusCode": 200, "body": "{}"}, 200, b"{}"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answer(server, deploy, name):
    given, status, expected = ANSWERS[name]
    function = deploy(ANSWER)
    function.url()
    got, headers, body = request(server, function, "/", "POST", json.dumps(given).encode(), {"Content-Type": "application/json"})
    assert got == status
    if name in ("no_status", "number"):
        assert json.loads(body) == json.loads(expected)
        assert headers["content-type"].startswith("application/json")
    elif name != "text":
        assert body == expected
    else:
        assert body in (expected, b'"plain"')
    if name == "full":
        assert headers["x-mine"] == "1"


def test_cookies_of_the_answer_become_headers(server, deploy):
    function = deploy(
        javascript("exports.handler = async () => ({ statusCode: 200, cookies: ['a=1; Secure', 'b=2'], body: '' });")
    )
    function.url()
    _, headers, _ = request(server, function, "/")
    assert headers.get_all("set-cookie") == ["a=1; Secure", "b=2"]


def test_function_error_is_502(server, deploy):
    function = deploy(javascript("exports.handler = async () => { throw new Error('secret detail'); };"))
    function.url()
    status, _, body = request(server, function, "/")
    assert status == 502
    assert b"secret detail" not in body and b"Internal Server Error" in body


def test_host_form_and_path_form_reach_the_same_function(server, deploy):
    function = deploy(ECHO)
    function.url()
    by_path = json.loads(request(server, function, "/a?b=1")[2])
    _, _, body = server.get("/a?b=1", headers={"Host": function.url_host})
    by_host = json.loads(body)
    for key in ("rawPath", "rawQueryString", "queryStringParameters"):
        assert by_host[key] == by_path[key]
    assert by_host["requestContext"]["apiId"] == by_path["requestContext"]["apiId"]


def test_unknown_id(server):
    status, _, body = server.get("/_tinderbox/url/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/")
    assert status in (403, 404) and b"essage" in body


def test_url_of_a_deleted_function_is_gone(server, deploy):
    function = deploy(ECHO)
    function.url()
    assert request(server, function, "/")[0] == 200
    function.delete()
    assert request(server, function, "/")[0] in (403, 404)


def test_aws_iam_urls_refuse_unsigned_requests(server, deploy):
    function = deploy(ECHO)
    function.url(auth="AWS_IAM")
    status, _, body = request(server, function, "/")
    assert status == 403 and b"Forbidden" in body
