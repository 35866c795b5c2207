"""The text of `services/<name>/api.py`: the model's shapes as msgspec structs, operations and errors."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from typing import Any

from generate import names
from generate.patterns import Untranslatable, translate

Json = dict[str, Any]

WIDTH = 140
JSON_PROTOCOLS = frozenset({"json", "rest-json", "smithy-rpc-v2-cbor"})
IMPORTED = (
    "Annotated", "Any", "AsyncIterator", "ByteStream", "ClassVar", "Int32", "Int64", "Literal", "Meta", "Request", "Response", "ServiceError",
    "Struct", "Timestamp", "TypeAlias", "field", "SERVICE",
)  # fmt: skip
ERROR_ATTRIBUTES = frozenset({"message", "code", "status", "fault", "query_code", "shape", "members", "json_code", "args"})
"""What a ServiceError has already; a member of that name gets an underscore."""
LIMITS = {"integer": ("Int32", -(2**31), 2**31 - 1), "long": ("Int64", -(2**63), 2**63 - 1)}


class Source:
    """Writes one service's module.

    Args:
        service: its name, botocore's.
        model: the cut model.
        origin: what the docstring says that it was made from.
    """

    def __init__(self, service: str, model: Json, origin: str) -> None:
        self.service = service
        self.model = model
        self.origin = origin
        self.shapes: Json = model["shapes"]
        self.operations: Json = model["operations"]
        self.left_out: dict[str, str] = {}  # pattern -> why it could not be kept
        self._patterns: dict[str, str | None] = {}
        self._used: set[str] = set()  # imported names in use
        self._writing: list[str] = []  # shapes whose annotation is being written, to find collections that contain themselves
        self._own = self._find_own()
        self._names = self._choose_names()
        self.classes = {name: python for name, python in self._names.items() if self.shapes[name]["type"] == "structure"}

    # Names and roles

    def _find_own(self) -> dict[str, tuple[str, str]]:
        """The shapes that are the input or output of one operation and nothing else: shape -> (operation, "Request" | "Response")."""
        roles: list[tuple[str, str, str]] = []
        for name, operation in self.operations.items():
            roles += [
                (operation[key]["shape"], name, kind) for key, kind in (("input", "Request"), ("output", "Response")) if key in operation
            ]
        uses = Counter(shape for shape, _, _ in roles)
        for shape in self.shapes.values():
            uses.update(ref["shape"] for ref in shape.get("members", {}).values())
            uses.update(shape[key]["shape"] for key in ("member", "key", "value") if key in shape)
        self.inputs = {shape for shape, _, kind in roles if kind == "Request"}
        return {shape: (name, kind) for shape, name, kind in roles if uses[shape] == 1}

    def _choose_names(self) -> dict[str, str]:
        """A Python name for each shape that gets one."""
        taken = {*IMPORTED, *(f"{name}{kind}" for name in self.operations for kind in ("Request", "Response"))}
        chosen: dict[str, str] = {}
        for shape in sorted(self.shapes):
            if shape in self._own:
                operation, kind = self._own[shape]
                chosen[shape] = f"{operation}{kind}"
                continue
            name = names.pascal(shape)
            while name in taken or names.is_builtin(name):
                name = f"{name}Shape"
            taken.add(name)
            chosen[shape] = name
        return chosen

    def is_error(self, shape: str) -> bool:
        return bool(self.shapes[shape].get("exception") or "error" in self.shapes[shape])

    def _is_nested(self, shape: str) -> bool:
        """Whether a member of an ordinary structure, list or map has this shape."""
        for other in self.shapes.values():
            if other.get("eventstream"):
                continue
            if any(ref["shape"] == shape for ref in other.get("members", {}).values()):
                return True
            if any(other[key]["shape"] == shape for key in ("member", "value") if key in other):
                return True
        return False

    # Annotations

    def annotation(self, shape_name: str, reference: Json | None = None) -> str:
        """The type that a member with this reference has."""
        reference = reference or {}
        shape = self.shapes[shape_name]
        kind = shape["type"]
        if shape.get("document") or reference.get("document") or reference.get("jsonvalue") or shape.get("jsonvalue"):
            return self._use("Any")
        if kind == "blob" and (shape.get("streaming") or reference.get("streaming")):
            return self._use("ByteStream")
        if shape.get("eventstream"):
            return f"{self._use('AsyncIterator')}[{self._names[shape_name]}]"
        if kind == "structure":
            return f"{self._names[shape_name]}Fields" if self.is_error(shape_name) else self._names[shape_name]
        if self.alias(shape_name) is not None:
            return self._names[shape_name]
        return self.plain(shape_name)

    def plain(self, shape_name: str) -> str:
        """The type of a shape but for its constraints."""
        shape = self.shapes[shape_name]
        kind = shape["type"]
        if kind in LIMITS:
            return self._use(LIMITS[kind][0])
        if kind in ("list", "map"):
            if shape_name in self._writing:
                return self._use("Any")  # a collection that contains itself without a structure between
            self._writing.append(shape_name)
            try:
                item_ref = shape["member" if kind == "list" else "value"]
                item = self.annotation(item_ref["shape"], item_ref)
                if shape.get("sparse"):
                    item = f"{item} | None"
                return f"list[{item}]" if kind == "list" else f"dict[{self.annotation(shape['key']['shape'])}, {item}]"
            finally:
                self._writing.pop()
        if kind == "timestamp":
            return self._use("Timestamp")
        return {"string": "str", "character": "str", "blob": "bytes", "boolean": "bool", "float": "float", "double": "float"}.get(
            kind, "int"
        )

    def alias(self, shape_name: str) -> str | None:
        """What stands to the right of the alias that a constrained shape has; None for a shape that needs none."""
        shape = self.shapes[shape_name]
        kind = shape["type"]
        if kind == "structure" or (kind == "blob" and shape.get("streaming")):
            return None
        if kind == "string" and shape.get("enum"):
            return f"{self._use('Literal')}[{', '.join(quoted(value) for value in shape['enum'])}]"
        constraints = self._constraints(shape)
        if not constraints:
            return None
        base = "int" if kind in LIMITS else self.plain(shape_name)
        return f"{self._use('Annotated')}[{base}, {self._use('Meta')}({', '.join(constraints)})]"

    def _constraints(self, shape: Json) -> list[str]:
        kind, low, high = shape["type"], shape.get("min"), shape.get("max")
        if kind in ("string", "blob", "list", "map", "character"):
            found = [f"min_length={low}"] if low else []
            found += [f"max_length={high}"] if high is not None else []
            pattern = shape.get("python") or (self._pattern(shape["pattern"]) if "pattern" in shape and kind == "string" else None)
            return found + ([f"pattern={raw(pattern)}"] if pattern else [])
        if kind in LIMITS:
            if low is None and high is None:
                return []
            _, least, most = LIMITS[kind]
            return [f"ge={int(max(low if low is not None else least, least))}", f"le={int(min(high if high is not None else most, most))}"]
        if kind in ("float", "double"):
            return ([f"ge={low}"] if low is not None else []) + ([f"le={high}"] if high is not None else [])
        return []

    def _pattern(self, pattern: str) -> str | None:
        if pattern not in self._patterns:
            try:
                self._patterns[pattern] = translate(pattern)
            except Untranslatable as problem:
                self._patterns[pattern] = None
                self.left_out[pattern] = str(problem)
            if self._patterns[pattern] in ("^.*\\Z", "^[\\s\\S]*\\Z"):
                self._patterns[pattern] = None  # says nothing
        return self._patterns[pattern]

    @property
    def patterns(self) -> dict[str, str]:
        """The translation of each pattern of the model that has one; complete once the text is made."""
        return {pattern: translated for pattern, translated in self._patterns.items() if translated}

    def _use(self, name: str) -> str:
        self._used.add(name)
        return name

    # The text

    def text(self) -> str:
        scalars: list[str] = []
        enums: list[str] = []
        structures: list[str] = []
        errors: list[str] = []
        collections: dict[str, str] = {}
        for shape_name in sorted(self.shapes, key=lambda shape: self._names[shape]):
            shape, name = self.shapes[shape_name], self._names[shape_name]
            if self.is_error(shape_name):
                errors.append(self._error(name, shape_name))
                if self._is_nested(shape_name):
                    structures.append(self._structure(f"{name}Fields", shape_name, "Struct"))
            elif shape["type"] == "structure":
                if shape_name not in self._own and not shape.get("document"):
                    structures.append(self._structure(name, shape_name, "Struct"))
            elif (alias := self.alias(shape_name)) is not None:
                line = wrapped(f"{name}: {self._use('TypeAlias')} = {alias}")
                if shape["type"] not in ("list", "map"):
                    (enums if shape.get("enum") else scalars).append(line)
                else:
                    collections[name] = line
        operations = [self._operation(name) for name in self.operations]
        body = [
            section("Constrained scalars", scalars, gap="\n"),
            section("Enumerations", enums, gap="\n"),
            section("Structures", structures),
            section("Constrained collections", in_order(collections), gap="\n"),
            section("Operations", operations),
            section("Errors", errors),
        ]
        return self._head(bool(errors)) + "".join(body)

    def _head(self, errors: bool) -> str:
        typing = [name for name in ("Annotated", "Any", "ClassVar", "Literal", "TypeAlias") if name in self._used]
        lines = [
            f'"""{self.model["metadata"]["serviceFullName"]}: its requests, responses and errors.',
            "",
            *textwrap.wrap(self.origin, WIDTH),
            '"""',
        ]
        lines += ["", "from __future__ import annotations", ""]
        if "AsyncIterator" in self._used:
            lines += ["from collections.abc import AsyncIterator"]
        lines += [f"from typing import {', '.join(typing)}", ""] if typing else []
        msgspec = [name for name in ("Meta", "field") if name in self._used]
        lines += [f"from msgspec import {', '.join(msgspec)}", ""] if msgspec else []
        shapes = [name for name in ("ByteStream", "Int32", "Int64", "Request", "Response", "Struct", "Timestamp") if name in self._used]
        lines += ["from cloudstead.kernel.errors import ServiceError"] if errors else []
        lines += [f"from cloudstead.kernel.shapes import {', '.join(shapes)}"]
        lines += ["", f'SERVICE = "{self.service}"', ""]
        return "\n".join(lines)

    def _structure(self, name: str, shape_name: str, base: str, operation: str = "") -> str:
        """One class. With `operation`, the class is that operation's request."""
        shape = self.shapes[shape_name]
        refs = {
            wire: ref for wire, ref in shape.get("members", {}).items() if not (shape.get("eventstream") and self.is_error(ref["shape"]))
        }
        taken = frozenset({"operation"}) if shape_name in self.inputs else frozenset()
        fields = names.fields(list(refs), taken)
        rule, renamed = names.rename_rule(fields, self._json_names(refs))
        options = ", ".join([self._use(base), "kw_only=True", *([f'rename="{rule}"'] if rule else [])])
        lines = [f"class {name}({options}):" if refs else f"class {name}({self._use(base)}):"]
        if operation:
            lines.append(self._operation_name(operation))
        for field, (wire, ref) in zip(fields, refs.items(), strict=True):
            lines.append(self._field(field, ref, wire in shape.get("required", ()), renamed.get(field)))
        return "\n".join(lines if len(lines) > 1 else [*lines, "    pass"])

    def _json_names(self, refs: Json) -> list[str]:
        """What the members are called in JSON. A member that is not in the body has the model's name, which must not be that of one in the body."""
        is_json = self.model["metadata"]["protocol"] in JSON_PROTOCOLS
        found = {wire: str(ref.get("locationName", wire)) if is_json and not ref.get("location") else wire for wire, ref in refs.items()}
        in_body = {found[wire] for wire, ref in refs.items() if not ref.get("location")}
        return [
            f"{name}@{refs[wire]['location']}" if refs[wire].get("location") and name in in_body else name for wire, name in found.items()
        ]

    def _field(self, field: str, ref: Json, required: bool, renamed: str | None) -> str:
        kind = self.annotation(ref["shape"], ref)
        line = f"    {field}: {kind}" if required or kind == "Any" else f"    {field}: {kind} | None"
        if renamed is not None:
            default = "" if required else "default=None, "
            return f"{line} = {self._use('field')}({default}name={quoted(renamed)})"
        return line if required else f"{line} = None"

    def _operation_name(self, operation: str) -> str:
        return f'    operation: {self._use("ClassVar")}[str] = "{self.service}:{operation}"'

    def _operation(self, name: str) -> str:
        """The request and the response of an operation."""
        operation = self.operations[name]
        errors = sorted({self._names[error["shape"]] for error in operation.get("errors", ())})
        comment = textwrap.fill(
            f"{name} answers {', '.join(errors) or 'no error of its own'}.", WIDTH, initial_indent="# ", subsequent_indent="#     "
        )
        request, response = f"{name}Request", f"{name}Response"
        parts = [self._side(request, operation.get("input"), "Request", name), self._side(response, operation.get("output"), "Response")]
        return comment + "\n" + "\n\n\n".join(parts)

    def _side(self, name: str, ref: Json | None, base: str, operation: str = "") -> str:
        if ref is not None and ref["shape"] in self._own:
            return self._structure(name, ref["shape"], base, operation)
        bases = self._use(base) if ref is None else f"{self._names[ref['shape']]}, {self._use(base)}"
        return f"class {name}({bases}):\n{self._operation_name(operation) if operation else '    pass'}"

    def _error(self, name: str, shape_name: str) -> str:
        shape = self.shapes[shape_name]
        error = shape.get("error", {})
        query_compatible = "awsQueryCompatible" in self.model["metadata"]
        is_json = self.model["metadata"]["protocol"] in JSON_PROTOCOLS
        code = shape_name if is_json else error.get("code", shape_name)
        server = bool(shape.get("fault") or error.get("fault")) or error.get("httpStatusCode", 400) >= 500
        status = error.get("httpStatusCode", 500 if server else 400)
        members = names.fields([wire for wire in shape.get("members", {}) if wire.lower() != "message"], ERROR_ATTRIBUTES)
        lines = [f"class {name}(ServiceError):", f"    code = {quoted(code)}"]
        lines += [f"    status = {status}"] if status != 400 else []
        lines += ['    fault = "server"'] if server else []
        if query_compatible and error.get("code", shape_name) != shape_name:
            lines.append(f"    query_code = {quoted(error['code'])}")
        lines.append(f"    shape = {quoted(shape_name)}")
        if members:
            lines.append(f"    members = ({', '.join(map(quoted, members))},)")
        return "\n".join(lines)


