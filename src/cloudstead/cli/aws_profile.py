"""Editing ~/.aws/config and ~/.aws/credentials without disturbing anything in them but our own section.

The files belong to the person: comments, order, spacing and the other profiles stay byte for byte. In our section only the keys that must be
right are set; whatever else a person put there (another region, a pager) stays too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from cloudstead.datadir import write_atomically

_HEADER = re.compile(r"^\[\s*(?P<name>[^\]]*?)\s*\]")


def config_path() -> Path:
    return Path(os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config").expanduser()


def credentials_path() -> Path:
    return Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser()


def edit(path: Path, section: str, always: Mapping[str, str | None], unless_set: Mapping[str, str], mode: int = 0o600) -> bool:
    """Bring one section of a file to these values, None being none; makes the file and its folder if need be. True when something changed.

    Raises:
        OSError: the file cannot be read or written.
    """
    path = path.resolve()  # a link stays one: what it points to is written
    try:
        before = path.read_bytes().decode("utf-8", "surrogateescape")  # whatever stands there is written back as it is
        mode = path.stat().st_mode & 0o777
    except FileNotFoundError:
        before = ""
    after = edited(before, section, always, unless_set)
    if after == before:
        return False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, after.encode("utf-8", "surrogateescape"), mode)
    return True


def edited(text: str, section: str, always: Mapping[str, str | None], unless_set: Mapping[str, str]) -> str:
    """The text with the section's keys set. A value with lines of its own is a nested block, as botocore reads `s3 =`."""
    lines = text.splitlines(keepends=True)
    begin, end = _find(lines, section)
    if begin < 0:
        gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        return (
            text
            + gap
            + f"[{section}]\n"
            + "".join(_entry(key, value) for key, value in {**always, **unless_set}.items() if value is not None)
        )
    body = lines[begin + 1 : end]
    tail = len(body)
    while tail and not body[tail - 1].strip():
        tail -= 1
    body, blank = body[:tail], body[tail:]
    if body and not body[-1].endswith("\n"):
        body[-1] += "\n"
    elif not body and not lines[begin].endswith("\n"):
        lines[begin] += "\n"
    for key, value in always.items():
        body = _with(body, key, value)
    body += [_entry(key, value) for key, value in unless_set.items() if _place(body, key) is None]
    return "".join([*lines[: begin + 1], *body, *blank, *lines[end:]])


def _find(lines: list[str], section: str) -> tuple[int, int]:
    """Where a section's header stands and where the next begins; (-1, -1) when there is none."""
    begin = -1
    for at, line in enumerate(lines):
        header = _HEADER.match(line)
        if header is None:
            continue
        if begin >= 0:
            return begin, at
        if " ".join(header["name"].replace('"', "").split()) == section:
            begin = at
    return (begin, len(lines)) if begin >= 0 else (-1, -1)


def _place(body: list[str], key: str) -> tuple[int, int] | None:
    """The lines of a key's entry: its own and the indented ones below it."""
    for at, line in enumerate(body):
        if line[:1] in (" ", "\t", "#", ";") or line.partition("=")[0].strip().lower() != key:
            continue
        end = at + 1
        while end < len(body) and body[end][:1] in (" ", "\t") and body[end].strip():
            end += 1
        return at, end
    return None


def _with(body: list[str], key: str, value: str | None) -> list[str]:
    entry = [] if value is None else [_entry(key, value)]
    place = _place(body, key)
    if place is None:
        return [*body, *entry]
    return [*body[: place[0]], *entry, *body[place[1] :]]


def _entry(key: str, value: str) -> str:
    if "\n" in value:
        return f"{key} =\n" + "".join(f"    {line}\n" for line in value.strip().splitlines())
    return f"{key} = {value}\n"
