"""Which of two versions is later.

    dpkg    [epoch:]upstream[-revision]; deb-version(7). Digits are compared as numbers; all else by character, where "~" comes before the end,
            the end before letters, and letters before everything else.
    apk     digits[.digits]…[letter][_suffix[digits]]…[-rdigits]; the suffixes alpha, beta, pre, rc come before the bare version, the others after.
            A component after the first that begins with 0 is compared as text. apk-tools, doc/apk-package.5.

Each is given as a key to sort by, so that a version is taken apart once. What is no version has a key too: packages of hostile images have any.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

Key: TypeAlias = Any  # compares with others of the same kind

LONGEST = 1000  # characters that are looked at
_PARTS = re.compile(r"(\D*)(\d*)", re.ASCII)
_APK = re.compile(
    r"(?P<numbers>\d+(?:\.\d+)*)(?P<letter>[a-z]?)(?P<suffixes>(?:_[a-z]+\d*)*)(?:~[0-9a-f]+)?(?:-r(?P<revision>\d+))?", re.ASCII
)
_SUFFIX = re.compile(r"_([a-z]+)(\d*)", re.ASCII)
_SUFFIXES = {"alpha": -4, "beta": -3, "pre": -2, "rc": -1, "cvs": 1, "svn": 2, "git": 3, "hg": 4, "p": 5}


def dpkg(version: str) -> Key:
    """Sorts as `dpkg --compare-versions`."""
    epoch, colon, rest = version.strip()[:LONGEST].partition(":")
    if not colon:
        epoch, rest = "", epoch
    upstream, _, revision = rest.rpartition("-")
    if not upstream:
        upstream, revision = revision, ""
    return (int(epoch) if epoch.isascii() and epoch.isdigit() else 0, _dpkg_part(upstream), _dpkg_part(revision))


def _dpkg_part(text: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Pairs of what is no digit and a number, which dpkg compares in turn. The end is a pair too: it comes after "~" and before all else."""
    pairs = [(_order(other), int(digits or 0)) for other, digits in _PARTS.findall(text)]
    while pairs and pairs[-1] == ((0,), 0):
        pairs.pop()  # "1" and "1.0" differ, "1.0" and "1." do not; a missing number is 0, and so is a missing pair
    return (*pairs, ((0,), 0))


def _order(text: str) -> tuple[int, ...]:
    return (*(-1 if each == "~" else ord(each) if each.isascii() and each.isalpha() else ord(each) + 256 for each in text), 0)


def apk(version: str) -> Key:
    """Sorts as `apk version -t`; what it would not take comes first, by character."""
    found = _APK.fullmatch(version.strip()[:LONGEST])
    if found is None:
        return (0, version)
    first, *others = found["numbers"].split(".")
    suffixes = tuple((_SUFFIXES.get(name, 6), int(digits or 0)) for name, digits in _SUFFIX.findall(found["suffixes"]))
    numbers = ((1, int(first), ""), *(_apk_number(each) for each in others), (-1, 0, ""))
    return (1, numbers, found["letter"], (*suffixes, (0, 0)), int(found["revision"] or 0))


def _apk_number(digits: str) -> tuple[int, int, str]:
    """After the first component, a leading zero makes a fraction of it: 1.01 is less than 1.1."""
    return (0, 0, digits.rstrip("0")) if digits.startswith("0") and len(digits) > 1 else (1, int(digits), "")


ORDERS: dict[str, Callable[[str], Key]] = {"debian": dpkg, "alpine": apk}
