"""`cloudstead security-data`: what image scanning knows of vulnerabilities. It works with and without a Cloudstead that runs; the next scan uses it."""

from __future__ import annotations

import argparse
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from pathlib import Path

from cloudstead import datadir
from cloudstead.cli.terminal import Failure, out, out_json, say, table
from cloudstead.engine.errors import EngineError
from cloudstead.services.ecr.scanning import advisories, importing
from cloudstead.services.ecr.scanning.advisories import Data

FOLDER = "security"  # in the data directory
PATIENCE = 60.0  # seconds without a byte
LEVEL = 9  # of zstd; the tracker's data take a second


def security_data(arguments: argparse.Namespace) -> None:
    """`update`: take in what Debian's tracker or Alpine's secdb says; `show`: what there is."""
    if arguments.action == "update":
        update(arguments.data, arguments.from_ or [importing.TRACKER])
    elif arguments.from_:
        raise Failure("--from goes with update.", 2)
    show(arguments.data, arguments.json)


def update(data: Path, sources: list[str]) -> None:
    try:
        datadir.prepare(data)
    except datadir.Unusable as error:
        raise Failure(str(error)) from None
    for source in sources:
        text, dated = _fetch(source) if "://" in source else _read(Path(source).expanduser())
        try:
            found = importing.read(text, source, dated)
        except EngineError as error:
            raise Failure(f"{source} cannot be used: {error.message}.") from None
        for each in found:
            path = advisories.write(each, data / FOLDER, LEVEL)
            say(f"{path.name}: {len(each.packages)} source packages")


def _read(path: Path) -> tuple[bytes, float]:
    """As of when the file was written."""
    status = path.stat()
    if status.st_size > importing.LARGEST:
        raise Failure(f"{path} has {status.st_size} bytes; {importing.LARGEST} are read.")
    return path.read_bytes(), status.st_mtime


def _fetch(url: str) -> tuple[bytes, float]:
    """As of when the server says that it was changed, else now."""
    if not url.startswith(("https://", "http://")):
        raise Failure(f"{url} cannot be fetched: name a file, or a URL of https or http.", 2)
    request = urllib.request.Request(url, headers={"User-Agent": "cloudstead", "Accept-Encoding": "gzip"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            text = answer.read(importing.LARGEST + 1)
            changed = answer.headers.get("Last-Modified")
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise Failure(f"{url} cannot be fetched: {reason}. A copy of it can be read from a file: --from FILE.") from None
    if len(text) > importing.LARGEST:
        raise Failure(f"{url} has more than {importing.LARGEST} bytes.")
    return text, _date(changed)


def _date(changed: str | None) -> float:
    try:
        return parsedate_to_datetime(changed or "").timestamp()
    except (ValueError, TypeError):
        return time.time()


def show(data: Path, as_json: bool) -> None:
    """What scans use: of a release that was imported, not what is shipped."""
    imported = _all(data / FOLDER)
    releases = {(each.distribution, each.release) for each in imported}
    used = [*imported, *(each for each in _all(advisories.SHIPPED) if (each.distribution, each.release) not in releases)]
    rows = [(f"{each.distribution} {each.release} {each.part}".rstrip(), _day(each), str(len(each.packages)), each.source) for each in used]
    if as_json:
        names = ("release", "dated", "packages", "source")
        out_json([dict(zip(names, row, strict=True)) | {"complete": each.complete} for row, each in zip(rows, used, strict=True)])
        return
    for line in table([("RELEASE", "AS OF", "PACKAGES", "SOURCE"), *rows]):
        out(line)


def _all(folder: Path) -> list[Data]:
    found = []
    for path in advisories.files(folder):
        try:
            found.append(advisories.read(path))
        except EngineError as error:
            say(f"{error.message}.")
    return found


def _day(data: Data) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(data.dated))
