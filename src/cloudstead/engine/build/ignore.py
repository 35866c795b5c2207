""".dockerignore: which files of a context COPY and ADD do not see. As Docker's clients match it (moby/patternmatcher).

A path is ignored when the last pattern that names it or one of its folders is not an exception (`!`). Docker's own client leaves such files out
of what it sends; others send everything.
"""

from __future__ import annotations

import posixpath

from cloudstead.engine.build.globs import IgnorePattern
from cloudstead.engine.errors import InvalidArgument


class Ignore:
    """The patterns of one file."""

    def __init__(self, patterns: list[IgnorePattern]) -> None:
        self._patterns = patterns
        self._exceptions = any(pattern.exclusion for pattern in patterns)
        self._folders: dict[str, tuple[bool, ...]] = {"": (False,) * len(patterns)}

    def __bool__(self) -> bool:
        return bool(self._patterns)

    @property
    def has_exceptions(self) -> bool:
        return self._exceptions

    def __call__(self, path: str) -> bool:
        """Whether a path (relative to the context) is ignored."""
        ignored = False
        for pattern, matches in zip(self._patterns, self._matches(path), strict=True):
            if matches:
                ignored = not pattern.exclusion
        return ignored

    def _matches(self, path: str) -> tuple[bool, ...]:
        """For each pattern whether it counts for the path, by naming it or a folder above it. Folders are remembered: most files share theirs.

        A pattern that would change nothing is not looked at, and then does not count for what is below either: `**`, `!a/b`, `a` leaves a/b in.
        """
        known = self._folders.get(path)
        if known is not None:
            return known
        found: list[bool] = []
        ignored = False
        for over, pattern in zip(self._matches(posixpath.dirname(path)), self._patterns, strict=True):
            counts = over or (pattern.exclusion == ignored and pattern.match(path))
            found.append(counts)
            if counts:
                ignored = not pattern.exclusion
        self._folders[path] = tuple(found)
        return self._folders[path]


def read(text: str) -> Ignore:
    """The patterns of a .dockerignore.

    Raises:
        InvalidArgument: a pattern is malformed.
    """
    patterns: list[IgnorePattern] = []
    for line in text.removeprefix("\ufeff").split("\n"):
        pattern = line.strip()
        if not pattern or line.startswith("#"):
            continue
        exclusion = pattern.startswith("!")
        if exclusion:
            pattern = pattern[1:].strip()
            if not pattern:
                raise InvalidArgument('error checking context: illegal exclusion pattern: "!"')
        pattern = clean(pattern)
        if len(pattern) > 1:
            pattern = pattern.removeprefix("/")
        patterns.append(IgnorePattern(pattern, exclusion=exclusion))
    return Ignore(patterns)


def patterns(texts: tuple[str, ...]) -> Ignore:
    """The same of patterns that are given one by one (`--exclude`)."""
    return read("\n".join(text.replace("\n", "") for text in texts))


def clean(path: str) -> str:
    """Go's filepath.Clean."""
    cleaned = posixpath.normpath(path)
    return "/" + cleaned.lstrip("/") if cleaned.startswith("//") else cleaned
