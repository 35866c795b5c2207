"""A Docker client with nothing in it: what benchmarks measure is the engine, not the client."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.parse
from pathlib import Path
from typing import Any


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Docker:
    """One engine; one connection that is kept."""

    def __init__(self, path: Path) -> None:
        self._connection = UnixConnection(path)

    def call(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **query: str) -> bytes:
        """The answer's body.

        Raises:
            RuntimeError: the status was 400 or more.
        """
        target = f"/v1.41{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        headers = {"Content-Type": "application/x-tar" if raw is not None else "application/json"}
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        self._connection.request(method, target, content, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:400]!r}")
        return data

    def import_root(self, tar: bytes, name: str) -> None:
        self.call("POST", "/images/create", raw=tar, fromSrc="-", repo=name, tag="latest")

    def create(self, image: str, *command: str, **host: Any) -> str:
        body = {"Image": image, "Cmd": list(command), "HostConfig": host}
        return str(json.loads(self.call("POST", "/containers/create", body))["Id"])

    def start(self, container: str) -> None:
        self.call("POST", f"/containers/{container}/start")

    def wait(self, container: str) -> int:
        return int(json.loads(self.call("POST", f"/containers/{container}/wait"))["StatusCode"])

    def stop(self, container: str) -> None:
        self.call("POST", f"/containers/{container}/stop")

    def execute(self, container: str, *command: str) -> int:
        """Its exit code. What it writes comes as the answer of the start, which ends with it."""
        made = json.loads(self.call("POST", f"/containers/{container}/exec", {"Cmd": command, "AttachStdout": True}))["Id"]
        self.call("POST", f"/exec/{made}/start", {})
        return int(json.loads(self.call("GET", f"/exec/{made}/json"))["ExitCode"])

    def load(self, tar: bytes) -> None:
        said = self.call("POST", "/images/load", raw=tar, quiet="1")
        if b'"error"' in said:
            raise RuntimeError(said[-600:].decode(errors="replace"))

    def remove_image(self, name: str) -> None:
        self.call("DELETE", f"/images/{name}", force="1")

    def remove(self, container: str) -> None:
        self.call("DELETE", f"/containers/{container}", force="1")

    def build(self, context: bytes, tag: str, *, cache: bool) -> None:
        """With the classic builder, which both engines have."""
        said = self.call("POST", "/build", raw=context, t=tag, nocache="0" if cache else "1", rm="1", version="1")
        if b'"errorDetail"' in said:
            raise RuntimeError(said[-600:].decode(errors="replace"))
