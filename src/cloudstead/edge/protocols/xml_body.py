"""XML as clients send it: bodies into raw values, by closures compiled once for each shape.

A reader is `read(element) -> raw value`; raw values are what msgspec.convert takes: dictionaries by the struct's names in JSON, lists, numbers, bytes,
seconds since the epoch.

Bodies come from strangers. Document type declarations are refused before the parser sees them, so there are no entities to expand; bytes are
UTF-8 whatever the prolog says, so that this check cannot be evaded by another encoding; length and depth are bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias
from xml.etree.ElementTree import Element, ParseError, XMLParser

from cloudstead.edge.protocols.model import ServiceModel, Shape
from cloudstead.edge.protocols.text import TextReader, Unreadable, text_reader
from cloudstead.kernel.errors import MalformedRequest

Reader: TypeAlias = Callable[[Element], Any]

MAX_DEPTH = 100  # of elements; AWS's deepest documents (lifecycle rules, CloudFront distributions) stay below 20
MAX_BYTES = 8 << 20  # the longest there are (10,000 parts of an upload, a CloudFormation template) stay below 2 MiB
INVALID = "The XML you provided was not well-formed or did not validate against our published schema"


class MalformedXml(MalformedRequest):
    """https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""

    code = "MalformedXML"


def parse(body: bytes) -> Element:
    """The root element of a body.

    Raises:
        MalformedXml: it is not well-formed, too long, too deep, or has a document type declaration.
    """
    if len(body) > MAX_BYTES:
        raise MalformedXml(f"The XML of a request may be {MAX_BYTES} bytes long at most.")
    if (
        b"\x00" in body
    ):  # no XML in UTF-8 has it, all in UTF-16 has; the parser would take that, and the next line not see what stands there
        raise MalformedXml(INVALID)
    if b"<!DOCTYPE" in body:
        raise MalformedXml("Document type declarations are not allowed in the XML of a request.")
    parser = XMLParser(encoding="utf-8")
    try:
        parser.feed(body)
        root: Element = parser.close()
    except (ParseError, ValueError, LookupError):
        raise MalformedXml(INVALID) from None
    if body.count(b"<") > MAX_DEPTH:  # only then can it be too deep
        _check_depth(root)
    return root


def _check_depth(root: Element) -> None:
    depth, level = 0, [root]
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise MalformedXml(f"The XML of a request may be nested {MAX_DEPTH} elements deep at most.")
        level = [child for element in level for child in element]


def local_name(tag: str) -> str:
    return tag.rpartition("}")[2] if tag[0] == "{" else tag


