"""The Docker API of a running daemon, over its unix socket and nothing else."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from cloudstead import datadir
from cloudstead.cli.terminal import Failure

QUICK = 10.0  # seconds for an answer that asks for no work
PIECE = 1 << 20


class Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Docker:
    """Calls of the API of whoever runs on a data directory."""

    def __init__(self, data: Path) -> None:
        self._socket = datadir.docker_socket(data)

    def check(self) -> None:
        """Raises Failure when nobody answers there."""
        self.get("/_ping")

    def get(self, path: str) -> Any:
        """JSON, or text where it is none."""
        data = self._whole("GET", path, QUICK)
        try:
            return json.loads(data)
        except ValueError:
            return data.decode(errors="replace")

    def post(self, path: str) -> None:
        """Do something, however long it takes."""
        self._whole("POST", path, None)

    def load(self, archive: BinaryIO, size: int) -> list[str]:
        """Hand an archive of images over; the names that were loaded.

        Raises:
            Failure: it was refused.
        """
        names = []
        connection = Connection(self._socket, None)
        try:
            headers = {"Content-Type": "application/x-tar", "Content-Length": str(size)}
            response = self._ask(connection, "POST", "/images/load?quiet=1", _pieces(archive), headers)
            for line in _lines(response):
                if line.get("error"):
                    raise Failure(f"The image cannot be loaded: {line['error']}")
                what, separator, name = line.get("stream", "").rstrip("\n").partition(": ")
                if separator and what.startswith("Loaded image"):
                    names.append(name)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Failure(f"Handing the image over broke off: {error}") from None
        finally:
            connection.close()
        return names

    def _whole(self, method: str, path: str, timeout: float | None) -> bytes:
        connection = Connection(self._socket, timeout)
        try:
            return self._ask(connection, method, path, None, {}).read()
        except (http.client.HTTPException, OSError) as error:
            raise Failure(f"Docker's API at {self._socket} does not answer: {error}") from None
        finally:
            connection.close()

    def _ask(
        self, connection: Connection, method: str, path: str, body: Iterable[bytes] | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        try:
            connection.connect()
        except (FileNotFoundError, ConnectionRefusedError):
            raise Failure(
                "Cloudstead does not run on this data directory. Start it with `cloudstead up --detach`, or name another with --data."
            ) from None
        except PermissionError:
            raise Failure(f"{self._socket} belongs to another user: run this as who started Cloudstead, or with sudo.") from None
        with contextlib.suppress(BrokenPipeError):  # it was refused before all was sent; the answer says why
            connection.request(method, path, body, headers)
        response = connection.getresponse()
        if response.status >= 400:
            text = response.read(1 << 16)
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                text = json.loads(text)["message"].encode()
            raise Failure(f"Cloudstead refuses: {text.decode(errors='replace').strip() or response.reason}")
        return response


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


def _lines(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    for line in response:
        if line.strip():
            found = json.loads(line)
            if isinstance(found, dict):
                yield found
