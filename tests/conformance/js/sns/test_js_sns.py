"""HTTPS subscriptions on loopback, and AWS's sns-validator (validator.test.mjs) on what the subscriber got."""

import http.server
import json
import queue
import ssl
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest
from blackbox.server import Server
from blackbox.suites import node_tests

RECEIVE_S = 60


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that signed itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    pem, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=loopback"]
    command += ["-keyout", key, "-out", pem]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0, done.stderr
    return pem, key


class Receiver:
    """An HTTPS endpoint that keeps what is posted to it, and hands GETs on to the server."""

    def __init__(self, certificate):
        self.got, self.refusals, self.server = queue.Queue(), queue.Queue(), None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                outer.got.put((self.headers["authorization"], json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def do_GET(self):
                status, _, body = outer.server.get(self.path)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Listener(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):
                # A client that does not believe the certificate says so and goes away.
                outer.refusals.put(str(sys.exc_info()[1]))

        self.listener = Listener(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        # The handshake belongs to the connection's own thread, not to the one that accepts.
        plain = self.listener.socket
        self.listener.socket = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        self.authority = f"127.0.0.1:{self.listener.server_port}"
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()

    def next(self):
        return self.got.get(timeout=RECEIVE_S)


@pytest.fixture
def receiver(certificate):
    made = Receiver(certificate)
    yield made
    made.listener.shutdown()


@pytest.fixture
def posting(certificate, new_server, receiver):
    """A server that posts to this machine and believes the certificate."""
    receiver.server = new_server("--http-delivery", "loopback", "--http-delivery-ca", str(certificate[0]))
    return receiver.server


def path_of(url):
    parsed = urllib.parse.urlsplit(url)
    return f"{parsed.path}?{parsed.query}" if parsed.query else parsed.path


def test_https_endpoints_get_messages_that_awss_validator_accepts(posting, receiver, certificate, tmp_path):
    sns, messages = posting.client("sns"), []
    for version in ("1", "2"):
        topic = sns.create_topic(Name=f"t{version}", Attributes={"SignatureVersion": version})["TopicArn"]
        endpoint = f"https://user:secret@{receiver.authority}/hook"
        answer = sns.subscribe(TopicArn=topic, Protocol="https", Endpoint=endpoint)
        assert answer["SubscriptionArn"] == "pending confirmation"
        authorization, confirmation = receiver.next()
        assert authorization == "Basic dXNlcjpzZWNyZXQ="
        assert posting.get(path_of(confirmation["SubscribeURL"]))[0] == 200
        sns.publish(TopicArn=topic, Message="héllo\n", Subject="s")
        sns.publish(TopicArn=topic, Message="without a subject")
        messages += [confirmation, receiver.next()[1], receiver.next()[1]]
    assert [message["SignatureVersion"] for message in messages] == ["1"] * 3 + ["2"] * 3
    for message in messages:
        message["SigningCertURL"] = f"https://{receiver.authority}{path_of(message['SigningCertURL'])}"
    (tmp_path / "messages.json").write_text(json.dumps(messages))
    env = {"MESSAGES": str(tmp_path / "messages.json"), "NODE_EXTRA_CA_CERTS": str(certificate[0])}
    node_tests(posting, Path(__file__).parent, "validator.test.mjs", env=env)


def test_a_certificate_that_nobody_vouches_for_gets_nothing(new_server, receiver):
    """The control is the test above: the same endpoint, whose certificate the operator has named."""
    server = receiver.server = new_server("--http-delivery", "loopback")
    sns = server.client("sns")
    topic = sns.create_topic(Name="t")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="https", Endpoint=f"https://{receiver.authority}/hook")
    assert "alert unknown ca" in receiver.refusals.get(timeout=RECEIVE_S)
    assert receiver.got.empty()


def test_a_certificate_must_bear_the_name_of_the_url(posting, receiver):
    sns = posting.client("sns")
    topic = sns.create_topic(Name="t")["TopicArn"]
    endpoint = f"https://localhost:{receiver.listener.server_port}/hook"
    sns.subscribe(TopicArn=topic, Protocol="https", Endpoint=endpoint)
    assert "certificate" in receiver.refusals.get(timeout=RECEIVE_S)
    assert receiver.got.empty()


def test_a_server_does_not_start_with_certificates_that_are_none(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    server = Server(tmp_path / "data", "--http-delivery", "loopback", "--http-delivery-ca", str(tmp_path / "ca.pem"))
    with pytest.raises(AssertionError, match="certificates in .*ca.pem: there is none"):
        server.start()
    server.end()