class Readers:
    """Compiles the readers of one service's shapes. Namespaces are not looked at: clients leave them out or spell them differently."""

    def __init__(self, model: ServiceModel) -> None:
        self.model = model
        self._structures: dict[tuple[str, frozenset[str]], Reader] = {}

    def element(self, shape: Shape) -> Reader:
        """What reads one element of this shape."""
        kind = shape["type"]
        if kind == "structure":
            return self.structure(shape)
        if kind == "list":
            return self._list(shape)
        if kind == "map":
            return self._map(shape)
        return self._scalar(shape)

    def _scalar(self, shape: Shape) -> Reader:
        from_text = self._text(shape)
        is_string = shape["type"] == "string"

        def read_scalar(element: Element) -> Any:
            text = element.text or ""
            if len(element):
                raise Unreadable(text, "a single value")
            return from_text(text if is_string else text.strip())

        return read_scalar

    def _list(self, shape: Shape) -> Reader:
        name = shape["member"].get("locationName", "member")
        read_item = self.element(self.model.resolve(shape["member"]))

        def read_list(element: Element) -> list[Any]:
            return [read_item(child) for child in element if local_name(child.tag) == name]

        return read_list

    def _entry(self, shape: Shape) -> Callable[[Element, dict[str, Any]], None]:
        key_name, value_name = shape["key"].get("locationName", "key"), shape["value"].get("locationName", "value")
        read_key, read_value = self.element(self.model.resolve(shape["key"])), self.element(self.model.resolve(shape["value"]))

        def read_entry(element: Element, into: dict[str, Any]) -> None:
            found = {local_name(child.tag): child for child in element}
            if key_name not in found or value_name not in found:
                raise Unreadable("", "a map entry with a key and a value")
            into[read_key(found[key_name])] = read_value(found[value_name])

        return read_entry

    def _map(self, shape: Shape) -> Reader:
        read_entry = self._entry(shape)

        def read_map(element: Element) -> dict[str, Any]:
            entries: dict[str, Any] = {}
            for child in element:
                if local_name(child.tag) == "entry":
                    read_entry(child, entries)
            return entries

        return read_map

    def structure(self, shape: Shape, without: frozenset[str] = frozenset()) -> Reader:
        """What reads a structure's element.

        Args:
            without: members that come from somewhere else, from headers for example.
        """
        known = self._structures.get((shape["name"], without))
        if known is not None:
            return known
        members: dict[str, _Member] = {}
        attributes: list[tuple[str, str, TextReader]] = []

        def read_structure(element: Element) -> dict[str, Any]:
            raw: dict[str, Any] = {}
            for child in element:
                name = local_name(child.tag)
                member = members.get(name)
                if member is None:
                    continue
                try:
                    member.take(child, raw)
                except Unreadable as problem:
                    problem.path.append(name)
                    raise
            if attributes and element.attrib:
                given = {local_name(name): value for name, value in element.attrib.items()}
                for name, key, from_text in attributes:
                    if name in given:
                        raw[key] = from_text(given[name])
            return raw

        # Noted before the members are compiled: a structure may hold itself.
        self._structures[shape["name"], without] = read_structure
        aliases: list[tuple[str, str]] = []
        for name, reference in shape["members"].items():
            if name in without:
                continue
            key = self.model.field(shape["name"], name).encode_name
            member = self.model.resolve(reference)
            wire_name = member.get("locationName", name)
            if reference.get("xmlAttribute"):
                attributes.append((wire_name.rpartition(":")[2], key, self._text(member)))
                continue
            members[wire_name] = self._member(key, member)
            aliases.append((name, wire_name))  # a name that only the shape has counts for botocore, not for Smithy
            if member["type"] == "list" and member.get("flattened") and "locationName" in member["member"]:
                aliases.append((member["member"]["locationName"], wire_name))
        for alias, wire_name in aliases:
            members.setdefault(alias, members[wire_name])
        return read_structure

    def _member(self, key: str, shape: Shape) -> _Member:
        if not shape.get("flattened"):
            return _Single(key, self.element(shape))
        if shape["type"] == "map":
            return _Repeated(key, dict, self._entry(shape))
        read_item = self.element(self.model.resolve(shape["member"]))

        def add(element: Element, into: list[Any]) -> None:
            into.append(read_item(element))

        return _Repeated(key, list, add)

    def _text(self, shape: Shape) -> TextReader:
        from_text = text_reader(shape)
        assert from_text is not None, shape["type"]
        return from_text


class _Member(Protocol):
    """Where the elements of one name go."""

    def take(self, element: Element, raw: dict[str, Any]) -> None: ...


class _Single:
    """One element is the member."""

    __slots__ = ("key", "read")

    def __init__(self, key: str, read: Reader) -> None:
        self.key = key
        self.read = read

    def take(self, element: Element, raw: dict[str, Any]) -> None:
        if self.key in raw:
            raise Unreadable("", "there only once")
        raw[self.key] = self.read(element)


class _Repeated:
    """Each element is an item of a flattened list or an entry of a flattened map."""

    __slots__ = ("add", "empty", "key")

    def __init__(self, key: str, empty: Callable[[], Any], add: Callable[[Element, Any], None]) -> None:
        self.key = key
        self.empty = empty
        self.add = add

    def take(self, element: Element, raw: dict[str, Any]) -> None:
        if self.key not in raw:
            raw[self.key] = self.empty()
        self.add(element, raw[self.key])
