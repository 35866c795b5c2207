"""RUN --mount: what it says, once variables are known."""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from cloudstead.engine.errors import InvalidArgument, Unsupported

Kind: TypeAlias = Literal["bind", "cache", "tmpfs", "secret"]
_NAMES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
_ALLOWED = {
    "bind": {"from", "source", "target", "readonly", "readwrite"},
    "cache": {"from", "source", "target", "readonly", "readwrite", "id", "sharing", "mode", "uid", "gid"},
    "tmpfs": {"target", "size", "readonly", "readwrite"},
    "secret": {"id", "source", "target", "required", "mode", "uid", "gid", "env"},
}
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class RunMount(msgspec.Struct, frozen=True, kw_only=True):
    kind: Kind
    stage: str = ""  # from
    source: str = ""
    target: str = ""
    read_only: bool = False
    id: str = ""
    sharing: Literal["shared", "private", "locked"] = "shared"
    required: bool = False
    size: int = 0
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    env: str | None = None


def parse(text: str, expand: Callable[[str], str]) -> RunMount:
    """One of them.

    Raises:
        InvalidArgument, Unsupported: with BuildKit's sentences where it has some.
    """
    fields = _fields(text, expand)
    kind = fields.pop("type", "bind").lower()
    if kind == "ssh":
        raise Unsupported("RUN --mount=type=ssh is not done: a build through the Docker API has no agent to ask")
    if kind not in _ALLOWED:
        raise InvalidArgument(f'unsupported mount type "{kind}"')
    for name in fields:
        if name not in _ALLOWED[kind]:
            raise InvalidArgument(f"unexpected key '{name}' for mount type '{kind}'")
    if kind == "secret":
        return _secret(fields)
    if not fields.get("target"):
        raise InvalidArgument(f"--mount=type={kind} needs a target")
    sharing = fields.get("sharing", "shared").lower()
    if sharing not in ("shared", "private", "locked"):
        raise InvalidArgument(f'unsupported sharing value "{sharing}"')
    return RunMount(
        kind=kind,  # type: ignore[arg-type]
        stage=fields.get("from", ""),
        source=fields.get("source", ""),
        target=fields["target"],
        read_only=_read_only(fields, kind == "bind"),
        id=fields.get("id", "") or (posixpath.normpath(fields["target"]) if kind == "cache" else ""),
        sharing=sharing,  # type: ignore[arg-type]
        size=_size(fields.get("size", "")),
        mode=_number(fields, "mode", 8),
        uid=_number(fields, "uid", 10),
        gid=_number(fields, "gid", 10),
    )


def _secret(fields: dict[str, str]) -> RunMount:
    if fields.get("source") and fields.get("id"):
        raise InvalidArgument("both source and id can't be set")
    name = fields.get("id") or fields.get("source") or posixpath.basename(fields.get("target", ""))
    if not name:
        raise InvalidArgument("invalid secret mount. one of source, target required")
    env = fields.get("env")
    target = fields.get("target", "") or ("" if env is not None else f"/run/secrets/{posixpath.basename(name)}")
    return RunMount(
        kind="secret",
        id=name,
        target=target,
        env=env if env is None or env else name,
        required=_truth(fields, "required", False),
        mode=_number(fields, "mode", 8),
        uid=_number(fields, "uid", 10),
        gid=_number(fields, "gid", 10),
    )


def _fields(text: str, expand: Callable[[str], str]) -> dict[str, str]:
    try:
        (row,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError) as error:
        raise InvalidArgument(f"failed to parse csv mounts: {error}") from None
    fields: dict[str, str] = {}
    for field in row:
        name, equals, value = field.partition("=")
        name = _NAMES.get(name.lower(), name.lower())
        if not equals and name not in ("readonly", "readwrite", "required"):
            raise InvalidArgument(f"invalid field '{field}' must be a key=value pair")
        fields[name] = expand(value) if equals else "true"
    return fields


def _read_only(fields: dict[str, str], default: bool) -> bool:
    if "readonly" in fields:
        return _truth(fields, "readonly", default)
    return not _truth(fields, "readwrite", not default)


def _truth(fields: dict[str, str], name: str, default: bool) -> bool:
    value = fields.get(name)
    if value is None:
        return default
    if value in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if value in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise InvalidArgument(f"invalid value for {name}: {value}")


def _number(fields: dict[str, str], name: str, base: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if not re.fullmatch(r"[0-7]{1,6}" if base == 8 else r"\d{1,9}", value):
        raise InvalidArgument(f"invalid value {value} for {name}")
    return int(value, base)


def _size(text: str) -> int:
    if not text:
        return 0
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s*([bkmgt]?)(?:i?b)?", text.lower())
    if match is None:
        raise InvalidArgument(f"invalid value for size: {text}")
    return int(float(match[1]) * _UNITS[match[2]])
