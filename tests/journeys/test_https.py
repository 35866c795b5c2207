"""HTTPS with the daemon's own certificate authority, as clients check it."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest
from botocore.exceptions import SSLError

from support import CloudThread


def test_a_client_that_trusts_the_authority_is_served(tmp_path: Path) -> None:
    with CloudThread(tmp_path / "data", tls=True) as cloud:
        authority = tmp_path / "data" / "tls" / "ca.pem"
        assert cloud.endpoint.startswith("https://127.0.0.1:")
        assert cloud.client("sts", verify=str(authority)).get_caller_identity()["Account"] == "000000000000"
        with pytest.raises(SSLError):
            cloud.client("sts").get_caller_identity()


def test_a_name_of_aws_has_a_certificate(tmp_path: Path) -> None:
    with CloudThread(tmp_path / "data", tls=True) as cloud:
        context = ssl.create_default_context(cafile=str(tmp_path / "data" / "tls" / "ca.pem"))
        for name in ("logs.us-east-1.amazonaws.com", "bucket.localhost"):
            with (
                socket.create_connection(("127.0.0.1", cloud.running.port)) as plain,
                context.wrap_socket(plain, server_hostname=name) as secure,
            ):
                assert secure.version() == "TLSv1.3"  # and its certificate was checked against the name
