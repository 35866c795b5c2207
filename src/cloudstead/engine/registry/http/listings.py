"""Lists: tags, referrers, repositories. Long ones come in pages, each with a Link to the next."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from typing import TYPE_CHECKING

import msgspec

from cloudstead.engine.images.api import Descriptor
from cloudstead.engine.images.media_types import OCI_INDEX
from cloudstead.engine.registry.errors import UnsupportedHere
from cloudstead.engine.registry.http.answers import VERSION, Header, json_answer
from cloudstead.engine.registry.http.paths import Query, quoted
from cloudstead.engine.registry.model import ImageRow
from cloudstead.engine.registry.uploads import one_digest
from cloudstead.http.messages import HttpResponse

if TYPE_CHECKING:
    from cloudstead.engine.registry.http.api import Call

PAGE = 1000  # names, as in ECR
AT_ONCE = 1000  # referrers that are looked at in one turn of the loop
INDEX_BYTES = 4 << 20  # of one answer about referrers: it is a manifest, and clients take no larger ones
_MOST_DIGITS = 18


class _Tags(msgspec.Struct):
    name: str
    tags: list[str]


class _Repositories(msgspec.Struct):
    repositories: list[str]


class BadNumber(UnsupportedHere):
    status = 400


async def tags(call: Call) -> HttpResponse:
    query = Query(call.request.query)
    count, last = _count(query), query.get("last") or ""
    names = call.catalog.tags_after(call.rules.repository, last, count + 1)
    return json_answer(_Tags(call.name, names[:count]), _next(f"/v2/{call.name}/tags/list", names, count))


async def repositories(call: Call) -> HttpResponse:
    query = Query(call.request.query)
    count, last = _count(query), query.get("last") or ""
    found = sorted(call.gate.repositories(call.caller))
    begin = bisect_right(found, last)
    names = found[begin : begin + count + 1]
    return json_answer(_Repositories(names[:count]), _next("/v2/_catalog", names, count))


async def referrers(call: Call) -> HttpResponse:
    """An index made on the spot. `artifactType` filters; `last` is ours, and stands in the Link only."""
    subject, query = one_digest((call.rest,)), Query(call.request.query)
    wanted, last = query.get("artifactType"), query.get("last") or ""
    pieces: list[bytes] = []
    size, more = 0, ""
    while found := call.catalog.referrers_after(call.rules.repository, subject, last, AT_ONCE):
        for row in found:
            if wanted is not None and row.artifact_type != wanted:
                continue
            piece = msgspec.json.encode(_descriptor(row))
            if pieces and size + len(piece) > INDEX_BYTES - 1024:
                more = last
                break
            pieces.append(piece)
            size += len(piece) + 1
            last = row.digest
        if more or len(found) < AT_ONCE:
            break
        last = found[-1].digest
        await asyncio.sleep(0)  # there may be very many, and only a few of the type that is wanted
    headers: list[Header] = [("Content-Type", OCI_INDEX), VERSION]
    if wanted is not None:
        headers.append(("OCI-Filters-Applied", "artifactType"))
    if more:
        only = "" if wanted is None else f"&artifactType={quoted(wanted)}"
        headers.append(("Link", f'</v2/{call.name}/referrers/{subject}?last={quoted(more)}{only}>; rel="next"'))
    body = b'{"schemaVersion":2,"mediaType":"%b","manifests":[%b]}' % (OCI_INDEX.encode(), b",".join(pieces))
    return HttpResponse(200, headers, body)


def _descriptor(row: ImageRow) -> Descriptor:
    return Descriptor(row.media_type, row.digest, row.size, annotations=row.annotations, artifact_type=row.artifact_type)


def _count(query: Query) -> int:
    """How many are asked for; more than a page has are not given at once. Raises BadNumber."""
    given = query.get("n")
    if given is None:
        return PAGE
    if not (given.isascii() and given.isdigit()):
        raise BadNumber(f"n must be a number from 0 on, not {given[:100]!r}", detail={"n": given[:100]})
    return PAGE if len(given) > _MOST_DIGITS else min(int(given), PAGE)


def _next(path: str, names: list[str], count: int) -> list[Header]:
    """`names` has one more than the page where there is more."""
    if len(names) <= count or not count:
        return []
    return [("Link", f'<{path}?n={count}&last={quoted(names[count - 1])}>; rel="next"')]
