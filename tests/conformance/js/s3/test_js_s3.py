"""Runs s3.test.mjs, the AWS SDK for JavaScript v3."""

from pathlib import Path

from blackbox.suites import node_tests


def test_js_s3(server):
    node_tests(server, Path(__file__).parent, "s3.test.mjs")
