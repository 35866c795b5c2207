"""The command line. Only the parser lives here; a command's module is imported when it is run, so that `--help` and `status` stay quick."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from cloudstead import __version__
from cloudstead.cli.terminal import Failure, paint, say
from cloudstead.settings import DEFAULT_HOST, DEFAULT_PORT, default_data

EPILOG = """\
First steps:
  cloudstead up --detach              start it in the background
  eval "$(cloudstead env)"            point this shell's AWS tools at it
  aws sts get-caller-identity         use it
  cloudstead down                     stop it

Environment:
  CLOUDSTEAD_DATA    the data directory, unless --data is given
  NO_COLOR           no colours
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cloudstead",
        description="The AWS compute stack on your own machines.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cloudstead {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)

    on_data = argparse.ArgumentParser(add_help=False)
    on_data.add_argument("--data", type=_folder, metavar="DIR", help=f"the data directory (default: {default_data()})")
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="answer in JSON")

    up = commands.add_parser("up", help="start Cloudstead", parents=[on_data, as_json])
    up.set_defaults(run="lifecycle:up")
    up.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, metavar="PORT", help="listen on this port; 0 takes any free one (default: %(default)s)"
    )
    up.add_argument(
        "--host",
        default=DEFAULT_HOST,
        metavar="ADDRESS",
        help="listen on this address; any but loopback means --strict (default: %(default)s)",
    )
    up.add_argument("--detach", "-d", action="store_true", help="go on in the background and return when it is healthy")
    up.add_argument("--strict", action="store_true", help="refuse calls whose signature does not verify, and enforce IAM policies")
    up.add_argument("--iam", choices=("off", "warn", "enforce"), help="what to do with IAM policies (default: off; enforce with --strict)")
    up.add_argument("--tls", action="store_true", help="serve HTTPS with a certificate of Cloudstead's own authority")
    up.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info", help="what to log (default: %(default)s)")
    up.add_argument(
        "--engine", choices=("auto", "off"), default="auto", help="run containers when something needs one, or never (default: %(default)s)"
    )
    up.add_argument(
        "--runtime",
        default="runc",
        metavar="NAME",
        help="the OCI runtime of containers: runc, crun, runsc, kata or a path (default: %(default)s)",
    )
    up.add_argument("--engine-host", type=_folder, metavar="SOCKET", help="use the engine host that root started and that listens there")
    up.add_argument(
        "--registry",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="a registry that is spoken to without TLS; may be given more than once",
    )
    up.add_argument("--no-profile", action="store_true", help="leave the AWS profile `cloudstead` in ~/.aws alone")
    up.add_argument("--in-background", action="store_true", help=argparse.SUPPRESS)  # how --detach starts the daemon

    down = commands.add_parser("down", help="stop it", parents=[on_data])
    down.set_defaults(run="lifecycle:down")
    down.add_argument("--containers", action="store_true", help="stop the containers too; without this they go on")
    down.add_argument(
        "--timeout", type=float, default=30.0, metavar="SECONDS", help="how long to wait for it to stop (default: %(default)g)"
    )

    status = commands.add_parser(
        "status", help="tell whether it runs and what it serves; exit status 3 when it does not", parents=[on_data, as_json]
    )
    status.set_defaults(run="lifecycle:status")

    logs = commands.add_parser("logs", help="show the log of a Cloudstead in the background", parents=[on_data])
    logs.set_defaults(run="logs:logs")
    logs.add_argument("--follow", "-f", action="store_true", help="go on showing what is added")
    logs.add_argument(
        "--lines", "-n", type=int, default=100, metavar="N", help="how many of the last lines to show first (default: %(default)s)"
    )

    env = commands.add_parser("env", help="write the AWS profile `cloudstead` and print exports for the shell", parents=[on_data, as_json])
    env.set_defaults(run="env:env")
    env.add_argument("--no-profile", action="store_true", help="only print; leave ~/.aws alone")

    reset = commands.add_parser("reset", help="delete everything it stored", parents=[on_data])
    reset.set_defaults(run="lifecycle:reset")
    reset.add_argument("--yes", "-y", action="store_true", help="do not ask")

    doctor = commands.add_parser("doctor", help="tell what this machine can do, and how to get what is missing", parents=[on_data, as_json])
    doctor.set_defaults(run="doctor:doctor")
    doctor.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, metavar="PORT", help="the port that should be free (default: %(default)s)"
    )

    image = commands.add_parser("image", help="make base images without a registry: image bootstrap", parents=[on_data, as_json])
    image.set_defaults(run="image:image")
    image.add_argument("action", choices=("bootstrap",), help="make images from Debian packages and load them into the running Cloudstead")
    image.add_argument("names", nargs="*", metavar="IMAGE", help="busybox, debian, python, node (default: busybox debian)")
    image.add_argument("--suite", default="bookworm", help="the release of Debian (default: %(default)s)")
    image.add_argument("--mirror", default="", metavar="URL", help="where its packages are (default: as this machine's apt has it)")
    image.add_argument("--security-mirror", default="", metavar="URL", help="where its security updates are")
    image.add_argument(
        "--package", action="append", default=[], metavar="NAME", help="put this package in too; may be given more than once"
    )
    image.add_argument("--refresh", action="store_true", help="make it anew even when the cache has it")
    image.add_argument("--output", "-o", type=_folder, metavar="FILE", help="write an archive for `docker load` instead of loading it")

    security_data = commands.add_parser(
        "security-data", help="tell or update what image scanning knows of vulnerabilities", parents=[on_data, as_json]
    )
    security_data.set_defaults(run="security_data:security_data")
    security_data.add_argument(
        "action",
        nargs="?",
        default="show",
        choices=("show", "update"),
        help="list the data that scans use (the default), or fetch those of Debian's security tracker",
    )
    security_data.add_argument(
        "--from",
        dest="from_",
        action="append",
        default=[],
        metavar="FILE|URL",
        help="update from here: a copy of the tracker's data, or a secdb of Alpine; may be given more than once",
    )

    version = commands.add_parser("version", help="tell the version", parents=[as_json])
    version.set_defaults(run="version:version")

    coverage = commands.add_parser("coverage", help="tell which AWS operations are there", parents=[as_json])
    coverage.set_defaults(run="coverage:coverage")
    coverage.add_argument("service", nargs="?", help="list the operations of this one")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parsed = build_parser().parse_args(arguments)
    if getattr(parsed, "data", None) is None:
        parsed.data = default_data()
    module, _, name = parsed.run.partition(":")
    try:
        status = getattr(importlib.import_module(f"cloudstead.cli.{module}"), name)(parsed)
        sys.stdout.flush()
    except Failure as failure:
        say(f"{paint('cloudstead:', 'red', sys.stderr)} {failure}")
        return failure.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stderr.close()
        return 141
    except OSError as error:  # a file of another user, a folder that is none, a full disk
        where = f"{error.filename}: " if error.filename else ""
        say(f"{paint('cloudstead:', 'red', sys.stderr)} {where}{error.strerror or error}.")
        return 1
    return int(status or 0)


def _folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return port
