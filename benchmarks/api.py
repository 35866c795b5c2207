"""What a call costs: CPU of the server and calls a second, Cloudstead beside moto_server (and MiniStack where it is found) in one run.

    python benchmarks/api.py [--calls 2000] [--rounds 5] [--callers 1,16,64] [--ministack PROGRAM] [--json]
    python benchmarks/api.py --alone            Cloudstead only
    python benchmarks/api.py --starts 7         seconds to healthy and MB when idle, of so many starts
    python benchmarks/api.py --soak 100000      MB before and after so many calls

The servers are processes of their own and get the same signed requests over kept-alive connections, in turn, round by round. Cloudstead runs with
--strict: signatures verified, policies enforced, every write fsynced before its answer. The others verify nothing and write nothing.

CPU is the server process's, user and system, all threads; the client's is not counted. On a shared machine only CPU and ratios mean anything, and of
CPU the smallest round is the truest: neighbours can only add to it. Both are shown, `median (smallest)`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import uvloop
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from peers import Peer, cloudstead, ministack, moto

SHARES = {"cloudstead": 1.0, "ministack": 0.25, "moto_server": 0.1}  # of the calls, so that slow peers do not take all the time
MIDDLE = 16  # callers at which every workload is measured; the others only at `READ` and `WRITE`
READ, WRITE = "read: logs DescribeLogGroups", "write: logs CreateLogGroup"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["logs:Describe*", "logs:Get*"], "Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}},
        {"Effect": "Allow", "Action": "iam:GetUser", "Resource": "arn:aws:iam::*:user/${aws:username}"},
        {"Effect": "Deny", "Action": "logs:Delete*", "Resource": "*"},
    ],
}  # fmt: skip


# ---- requests


def signed(peer: Peer, service: str, body: str, headers: dict[str, str], credentials: Credentials | None = None) -> bytes:
    """One HTTP/1.1 request, signed by botocore, as bytes."""
    host = f"127.0.0.1:{peer.port}"
    request = AWSRequest("POST", f"http://{host}/", data=body.encode(), headers={"Host": host, **headers})
    SigV4Auth(credentials or peer.credentials, service, "us-east-1").add_auth(request)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"POST / HTTP/1.1\r\n{head}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()


def query(peer: Peer, service: str, version: str, **parameters: str) -> bytes:
    body = urlencode({**parameters, "Version": version})
    return signed(peer, service, body, {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"})


def iam(peer: Peer, action: str, **parameters: str) -> bytes:
    return query(peer, "iam", "2010-05-08", Action=action, **parameters)


def target(peer: Peer, service: str, operation: str, credentials: Credentials | None = None, **parameters: object) -> bytes:
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": operation}
    return signed(peer, service, json.dumps(parameters), headers, credentials)


def logs(peer: Peer, operation: str, credentials: Credentials | None = None, **parameters: object) -> bytes:
    return target(peer, "logs", f"Logs_20140328.{operation}", credentials, **parameters)


def describe(peer: Peer, name: str, credentials: Credentials | None = None) -> bytes:
    return logs(peer, "DescribeLogGroups", credentials, logGroupNamePrefix=name, limit=5)


def bound_user(peer: Peer) -> Credentials:
    """The key of a user whom policies bind; of a peer that has none, its usual key."""
    ask(peer, iam(peer, "CreateUser", UserName="reader"))
    for number in range(3):
        name = f"policy-{number}"
        ask(peer, iam(peer, "PutUserPolicy", UserName="reader", PolicyName=name, PolicyDocument=json.dumps(POLICY)))
    answer = ask(peer, iam(peer, "CreateAccessKey", UserName="reader")).decode()
    key, secret = (re.search(f"<{name}>(.*?)</{name}>", answer) for name in ("AccessKeyId", "SecretAccessKey"))
    return Credentials(key[1], secret[1]) if key and secret else peer.credentials


def workloads(peer: Peer, reader: Credentials, calls: int, round_: int) -> Iterator[tuple[str, list[bytes]]]:
    """Name of the workload and its requests. Order matters: what is read and deleted has been created. The quota of users is 5,000 an account."""
    users = [f"user-{round_}-{number}" for number in range(min(calls, 3000))]
    groups = [f"group-{round_}-{number:06}" for number in range(calls)]
    yield "read: sts GetCallerIdentity", [query(peer, "sts", "2011-06-15", Action="GetCallerIdentity")] * calls
    yield "write: iam CreateUser", [iam(peer, "CreateUser", UserName=name) for name in users]
    yield "read: iam GetUser", [iam(peer, "GetUser", UserName=name) for name in users]
    yield "write: iam DeleteUser", [iam(peer, "DeleteUser", UserName=name) for name in users]
    yield WRITE, [logs(peer, "CreateLogGroup", logGroupName=name) for name in groups]
    yield READ, [describe(peer, name) for name in groups]
    yield "read: the same by a bound user", [describe(peer, name, reader) for name in groups]
    yield "mixed: 4 reads to 1 write", mixture(peer, groups, random.Random(round_))
    yield "write: logs DeleteLogGroup", [logs(peer, "DeleteLogGroup", logGroupName=name) for name in groups]


def mixture(peer: Peer, groups: list[str], chance: random.Random) -> list[bytes]:
    """Calls that may be sent in any order, and again."""
    identity = query(peer, "sts", "2011-06-15", Action="GetCallerIdentity")
    user = iam(peer, "GetUser", UserName="reader")
    found = []
    for name in groups:
        dice = chance.random()
        if dice < 0.2:
            found.append(logs(peer, "PutRetentionPolicy", logGroupName=name, retentionInDays=chance.choice((1, 7, 30))))
        else:
            found.append(identity if dice < 0.4 else user if dice < 0.6 else describe(peer, name))
    return found


# ---- the client


class Asker(asyncio.Protocol):
    """One caller: sends a request, waits for the answer, sends the next; connects again to a server that closes after an answer."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._got = b""
        self._again = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._ask()

    def _ask(self) -> None:
        request = next(self._driver.requests, None)
        if request is None:
            self._transport.close()
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end:
            return
        fields = head.lower()
        found = re.search(rb"\r\ncontent-length: *(\d+)", fields)
        if len(body) < (int(found[1]) if found else 0):
            return
        self._driver.take(self._got)
        self._got = b""
        if b"\r\nconnection: close" in fields:
            self._again = True
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._driver.lost(self._again)


