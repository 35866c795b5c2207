"""`python -m cloudstead.engine.host`: how the daemon starts the host."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
import time
from pathlib import Path

from cloudstead.engine.host.layout import Layout
from cloudstead.engine.host.server import serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="cloudstead.engine.host")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--socket", type=int, required=True, help="the descriptor of a connected unix stream socket")
    parser.add_argument("--runtime", default="runc")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--log-level", default="warning")
    arguments = parser.parse_args()
    os.umask(0o077)
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(level=arguments.log_level.upper(), format="%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s")
    options = dict(option.split("=", 1) for option in arguments.option)
    sock = socket.socket(fileno=arguments.socket)
    if sys.version_info < (3, 12):
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())  # the default one of 3.11 makes threads, and this process forks
    asyncio.run(serve(Layout(arguments.data), sock, runtime=arguments.runtime, options=options))


if __name__ == "__main__":
    main()
