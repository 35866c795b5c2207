"""The Condition element: every operator, compiled to a function of the request's condition keys.

An operator compares one value of the request with the policy's values (any of which may match). Around it stand, in this order:

    negation        StringNotEquals, NotIpAddress, …: no value of the policy may match (NOR)
    set qualifier   ForAllValues: each value of the request; true for a key that is absent or empty
                    ForAnyValue: at least one; false for a key that is absent or empty
    …IfExists       true when the request has no such key
    nothing         a key that is absent is no match, so a negated operator holds

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_multi-value-conditions.html
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import operator
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, TypeAlias

from cloudstead.kernel.policy.patterns import Context, PatternSet

Condition: TypeAlias = Callable[[Context], bool]
Match: TypeAlias = Callable[[str, Context], bool]  # one value of the request against all the policy's
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

FOR_ALL: Final = "ForAllValues"
FOR_ANY: Final = "ForAnyValue"
_IF_EXISTS: Final = "IfExists"
_DIGITS = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,9})?")
_NUMBER = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?")


class UnknownOperator(ValueError):
    """No condition operator has this name."""


def compile_condition(name: str, key: str, values: Sequence[str], *, variables: bool) -> Condition:
    """The test that `{name: {key: values}}` stands for.

    Args:
        name: an operator with its qualifiers, such as `ForAnyValue:StringLikeIfExists`.
        variables: whether `${…}` in values are policy variables (version 2012-10-17).

    Raises:
        UnknownOperator
    """
    qualifier, base, if_exists = split(name)
    lowered = key.lower()
    if base == "Null":
        return _null(lowered, values)
    negated, comparison = OPERATORS[base]
    match = comparison(values, variables)
    if qualifier == FOR_ALL:
        return _for_all(lowered, match, negated)
    if qualifier == FOR_ANY:
        return _for_any(lowered, match, negated, if_exists)
    return _single(lowered, match, negated, if_exists)


def split(name: str) -> tuple[str, str, bool]:
    """(qualifier or "", operator, whether …IfExists).

    Raises:
        UnknownOperator
    """
    qualifier, colon, base = name.rpartition(":")
    if colon and qualifier not in (FOR_ALL, FOR_ANY):
        raise UnknownOperator(name)
    if base == "Null":
        return qualifier, base, False
    if_exists = base.endswith(_IF_EXISTS)
    base = base.removesuffix(_IF_EXISTS)
    if base not in OPERATORS:
        raise UnknownOperator(name)
    return qualifier, base, if_exists


# ---- what stands around an operator


def _single(key: str, match: Match, negated: bool, if_exists: bool) -> Condition:
    absent = negated or if_exists

    def holds(context: Context) -> bool:
        found = context.get(key)
        if not found:
            return absent
        for value in found:
            if match(value, context):
                return not negated
        return negated

    return holds


def _for_all(key: str, match: Match, negated: bool) -> Condition:
    def holds(context: Context) -> bool:
        return all(match(value, context) is not negated for value in context.get(key) or ())

    return holds


def _for_any(key: str, match: Match, negated: bool, if_exists: bool) -> Condition:
    def holds(context: Context) -> bool:
        found = context.get(key)
        if not found:
            return if_exists
        return any(match(value, context) is not negated for value in found)

    return holds


def _null(key: str, values: Sequence[str]) -> Condition:
    wanted = frozenset(value.lower() == "true" for value in values)

    def holds(context: Context) -> bool:
        return (not context.get(key)) in wanted

    return holds


# ---- the operators


def _text(shape: str, *, fold: bool = False) -> Callable[[Sequence[str], bool], Match]:
    def comparison(values: Sequence[str], variables: bool) -> Match:
        return PatternSet(values, shape=shape, variables=variables, fold=fold).matches  # type: ignore[arg-type]

    return comparison


def _bool(values: Sequence[str], variables: bool) -> Match:
    patterns = PatternSet(values, shape="exact", variables=variables, fold=True)
    return patterns.matches


def _binary(values: Sequence[str], variables: bool) -> Match:
    wanted = frozenset(decoded for decoded in map(_decode, values) if decoded is not None)

    def match(value: str, context: Context) -> bool:
        return _decode(value) in wanted

    return match


def _decode(value: str) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None


def _ordered(read: Callable[[str], float | None], compare: Callable[[float, float], bool]) -> Callable[[Sequence[str], bool], Match]:
    def comparison(values: Sequence[str], variables: bool) -> Match:
        wanted = tuple(number for number in map(read, values) if number is not None)

        def match(value: str, context: Context) -> bool:
            number = read(value)
            return number is not None and any(compare(number, other) for other in wanted)

        return match

    return comparison


def number(text: str) -> float | None:
    """The number that a text spells; None when it spells none."""
    return float(text) if _NUMBER.fullmatch(text) else None


@lru_cache(maxsize=1024)
def instant(text: str) -> float | None:
    """Seconds since the epoch of a date: a W3C form of ISO 8601, or the number itself. None when it is neither.

    https://www.w3.org/TR/NOTE-datetime
    """
    if _DIGITS.fullmatch(text) and len(text) != 4:
        return float(text)
    if match := re.fullmatch(r"([0-9]{4})(?:-([0-9]{2}))?", text):
        text = f"{match.group(1)}-{match.group(2) or '01'}-01"
    try:
        moment = datetime.fromisoformat(text.upper())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _ip(values: Sequence[str], variables: bool) -> Match:
    networks = tuple(network for network in map(_network, values) if network is not None)

    def match(value: str, context: Context) -> bool:
        address = _address(value)
        # An address of one version is in no network of the other: the library says so itself.
        return address is not None and any(address in network for network in networks)

    return match


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def _address(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


OPERATORS: Final[dict[str, tuple[bool, Callable[[Sequence[str], bool], Match]]]] = {
    "StringEquals": (False, _text("exact")),
    "StringNotEquals": (True, _text("exact")),
    "StringEqualsIgnoreCase": (False, _text("exact", fold=True)),
    "StringNotEqualsIgnoreCase": (True, _text("exact", fold=True)),
    "StringLike": (False, _text("glob")),
    "StringNotLike": (True, _text("glob")),
    "NumericEquals": (False, _ordered(number, operator.eq)),
    "NumericNotEquals": (True, _ordered(number, operator.eq)),
    "NumericLessThan": (False, _ordered(number, operator.lt)),
    "NumericLessThanEquals": (False, _ordered(number, operator.le)),
    "NumericGreaterThan": (False, _ordered(number, operator.gt)),
    "NumericGreaterThanEquals": (False, _ordered(number, operator.ge)),
    "DateEquals": (False, _ordered(instant, operator.eq)),
    "DateNotEquals": (True, _ordered(instant, operator.eq)),
    "DateLessThan": (False, _ordered(instant, operator.lt)),
    "DateLessThanEquals": (False, _ordered(instant, operator.le)),
    "DateGreaterThan": (False, _ordered(instant, operator.gt)),
    "DateGreaterThanEquals": (False, _ordered(instant, operator.ge)),
    "Bool": (False, _bool),
    "BinaryEquals": (False, _binary),
    "IpAddress": (False, _ip),
    "NotIpAddress": (True, _ip),
    "ArnEquals": (False, _text("arn")),  # AWS: "ArnEquals and ArnLike behave identically"
    "ArnLike": (False, _text("arn")),
    "ArnNotEquals": (True, _text("arn")),
    "ArnNotLike": (True, _text("arn")),
}
"""Name -> (whether negated, from the policy's values the match of one value)."""