class Driver:
    """Sends all requests over so many connections. An answer other than 200 ends the benchmark."""

    def __init__(self, port: int, requests: list[bytes], callers: int) -> None:
        self.requests = iter(requests)
        self.last = b""
        self._port, self._left = port, callers
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._connecting: set[asyncio.Task[object]] = set()

    async def run(self) -> bytes:
        for _ in range(self._left):
            self._connect()
        await self._done
        return self.last

    def _connect(self) -> None:
        task: asyncio.Task[object] = self._loop.create_task(self._loop.create_connection(lambda: Asker(self), "127.0.0.1", self._port))  # type: ignore[arg-type]
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def take(self, answer: bytes) -> None:
        self.last = answer
        if not answer.startswith(b"HTTP/1.1 200") and not self._done.done():
            self._done.set_exception(SystemExit(f"refused: {answer[:2000]!r}"))

    def lost(self, again: bool) -> None:
        if again:
            self._connect()
            return
        self._left -= 1
        if not self._left and not self._done.done():
            self._done.set_result(None)


def ask(peer: Peer, request: bytes) -> bytes:
    """The answer to one request."""

    async def alone() -> bytes:
        return await Driver(peer.port, [request], 1).run()

    return uvloop.run(alone())


def measure(peer: Peer, requests: list[bytes], callers: int) -> tuple[float, float]:
    """CPU microseconds of the server for each call, calls a second."""

    async def all_of_them() -> None:
        await Driver(peer.port, requests, callers).run()

    cpu, began = peer.cpu(), time.perf_counter()
    uvloop.run(all_of_them())
    return (peer.cpu() - cpu) / len(requests) * 1e6, len(requests) / (time.perf_counter() - began)


# ---- what is measured


@dataclass
class Figures:
    cpu: list[float] = field(default_factory=list)  # µs a call, one for each round
    rate: list[float] = field(default_factory=list)  # calls a second

    def document(self) -> dict[str, float]:
        return {
            "cpu_us": round(statistics.median(self.cpu), 1),
            "cpu_us_min": round(min(self.cpu), 1),
            "calls_s": round(statistics.median(self.rate)),
            "calls_s_max": round(max(self.rate)),
        }


