"""boto3 and curl against the stack: connection, TLS, signatures and chunked bodies together."""

from __future__ import annotations

import asyncio
import io
import shutil
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from cloudstead.edge import chunked, sigv4
from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.http.server import Server, loop_factory
from cloudstead.http.tls import Authority, Certificates
from cloudstead.kernel.errors import CommonError

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


class Verifier:
    """A handler that answers only what is rightly signed; it keeps the last body and how that was signed."""

    def __init__(self) -> None:
        self.body = b""
        self.modes: list[str] = []

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            return await self.answer(request)
        except CommonError as error:
            text = f"<ErrorResponse><Error><Code>{error.code}</Code><Message>{error.message}</Message></Error></ErrorResponse>"
            return HttpResponse(error.status, [("Content-Type", "application/xml")], text.encode())

    async def answer(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/plain":
            self.body = await request.read()
            return HttpResponse(200, body=b"%d" % len(self.body))
        signature = sigv4.require_signature(sigv4.parse_authorization(request))
        self.modes.append(signature.payload)
        if signature.streaming:
            sigv4.verify(request, signature, SECRET, None, time.time(), service="s3")
            self.body = b"".join([piece async for piece in chunked.decode(request, signature, SECRET)])
        else:
            self.body = await request.read()
            sigv4.verify(request, signature, SECRET, await sigv4.body_sha256(self.body), time.time())
        if signature.service == "sts":
            answer = "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>1</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
            return HttpResponse(200, [("Content-Type", "text/xml")], answer.encode())
        return HttpResponse(200, [("ETag", '"x"')], b"content" if request.method == "GET" else b"")


class Running:
    """The server in a thread of its own, since boto3 blocks."""

    def __init__(self, directory: Path) -> None:
        self.verifier = Verifier()
        self.ca = directory / "ca.pem"
        self._directory = directory
        self._ports: Future[tuple[int, int]] = Future()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.port, self.tls_port = self._ports.result(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = Server(self.verifier)
        context = Certificates(Authority.open(self._directory)).server_context()
        self._ports.set_result((await server.listen_tcp("127.0.0.1"), await server.listen_tcp("127.0.0.1", tls=context)))
        await self._stop.wait()
        await server.stop(1)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def client(self, service: str, *, tls: bool = False, secret: str = SECRET, **config: Any) -> Any:
        endpoint = f"https://localhost:{self.tls_port}" if tls else f"http://localhost:{self.port}"
        session = boto3.session.Session(KEY, secret, region_name="us-east-1")
        options = Config(retries={"total_max_attempts": 1}, **config)
        return session.client(service, endpoint_url=endpoint, verify=str(self.ca) if tls else None, config=options)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    found = Running(tmp_path_factory.mktemp("tls"))
    yield found
    found.stop()


@pytest.mark.parametrize("tls", [False, True])
def test_boto3_is_understood_and_a_wrong_secret_is_not(running: Running, tls: bool) -> None:
    assert running.client("sts", tls=tls).get_caller_identity()["Account"] == "1"
    with pytest.raises(ClientError, match="SignatureDoesNotMatch") as refused:
        running.client("sts", tls=tls, secret="wrong").get_caller_identity()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
def test_boto3_uploads_with_a_checksum(running: Running, tls: bool, algorithm: str) -> None:
    data = bytes(range(256)) * 12_000
    s3 = running.client("s3", tls=tls, s3={"addressing_style": "path"})
    s3.put_object(Bucket="bucket", Key="a b/ü+//x", Body=io.BytesIO(data), ChecksumAlgorithm=algorithm)
    assert running.verifier.body == data
    assert running.verifier.modes[-1] == chunked.UNSIGNED_TRAILER or not tls


def test_a_presigned_url_works_for_anybody(running: Running) -> None:
    s3 = running.client("s3", tls=True, s3={"addressing_style": "path"}, signature_version="s3v4")
    url = s3.generate_presigned_url(
        "get_object", Params={"Bucket": "bucket", "Key": "a b/ü+~", "ResponseContentType": "text/x; a=b"}, ExpiresIn=60
    )
    context = ssl.create_default_context(cafile=str(running.ca))
    with urllib.request.urlopen(url, context=context) as answer:
        assert answer.read() == b"content"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url.replace("bucket", "other"), context=context)
    refused.value.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
@pytest.mark.parametrize("options", [[], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"], ["--http1.0"], ["--http2"]])
def test_curl_uploads(running: Running, options: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    for url in (f"http://localhost:{running.port}/plain", f"https://localhost:{running.tls_port}/plain"):
        command = ["curl", "-sS", "--max-time", "20", "--cacert", str(running.ca), *options, "-T", str(tmp_path / "file"), url]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "3000000"
