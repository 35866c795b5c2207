"""What every kind of filter pattern can do, and the reading of its source."""

from __future__ import annotations

from typing import Protocol


class InvalidPattern(ValueError):
    """The text is no filter pattern. The message is meant for the caller."""

    def __init__(self, message: str = "Invalid filter pattern") -> None:
        super().__init__(message)


class Pattern(Protocol):
    @property
    def regexes(self) -> int:
        """How many regular expressions it contains; AWS limits them."""

    @property
    def needle(self) -> bytes:
        """Bytes that every matching message contains; empty when there are none that are known."""

    def matches(self, message: bytes) -> bool: ...

    def extract(self, message: bytes) -> dict[str, str] | None:
        """The fields that the pattern names with their values in a matching message; None when it does not match."""


class Reader:
    """Reads a pattern's source from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    @property
    def rest(self) -> bool:
        return self.at < len(self.text)

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def take(self, token: str) -> bool:
        """Step over `token` if it is next."""
        if self.text.startswith(token, self.at):
            self.at += len(token)
            return True
        return False

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise InvalidPattern

    def word(self, token: str) -> bool:
        """Step over a keyword, in capitals as AWS writes them or not, if it is next and ends there."""
        end = self.at + len(token)
        after = self.text[end : end + 1]
        if self.text[self.at : end].upper() == token and not (after.isalnum() or after == "_"):
            self.at = end
            return True
        return False

    def run(self, accepted: str) -> str:
        """Letters, digits and the accepted characters that come next."""
        start = self.at
        while self.at < len(self.text) and (self.text[self.at].isalnum() or self.text[self.at] in accepted):
            self.at += 1
        return self.text[start : self.at]

    def quoted(self) -> str:
        """What stands between double quotes; `\\"` and `\\\\` stand for themselves. The opening quote is next."""
        self.expect('"')
        out: list[str] = []
        while self.rest:
            character = self.text[self.at]
            self.at += 1
            if character == '"':
                return "".join(out)
            if character == "\\" and self.peek() in ('"', "\\"):
                character = self.peek()
                self.at += 1
            out.append(character)
        raise InvalidPattern

    def percent(self) -> str:
        """What stands between percent signs. The opening one is next."""
        self.expect("%")
        start = self.at
        while self.rest:
            if self.text[self.at] == "\\":
                self.at += 2
            elif self.text[self.at] == "%":
                self.at += 1
                return self.text[start : self.at - 1]
            else:
                self.at += 1
        raise InvalidPattern
