"""S3 as boto3, browsers and presigned URLs meet it; every refusal has a control that passes."""

import base64
import http.client
import io
import json
import os
import socket
import time
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


def test_boto3_puts_the_bucket_into_the_host_name(server, s3, monkeypatch):
    """Virtual host style all the way: not every resolver knows names below localhost, so they are resolved here."""
    asked, resolve = set(), socket.getaddrinfo

    def here(host, *arguments, **named):
        asked.add(host)
        return resolve("127.0.0.1" if str(host).endswith("localhost") else host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    url = server.url.replace("127.0.0.1", "localhost")
    monkeypatch.setattr(server, "url", url)
    virtual = server.client("s3", signature_version="s3v4", s3={"addressing_style": "virtual"})
    name = "virtual.style-bucket"
    virtual.create_bucket(Bucket=name)
    virtual.put_object(Bucket=name, Key="a b/ü", Body=b"v")
    assert virtual.get_object(Bucket=name, Key="a b/ü")["Body"].read() == b"v"
    assert [one["Key"] for one in virtual.list_objects_v2(Bucket=name, Prefix="a ")["Contents"]] == ["a b/ü"]
    data = os.urandom(9 << 20)
    virtual.upload_fileobj(io.BytesIO(data), name, "large")
    assert s3.get_object(Bucket=name, Key="large")["Body"].read() == data, "path style reads the same"
    signed = virtual.generate_presigned_url("get_object", {"Bucket": name, "Key": "a b/ü"})
    assert signed.startswith(f"http://{name}.localhost") and send(signed)[::2] == (200, b"v")
    assert send(signed.replace(f"{name}.localhost", "other.localhost"))[0] == 403, "the host is signed"
    assert asked >= {f"{name}.localhost"}, asked
    virtual.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "a b/ü"}, {"Key": "large"}]})
    virtual.delete_bucket(Bucket=name)
    with pytest.raises(ClientError, match="NoSuchBucket"):
        virtual.list_objects_v2(Bucket=name)


def signed_put(server, path, data, headers):
    """Address and headers of a signed PUT."""
    request = AWSRequest("PUT", f"{server.url}{path}", data=data, headers=headers)
    S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", REGION).add_auth(request)
    sent = request.prepare()
    return sent.url, dict(sent.headers.items())


def test_i9_host_and_every_x_amz_header_are_signed(server, s3, bucket):
    url, headers = signed_put(server, f"/{bucket}/i9", b"i9", {"x-amz-meta-a": "1", "x-amz-storage-class": "STANDARD_IA"})
    assert send(url, "PUT", b"i9", headers)[0] == 200, "the control"
    s3.delete_object(Bucket=bucket, Key="i9")
    listed = headers["Authorization"].split("SignedHeaders=")[1].split(",")[0]
    assert {"host", "x-amz-content-sha256", "x-amz-date", "x-amz-meta-a", "x-amz-storage-class"} <= set(listed.split(";"))
    changed = [
        {**headers, "x-amz-meta-a": "2"},
        {**headers, "x-amz-meta-b": "1"},
        {**headers, "x-amz-acl": "public-read"},
        {**headers, "x-amz-tagging": "a=b"},
        {**headers, "x-amz-server-side-encryption": "AES256"},
        {**headers, "x-amz-copy-source": f"/{bucket}/i9"},
        {**headers, "Host": "localhost"},
        {name: value for name, value in headers.items() if name != "x-amz-storage-class"},
    ]
    for name in ("host", "x-amz-meta-a", "x-amz-date", "x-amz-content-sha256"):
        without = ";".join(one for one in listed.split(";") if one != name)
        changed.append({**headers, "Authorization": headers["Authorization"].replace(listed, without)})
    for bent in changed:
        status, _, body = send(url, "PUT", b"i9", bent)
        assert status == 403, (bent, body)
        with pytest.raises(ClientError):
            s3.head_object(Bucket=bucket, Key="i9")


