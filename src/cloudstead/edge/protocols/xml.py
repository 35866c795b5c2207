"""XML as AWS writes it: from structs, by closures compiled once for each shape.

A writer is `write(value, append)`: it appends the text of one whole element, tags included.
https://smithy.io/2.0/aws/protocols/aws-restxml-protocol.html, https://smithy.io/2.0/spec/protocol-traits.html#xml-bindings
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from cloudstead.edge.protocols.model import ServiceModel, Shape
from cloudstead.edge.protocols.text import text_writer

Append: TypeAlias = Callable[[str], Any]
Writer: TypeAlias = Callable[[Any, Append], None]

# What cannot stand in text as it is. XML 1.0 has no way at all to write most control characters and lone surrogates: they become U+FFFD.
_SPECIAL = re.compile("[&<>\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SPECIAL_IN_ATTRIBUTE = re.compile('[&<>"\t\n\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]')
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"}


def _escaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0], "\ufffd")


def escape(text: str) -> str:
    """The text of an element."""
    return _SPECIAL.sub(_escaped, text) if _SPECIAL.search(text) else text


def escape_attribute(text: str) -> str:
    """The value of an attribute, between double quotes."""
    return _SPECIAL_IN_ATTRIBUTE.sub(_escaped, text)


def namespace(trait: object) -> str:
    """The attribute of an `xmlNamespace` trait, with its leading blank; empty when there is none."""
    if isinstance(trait, str):
        return f' xmlns="{escape_attribute(trait)}"'
    if isinstance(trait, Mapping) and trait.get("uri"):
        prefix = trait.get("prefix")
        return f' xmlns{":" + prefix if prefix else ""}="{escape_attribute(trait["uri"])}"'
    return ""


def _scalar_writer(open: str, close: str, shape: Shape, timestamp_format: str) -> Writer | None:
    to_text = text_writer(shape, timestamp_format)
    if to_text is None:
        return None
    if shape["type"] in ("string", "character"):

        def write_string(value: Any, append: Append) -> None:
            append(f"{open}{_SPECIAL.sub(_escaped, value) if _SPECIAL.search(value) else value}{close}")

        return write_string

    def write_scalar(value: Any, append: Append) -> None:
        append(f"{open}{to_text(value)}{close}")

    return write_scalar


class Writers:
    """Compiles the writers of one service's shapes. `timestamp_format` is `text_writer`'s."""

    def __init__(self, model: ServiceModel, timestamp_format: str) -> None:
        self.model = model
        self.timestamp_format = timestamp_format
        self._contents: dict[tuple[str, frozenset[str]], tuple[list[tuple[str, str, Any]], Writer]] = {}

    def member(self, name: str, reference: Shape) -> Writer:
        """What writes the member `name` of a structure; several elements when it is flattened."""
        shape = self.model.resolve(reference)
        if not shape.get("flattened"):
            return self.element(shape.get("locationName", name), shape)
        if shape["type"] == "list":
            # Models made before Smithy name flattened elements at the list's member (SimpleDB), Smithy at the reference to the list.
            element = reference.get("locationName") or shape["member"].get("locationName") or name
            return self._items(self.element(element, self.model.resolve(shape["member"])))
        return self._entries(shape.get("locationName", name), shape)

    def element(self, name: str, shape: Shape, without: frozenset[str] = frozenset()) -> Writer:
        """What writes one element of this name, without these members where it is a structure's."""
        open, close = f"<{name}{namespace(shape.get('xmlNamespace'))}>", f"</{name}>"
        kind = shape["type"]
        if kind == "structure":
            return self._structure(open, close, shape, without)
        if kind == "list":
            return _wrapped(
                open, close, self._items(self.element(shape["member"].get("locationName", "member"), self.model.resolve(shape["member"])))
            )
        if kind == "map":
            return _wrapped(open, close, self._entries("entry", {**shape, "xmlNamespace": None}))
        scalar = _scalar_writer(open, close, shape, self.timestamp_format)
        assert scalar is not None, kind
        return scalar

    def _items(self, write_item: Writer) -> Writer:
        def write_list(value: Any, append: Append) -> None:
            for item in value:
                if item is not None:
                    write_item(item, append)

        return write_list

    def _entries(self, name: str, shape: Shape) -> Writer:
        open, close = f"<{name}{namespace(shape.get('xmlNamespace'))}>", f"</{name}>"
        write_key = self.element(shape["key"].get("locationName", "key"), self.model.resolve(shape["key"]))
        write_value = self.element(shape["value"].get("locationName", "value"), self.model.resolve(shape["value"]))

        def write_map(value: Any, append: Append) -> None:
            for key, item in value.items():
                if item is not None:
                    append(open)
                    write_key(key, append)
                    write_value(item, append)
                    append(close)

        return write_map

    def _structure(self, open: str, close: str, shape: Shape, without: frozenset[str]) -> Writer:
        attributes, write_content = self.content(shape, without)
        if not attributes:
            return _wrapped(open, close, write_content)
        start = open[:-1]

        def write_with_attributes(value: Any, append: Append) -> None:
            text = start
            for attribute, name, to_text in attributes:
                if (member := getattr(value, attribute)) is not None:
                    text += f' {name}="{escape_attribute(to_text(member))}"'
            append(text + ">")
            write_content(value, append)
            append(close)

        return write_with_attributes

    def content(self, shape: Shape, without: frozenset[str] = frozenset()) -> tuple[list[tuple[str, str, Any]], Writer]:
        """The attributes of a structure's element, as (field, name, to text), and what writes the elements inside it.

        Args:
            without: members that are somewhere else, in headers for example.
        """
        known = self._contents.get((shape["name"], without))
        if known is not None:
            return known
        attributes: list[tuple[str, str, Any]] = []
        children: list[tuple[str, Writer]] = []

        def write_content(value: Any, append: Append) -> None:
            for attribute, write in children:
                member = getattr(value, attribute)
                if member is not None:
                    write(member, append)

        # Noted before the members are compiled: a structure may hold itself.
        self._contents[shape["name"], without] = (attributes, write_content)
        for name, reference in shape["members"].items():
            if name in without:
                continue
            field = self.model.field(shape["name"], name)
            if reference.get("xmlAttribute"):
                attributes.append(
                    (field.name, reference.get("locationName", name), text_writer(self.model.resolve(reference), self.timestamp_format))
                )
            else:
                children.append((field.name, self.member(name, reference)))
        return attributes, write_content


def _wrapped(open: str, close: str, write_inside: Writer) -> Writer:
    def write(value: Any, append: Append) -> None:
        append(open)
        write_inside(value, append)
        append(close)

    return write
