"""`cloudstead image bootstrap`: base images without a registry."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

from cloudstead.cli.bootstrap import making
from cloudstead.cli.bootstrap.making import Made, Order
from cloudstead.cli.bootstrap.recipes import NAMES
from cloudstead.cli.docker import Docker
from cloudstead.cli.terminal import Failure, out, out_json, say

USUAL = ("busybox", "debian")


def image(arguments: argparse.Namespace) -> None:
    """Make what is not in the cache, and load it into the running daemon; with --output write one archive to a file."""
    names = list(dict.fromkeys(arguments.names or USUAL))
    if unknown := [name for name in names if name not in NAMES]:
        raise Failure(f"There is no recipe for {', '.join(unknown)}; there are {', '.join(NAMES)}.", 2)
    if arguments.output is not None and len(names) != 1:
        raise Failure("--output takes one image: name it.", 2)
    order = Order(arguments.suite, arguments.mirror, arguments.security_mirror, arguments.package, arguments.refresh)
    if order.mirror and not order.security_mirror:
        say("Only the named mirror is used: without --security-mirror the image has no source of security updates.")
    docker = Docker(arguments.data)
    if arguments.output is None:
        docker.check()
    told = []
    for name in names:
        began = time.monotonic()
        made = making.make(name, order)
        loaded = [] if arguments.output is not None else _load(docker, made)
        if arguments.output is not None:
            _write(made, arguments.output)
        told.append(_tell(made, loaded, time.monotonic() - began, arguments.json))
    if arguments.json:
        out_json(told)


def _load(docker: Docker, made: Made) -> list[str]:
    with made.path.open("rb") as archive:
        return docker.load(archive, made.path.stat().st_size)


def _write(made: Made, target: Path) -> None:
    try:
        shutil.copyfile(made.path, target)
    except OSError as error:
        raise Failure(f"{target} cannot be written: {error.strerror}.") from None


def _tell(made: Made, loaded: list[str], seconds: float, as_json: bool) -> dict[str, object]:
    if not as_json:
        for tag in loaded or made.tags:
            out(tag)
        say(f"{made.image[:19]}, {'from the cache' if made.cached else 'made'} in {seconds:.1f} s")
    return {"image": made.image, "tags": list(loaded or made.tags), "cached": made.cached, "seconds": round(seconds, 3)}
