"""In what form a target gets an event: whole, a constant, a part of it, or a template filled from it.

A template holds `<name>` where a value is to stand. Within quotation marks a text is put in as it is (nothing is escaped), and objects and arrays lose
their own quotation marks; outside of them every value is written as JSON. A value that the event does not have is an empty text.

    {"instance": <id>, "note": "<id> is <state>", "whole": <aws.events.event.json>}

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec

from cloudstead.kernel.dates import iso8601
from cloudstead.services.events.envelope import Envelope
from cloudstead.services.events.model import Target

Step: TypeAlias = str | int | None  # a name, an index, or None for `*`
Piece: TypeAlias = str | tuple[str, bool]  # text, or the name of a variable and whether it stands in quotation marks

_STEP = re.compile(r"\.(\*|[^.\[\]*'\"\s()?@]+)|\[(?:(\d{1,9})|(\*)|'([^']+)'|\"([^\"]+)\")\]")
_VARIABLE = re.compile(r"<([A-Za-z0-9_.\-]+)>")
_RULE_ARN, _RULE_NAME, _INGESTED = "aws.events.rule-arn", "aws.events.rule-name", "aws.events.event.ingestion-time"
_EVENT, _EVENT_JSON = "aws.events.event", "aws.events.event.json"
PREDEFINED: Final = frozenset((_RULE_ARN, _RULE_NAME, _INGESTED, _EVENT, _EVENT_JSON))
MISSING: Final = object()


class InvalidInput(ValueError):
    """A path or template is not one; the message is for the caller of PutTargets."""


@lru_cache(maxsize=4096)
def path(text: str) -> tuple[Step, ...]:
    """A JSON path as far as AWS takes them: `$.detail.items[0].name`, `$['detail-type']`, `$.resources[*]`.

    Raises:
        InvalidInput
    """
    if not text.startswith("$"):
        raise InvalidInput(text)
    steps: list[Step] = []
    at = 1
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            raise InvalidInput(text)
        name, index, star, single, double = found.groups()
        if index is not None:
            steps.append(int(index))
        else:
            steps.append(None if star or name == "*" else name or single or double)
        at = found.end()
    return tuple(steps)


def value_at(document: Any, steps: tuple[Step, ...]) -> Any:
    """What stands there, or MISSING. With a `*` on the way: the list of all that stand there."""
    for at, step in enumerate(steps):
        if step is None:
            inner: list[Any] = list(document.values()) if isinstance(document, dict) else document if isinstance(document, list) else []
            return [found for one in inner if (found := value_at(one, steps[at + 1 :])) is not MISSING]
        if isinstance(step, int):
            document = document[step] if isinstance(document, list) and step < len(document) else MISSING
        else:
            document = document.get(step, MISSING) if isinstance(document, dict) else MISSING
        if document is MISSING:
            break
    return document


@lru_cache(maxsize=1024)
def pieces(template: str) -> tuple[Piece, ...]:
    """A template cut at its variables."""
    found: list[Piece] = []
    at, quoted = 0, False
    for variable in _VARIABLE.finditer(template):
        text = template[at : variable.start()]
        quoted ^= _quotation_marks(text) % 2 == 1
        found += [text, (variable[1], quoted)]
        at = variable.end()
    found.append(template[at:])
    return tuple(found)


def _quotation_marks(text: str) -> int:
    count, escaped = 0, False
    for one in text:
        if escaped:
            escaped = False
        elif one == "\\":
            escaped = True
        else:
            count += one == '"'
    return count


def check_template(target_id: str, paths: Mapping[str, str], template: str) -> None:
    """Refuse a template that AWS refuses.

    Raises:
        InvalidInput
    """
    for name, text in paths.items():
        if name.upper().startswith("AWS"):
            raise InvalidInput(f"InputPathsMap for target {target_id} contains a key that starts with AWS: {name}.")
        check_path(target_id, text)
    cut = pieces(template)
    for piece in cut:
        if isinstance(piece, tuple) and piece[0] not in paths and piece[0] not in PREDEFINED:
            raise InvalidInput(f"InputTemplate for target {target_id} contains invalid placeholder {piece[0]}.")
    trial = "".join(piece if isinstance(piece, str) else "x" if piece[1] else "null" for piece in cut)
    try:
        for _ in _values(trial):
            pass
    except (ValueError, RecursionError):
        raise InvalidInput(f'Invalid InputTemplate for target {target_id} : [Source: (String)"{trial}"].') from None


def _values(text: str) -> Iterator[Any]:
    """A template is one value of JSON or several, one after the other: lines of text."""
    decoder = json.JSONDecoder(strict=False)
    at, end = 0, len(text)
    while True:
        while at < end and text[at].isspace():
            at += 1
        if at == end:
            return
        value, at = decoder.raw_decode(text, at)
        yield value


def check_path(target_id: str, text: str) -> None:
    try:
        path(text)
    except InvalidInput:
        raise InvalidInput(f"InputPath for target {target_id} is invalid.") from None


def payload(target: Target, rule_arn: str, event: Envelope, ingested: float) -> str:
    """What a target gets."""
    if target.input is not None:
        return target.input
    if target.input_path is not None:
        found = value_at(event.document, path(target.input_path))
        return "null" if found is MISSING else _encode(found)
    if target.input_template is None:
        return event.text.decode()
    values = {name: value_at(event.document, path(text)) for name, text in (target.input_paths or {}).items()}
    return fill(pieces(target.input_template), values, target.rule, rule_arn, event, ingested)


def fill(cut: tuple[Piece, ...], values: Mapping[str, Any], rule: str, rule_arn: str, event: Envelope, ingested: float) -> str:
    parts: list[str] = []
    for piece in cut:
        if isinstance(piece, str):
            parts.append(piece)
            continue
        name, quoted = piece
        value = values[name] if name in values else _predefined(name, rule, rule_arn, event, ingested)
        parts.append(_in_text(value) if quoted else _encode("" if value is MISSING else value))
    return "".join(parts)


def _in_text(value: Any) -> str:
    if value is MISSING:
        return ""
    return value if isinstance(value, str) else _encode(value).replace('"', "")


def _predefined(name: str, rule: str, rule_arn: str, event: Envelope, ingested: float) -> Any:
    if name == _RULE_ARN:
        return rule_arn
    if name == _RULE_NAME:
        return rule
    if name == _INGESTED:
        return iso8601(ingested)
    if name == _EVENT_JSON:
        return event.document
    if name == _EVENT:
        # So does AWS write it, by trial: without the detail, its names in camelCase and the time that of its arrival.
        head = {key: value for key, value in event.document.items() if key not in ("detail", "detail-type", "time", "replay-name")}
        return {**head, "detailType": event.document["detail-type"], "time": iso8601(ingested)}
    return MISSING


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()
