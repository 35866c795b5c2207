"""What a call costs: CPU of the server and calls a second, Cloudstead beside moto_server in one run.

    .venv/bin/python benchmarks/api.py [--calls 3000] [--rounds 3] [--callers 16] [--json]

Both servers run as processes of their own and get the same signed requests over `--callers` kept-alive connections, in turn, round by round.
Cloudstead runs with --strict: signatures verified, policies enforced, every write fsynced before its answer. moto verifies and writes nothing.
CPU is the server process's user and system time from /proc, all threads; the client's is not counted. On a shared machine only the CPU figures and
the ratios mean anything.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from cloudstead import datadir, runfile

TICKS = os.sysconf("SC_CLK_TCK")
START_LIMIT = 60.0


@dataclass
class Peer:
    """A server under measurement."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    credentials: Credentials
    started: float  # seconds from exec to the first healthy answer

    def cpu(self) -> float:
        """Seconds of CPU so far, of the process and its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> float:
        """Resident MB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def cloudstead(data: Path) -> Peer:
    began = time.perf_counter()
    command = [sys.executable, "-m", "cloudstead", "up", "--port", "0", "--data", str(data), "--strict"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=(data.parent / "daemon.log").open("wb"))
    deadline = began + START_LIMIT
    while True:
        run = runfile.read(data)
        if run is not None and answers(f"{run.endpoint}/_cloudstead/health"):
            break
        if time.perf_counter() > deadline or process.poll() is not None:
            raise SystemExit(f"cloudstead did not start: {(data.parent / 'daemon.log').read_text()[-2000:]}")
        time.sleep(0.005)
    started = time.perf_counter() - began
    key = datadir.root_key(data)
    return Peer("cloudstead", process, run.port, Credentials(key.access_key_id, key.secret_access_key), started)


def moto(port: int) -> Peer:
    began = time.perf_counter()
    program = Path(sys.executable).with_name("moto_server")
    process = subprocess.Popen([program, "-p", str(port)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not answers(f"http://127.0.0.1:{port}/moto-api/"):
        if time.perf_counter() - began > START_LIMIT or process.poll() is not None:
            raise SystemExit("moto_server did not start")
        time.sleep(0.02)
    return Peer("moto_server", process, port, Credentials("123456789012", "test"), time.perf_counter() - began)


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=1).status == 200
    except OSError:
        return False


def signed(peer: Peer, service: str, body: str, headers: dict[str, str]) -> bytes:
    """One HTTP/1.1 request, signed by botocore, as bytes."""
    host = f"127.0.0.1:{peer.port}"
    request = AWSRequest("POST", f"http://{host}/", data=body.encode(), headers={"Host": host, **headers})
    SigV4Auth(peer.credentials, service, "us-east-1").add_auth(request)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"POST / HTTP/1.1\r\n{head}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()


def query(peer: Peer, service: str, version: str, **parameters: str) -> bytes:
    body = urlencode({**parameters, "Version": version})
    return signed(peer, service, body, {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"})


def target(peer: Peer, service: str, operation: str, **parameters: object) -> bytes:
    return signed(peer, service, json.dumps(parameters), {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": operation})


def workloads(peer: Peer, calls: int, round_: int) -> Iterator[tuple[str, list[bytes]]]:
    """Name of the workload and its requests. Order matters: users that are read have been created."""
    users = [f"user-{round_}-{number}" for number in range(calls)]
    yield "write: iam CreateUser", [query(peer, "iam", "2010-05-08", Action="CreateUser", UserName=name) for name in users]
    yield "read: iam GetUser", [query(peer, "iam", "2010-05-08", Action="GetUser", UserName=name) for name in users]
    yield "read: sts GetCallerIdentity", [query(peer, "sts", "2011-06-15", Action="GetCallerIdentity")] * calls
    groups = [f"group-{round_}-{number}" for number in range(calls)]
    yield "write: logs CreateLogGroup", [target(peer, "logs", "Logs_20140328.CreateLogGroup", logGroupName=name) for name in groups]
    yield (
        "read: logs DescribeLogGroups",
        [target(peer, "logs", "Logs_20140328.DescribeLogGroups", logGroupNamePrefix=name, limit=5) for name in groups],
    )


async def drive(port: int, requests: list[bytes], callers: int) -> None:
    """Send all requests over so many connections, each waiting for its answer before the next."""
    queue = iter(requests)

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in queue:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"refused: {head!r} {await reader.read(2000)!r}")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            if b"connection: close" in head.lower():  # moto_server closes after some answers
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    await asyncio.gather(*(caller() for _ in range(callers)))


def measure(peer: Peer, requests: list[bytes], callers: int) -> tuple[float, float]:
    """CPU microseconds of the server for each call, calls a second."""
    cpu, began = peer.cpu(), time.perf_counter()
    asyncio.run(drive(peer.port, requests, callers))
    return (peer.cpu() - cpu) / len(requests) * 1e6, len(requests) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=3000, help="of each workload in each round, to Cloudstead; a tenth to moto_server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--moto-port", type=int, default=5055)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cloudstead-benchmark-"))
    peers: list[Peer] = []
    try:
        peers.append(cloudstead(folder / "data"))
        idle = peers[0].memory()
        peers.append(moto(options.moto_port))
        figures: dict[str, dict[str, list[tuple[float, float]]]] = {}
        for round_ in range(options.rounds + 1):  # the first warms up and is not counted
            for peer in peers:
                calls = max(50, options.calls // (1 if peer.name == "cloudstead" else 10) // (1 if round_ else 10))
                for name, requests in workloads(peer, calls, round_):
                    figure = measure(peer, requests, options.callers)
                    if round_:
                        figures.setdefault(name, {}).setdefault(peer.name, []).append(figure)
        report(figures, peers, idle, options.json)
    finally:
        for peer in peers:
            peer.stop()
        shutil.rmtree(folder)


def report(figures: dict[str, dict[str, list[tuple[float, float]]]], peers: list[Peer], idle: float, as_json: bool) -> None:
    rows = [
        {
            "workload": name,
            **{f"{peer} cpu_us": round(statistics.median(cpu for cpu, _ in found)) for peer, found in by_peer.items()},
            **{f"{peer} calls_s": round(statistics.median(rate for _, rate in found)) for peer, found in by_peer.items()},
        }
        for name, by_peer in figures.items()
    ]
    if as_json:
        print(json.dumps({"rows": rows, "idle_mb": idle, "start_s": {peer.name: peer.started for peer in peers}}))
        return
    print(f"{'':30} {'CPU µs a call':>28} {'':>7} {'calls a second':>25}")
    print(f"{'workload':30} {'cloudstead':>14} {'moto_server':>13} {'ratio':>7} {'cloudstead':>12} {'moto_server':>12}")
    for row in rows:
        ours, theirs = row["cloudstead cpu_us"], row["moto_server cpu_us"]
        print(
            f"{row['workload']:30} {ours:14} {theirs:13} {theirs / ours:6.1f}x {row['cloudstead calls_s']:12} {row['moto_server calls_s']:12}"
        )
    print(f"idle: {idle:.0f} MB; start to healthy: " + ", ".join(f"{peer.name} {peer.started:.2f} s" for peer in peers))


if __name__ == "__main__":
    main()
