"""`python -m cloudstead.engine.host`: how the daemon starts the host (`--socket`), or root by hand for somebody's daemon (`--listen`, `--user`)."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
import time
from pathlib import Path

from cloudstead.engine.errors import EngineError
from cloudstead.engine.host.keeping import Keeping
from cloudstead.engine.host.layout import Layout, usual_runs
from cloudstead.engine.host.listening import listen
from cloudstead.engine.host.server import serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="cloudstead.engine.host")
    parser.add_argument("--data", type=Path, required=True)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--socket", type=int, help="the descriptor of a connected unix stream socket")
    place.add_argument("--listen", type=Path, metavar="PATH", help="make a socket there and serve whoever connects, one at a time")
    parser.add_argument("--user", help="with --listen: whose daemon may connect; root may always")
    parser.add_argument("--runtime", default="runc")
    parser.add_argument("--keep", action="store_true", help="keep the namespaces that this process is in (rootless.py starts it so)")
    parser.add_argument("--keep-open", type=int, default=-1, metavar="FD", help="with --keep: a descriptor for who keeps them")
    parser.add_argument("--way-out", type=int, default=0, metavar="PID", help="with --keep: the process that leads out of the network")
    parser.add_argument("--runs", type=Path, help="the folder for what is gone after a reboot")
    parser.add_argument("--delegated", default="", help="the cgroup to use instead of the root")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--log-level", default="warning")
    arguments = parser.parse_args()
    if (arguments.listen is None) != (arguments.user is None):
        parser.error("--listen and --user go together")
    if os.geteuid() != 0:
        parser.error("the engine host needs root's rights")
    os.umask(0o077)
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(level=arguments.log_level.upper(), format="%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s")
    options = dict(_option(parser, option) for option in arguments.option)
    layout = Layout(arguments.data.absolute(), arguments.runs or usual_runs(), arguments.delegated)
    if sys.version_info < (3, 12):
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())  # the default one of 3.11 makes threads, and this process forks
    if arguments.listen is None:
        os.set_inheritable(arguments.socket, False)  # a conmon that held it would hide this process's end from the daemon
        keeping = Keeping(layout, arguments.keep_open, arguments.way_out) if arguments.keep else None
        life = serve(layout, socket.socket(fileno=arguments.socket), runtime=arguments.runtime, options=options, keeping=keeping)
    else:
        life = listen(layout, arguments.listen.absolute(), arguments.user, runtime=arguments.runtime, options=options)
    try:
        asyncio.run(life)
    except EngineError as error:
        sys.exit(error.message)


def _option(parser: argparse.ArgumentParser, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        parser.error(f"{text!r} is no NAME=VALUE")
    return name, value


if __name__ == "__main__":
    main()
