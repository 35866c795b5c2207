"""The members of requests and responses that the REST protocols keep outside the body: labels of the path, query string, headers, status.

Compiled once for each operation. Values are text in one of the forms of `text`; timestamps in headers are RFC 822 unless the model says otherwise.
https://smithy.io/2.0/spec/http-bindings.html
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote_plus

import msgspec

from cloudstead.edge.protocols.model import Raw, ServiceModel, Shape
from cloudstead.edge.protocols.text import TextReader, Unreadable, text_reader, text_writer
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.errors import MalformedRequest

Query: TypeAlias = dict[str, list[str]]
Read: TypeAlias = Callable[[HttpRequest, Mapping[str, str], Query, Raw], None]
Write: TypeAlias = Callable[[Any, list[tuple[str, str]]], None]

IN_REQUESTS = frozenset({"uri", "querystring", "header", "headers"})
IN_RESPONSES = frozenset({"header", "headers", "statusCode"})

HEADER_TIMESTAMPS = "rfc822"

_ITEM = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^,]*?))\s*(?:,|$)', re.ASCII)
_MUST_QUOTE = re.compile(r'[",]|^\s|\s$')


def located(shape: Shape, places: frozenset[str] = IN_REQUESTS) -> frozenset[str]:
    """The members of an input or output that are not in its body. A place that only the other direction has does not count."""
    return frozenset(name for name, reference in shape.get("members", {}).items() if reference.get("location") in places)


def request_reader(model: ServiceModel, shape: Shape) -> Callable[[HttpRequest, Mapping[str, str]], Raw]:
    """What reads all members outside the body, from the request and its labels.

    The function raises MalformedRequest when a value is not of its type.
    """
    readers: list[Read] = []
    uses_query = False
    bound = {
        ref["locationName"] for ref in shape.get("members", {}).values() if ref.get("location") == "querystring" and "locationName" in ref
    }
    for name, reference in shape.get("members", {}).items():
        place = reference.get("location")
        if place is None:
            continue
        member = model.resolve(reference)
        key = model.field(shape["name"], name).encode_name
        wire_name = reference.get("locationName", name)
        if place == "uri":
            readers.append(_label(key, wire_name, _scalar(member)))
        elif place == "querystring":
            uses_query = True
            readers.append(_query_map(model, key, member, bound) if member["type"] == "map" else _query(model, key, wire_name, member))
        elif place == "header":
            readers.append(_header(model, key, wire_name, member))
        elif place == "headers":
            readers.append(_prefixed(key, reference.get("locationName", "").lower()))

    def read(request: HttpRequest, labels: Mapping[str, str]) -> Raw:
        raw: Raw = {}
        query = query_of(request.query) if uses_query and request.query else {}
        try:
            for read_member in readers:
                read_member(request, labels, query, raw)
        except Unreadable as problem:
            raise MalformedRequest(f"The value '{problem.text[:200]}' of {problem.where} is not {problem.expected}.") from None
        return raw

    return read


def query_of(query: str) -> Query:
    """
    Raises:
        MalformedRequest: it is not UTF-8.
    """
    found: Query = {}
    try:
        for pair in query.split("&"):
            if pair:
                name, _, value = pair.partition("=")
                found.setdefault(unquote_plus(name, errors="strict"), []).append(unquote_plus(value, errors="strict"))
    except UnicodeDecodeError:
        raise MalformedRequest("The query string of the request is not encoded in UTF-8.") from None
    return found


def _scalar(shape: Shape) -> TextReader:
    read = text_reader(shape)
    assert read is not None, shape["type"]
    return read


def _reading(read: TextReader, name: str) -> TextReader:
    """The same, noting the name of what could not be read."""

    def read_named(text: str) -> Any:
        try:
            return read(text)
        except Unreadable as problem:
            problem.path.append(name)
            raise

    return read_named


def _label(key: str, name: str, read: TextReader) -> Read:
    read = _reading(read, name)

    def read_label(request: HttpRequest, labels: Mapping[str, str], query: Query, raw: Raw) -> None:
        text = labels.get(name)
        if text is not None:
            raw[key] = read(text)

    return read_label


def _query(model: ServiceModel, key: str, name: str, shape: Shape) -> Read:
    is_list = shape["type"] == "list"
    read = _reading(_scalar(model.resolve(shape["member"]) if is_list else shape), name)

    def read_query(request: HttpRequest, labels: Mapping[str, str], query: Query, raw: Raw) -> None:
        texts = query.get(name)
        if texts is not None:
            raw[key] = [read(text) for text in texts] if is_list else read(texts[0])

    return read_query


def _query_map(model: ServiceModel, key: str, shape: Shape, bound: set[str]) -> Read:
    """All parameters that no other member is bound to."""
    lists = model.resolve(shape["value"])["type"] == "list"

    def read_rest(request: HttpRequest, labels: Mapping[str, str], query: Query, raw: Raw) -> None:
        rest = {name: texts if lists else texts[0] for name, texts in query.items()}
        if rest:
            raw[key] = rest

    return read_rest


def _header(model: ServiceModel, key: str, name: str, shape: Shape) -> Read:
    if shape.get("jsonvalue"):
        read: TextReader = _reading(_read_json, name)
    elif shape["type"] == "list":
        read = _list_reader(model.resolve(shape["member"]), name)
    else:
        read = _reading(_scalar(shape), name)
    is_string, is_list = shape["type"] == "string", shape["type"] == "list"

    def read_header(request: HttpRequest, labels: Mapping[str, str], query: Query, raw: Raw) -> None:
        text = request.headers.get(name)
        if text is None:
            return
        if is_list:
            text = ",".join(request.headers.get_all(name))
        text = decode(text.strip())
        if text or is_string or is_list:
            raw[key] = read(text)

    return read_header


def _list_reader(shape: Shape, name: str) -> TextReader:
    read = _reading(_scalar(shape), name)
    dates = shape["type"] == "timestamp" and shape.get("timestampFormat", HEADER_TIMESTAMPS).lower() == "rfc822"

    def read_list(text: str) -> list[Any]:
        if dates:  # "Mon, 16 Dec 2019 23:48:18 GMT, Tue, 17 …": every second comma separates
            parts = text.split(",")
            return [read(",".join(parts[at : at + 2]).strip()) for at in range(0, len(parts), 2)]
        return [read(item) for item in split_list(text)]

    return read_list


def split_list(text: str) -> list[str]:
    """The items of a header with a list: separated by commas, in quotes where they hold one."""
    items, at = [], 0
    while at < len(text):
        match = _ITEM.match(text, at)
        if match is None:  # a quote in the middle of an item: taken as it stands
            end = text.find(",", at)
            end = len(text) if end < 0 else end
            items.append(text[at:end].strip())
            at = end + 1
            continue
        quoted = match[1]
        items.append(re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else match[2])
        at = match.end()
    return items


def _prefixed(key: str, prefix: str) -> Read:
    """A map of all headers whose names begin with the prefix."""

    def read_prefixed(request: HttpRequest, labels: Mapping[str, str], query: Query, raw: Raw) -> None:
        found: dict[str, str] = {}
        for name, value in request.headers:
            if name.lower().startswith(prefix):
                found.setdefault(name[len(prefix) :], decode(value.strip()))
        if found:
            raw[key] = found

    return read_prefixed


def decode(text: str) -> str:
    """A header's text: UTF-8 where it is valid, else as HTTP has it, latin-1."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def _read_json(text: str) -> Any:
    try:
        return msgspec.json.decode(binascii.a2b_base64(text, strict_mode=True))
    except (ValueError, RecursionError):
        raise Unreadable(text, "JSON in base64") from None


