"""What the edge's HTTP stack costs: requests per second of processor time of the server process, alone.

    python benchmarks/http_stack.py             our stack; uvicorn beside it where that is installed
    python benchmarks/http_stack.py --sigv4     what verifying a signature costs, in this process
    python benchmarks/http_stack.py --bodies    processor seconds for 1 GiB up and down
    python benchmarks/http_stack.py --proxy     requests through our server and our client to a server behind
    python benchmarks/http_stack.py --json      for scripts

The load generator is a small asyncio client in this process, the server a child; what counts is the child's own processor time (user and system),
so that the generator's cost and a noisy neighbour do not. Variants take turns in rounds, and the best round of each is given.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import time
import timeit
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

REQUESTS = 40_000
CONNECTIONS = 8
ROUNDS = 3
GIB = 1 << 30
BLOCK = bytes(1 << 20)
BODY = b'{"logGroupNamePrefix": "/aws/lambda/", "limit": 50}'
REQUEST = (
    b"POST / HTTP/1.1\r\nHost: localhost:4566\r\nAccept-Encoding: identity\r\nX-Amz-Target: Logs_20140328.DescribeLogGroups\r\n"
    b"Content-Type: application/x-amz-json-1.1\r\nUser-Agent: Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6 lang/python#3.11\r\n"
    b"X-Amz-Date: 20150830T123600Z\r\nAuthorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/logs/aws4_request, "
    b"SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=" + b"0" * 64 + b"\r\n"
    b"amz-sdk-invocation-id: 8d6af2f3-4f3c-4b1c-9a43-000000000000\r\namz-sdk-request: attempt=1\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
ANSWER = b'{"logGroups": []}'


async def serve_ours() -> None:
    from cloudstead.http.messages import HttpRequest, HttpResponse
    from cloudstead.http.server import Server

    async def handler(request: HttpRequest) -> HttpResponse:
        if request.path == "/up":
            async for _ in request.stream():
                pass
        elif request.path == "/down":

            async def body() -> AsyncIterator[bytes]:
                for _ in range(GIB // len(BLOCK)):
                    yield BLOCK

            return HttpResponse(200, [("Content-Length", str(GIB))], body())
        else:
            await request.read()
        return HttpResponse(200, [("Content-Type", "application/x-amz-json-1.1")], ANSWER)

    server = Server(handler)
    print(await server.listen_tcp("127.0.0.1"), flush=True)
    await asyncio.Event().wait()


async def serve_proxy(behind: int) -> None:
    from cloudstead.http.server import Server
    from cloudstead.http.upstream import Upstream

    server = Server(Upstream(("127.0.0.1", behind)).forward)
    print(await server.listen_tcp("127.0.0.1"), flush=True)
    await asyncio.Event().wait()


async def serve_uvicorn() -> None:
    import uvicorn

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"application/x-amz-json-1.1"), (b"content-length", b"17")],
            }
        )
        await send({"type": "http.response.body", "body": ANSWER})

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", access_log=False, lifespan="off"))
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  uvicorn offers nothing to wait for
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await running


class Child:
    """A server of one variant in a process of its own."""

    def __init__(self, variant: str, behind: int = 0) -> None:
        command = [sys.executable, __file__, "--serve", variant, "--behind", str(behind)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def _read(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text()

    def seconds(self) -> float:
        fields = self._read("stat").rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> float:
        return int(self._read("statm").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Asker(asyncio.Protocol):
    """Asks, counts the answer's bytes, asks again."""

    def __init__(self, count: int, size: int, done: asyncio.Future[None]) -> None:
        self.left, self.size, self.got, self.done = count, size, 0, done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self.got += len(data)
        while self.got >= self.size and self.left:
            self.got -= self.size
            self.left -= 1
            if self.left:
                self.transport.write(REQUEST)
            else:
                self.done.set_result(None)


