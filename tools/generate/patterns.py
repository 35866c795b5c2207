r"""AWS's patterns, written for Java's regular expressions, as Python's.

The services match the whole value, so a translated pattern is anchored: `^…\Z` (Python's `$` would let a newline follow).
What differs: Java's \w, \d, \s are ASCII; \p{…} classes; \uD800\uDC00 pairs; (?<name>…); `[`, `&&` inside a class.

A pattern that cannot be said in Python, or that takes time exponential in the length of a value, is left out, and wire.json lists it.
"""

from __future__ import annotations

import re
import time
import warnings

PROPERTIES = {
    "Alnum": "A-Za-z0-9",
    "Alpha": "A-Za-z",
    "Digit": "0-9",
    "IsDigit": "0-9",
    "Lower": "a-z",
    "Upper": "A-Z",
    "Space": r" \t\n\x0b\f\r",
    "Punct": r"!-/:-@\[-`{-~",
    "Graph": "!-~",
    "Print": " -~",
    "Blank": r" \t",
    "ASCII": r"\x00-\x7f",
    "XDigit": "0-9A-Fa-f",
    "Cntrl": r"\x00-\x1f\x7f",
    "Cc": r"\x00-\x1f\x7f-\x9f",
    "Z": r" \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
    "Zs": r" \xa0\u1680\u2000-\u200a\u202f\u205f\u3000",
}
ASCII_ESCAPES = {"w": "A-Za-z0-9_", "d": "0-9", "s": r" \t\n\x0b\f\r"}


class Untranslatable(ValueError):
    """Python's `re` cannot say this."""


def translate(pattern: str) -> str:
    """The pattern for `re.search`, matching whole values.

    Raises:
        Untranslatable: the message says why.
    """
    text = pattern.replace(r"\uD800\uDC00", r"\U00010000").replace(r"\uDBFF\uDFFF", r"\U0010ffff")
    text = re.sub(r"\\u10000(?![0-9A-Fa-f])", r"\\U00010000", text)  # so written in many models, where \x{10000} is meant
    text = re.sub(r"\\u10FFFF", r"\\U0010ffff", text)
    text = re.sub(r"\(\?<(?=[A-Za-z])", "(?P<", text)
    unicode_word = r"\p{L}" in text and r"\p{N}" in text
    body = _Reader(text, unicode_word).read()
    flags = re.match(r"\(\?[a-z]+\)", body)
    prefix = flags.group() if flags else ""
    body = body[len(prefix) :]
    ascii_only = not unicode_word and re.search(r"\\[wdsbWDSB]", body) is not None
    anchored = f"{prefix}{'(?a)' if ascii_only else ''}{_anchor(body)}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(anchored)
    except (re.error, Warning) as problem:
        raise Untranslatable(str(problem)) from None
    if _explodes(anchored):
        raise Untranslatable("takes time exponential in the length of a value")
    return anchored


def _anchor(body: str) -> str:
    inner = body
    if inner.startswith("^"):
        inner = inner[1:]
    if inner.endswith(r"\Z") and not inner.endswith(r"\\Z"):
        inner = inner[:-2]
    if _has_top_level_choice(inner):
        # An alternative with anchors of its own keeps them; they do no harm inside the group.
        return rf"^(?:{body})\Z"
    return rf"^{inner}\Z"


def _has_top_level_choice(body: str) -> bool:
    depth, in_class, skip = 0, False, False
    for char in body:
        if skip:
            skip = False
        elif char == "\\":
            skip = True
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == "|" and depth == 0:
            return True
    return False


