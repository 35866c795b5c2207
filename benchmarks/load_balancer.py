"""What a request costs that goes through a load balancer, beside HAProxy: requests per second of processor time of the process in the middle, and per second.

    python benchmarks/load_balancer.py                      an application load balancer of a daemon; HAProxy beside it where it is on the PATH
    python benchmarks/load_balancer.py --haproxy PROGRAM
    python benchmarks/load_balancer.py --json               for scripts

The same server stands behind both. They take turns in rounds, and the best round of each is given; load and processor time as in http_stack.py.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from http_stack import CONNECTIONS, REQUEST, Asker, Child

REQUESTS = 20_000
ROUNDS = 3
CONFIG = """
global
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option forwardfor
    http-reuse always
frontend front
    bind 127.0.0.1:%(port)d
    default_backend behind
backend behind
    server one 127.0.0.1:%(behind)d
"""


class Variant(NamedTuple):
    """Something in the middle."""

    pid: int
    address: str
    port: int

    def seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> float:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(address: str, port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((address, port), 1.0):
            return
        time.sleep(0.05)
    raise SystemExit(f"nobody listens at {address}:{port}")


@contextmanager
def balanced(behind: int) -> Iterator[Variant]:
    """A daemon with a load balancer in front of a port."""
    import boto3

    with tempfile.TemporaryDirectory() as folder:
        data, port = Path(folder) / "data", free_port()
        command = [sys.executable, "-m", "cloudstead", "up", "--port", str(port), "--data", str(data), "--no-profile"]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for("127.0.0.1", port)
            session = boto3.session.Session(aws_access_key_id="000000000000", aws_secret_access_key="x", region_name="us-east-1")
            elb, ec2 = (session.client(name, endpoint_url=f"http://127.0.0.1:{port}") for name in ("elbv2", "ec2"))
            subnets = ec2.describe_subnets()["Subnets"][:2]
            balancer = elb.create_load_balancer(Name="web", Subnets=[one["SubnetId"] for one in subnets])["LoadBalancers"][0]
            group = elb.create_target_group(Name="one", Protocol="HTTP", Port=80, VpcId=subnets[0]["VpcId"], TargetType="ip")
            arn = group["TargetGroups"][0]["TargetGroupArn"]
            listening = free_port()
            action = {"Type": "forward", "TargetGroupArn": arn}
            elb.create_listener(LoadBalancerArn=balancer["LoadBalancerArn"], Protocol="HTTP", Port=listening, DefaultActions=[action])
            elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": "127.0.0.1", "Port": behind}])
            elb.get_waiter("target_in_service").wait(TargetGroupArn=arn, WaiterConfig={"Delay": 1})
            address = balancer["AvailabilityZones"][0]["LoadBalancerAddresses"][0]["IpAddress"]
            wait_for(address, listening)
            yield Variant(process.pid, address, listening)
        finally:
            process.terminate()
            process.wait()


@contextmanager
def haproxy(program: str, behind: int) -> Iterator[Variant]:
    with tempfile.TemporaryDirectory() as folder:
        port, config = free_port(), Path(folder) / "haproxy.cfg"
        config.write_text(CONFIG % {"port": port, "behind": behind})
        process = subprocess.Popen([program, "-db", "-f", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for("127.0.0.1", port)
            yield Variant(process.pid, "127.0.0.1", port)
        finally:
            process.terminate()
            process.wait()


async def answer_size(variant: Variant) -> int:
    reader, writer = await asyncio.open_connection(variant.address, variant.port)
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    body = await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    writer.close()
    return len(head) + len(body)


async def load(variant: Variant, count: int) -> float:
    """Seconds that so many requests took."""
    loop, size = asyncio.get_running_loop(), await answer_size(variant)
    began, waits = time.perf_counter(), []
    for _ in range(CONNECTIONS):
        done = loop.create_future()
        await loop.create_connection(
            lambda done=done: Asker(count // CONNECTIONS, size, done),  # type: ignore[misc]
            variant.address,
            variant.port,
        )
        waits.append(done)
    await asyncio.gather(*waits)
    return time.perf_counter() - began


async def measure(variants: dict[str, Variant]) -> dict[str, Any]:
    cpu, rate = dict.fromkeys(variants, 0.0), dict.fromkeys(variants, 0.0)
    for variant in variants.values():
        await load(variant, 2000)
    for _ in range(ROUNDS):
        for name, variant in variants.items():
            before = variant.seconds()
            rate[name] = max(rate[name], REQUESTS / await load(variant, REQUESTS))
            cpu[name] = max(cpu[name], REQUESTS / (variant.seconds() - before))
    return {
        name: {
            "requests_per_cpu_second": round(cpu[name]),
            "cpu_us_per_request": round(1e6 / cpu[name], 1),
            "requests_per_second": round(rate[name]),
            "rss_mb": round(variant.resident(), 1),
        }
        for name, variant in variants.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--haproxy", default=shutil.which("haproxy") or "", help="where HAProxy is")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    from cloudstead.http.server import loop_factory

    with ExitStack() as stack, asyncio.Runner(loop_factory=loop_factory()) as runner:
        behind = Child("ours")
        stack.callback(behind.stop)
        variants = {"cloudstead": stack.enter_context(balanced(behind.port))}
        if options.haproxy:
            variants["haproxy"] = stack.enter_context(haproxy(options.haproxy, behind.port))
        figures = runner.run(measure(variants))
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