async def answer_size(port: int) -> int:
    """Bytes of one answer; they are all alike."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return len(head) + len(ANSWER)


async def load(port: int, count: int) -> None:
    loop, size = asyncio.get_running_loop(), await answer_size(port)
    waits = []
    for _ in range(CONNECTIONS):
        done = loop.create_future()
        await loop.create_connection(lambda done=done: Asker(count // CONNECTIONS, size, done), "127.0.0.1", port)  # type: ignore[misc]
        waits.append(done)
    await asyncio.gather(*waits)


async def measure_requests() -> dict[str, Any]:
    variants = ["ours"] + (["uvicorn"] if importlib.util.find_spec("uvicorn") else [])
    children = {name: Child(name) for name in variants}
    best = dict.fromkeys(variants, 0.0)
    try:
        for name in variants:
            await load(children[name].port, 2000)
        for _ in range(ROUNDS):
            for name in variants:
                child = children[name]
                before = child.seconds()
                await load(child.port, REQUESTS)
                best[name] = max(best[name], REQUESTS / (child.seconds() - before))
        return {name: {"requests_per_cpu_second": round(best[name]), "rss_mb": round(children[name].resident(), 1)} for name in variants}
    finally:
        for child in children.values():
            child.stop()


async def measure_proxy() -> dict[str, Any]:
    behind = Child("ours")
    front = Child("proxy", behind.port)
    try:
        await load(front.port, 2000)
        best = 0.0
        for _ in range(ROUNDS):
            before = front.seconds()
            await load(front.port, REQUESTS)
            best = max(best, REQUESTS / (front.seconds() - before))
        return {"requests_per_cpu_second": round(best), "rss_mb": round(front.resident(), 1)}
    finally:
        front.stop()
        behind.stop()


async def measure_bodies() -> dict[str, Any]:
    child = Child("ours")
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", child.port, limit=1 << 21)
        figures: dict[str, Any] = {}
        for name, head in (("up", f"PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: {GIB}\r\n\r\n"), ("up_chunked", "PUT /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")):  # fmt: skip
            before = child.seconds()
            writer.write(head.encode())
            for _ in range(GIB // len(BLOCK)):
                if name == "up_chunked":
                    writer.write(b"%x\r\n" % len(BLOCK))
                writer.write(BLOCK)
                if name == "up_chunked":
                    writer.write(b"\r\n")
                await writer.drain()
            if name == "up_chunked":
                writer.write(b"0\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(ANSWER))
            figures[f"{name}_cpu_seconds"] = round(child.seconds() - before, 2)
        before = child.seconds()
        writer.write(b"GET /down HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        left = GIB
        while left:
            left -= len(await reader.read(min(left, 1 << 20)))
        figures["down_cpu_seconds"] = round(child.seconds() - before, 2)
        figures["rss_mb"] = round(child.resident(), 1)
        writer.close()
        return figures
    finally:
        child.stop()


def measure_sigv4() -> dict[str, Any]:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    from cloudstead.edge.sigv4 import parse_authorization, verify
    from cloudstead.http.messages import HttpRequest

    fields = [line.split(": ", 1) for line in REQUEST.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]]
    kept = {name: value for name, value in fields if name not in ("Authorization", "X-Amz-Date", "Content-Length", "User-Agent")}
    signed = AWSRequest("POST", "http://localhost:4566/", data=BODY, headers=kept)
    SigV4Auth(Credentials("AKIDEXAMPLE", "secret"), "logs", "us-east-1").add_auth(signed)
    pairs = [
        *((name, str(value)) for name, value in signed.headers.items()),
        ("User-Agent", "Boto3/1.44.5"),
        ("Content-Length", str(len(BODY))),
    ]
    now, digest = time.time(), hashlib.sha256(BODY).hexdigest()

    def make() -> HttpRequest:
        request = HttpRequest.of("POST", "/", pairs, BODY)
        request.headers.index()
        return request

    def check() -> None:
        request = make()
        signature = parse_authorization(request)
        assert signature is not None
        verify(request, signature, "secret", digest, now)

    times = [min(timeit.repeat(what, number=2000, repeat=10)) / 2000 * 1e6 for what in (make, check)]
    return {"verify_us": round(times[1] - times[0], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--serve", choices=["ours", "proxy", "uvicorn"], help=argparse.SUPPRESS)
    parser.add_argument("--behind", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--proxy", action="store_true")
    parser.add_argument("--sigv4", action="store_true")
    parser.add_argument("--bodies", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    from cloudstead.http.server import loop_factory

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        if options.serve:
            serve = {"ours": serve_ours, "uvicorn": serve_uvicorn, "proxy": lambda: serve_proxy(options.behind)}
            runner.run(serve[options.serve]())
        elif options.sigv4:
            figures = measure_sigv4()
        else:
            figures = runner.run(measure_bodies() if options.bodies else measure_proxy() if options.proxy else measure_requests())
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
