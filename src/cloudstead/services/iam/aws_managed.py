"""AWS's own managed policies: some 1,600, as data.

`aws_managed.jsonl` has one policy on a line, its path and name first (tools/aws_managed_policies.py writes it). It is never loaded as a whole: at
the first question the file is read through once for where each policy stands, and from then on a question reads one line. So an idle daemon
pays nothing, and one that lists them all holds an index of a few hundred KB.

What the data does not have: descriptions, all versions but the default one, and AWS's policy ids (ours are made from the names, so they are stable).
"""

from __future__ import annotations

import hashlib
import re
from base64 import b32encode
from collections.abc import Iterator
from datetime import datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

import msgspec

from cloudstead.kernel.identity import PARTITION
from cloudstead.kernel.ids import POLICY
from cloudstead.services.iam.model import ManagedPolicy, PolicyVersion

ACCOUNT: Final = "aws"  # where an ARN has the account
SERVICE_ROLES: Final = "/aws-service-role/"  # the path of policies that only service-linked roles may have

_FILE: Final = Path(__file__).with_name("aws_managed.jsonl")
_PREFIX: Final = f"arn:{PARTITION}:iam::{ACCOUNT}:policy"
_START: Final = re.compile(rb'\{"path":"([^"]*)","name":"([^"]*)"')


class _Line(msgspec.Struct):
    path: str
    name: str
    version: str
    created: datetime
    updated: datetime
    document: msgspec.Raw


_decode = msgspec.json.Decoder(_Line).decode


def document(arn: str) -> str | None:
    """The document of `arn:aws:iam::aws:policy/…`; None when there is no such policy."""
    found = find(arn)
    return None if found is None else found.document


@lru_cache(maxsize=64)
def find(arn: str) -> ManagedPolicy | None:
    """The policy of an ARN, with its default version as the only one."""
    place = _places().get(arn.removeprefix(_PREFIX)) if arn.startswith(_PREFIX) else None
    return None if place is None else _read(place)


def every(path_prefix: str = "/") -> Iterator[str]:
    """The ARNs of all policies below a path, in the order of their names."""
    return (_PREFIX + where for where in _places() if where.startswith(path_prefix))


@cache
def _places() -> dict[str, tuple[int, int]]:
    """Path and name -> where its line begins and how long it is."""
    places = {}
    at = 0
    with _FILE.open("rb") as file:
        for line in file:
            start = _START.match(line)
            assert start is not None, f"{_FILE.name} is damaged at byte {at}"
            places[(start[1] + start[2]).decode()] = (at, len(line))
            at += len(line)
    return places


def _read(place: tuple[int, int]) -> ManagedPolicy:
    with _FILE.open("rb") as file:
        file.seek(place[0])
        line = _decode(file.read(place[1]))
    version = PolicyVersion(version_id=line.version, document=bytes(line.document).decode(), created=line.updated.timestamp())
    return ManagedPolicy(
        account=ACCOUNT,
        name=line.name,
        policy_id=_policy_id(line.name),
        arn=f"{_PREFIX}{line.path}{line.name}",
        created=line.created.timestamp(),
        updated=line.updated.timestamp(),
        versions=(version,),
        default_version=line.version,
        path=line.path,
    )


def _policy_id(name: str) -> str:
    return POLICY + b32encode(hashlib.sha256(name.encode()).digest()).decode()[:17]