def test_s4_an_upload_cut_off_on_the_wire_stores_nothing(server, s3, bucket):
    """The client is gone in the middle of the body; then in the middle of one that is framed."""
    data = b"cut " * 50_000
    url, headers = signed_put(server, f"/{bucket}/cut", data, {"Content-Length": str(len(data))})
    framed = b"%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:" % (len(data), data)
    framed += base64.b64encode(zlib.crc32(data).to_bytes(4, "big")) + b"\r\n\r\n"
    request = AWSRequest("PUT", url, headers={"Content-Encoding": "aws-chunked", "X-Amz-Trailer": "x-amz-checksum-crc32"})
    request.headers["X-Amz-Decoded-Content-Length"] = str(len(data))
    request.headers["Content-Length"] = str(len(framed))
    request.context["checksum"] = {"request_algorithm": {"in": "trailer"}}
    S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", REGION).add_auth(request)

    def put(headers, sent):
        connection = socket.create_connection(("127.0.0.1", server.port))
        headers = {"Host": f"127.0.0.1:{server.port}", "Connection": "close", **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        connection.sendall(f"PUT /{bucket}/cut HTTP/1.1\r\n{head}\r\n".encode() + sent)
        if len(sent) < int(headers["Content-Length"]):
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        connection.close()
        return answer

    for headers, body in [(headers, data), (dict(request.headers.items()), framed)]:
        for at in (0, 1, 1000, 65_536, 70_000, len(body) - 1):
            assert b" 200 OK" not in put(headers, body[:at]).split(b"\r\n")[0]
            with pytest.raises(ClientError):
                s3.head_object(Bucket=bucket, Key="cut")
        assert b" 200 OK" in put(headers, body), "the control"
        assert s3.get_object(Bucket=bucket, Key="cut")["Body"].read() == data
        s3.delete_object(Bucket=bucket, Key="cut")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_a_body_says_how_long_it_is(server, s3, bucket):
    _, headers = signed_put(server, f"/{bucket}/endless", b"no length", {})
    headers.pop("Content-Length", None)

    def put(headers):
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("PUT", f"/{bucket}/endless", iter([b"no ", b"length"]), headers, encode_chunked=True)
        answer = connection.getresponse()
        return answer.status, answer.read()

    status, body = put({**headers, "Transfer-Encoding": "chunked"})
    assert status == 411 and b"<Code>MissingContentLength</Code>" in body
    with pytest.raises(ClientError):
        s3.head_object(Bucket=bucket, Key="endless")
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("PUT", f"/{bucket}/endless", b"no length", headers)
    assert connection.getresponse().status == 200, "the control"


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


def test_signature_version_2_where_it_is_on(new_server):
    server = new_server("--s3-signature-v2")
    new, old = server.client("s3"), server.client("s3", signature_version="s3")
    new.create_bucket(Bucket="old")
    put = old.generate_presigned_url("put_object", {"Bucket": "old", "Key": "k"}, ExpiresIn=60)
    assert "Signature=" in put and "X-Amz" not in put
    assert send(put, "PUT", b"v2", {"Content-Type": ""})[0] == 200
    get = old.generate_presigned_url("get_object", {"Bucket": "old", "Key": "k"}, ExpiresIn=60)
    assert send(get)[::2] == (200, b"v2")
    start, query = get.split("?")
    for name, value in urllib.parse.parse_qsl(query):
        changed = value[:-1] + ("1" if value[-1] != "1" else "2")
        if name == "Signature":
            changed = ("A" if value[0] != "A" else "B") + value[1:]
        bent = query.replace(f"{name}={urllib.parse.quote(value, safe='')}", f"{name}={urllib.parse.quote(changed, safe='')}")
        assert bent != query, name
        assert send(f"{start}?{bent}")[0] == 403, name
    assert send(get, "DELETE")[0] == 403
    assert send(get.replace("/k?", "/l?"))[0] == 403
    assert send(get + "&acl")[0] == 403, "a sub-resource is signed"
    assert send(get, headers={"x-amz-meta-a": "1"})[0] == 403, "an unsigned x-amz header"
    short = old.generate_presigned_url("get_object", {"Bucket": "old", "Key": "k"}, ExpiresIn=1)
    assert send(short)[0] == 200
    time.sleep(2.1)
    assert send(short)[0] == 403, "it has ended"


def test_what_is_stored_only_and_what_is_not_there_at_all(s3, bucket):
    website = {"IndexDocument": {"Suffix": "index.html"}, "ErrorDocument": {"Key": "error.html"}}
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=website)
    kept = s3.get_bucket_website(Bucket=bucket)
    assert {name: kept[name] for name in website} == website
    s3.delete_bucket_website(Bucket=bucket)
    with pytest.raises(ClientError, match="NoSuchWebsiteConfiguration"):
        s3.get_bucket_website(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="cold", Body=b"c", StorageClass="GLACIER")
    assert s3.head_object(Bucket=bucket, Key="cold")["StorageClass"] == "GLACIER"
    assert s3.restore_object(Bucket=bucket, Key="cold", RestoreRequest={"Days": 1})["ResponseMetadata"]["HTTPStatusCode"] == 200
    s3.put_object(Bucket=bucket, Key="warm", Body=b"w")
    with pytest.raises(ClientError, match="InvalidObjectState"):
        s3.restore_object(Bucket=bucket, Key="warm", RestoreRequest={"Days": 1})
    with pytest.raises(ClientError, match="NotImplemented.*SelectObjectContent"):
        s3.select_object_content(
            Bucket=bucket,
            Key="warm",
            ExpressionType="SQL",
            Expression="select * from s3object",
            InputSerialization={"CSV": {}},
            OutputSerialization={"CSV": {}},
        )


def test_lists_of_many_pages(s3, bucket):
    for number in range(25):
        s3.put_object(Bucket=bucket, Key=f"page/{number:03}", Body=b"")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="page/", PaginationConfig={"PageSize": 10})
    assert [len(page["Contents"]) for page in pages] == [10, 10, 5]
