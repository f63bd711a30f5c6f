"""Runs sqs.test.mjs, the AWS SDK for JavaScript v3."""

from pathlib import Path

from blackbox.suites import node_tests


def test_js_sqs(server):
    node_tests(server, Path(__file__).parent, "sqs.test.mjs")
