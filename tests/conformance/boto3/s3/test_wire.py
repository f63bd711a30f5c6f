"""S3 as boto3, browsers and presigned URLs meet it; every refusal has a control that passes."""

import base64
import io
import json
import os
import urllib.error
import urllib.parse
import urllib.request
import zlib

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from blackbox.server import ACCESS_KEY, REGION, SECRET_KEY


@pytest.fixture(scope="module")
def s3(server):
    # Without this boto3 presigns URLs with signature version 2, which is switched off by default.
    return server.client("s3", signature_version="s3v4")


@pytest.fixture(scope="module")
def bucket(s3):
    name = "wire-bucket"
    s3.create_bucket(Bucket=name)
    return name


def send(url, method="GET", body=None, headers=None):
    """Status, headers, body of a plain request."""
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers, answer.read()


def test_objects_of_all_kinds_of_keys_come_back(s3, bucket):
    for key in ["a", "a/b", "a b+c", "ü/雪", "x//y", "q?&=#", "dots/../x", "end/"]:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode(), Metadata={"k": "v"})
        got = s3.get_object(Bucket=bucket, Key=key)
        assert (got["Body"].read(), got["Metadata"]) == (key.encode(), {"k": "v"}), key
    part = s3.get_object(Bucket=bucket, Key="a b+c", Range="bytes=1-2")
    assert part["ResponseMetadata"]["HTTPStatusCode"] == 206 and part["Body"].read() == b" b"


def test_w16_heads_and_304_have_no_body(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="h", Body=b"12345")["ETag"]
    assert s3.head_object(Bucket=bucket, Key="h")["ContentLength"] == 5
    with pytest.raises(ClientError) as error:
        s3.head_object(Bucket=bucket, Key="absent")
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="h", IfNoneMatch=etag)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 304
    assert s3.get_object(Bucket=bucket, Key="h", IfMatch=etag)["Body"].read() == b"12345"


def test_large_uploads_go_in_parts(s3, bucket):
    data = os.urandom(9 << 20)
    s3.upload_fileobj(io.BytesIO(data), bucket, "large")
    assert s3.get_object(Bucket=bucket, Key="large")["Body"].read() == data


def test_errors_are_s3s_own_documents(server, s3, bucket):
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="absent")
    assert error.value.response["Error"]["Code"] == "NoSuchKey"
    status, headers, body = send(f"{server.url}/{bucket}/absent")
    assert status == 403 and b"<Code>AccessDenied</Code>" in body and b"<RequestId>" in body
    assert headers["content-type"] == "application/xml"
    request = AWSRequest("PUT", f"{server.url}/{bucket}?versioning", data=b"<a>")
    S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", REGION).add_auth(request)
    status, _, body = send(request.prepare().url, "PUT", b"<a>", dict(request.prepare().headers.items()))
    assert (status, b"MalformedXML" in body) == (400, True)


def test_buckets_stand_in_host_names_too(server, s3, bucket):
    host = f"{bucket}.localhost:{server.port}"
    request = AWSRequest("PUT", f"http://{host}/virtual", data=b"v", headers={"Host": host})
    S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", REGION).add_auth(request)
    headers = {**dict(request.prepare().headers.items()), "Host": host}
    assert send(f"{server.url}/virtual", "PUT", b"v", headers)[0] == 200
    assert s3.get_object(Bucket=bucket, Key="virtual")["Body"].read() == b"v"


def test_w7_presigned_urls_work_and_no_byte_of_them_can_be_changed(s3, bucket):
    s3.put_object(Bucket=bucket, Key="signed", Body=b"s")
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "signed"}, ExpiresIn=60)
    assert send(url)[::2] == (200, b"s")
    start, query = url.split("?")
    for name, value in urllib.parse.parse_qsl(query):
        changed = value[:-1] + ("0" if value[-1] != "0" else "1")
        # In the query only: the digits of a value may stand in the port, too.
        bent = query.replace(f"{name}={urllib.parse.quote(value, safe='')}", f"{name}={urllib.parse.quote(changed, safe='')}")
        assert bent != query, name
        tampered = f"{start}?{bent}"
        assert send(tampered)[0] in (400, 403), name
    assert send(url.replace("/signed?", "/signee?"))[0] == 403
    assert send(url, "DELETE")[0] == 403
    assert send(url, headers={"x-amz-acl": "public-read"})[0] == 403, "an unsigned x-amz header"
    long = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "signed"}, ExpiresIn=604_801)
    assert send(long)[0] == 400