def compare(peers: list[Peer], calls: int, rounds: int, callers: list[int]) -> dict[str, dict[str, dict[str, float]]]:
    """By workload and peer. The first round warms up and is not counted."""
    found: dict[str, dict[str, Figures]] = {}
    readers = {peer.name: bound_user(peer) for peer in peers}
    for round_ in range(rounds + 1):
        for peer in peers if round_ % 2 else peers[::-1]:
            share = int(calls * SHARES[peer.name])
            for name, requests in workloads(peer, readers[peer.name], max(50, share if round_ else share // 10), round_):
                for number in callers if name == READ else [MIDDLE]:
                    title = name if number == MIDDLE else f"{name}, {number} at once"
                    keep(found, title, peer, measure(peer, requests, number), round_)
                if name == WRITE:
                    for number in callers:
                        more = [logs(peer, "CreateLogGroup", logGroupName=f"more-{round_}-{number}-{n}") for n in range(len(requests))]
                        if number != MIDDLE:
                            keep(found, f"{name}, {number} at once", peer, measure(peer, more, number), round_)
    return {name: {peer: figures.document() for peer, figures in by_peer.items()} for name, by_peer in sorted(found.items())}


def keep(found: dict[str, dict[str, Figures]], title: str, peer: Peer, figure: tuple[float, float], round_: int) -> None:
    if round_:
        figures = found.setdefault(title, {}).setdefault(peer.name, Figures())
        figures.cpu.append(figure[0])
        figures.rate.append(figure[1])


def starts(count: int) -> dict[str, float]:
    """Of a new data directory each; memory is taken a second after the first healthy answer. One more start goes before, which may have to compile."""
    seconds, memory = [], []
    for number in range(count + 1):
        folder = Path(tempfile.mkdtemp(prefix="cloudstead-benchmark-"))
        peer = cloudstead(folder / "data")
        time.sleep(1)
        if number:
            seconds.append(peer.started)
            memory.append(peer.memory())
        peer.stop()
        shutil.rmtree(folder)
    return {
        "start_s": round(statistics.median(seconds), 3),
        "start_s_min": round(min(seconds), 3),
        "start_s_max": round(max(seconds), 3),
        "idle_mb": round(statistics.median(memory), 1),
        "idle_mb_max": round(max(memory), 1),
    }


def soak(calls: int) -> dict[str, float]:
    """Memory before and after so many mixed calls that change a thousand rows but add none; a fifth as many calls come before."""
    folder = Path(tempfile.mkdtemp(prefix="cloudstead-benchmark-"))
    peer = cloudstead(folder / "data")
    try:
        bound_user(peer)
        groups = [f"group-{number}" for number in range(1000)]
        measure(peer, [logs(peer, "CreateLogGroup", logGroupName=name) for name in groups], MIDDLE)
        chance = random.Random(1)

        def some(count: int) -> None:
            while count > 0:  # signed anew from time to time: a signature is good for five minutes
                requests = mixture(peer, groups, chance)
                measure(peer, requests * min(10, -(-count // len(requests))), MIDDLE)
                count -= 10 * len(requests)

        some(calls // 5)
        before = peer.memory()
        some(calls)
        return {"calls": calls, "before_mb": round(before, 1), "after_mb": round(peer.memory(), 1)}
    finally:
        peer.stop()
        shutil.rmtree(folder)


def report(found: dict[str, dict[str, dict[str, float]]]) -> None:
    names = [name for name in SHARES if any(name in row for row in found.values())]
    print(f"{'CPU µs a call: median (smallest)':40}" + "".join(f"{name:>18}" for name in names) + f"{'calls a second':>18}")
    for workload, row in found.items():
        cells = [f"{row[name]['cpu_us']:,.0f} ({row[name]['cpu_us_min']:,.0f})" for name in names]
        ours = row["cloudstead"]
        ratios = " ".join(f"{row[name]['cpu_us'] / ours['cpu_us']:.0f}x" for name in names[1:])
        print(f"{workload:40}" + "".join(f"{cell:>18}" for cell in cells) + f"{ours['calls_s']:18,.0f}   {ratios}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=2000, help="of each workload in each round, to Cloudstead; fewer to the others")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--callers", default="1,16,64")
    parser.add_argument("--ministack", help="MiniStack's program, if it is not on the PATH")
    parser.add_argument("--alone", action="store_true", help="measure Cloudstead only")
    parser.add_argument("--starts", type=int, default=0)
    parser.add_argument("--soak", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.starts or options.soak:
        figures = {**(starts(options.starts) if options.starts else {}), **(soak(options.soak) if options.soak else {})}
        print(json.dumps(figures) if options.json else "\n".join(f"{name:12} {value}" for name, value in figures.items()))
        return
    folder = Path(tempfile.mkdtemp(prefix="cloudstead-benchmark-"))
    peers = [cloudstead(folder / "data")]
    try:
        if not options.alone:
            peers += [peer for peer in (ministack(options.ministack), moto()) if peer is not None]
        found = compare(peers, options.calls, options.rounds, sorted({MIDDLE, *map(int, options.callers.split(","))}))
        if options.json:
            json.dump(found, sys.stdout, indent=2)
        else:
            report(found)
    finally:
        for peer in peers:
            peer.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
