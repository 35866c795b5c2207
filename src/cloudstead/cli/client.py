"""Asking a running daemon something, over HTTP and nothing else."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any

from cloudstead.runfile import Run


class Unreachable(Exception):
    """The daemon did not answer, or not in a way that makes sense."""


def get(run: Run, path: str, timeout: float = 5.0) -> dict[str, Any]:
    """What the daemon says at a path of its own, such as /_cloudstead/health.

    Raises:
        Unreachable
    """
    host = run.host if run.host not in ("", "0.0.0.0", "::") else "127.0.0.1"
    connection: http.client.HTTPConnection
    if run.tls:
        # The run file, which only its owner can write, says who answers there; the authority is the daemon's own.
        connection = http.client.HTTPSConnection(host, run.port, timeout=timeout, context=ssl._create_unverified_context())
    else:
        connection = http.client.HTTPConnection(host, run.port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise Unreachable(f"{path} answered {response.status}")
        answer = json.loads(body)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable(str(error) or type(error).__name__) from error
    finally:
        connection.close()
    if not isinstance(answer, dict):
        raise Unreachable(f"{path} answered no JSON object")
    return answer


def healthy(run: Run, timeout: float = 2.0) -> bool:
    """Whether the daemon says that it runs."""
    try:
        return get(run, "/_cloudstead/health", timeout).get("status") == "running"
    except Unreachable:
        return False
