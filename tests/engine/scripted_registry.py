"""A small registry that misbehaves as a test wants it: breaks off, redirects, lies, asks for tokens."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.http.server import Server

_BLOB = re.compile(r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})")
_MANIFEST = re.compile(r"/v2/(.+)/manifests/([^/]+)")
_UPLOADS = re.compile(r"/v2/(.+)/blobs/uploads/")
_UPLOAD = re.compile(r"/upload/(\d+)")
_RANGE = re.compile(r"bytes=(\d+)-")


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class ScriptedRegistry:
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)  # by tag or digest
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    address: str = ""

    # how it misbehaves
    break_after: list[int] = field(default_factory=list)  # bytes after which downloads break off, one after the other
    ranges: bool = True
    redirect: str = ""  # where blobs are, instead of here
    challenge: str = ""
    accepts: set[str] = field(default_factory=set)  # values of Authorization, where there is a challenge
    tokens: list[dict[str, Any]] = field(default_factory=list)  # the token server's answers
    token_requests: list[tuple[str, str, str, str]] = field(default_factory=list)  # method, query, body, Authorization
    break_upload: list[int] = field(default_factory=list)
    single_put: bool = True
    at_once: int = 0
    most_at_once: int = 0
    slow: float = 0.0
    failures: list[tuple[str, str, int]] = field(default_factory=list)  # method, part of the path, status: each once
    uploads: dict[str, bytearray] = field(default_factory=dict)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def add_image(self, tag: str, *layers: bytes, config: dict[str, Any] | None = None, layer_type: str = "", **manifest: Any) -> bytes:
        """An image of tars, uncompressed; its manifest."""
        described = []
        for data in layers:
            self.blobs[digest_of(data)] = data
            media_type = layer_type or "application/vnd.oci.image.layer.v1.tar"
            described.append({"mediaType": media_type, "digest": digest_of(data), "size": len(data)})
        settings = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of(each) for each in layers]}}
        encoded = json.dumps(settings | (config or {})).encode()
        self.blobs[digest_of(encoded)] = encoded
        fields = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(encoded), "size": len(encoded)},
            "layers": described,
        } | manifest
        return self.add_manifest(tag, fields)

    def add_manifest(self, tag: str, fields: dict[str, Any], media_type: str = "") -> bytes:
        data = json.dumps(fields, indent=3).encode()  # indented as nobody else does: kept byte for byte or not
        for name in (tag, digest_of(data)):
            self.manifests[name] = data, media_type or fields["mediaType"]
        return data

    def seen(self, method: str, part: str = "") -> list[tuple[str, dict[str, str]]]:
        return [(target, headers) for each, target, headers in self.requests if each == method and part in target]

    # ---------------------------------------------------------------------------------------------- answering

    async def answer(self, request: HttpRequest) -> HttpResponse:
        target = request.path + (f"?{request.query}" if request.query else "")
        headers = {name.lower(): value for name, value in request.headers}
        self.requests.append((request.method, target, headers))
        if request.path == "/token":
            return await self._token(request, headers)
        for failure in self.failures:
            if failure[0] == request.method and failure[1] in target:
                self.failures.remove(failure)
                await request.read(1 << 30)
                return HttpResponse(failure[2], [], b"")
        if self.challenge and headers.get("authorization") not in self.accepts:
            return self._fault(401, "UNAUTHORIZED", "authentication required", [("WWW-Authenticate", self.challenge)])
        if request.path == "/v2/":
            return HttpResponse(200, [], b"{}")
        if found := _UPLOAD.fullmatch(request.path):
            return await self._upload(request, found[1], headers)
        if found := _UPLOADS.fullmatch(request.path):
            query = parse_qs(request.query)
            if query.get("mount", [""])[0] in self.blobs and "from" in query:
                return HttpResponse(201, [("Location", "/x")], b"")
            number = str(next(self.numbers))
            self.uploads[number] = bytearray()
            return HttpResponse(202, [("Location", f"/upload/{number}?state=a%2Fb")], b"")
        if found := _BLOB.fullmatch(request.path):
            return self._blob(request, found[2], headers)
        if found := _MANIFEST.fullmatch(request.path):
            return await self._manifest(request, found[2])
        if request.path.endswith("/tags/list"):
            return self._tags(request)
        return self._fault(404, "NAME_UNKNOWN", "no such thing")

    def _tags(self, request: HttpRequest) -> HttpResponse:
        """Two a page."""
        last = parse_qs(request.query).get("last", [""])[0]
        tags = sorted(each for each in self.manifests if not each.startswith("sha256:") and each > last)
        link = [("Link", f'<{request.path}?n=2&last={tags[1]}>; rel="next"')] if len(tags) > 2 else []
        return HttpResponse(200, link, json.dumps({"name": "app", "tags": tags[:2]}).encode())

    async def _token(self, request: HttpRequest, headers: dict[str, str]) -> HttpResponse:
        body = (await request.read()).decode()
        self.token_requests.append((request.method, request.query, body, headers.get("authorization", "")))
        if not self.tokens:
            return HttpResponse(401, [], b'{"details": "incorrect username or password"}')
        answer = self.tokens.pop(0)
        token = answer.get("token") or answer.get("access_token", "")
        self.accepts.add(f"Bearer {token}")
        return HttpResponse(200, [], json.dumps(answer).encode())

    def _blob(self, request: HttpRequest, digest: str, headers: dict[str, str]) -> HttpResponse:
        if digest not in self.blobs:
            return self._fault(404, "BLOB_UNKNOWN", "blob unknown to registry")
        data, start = self.blobs[digest], 0
        if request.method == "HEAD":
            return HttpResponse(200, [("Content-Length", str(len(data)))], b"")
        if self.redirect:
            return HttpResponse(307, [("Location", f"{self.redirect}{request.path}?signed=1")], b"")
        ranged = _RANGE.fullmatch(headers.get("range", ""))
        fields = []
        if ranged and self.ranges:
            start = int(ranged[1])
            fields.append(("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}"))
        fields.append(("Content-Length", str(len(data) - start)))
        return HttpResponse(206 if fields[1:] else 200, fields, self._pieces(data[start:]))

    async def _pieces(self, data: bytes) -> AsyncIterator[bytes]:
        import asyncio

        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            limit = self.break_after.pop(0) if self.break_after else -1
            if self.slow:
                await asyncio.sleep(self.slow)
            for start in range(0, len(data), 10_000):
                if 0 <= limit <= start:
                    raise ConnectionResetError("as the test wants it")
                yield data[start : start + 10_000]
        finally:
            self.at_once -= 1

    async def _manifest(self, request: HttpRequest, name: str) -> HttpResponse:
        if request.method == "PUT":
            data = await request.read()
            self.manifests[name] = self.manifests[digest_of(data)] = data, request.headers.get("content-type") or ""
            return HttpResponse(201, [("Location", "/x"), ("Docker-Content-Digest", digest_of(data))], b"")
        if name not in self.manifests:
            return self._fault(404, "MANIFEST_UNKNOWN", "manifest unknown")
        data, media_type = self.manifests[name]
        return HttpResponse(200, [("Content-Type", media_type)], data)

    async def _upload(self, request: HttpRequest, number: str, headers: dict[str, str]) -> HttpResponse:
        kept = self.uploads.get(number)
        location = ("Location", f"http://{self.address}/upload/{number}?state=a%2Fb")
        if kept is None:
            return self._fault(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        if request.method == "GET":
            return HttpResponse(204, [location, ("Range", f"0-{max(len(kept) - 1, 0)}")], b"")
        if request.method == "PUT" and not self.single_put and headers.get("content-length", "0") != "0":
            await request.read(1 << 30)
            return self._fault(405, "UNSUPPORTED", "the operation is unsupported")
        ranged = headers.get("content-range")
        if ranged is not None and int(ranged.split("-")[0]) != len(kept):
            await request.read(1 << 30)
            return self._fault(416, "RANGE_INVALID", "out of order")
        limit = self.break_upload.pop(0) if self.break_upload else -1
        async for piece in request.stream():
            kept += piece
            if 0 <= limit <= len(kept):
                del kept[limit:]
                raise ConnectionResetError("as the test wants it")
        if request.method == "PATCH":
            return HttpResponse(202, [location, ("Range", f"0-{max(len(kept) - 1, 0)}")], b"")
        digest = parse_qs(request.query)["digest"][0]
        assert "state=a%2Fb" in request.query
        if digest_of(bytes(kept)) != digest:
            return self._fault(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self.blobs[digest] = bytes(kept)
        del self.uploads[number]
        return HttpResponse(201, [("Location", "/x")], b"")

    def _fault(self, status: int, code: str, message: str, headers: list[tuple[str, str]] | None = None) -> HttpResponse:
        return HttpResponse(status, headers or [], json.dumps({"errors": [{"code": code, "message": message}]}).encode())


@contextlib.asynccontextmanager
async def scripted(**behaviour: Any) -> AsyncIterator[ScriptedRegistry]:
    registry = ScriptedRegistry(**behaviour)
    server = Server(registry.answer)
    registry.address = f"127.0.0.1:{await server.listen_tcp('127.0.0.1')}"
    try:
        yield registry
    finally:
        await server.stop(0.5)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
