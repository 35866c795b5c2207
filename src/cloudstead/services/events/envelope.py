"""Events as targets get them: an envelope of JSON.

    {"version": "0", "id", "detail-type", "source", "account", "time", "region", "resources": [], "detail": {}}

The detail stays as it was written (but for white space), so that no number changes on the way.
https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from cloudstead.kernel.dates import iso8601
from cloudstead.kernel.events import Event

_json = msgspec.json.Encoder()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Envelope(msgspec.Struct, frozen=True):
    """An event in both forms: as an object, for patterns, and as its text."""

    id: str
    time: float
    document: dict[str, Any]
    text: bytes


class MalformedDetail(ValueError):
    """The detail is not an object of JSON."""


def seal(
    *,
    id: str,
    detail_type: str,
    source: str,
    account: str,
    time: float,
    region: str,
    resources: Sequence[str],
    detail: str | bytes,
) -> Envelope:
    """Make an envelope.

    Args:
        detail: an object of JSON.

    Raises:
        MalformedDetail
    """
    try:
        inner = msgspec.json.decode(detail)
        compact = msgspec.json.format(detail if isinstance(detail, bytes) else detail.encode(), indent=-1)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        raise MalformedDetail from None
    if not isinstance(inner, dict):
        raise MalformedDetail
    head: dict[str, Any] = {
        "version": "0",
        "id": id,
        "detail-type": detail_type,
        "source": source,
        "account": account,
        "time": iso8601(time),
        "region": region,
        "resources": list(resources),
    }
    text = _json.encode({**head, "detail": msgspec.Raw(compact)})
    head["detail"] = inner
    return Envelope(id, time, head, text)


def opened(text: bytes) -> Envelope:
    """An envelope from its text, as it was stored."""
    document = msgspec.json.decode(text)
    return Envelope(document["id"], seconds(document["time"]), document, text)


def of_kernel(event: Event) -> Envelope:
    """What happened in Cloudstead itself."""
    return seal(
        id=event.id,
        detail_type=event.detail_type,
        source=event.source,
        account=event.account,
        time=event.time,
        region=event.region,
        resources=event.resources,
        detail=_json.encode(event.detail),
    )


def replayed(event: Envelope, name: str) -> Envelope:
    """The same event as a replay sends it."""
    text = event.text[:-1] + b',"replay-name":' + _json.encode(name) + b"}"
    return Envelope(event.id, event.time, {**event.document, "replay-name": name}, text)


def seconds(text: str) -> float:
    return (datetime.fromisoformat(text) - _EPOCH).total_seconds()
