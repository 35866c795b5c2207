"""Random values of a botocore shape that keep all its constraints, from a seeded source: the same seed gives the same values."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Mapping
from re import _constants as constants  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

Shape = Mapping[str, Any]

LETTERS = string.ascii_letters + string.digits
SPICED = LETTERS + " +&%=<>'\"/\\é€😀-_.~,;:"  # what must be escaped somewhere
MAX_DEPTH = 6


class Impossible(Exception):
    """No value was found that keeps the constraints."""


class RandomValues:
    """Makes values of one service's shapes.

    Args:
        shapes: the shapes in botocore's format, with Java's patterns translated to Python under "python".
        seed: of the random source.
    """

    def __init__(self, shapes: Mapping[str, Shape], seed: int) -> None:
        self.shapes = shapes
        self.random = random.Random(seed)

    def value(self, reference: Shape, depth: int = 0) -> Any:
        """
        Raises:
            Impossible
        """
        shape = {**self.shapes[reference["shape"]], **reference}
        if shape.get("location") == "statusCode":
            return 200
        make = getattr(self, f"_{shape['type']}")
        return make(shape, depth)

    def _structure(self, shape: Shape, depth: int) -> dict[str, Any]:
        required = shape.get("required", ())
        names = list(shape["members"])
        if shape.get("union"):
            names = [self.random.choice(names)]
        elif depth > MAX_DEPTH:
            names = list(required)
        found: dict[str, Any] = {}
        for name in names:
            # A client sends {} for a payload that it was not given, and finds a status, a Content-Type and maps of headers in every answer.
            member = shape["members"][name]
            always = name in required or name == shape.get("payload") or member.get("location") in ("statusCode", "headers")
            always = always or member.get("locationName") == "Content-Type"
            if not always and not shape.get("union") and self.random.random() < 0.3:
                continue
            try:
                found[name] = self.value(shape["members"][name], depth + 1)
            except Impossible:
                if name in required or shape.get("union"):
                    raise
        if not found and depth:  # forms cannot say that there is a structure with nothing in it
            if not shape["members"]:
                raise Impossible(shape["shape"])
            flat = [name for name, ref in shape["members"].items() if self.shapes[ref["shape"]]["type"] not in ("structure", "list", "map")]
            name = self.random.choice(flat or list(shape["members"]))
            found[name] = self.value(shape["members"][name], depth + 1)
        return found

    def _list(self, shape: Shape, depth: int) -> list[Any]:
        if depth > MAX_DEPTH + 2:
            raise Impossible("too deep")
        return [self.value(shape["member"], depth + 1) for _ in range(self._count(shape))]

    def _map(self, shape: Shape, depth: int) -> dict[str, Any]:
        if depth > MAX_DEPTH + 2:
            raise Impossible("too deep")
        if shape.get("location") == "headers":
            return {self._plain(1, 12): self._plain(1, 12) for _ in range(2)}
        return {self.value(shape["key"], depth + 1): self.value(shape["value"], depth + 1) for _ in range(max(self._count(shape), 1))}

    def _count(self, shape: Shape) -> int:
        low, high = max(shape.get("min", 1), 1), shape.get("max", 3)
        return self.random.randint(low, max(low, min(high, low + 2)))

    def _string(self, shape: Shape, depth: int) -> str:
        if shape.get("enum"):
            return str(self.random.choice(shape["enum"]))
        low, high = int(shape.get("min", 0)), int(shape.get("max", 1 << 20))
        pattern = shape.get("python")
        if pattern is None:
            plain = LETTERS if shape.get("location") or "pattern" in shape else SPICED
            return "".join(self.random.choice(plain) for _ in range(self.random.randint(max(low, 1), max(low, min(high, low + 12), 1))))
        return self._matching(pattern, low, high)

    _character = _string

    def _plain(self, low: int, high: int) -> str:
        return "".join(self.random.choice(LETTERS) for _ in range(self.random.randint(low, high)))

    def _matching(self, pattern: str, low: int, high: int) -> str:
        compiled = re.compile(pattern)
        tree = parser.parse(pattern)
        for most in (low + 3, low + 12, 2 * low + 40, 8):
            for _ in range(25):
                text = "".join(self._pieces(tree, max(1, most), low)).strip()  # headers lose blanks at their ends
                if low <= len(text) <= high and compiled.search(text) and text:
                    return text
        raise Impossible(pattern)

    def _pieces(self, tree: Any, most: int, least: int) -> list[str]:
        found: list[str] = []
        for operation, argument in tree:
            if operation is constants.LITERAL:
                found.append(chr(argument))
            elif operation is constants.NOT_LITERAL:
                found.append("a" if argument != ord("a") else "b")
            elif operation is constants.ANY:
                found.append(self.random.choice(LETTERS))
            elif operation is constants.IN:
                found.append(self._member(argument))
            elif operation is constants.BRANCH:
                found += self._pieces(self.random.choice(argument[1]), most, least)
            elif operation is constants.SUBPATTERN:
                found += self._pieces(argument[3], most, least)
            elif operation in (constants.MAX_REPEAT, constants.MIN_REPEAT, constants.POSSESSIVE_REPEAT):
                minimum, maximum, body = argument
                for _ in range(
                    self.random.randint(
                        min(max(minimum, min(least, maximum)), most) if minimum < most else minimum, max(minimum, min(maximum, most))
                    )
                ):
                    found += self._pieces(body, most, 0)
            elif operation is constants.CATEGORY:
                found.append(self._category(argument))
        return found

    def _member(self, items: list[Any]) -> str:
        if items[0][0] is constants.NEGATE:
            refused = re.compile(self._class_of(items[1:]))
            return next(char for char in self.random.sample(LETTERS + "-_ .", 66) if not refused.match(char))
        printable = [item for item in items if "!" <= self._first(item) <= "~" or self._first(item) == " "]
        operation, argument = self.random.choice(printable if printable and self.random.random() < 0.95 else items)
        if operation is constants.LITERAL:
            return chr(argument)
        if operation is constants.RANGE:
            low, high = argument
            if high >= 0x20 and low < 0x7F:  # the readable part of it
                low, high = max(low, 0x20), min(high, 0x7E)
            return chr(self.random.randint(low, min(high, low + 0x200)))
        return self._category(argument)

    def _first(self, item: Any) -> str:
        operation, argument = item
        return chr(argument) if operation is constants.LITERAL else chr(argument[0]) if operation is constants.RANGE else "a"

    def _class_of(self, items: list[Any]) -> str:
        parts = []
        for operation, argument in items:
            if operation is constants.LITERAL:
                parts.append(re.escape(chr(argument)))
            elif operation is constants.RANGE:
                parts.append(f"{re.escape(chr(argument[0]))}-{re.escape(chr(argument[1]))}")
            else:
                parts.append({"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}[str(argument).rpartition("_")[2]])
        return f"[{''.join(parts)}]"

    def _category(self, category: Any) -> str:
        name = str(category).rpartition("CATEGORY_")[2]
        return self.random.choice(
            {"DIGIT": string.digits, "WORD": LETTERS + "_", "SPACE": " ", "NOT_SPACE": LETTERS, "NOT_DIGIT": "abc"}.get(name, "-.")
        )

    def _integer(self, shape: Shape, depth: int) -> int:
        low, high = int(shape.get("min", 0)), int(shape.get("max", 1 << 30))
        return self.random.randint(low, max(low, high))

    _long = _integer

    def _float(self, shape: Shape, depth: int) -> float:
        low, high = float(shape.get("min", -1000)), float(shape.get("max", 1000))
        return min(max(self.random.randint(int(low), int(high)) + self.random.choice((0.0, 0.5, 0.25)), low), high)

    _double = _float

    def _boolean(self, shape: Shape, depth: int) -> bool:
        return self.random.random() < 0.5

    def _blob(self, shape: Shape, depth: int) -> bytes:
        low = int(shape.get("min", 0))
        size = self.random.randint(max(low, 1), max(low, min(int(shape.get("max", 64)), 64), 1))
        if depth == 1:  # it could be the whole body, which botocore takes for text
            return "".join(self.random.choice(LETTERS) for _ in range(size)).encode()
        return self.random.randbytes(size)

    def _timestamp(self, shape: Shape, depth: int) -> float:
        return float(self.random.randint(0, 4_000_000_000))