def response_writer(model: ServiceModel, shape: Shape) -> Callable[[Any, list[tuple[str, str]]], int | None]:
    """What appends the headers of a response (or of an error) to a list, and returns the status when a member holds it."""
    writers: list[Write] = []
    status = ""
    for name, reference in shape.get("members", {}).items():
        place = reference.get("location")
        attribute = model.field(shape["name"], name).name
        member = model.resolve(reference)
        if place == "statusCode":
            status = attribute
        elif place == "header":
            writers.append(_header_writer(attribute, reference.get("locationName", name), _to_text(model, member)))
        elif place == "headers":
            writers.append(_prefixed_writer(attribute, reference.get("locationName", "")))

    def write(response: Any, headers: list[tuple[str, str]]) -> int | None:
        for write_member in writers:
            write_member(response, headers)
        return getattr(response, status) if status else None

    return write


def _to_text(model: ServiceModel, shape: Shape) -> Callable[[Any], str]:
    if shape.get("jsonvalue"):
        return lambda value: binascii.b2a_base64(msgspec.json.encode(value), newline=False).decode()
    if shape["type"] == "list":
        item = model.resolve(shape["member"])
        item_to_text = text_writer(item, HEADER_TIMESTAMPS)
        assert item_to_text is not None
        if item["type"] != "string":
            return lambda value: ", ".join(item_to_text(part) for part in value)
        return lambda value: ", ".join(_quoted(part) if _MUST_QUOTE.search(part) else part for part in value)
    to_text = text_writer(shape, HEADER_TIMESTAMPS)
    assert to_text is not None, shape["type"]
    return to_text


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _header_writer(attribute: str, name: str, to_text: Callable[[Any], str]) -> Write:
    def write_header(response: Any, headers: list[tuple[str, str]]) -> None:
        value = getattr(response, attribute)
        if value is not None:
            headers.append((name, safe(to_text(value))))

    return write_header


def _prefixed_writer(attribute: str, prefix: str) -> Write:
    def write_prefixed(response: Any, headers: list[tuple[str, str]]) -> None:
        for name, value in (getattr(response, attribute) or {}).items():
            header = (prefix + name, safe(value))
            if header not in headers:  # two members may hold the same headers
                headers.append(header)

    return write_prefixed


def safe(text: str) -> str:
    """A header's value: its UTF-8 as latin-1, and never more than one line."""
    if "\r" in text or "\n" in text or "\0" in text:
        text = re.sub(r"[\r\n\0]+", " ", text)
    return text if text.isascii() else text.encode(errors="replace").decode("latin-1")
