"""Every request is signed; bent, foreign, late or missing signatures are refused before anything happens."""

import datetime

import pytest
from blackbox.functions import javascript
from blackbox.server import ACCESS_KEY, SECRET_KEY
from blackbox.signing import error_code, presign, send, sign
from botocore.exceptions import ClientError

LIST = "/2015-03-31/functions"
JSON = {"Content-Type": "application/json"}


def test_a_good_signature_passes(server):
    assert send(server, "GET", LIST, headers=sign(server, "GET", LIST)).status == 200


def test_anonymous_is_refused(server):
    reply = send(server, "GET", LIST)
    assert reply.status == 403
    assert error_code(reply) in ("MissingAuthenticationTokenException", "MissingAuthenticationToken")


REFUSALS = {
    "wrong_secret": ({"secret_key": SECRET_KEY + "x"}, {"InvalidSignatureException", "SignatureDoesNotMatch"}),
    "unknown_key": ({"access_key": "AKIAUNKNOWNUNKNOWN00"}, {"UnrecognizedClientException", "InvalidClientTokenId"}),
    "wrong_region": ({"region": "eu-west-1"}, None),
    "wrong_service": ({"service": "s3"}, None),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_wrong_credentials_and_scopes_are_refused(server, name):
    how, codes = REFUSALS[name]
    reply = send(server, "GET", LIST, headers=sign(server, "GET", LIST, **how))
    assert reply.status in (400, 403, 501)  # 501: a service that is not served, told before the signature
    if codes is not None:
        assert error_code(reply) in codes


def bend_body(request):
    request["body"] = request["body"].replace(b"a", b"b")


def bend_path(request):
    request["path"] = request["path"].replace("functions/", "functions/x")


def bend_query(request):
    request["path"] += "?Qualifier=$LATEST"


def bend_method(request):
    request["method"] = "PUT"


def add_amz_header(request):
    request["headers"]["X-Amz-Invocation-Type"] = "DryRun"


def change_signed_header(request):
    request["headers"]["X-Amz-Log-Type"] = "None"


def drop_signed_header(request):
    del request["headers"]["X-Amz-Log-Type"]


def change_host(request):
    request["headers"]["Host"] = "localhost:1"


def change_date(request):
    text = request["headers"]["X-Amz-Date"]
    request["headers"]["X-Amz-Date"] = text[:-2] + ("1" if text[-2] == "0" else "0") + "Z"


def cut_signature(request):
    request["headers"]["Authorization"] = request["headers"]["Authorization"][:-1]


def flip_signature(request):
    text = request["headers"]["Authorization"]
    request["headers"]["Authorization"] = text[:-1] + ("0" if text[-1] != "0" else "1")


def empty_signature(request):
    request["headers"]["Authorization"] = request["headers"]["Authorization"].rpartition("=")[0] + "="


def claim_unsigned_payload(request):
    request["headers"]["X-Amz-Content-SHA256"] = "UNSIGNED-PAYLOAD"


BENDS = [
    bend_body, bend_path, bend_query, bend_method, add_amz_header, change_signed_header, drop_signed_header, change_host,
    change_date, cut_signature, flip_signature, empty_signature, claim_unsigned_payload,
]  # fmt: skip


@pytest.mark.parametrize("bend", BENDS, ids=lambda bend: bend.__name__)
def test_g2_i9_a_bent_request_is_refused_and_runs_nothing(server, deploy, bend):
    function = deploy(javascript("let n = 0; exports.handler = async () => (n += 1);"))
    path = f"/2015-03-31/functions/{function.name}/invocations"
    headers = sign(server, "POST", path, b'{"a":1}', {"X-Amz-Log-Type": "Tail", **JSON})
    request = {"method": "POST", "path": path, "body": b'{"a":1}', "headers": headers}
    bend(request)
    reply = send(server, request["method"], request["path"], request["body"], request["headers"])
    assert reply.status in (400, 403, 404), reply  # 404: no operation has that method
    assert function.result() == 1, "nothing ran before"


@pytest.mark.parametrize("minutes", [-16, 16])
def test_g4_clock_skew_beyond_15_minutes_is_refused(server, minutes, monkeypatch):
    import botocore.auth

    class Skewed(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + datetime.timedelta(minutes=minutes)

        @classmethod
        def utcnow(cls):
            return cls.now(datetime.timezone.utc).replace(tzinfo=None)

    if hasattr(botocore.auth, "get_current_datetime"):
        monkeypatch.setattr(
            botocore.auth, "get_current_datetime", lambda *a, **k: Skewed.now(datetime.timezone.utc).replace(tzinfo=None)
        )
    else:
        monkeypatch.setattr(botocore.auth.datetime, "datetime", Skewed)
    headers = sign(server, "GET", LIST)
    monkeypatch.undo()
    reply = send(server, "GET", LIST, headers=headers)
    assert reply.status in (400, 403)
    assert b"xpired" in reply.body or b"Signature" in reply.body


PRESIGNED = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"]


def test_presigned_query_passes_and_bent_one_does_not(server):
    path = presign(server, "GET", LIST)
    assert send(server, "GET", path).status == 200
    assert send(server, "GET", path + "&MaxItems=1").status in (400, 403)
    assert send(server, "POST", path).status in (400, 403, 404)


@pytest.mark.parametrize("name", PRESIGNED)
def test_g2_every_part_of_a_presigned_query_is_covered(server, name):
    path = presign(server, "GET", LIST)
    start = path.index(f"{name}=") + len(name) + 1
    end = path.find("&", start) if "&" in path[start:] else len(path)
    for at in range(start, end):
        if path[at] == "%" or "%" in path[max(start, at - 2) : at]:
            continue  # An escape that is bent is another character, or none.
        other = "1" if path[at] == "0" else "0"
        bent = path[:at] + other + path[at + 1 :]
        assert send(server, "GET", bent).status in (400, 403), (name, bent)
    assert send(server, "GET", path[:start] + path[end:]).status in (400, 403), f"{name} without a value"


def test_permissive_mode_accepts_what_enforced_mode_refuses(new_server, server):
    relaxed = new_server("--auth", "permissive")
    for access_key in (ACCESS_KEY, "AKIAANYTHINGANYTHING"):
        assert relaxed.client("lambda", access_key, "wrong").list_functions()["Functions"] == []
        with pytest.raises(ClientError):
            server.client("lambda", access_key, "wrong").list_functions()
    relaxed.stop()


def test_root_key_is_made_once_and_kept_private(tmp_path):
    import os
    import stat

    from blackbox.server import Server

    server = Server(tmp_path / "data", env={"TINDERBOX_ROOT_ACCESS_KEY_ID": None, "TINDERBOX_ROOT_SECRET_ACCESS_KEY": None})
    try:
        server.start()
        text = "\n".join(server.lines) + server.stderr()
        assert "AWS_SECRET_ACCESS_KEY" in text and "AWS_ENDPOINT_URL" in text
        key = dict(
            part.split("=", 1)
            for line in text.splitlines()
            if "export " in line
            for part in line.split("export ", 1)[1].split()
            if "=" in part
        )
        access_key, secret_key = key["AWS_ACCESS_KEY_ID"], key["AWS_SECRET_ACCESS_KEY"]
        assert server.client("lambda", access_key, secret_key).list_functions()["Functions"] == []
        holding = [path for path in server.data.rglob("*") if path.is_file() and secret_key.encode() in path.read_bytes()]
        assert holding and all(stat.S_IMODE(os.stat(path).st_mode) == 0o600 for path in holding)
        server.stop()
        server.start()
        assert server.client("lambda", access_key, secret_key).list_functions()["Functions"] == []
        assert not any(secret_key in line for line in server.lines), "printed once only"
        server.stop()
    finally:
        server.end()