class _Reader:
    """Copies a pattern, changing what Python writes otherwise."""

    def __init__(self, text: str, unicode_word: bool) -> None:
        self.text = text
        self.at = 0
        self.unicode_word = unicode_word  # \w is taken for \p{L}\p{N}_, and so cannot mean Java's \w

    def read(self) -> str:
        out: list[str] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "\\":
                out.append(self._escape(in_class=False))
            elif char == "[":
                out.append(self._class())
            elif char == "$":
                self.at += 1
                out.append(r"\Z")
            else:
                self.at += 1
                out.append(char)
        return "".join(out)

    def _escape(self, in_class: bool) -> str:
        char = self.text[self.at + 1] if self.at + 1 < len(self.text) else ""
        if char in ("p", "P"):
            return self._property(char, in_class)
        self.at += 2
        if char in ("/", "_", ":", "@", "=", ",", " ", "'", '"', "<", ">", "!", "%", "`", ";", "~" if not in_class else ""):
            return char  # escaped without need
        if char in ASCII_ESCAPES and self.unicode_word:
            return ASCII_ESCAPES[char] if in_class else f"[{ASCII_ESCAPES[char]}]"
        if char in ("z", "Z"):
            return r"\Z"
        if char == "h":
            return r"\t \xa0" if in_class else r"[\t \xa0]"
        if char == "x" and (point := re.compile(r"\{([0-9A-Fa-f]+)\}").match(self.text, self.at)):
            self.at = point.end()
            return f"\\U{int(point[1], 16):08x}"
        if char in ("Q", "E", "R", "X", "G", "k", "H", "V", "v", ""):
            raise Untranslatable(f"\\{char} is not in Python's re")
        return f"\\{char}"

    def _property(self, kind: str, in_class: bool) -> str:
        match = re.compile(r"\\[pP](?:\{(\w+)\}|(\w))").match(self.text, self.at)
        if match is None or kind == "P":
            raise Untranslatable("a negated or broken property")
        self.at = match.end()
        name = match.group(1) or match.group(2)
        name = name.removeprefix("Is") if name in ("IsAlnum", "IsAlphabetic", "IsL", "IsN") else name
        if name in ("L", "N") and self.unicode_word and in_class:
            # Python's \w is every letter, every number and the underscore; the models that say \p{L}\p{N} nearly all add the underscore.
            return r"\w" if name == "L" else ""
        if name not in PROPERTIES:
            raise Untranslatable(rf"\p{{{name}}} has no short form in Python")
        return PROPERTIES[name] if in_class else f"[{PROPERTIES[name]}]"

    def _class(self) -> str:
        start = self.at
        self.at += 1
        out = ["["]
        if self.text[self.at : self.at + 1] == "^":
            self.at += 1
            out.append("^")
        first = True
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "]" and not first:
                self.at += 1
                out.append("]")
                return "".join(out)
            if char == "\\":
                piece = self._escape(in_class=True)
                # "\w-_": Java takes the hyphen after a class for itself.
                if (
                    piece[:2] in (r"\w", r"\d", r"\s")
                    and self.text[self.at : self.at + 1] == "-"
                    and self.text[self.at + 1 : self.at + 2] != "]"
                ):
                    self.at += 1
                    piece += r"\-"
                out.append(piece)
            elif char == "[" or self.text.startswith("&&", self.at):
                raise Untranslatable("a class within a class, or an intersection of classes")
            elif char == "-" and self._hyphen_is_itself():
                self.at += 1
                out.append(r"\-")
            else:
                self.at += 1
                out.append(rf"\{char}" if char in "~|&" and self.text[self.at : self.at + 1] == char else char)
            first = False
        raise Untranslatable(f"the class at {start} does not end")

    def _hyphen_is_itself(self) -> bool:
        """Whether this hyphen follows a complete range ("0-9-_"), as Java allows."""
        before, after = self.text[: self.at], self.text[self.at + 1 : self.at + 2]
        return re.search(r"[^\\\[]-[^\\\]]$", before) is not None and after != "]"


def _explodes(pattern: str) -> bool:
    """Whether short values can make the match run for ever: tried, for patterns with a repetition inside a repetition.

    The work for a value of 30 characters is under a millisecond when it grows as a power of the length, and over minutes when exponentially.
    """
    if not re.search(r"[+*}]\)*[^()]*\)(?:[+*]|\{\d+,)", pattern) and not re.search(r"\)(?:[+*]|\{\d+,)", pattern):
        return False
    compiled = re.compile(pattern)
    letters = "a0A-._/: \t"
    seeds = [a + b for a in letters for b in letters]
    starts = ("", "a", "arn:aws:", "aws.partner/", "/", "http://a")
    return any(_slow(compiled, start, seed) for start in starts for seed in seeds)


def _slow(compiled: re.Pattern[str], start: str, seed: str) -> bool:
    for length in (12, 16, 20, 24, 28, 32):
        value = start + (seed * length)[:length] + "\x00"
        if _seconds(compiled, value) > 0.05 and min(_seconds(compiled, value) for _ in range(2)) > 0.05:
            return True
    return False


def _seconds(compiled: re.Pattern[str], value: str) -> float:
    began = time.process_time()
    compiled.search(value)
    return time.process_time() - began
