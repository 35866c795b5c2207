"""Patterns in which `*` stands for any characters, also none, and everything else for itself.

AWS's filters of names, tags and texts are of this kind. They come from strangers: each part between two stars is taken where it is found first, which
is as good as any later place, so nothing is tried twice and no pattern keeps the loop busy. Policies (`policy/patterns.py`) and file names
(`engine/build/globs.py`) have wildcards of other kinds.
"""

from __future__ import annotations

from collections.abc import Sequence


def matches(pattern: str, text: str) -> bool:
    return fits(pattern.split("*"), text)


def fits(parts: Sequence[str], text: str) -> bool:
    """Whether the parts stand in the text in this order, the first at its beginning and the last at its end; a single one is all of it."""
    if len(parts) == 1:
        return text == parts[0]
    first, *middle, last = parts
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