def quoted(text: str) -> str:
    """A Python string literal in double quotes."""
    literal = repr(text)
    if literal[0] == "'" and '"' not in text:
        literal = '"' + literal[1:-1].replace("\\'", "'") + '"'
    return literal


def raw(pattern: str) -> str:
    """A pattern as a raw string where that is possible."""
    printable = all(" " <= char <= "~" for char in pattern)
    for quote in ('"', "'"):
        if printable and quote not in pattern and not pattern.endswith("\\"):
            return f"r{quote}{pattern}{quote}"
    return ascii(pattern)


def wrapped(line: str) -> str:
    """A long `Name: TypeAlias = Literal[…]` or `Annotated[…]` over several lines."""
    if len(line) <= WIDTH or not line.endswith("]"):
        return line
    head, _, rest = line.partition("[")
    if "= Literal" in head:
        values = textwrap.wrap(rest[:-1], WIDTH - 4, break_long_words=False, break_on_hyphens=False)
        if any(" " in value.strip('",') for value in rest[:-1].split(", ")):  # a value with a space in it must not be broken
            values = [f"{value}," for value in rest[:-1].replace('", "', '",\n"').rstrip(",").split("\n")]
            values = [value if not value.endswith(",,") else value[:-1] for value in values]
        return "\n".join([f"{head}[", *(f"    {value}" for value in values), "]"])
    base, _, meta = rest[:-1].partition(", Meta(")
    return "\n".join([f"{head}[", f"    {base},", f"    Meta({meta},", "]"])


def in_order(collections: dict[str, str]) -> list[str]:
    """The aliases, each after those that it is made of."""
    written: dict[str, str] = {}

    def write(name: str) -> None:
        if name not in written:
            line = collections[name]
            for other in re.findall(r"\w+", line.partition(" = ")[2].partition(", Meta(")[0]):
                if other != name and other in collections:
                    write(other)
            written[name] = line

    for name in collections:
        write(name)
    return list(written.values())


def section(title: str, parts: list[str], gap: str = "\n\n\n") -> str:
    return f"\n# {title}\n\n{gap.join(parts)}\n" if gap == "\n" and parts else f"\n# {title}\n\n\n{gap.join(parts)}\n\n" if parts else ""
