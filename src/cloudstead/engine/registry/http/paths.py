"""A path of the API taken apart, from its end: a repository's name has as many parts as it likes.

/v2/                                  base
/v2/_catalog                          catalog
/v2/<name>/tags/list                  tags
/v2/<name>/referrers/<digest>         referrers
/v2/<name>/manifests/<reference>      manifests
/v2/<name>/blobs/<digest>             blobs
/v2/<name>/blobs/uploads/             uploads
/v2/<name>/blobs/uploads/<id>         upload
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import parse_qs, quote, unquote

from cloudstead.engine.registry.errors import NameInvalid, UnsupportedHere

Kind: TypeAlias = Literal["", "base", "catalog", "tags", "referrers", "manifests", "blobs", "uploads", "upload"]

PREFIX = "/v2/"
NAME_LENGTH = 256
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*")
_KINDS: dict[str, Kind] = {"manifests": "manifests", "blobs": "blobs", "referrers": "referrers"}
_QUERY_FIELDS = 100  # parameters of one request; more are refused


class Place(NamedTuple):
    kind: Kind  # empty: the API has no such path
    name: str = ""  # of the repository, as it stands there
    rest: str = ""  # digest, tag, reference or id


NOWHERE = Place("")


def split(path: str) -> Place:
    if "%" in path:
        path = unquote(path)
    if not path.startswith(PREFIX):
        return Place("base") if path == "/v2" else NOWHERE
    head, _, rest = path.rpartition("/")
    name, _, word = head.rpartition("/")
    kind = _KINDS.get(word)
    if kind is not None:
        if rest == "uploads" and kind == "blobs":
            return Place("uploads", name[4:])
        return Place(kind, name[4:], rest)
    if word == "uploads" and name.endswith("/blobs"):
        return Place("upload" if rest else "uploads", name[4:-6], rest)
    if word == "tags" and rest == "list":
        return Place("tags", name[4:])
    if path == PREFIX:
        return Place("base")
    return Place("catalog") if path == "/v2/_catalog" else NOWHERE


def require_name(name: str) -> None:
    """Raises NameInvalid."""
    if len(name) > NAME_LENGTH or not _NAME.fullmatch(name):
        raise NameInvalid(f"invalid repository name: {name[:NAME_LENGTH]!r}", detail={"name": name[:NAME_LENGTH]})


class Query:
    """The parameters of a request."""

    def __init__(self, query: str) -> None:
        try:
            self._fields = parse_qs(query, keep_blank_values=True, max_num_fields=_QUERY_FIELDS) if query else {}
        except ValueError:
            raise TooManyParameters(f"a request has {_QUERY_FIELDS} parameters at most") from None

    def get(self, name: str) -> str | None:
        """The first of this name."""
        found = self._fields.get(name)
        return None if found is None else found[0]

    def all(self, name: str) -> list[str]:
        return self._fields.get(name, [])


class TooManyParameters(UnsupportedHere):
    status = 414


def quoted(value: str) -> str:
    """For a query."""
    return quote(value, safe="")