def chunked(server, bucket, key, data, trailer, body=None):
    """A PUT as the JS SDK streams it: framed, unsigned, the checksum in a trailer."""
    framed = b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (len(data), data, trailer)
    headers = {
        "Content-Encoding": "aws-chunked",
        "X-Amz-Trailer": "x-amz-checksum-crc32",
        "X-Amz-Decoded-Content-Length": str(len(data)),
    }
    request = AWSRequest("PUT", f"{server.url}/{bucket}/{key}", headers=headers, data=framed)
    request.context["checksum"] = {"request_algorithm": {"in": "trailer"}}
    S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", REGION).add_auth(request)
    sent = request.prepare()
    return send(sent.url, "PUT", body or framed, dict(sent.headers.items()))


def test_w12_trailing_checksums_are_checked_before_anything_is_stored(server, s3, bucket):
    data = b"streamed " * 1000
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big"))
    status, _, body = chunked(server, bucket, "t", data, b"x-amz-checksum-crc32:" + crc)
    assert status == 200, body
    got = s3.get_object(Bucket=bucket, Key="t", ChecksumMode="ENABLED")
    assert got["Body"].read() == data and got["ChecksumCRC32"] == crc.decode()
    for key, trailer in [("t1", b"x-amz-checksum-crc32:AAAAAA=="), ("t2", b""), ("t3", b"x-amz-checksum-sha1:" + crc)]:
        status, _, body = chunked(server, bucket, key, data, trailer)
        assert status == 400, (trailer, body)
        with pytest.raises(ClientError):
            s3.head_object(Bucket=bucket, Key=key)


def test_g2_a_body_that_is_not_the_signed_one_is_not_stored(server, s3, bucket):
    request = AWSRequest("PUT", f"{server.url}/{bucket}/hash", data=b"as signed")
    S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", REGION).add_auth(request)
    sent = request.prepare()
    headers = dict(sent.headers.items())
    status, _, body = send(sent.url, "PUT", b"as signee", headers)
    assert status == 400 and b"XAmzContentSHA256Mismatch" in body
    with pytest.raises(ClientError):
        s3.head_object(Bucket=bucket, Key="hash")
    assert send(sent.url, "PUT", b"as signed", headers)[0] == 200, "the control"


def form(fields, data, boundary="b0undary"):
    parts = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    )
    head = f'{parts}--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\n'
    return head.encode() + data + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def test_forms_upload_what_their_policy_allows(server, s3, bucket):
    conditions = [["content-length-range", 1, 10], {"success_action_status": "201"}]
    fields = {"success_action_status": "201"}
    signed = s3.generate_presigned_post(bucket, "up/${filename}", Fields=fields, Conditions=conditions)

    def post(change, data):
        body, content_type = form({**signed["fields"], **change}, data)
        return send(f"{server.url}/{bucket}", "POST", body, {"Content-Type": content_type})

    assert post({}, b"from a form")[0] == 400, "eleven bytes"
    status, headers, body = post({}, b"0123456789")
    assert status == 201 and b"<Key>up/f.txt</Key>" in body, body
    assert s3.get_object(Bucket=bucket, Key="up/f.txt")["Body"].read() == b"0123456789"
    assert post({}, b"")[0] == 400, "too small"
    assert post({"key": "elsewhere"}, b"x")[0] == 403
    assert post({"acl": "public-read"}, b"x")[0] == 403, "not in the policy"
    assert post({"x-amz-signature": "0" * 64}, b"x")[0] == 403
    changed = base64.b64encode(json.dumps({"expiration": "2999-01-01T00:00:00Z", "conditions": []}).encode()).decode()
    assert post({"policy": changed}, b"x")[0] == 403, "a policy of its own"


def test_browsers_are_told_what_the_bucket_allows(server, s3, bucket):
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": ["https://*.example.com"], "AllowedHeaders": ["x-*"]}
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    asked = {"Origin": "https://a.example.com", "Access-Control-Request-Method": "GET"}
    status, headers, _ = send(f"{server.url}/{bucket}/k", "OPTIONS", headers=asked)
    assert (status, headers["access-control-allow-origin"]) == (200, "https://a.example.com")
    status, _, _ = send(f"{server.url}/{bucket}/k", "OPTIONS", headers={**asked, "Origin": "https://example.org"})
    assert status == 403
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "absent"})
    _, headers, _ = send(url, headers={"Origin": "https://a.example.com"})
    assert headers["access-control-allow-origin"] == "https://a.example.com"
    _, headers, _ = send(url, headers={"Origin": "https://example.org"})
    assert headers["access-control-allow-origin"] is None


def test_signature_version_2_is_off(server, s3, bucket):
    old = server.client("s3", signature_version="s3")
    status, _, body = send(old.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a"}))
    assert status == 400 and b"AWS4-HMAC-SHA256" in body
    assert send(s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a"}))[0] == 200, "the control"


def test_lists_of_many_pages(s3, bucket):
    for number in range(25):
        s3.put_object(Bucket=bucket, Key=f"page/{number:03}", Body=b"")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="page/", PaginationConfig={"PageSize": 10})
    assert [len(page["Contents"]) for page in pages] == [10, 10, 5]
