"""CBOR: what RFC 8949 gives as examples, round trips, and refusals within bounds."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstead.edge.protocols import cbor

# RFC 8949, Appendix A
EXAMPLES: list[tuple[str, Any]] = [
    ("00", 0), ("17", 23), ("1818", 24), ("1903e8", 1000), ("1b000000e8d4a51000", 10**12), ("1bffffffffffffffff", 2**64 - 1),
    ("c249010000000000000000", 2**64), ("3bffffffffffffffff", -(2**64)), ("c349010000000000000000", -(2**64) - 1), ("20", -1), ("3903e7", -1000),
    ("f90000", 0.0), ("f93c00", 1.0), ("fb3ff199999999999a", 1.1), ("f97bff", 65504.0), ("fa47c35000", 100000.0), ("f90001", 5.960464477539063e-08),
    ("f97c00", math.inf), ("f9fc00", -math.inf), ("f4", False), ("f5", True), ("f6", None), ("f7", None), ("c11a514b67b0", 1363896240), ("c1fb41d452d9ec200000", 1363896240.5),
    ("40", b""), ("4401020304", b"\x01\x02\x03\x04"), ("60", ""), ("6449455446", "IETF"), ("62c3bc", "ü"), ("64f0908591", "\U00010151"), ("80", []), ("83010203", [1, 2, 3]),
    ("8301820203820405", [1, [2, 3], [4, 5]]), ("a0", {}), ("a26161016162820203", {"a": 1, "b": [2, 3]}), ("5f42010243030405ff", b"\x01\x02\x03\x04\x05"),
    ("7f657374726561646d696e67ff", "streaming"), ("9fff", []), ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]), ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
]  # fmt: skip


@pytest.mark.parametrize(("data", "value"), EXAMPLES)
def test_the_examples_of_the_rfc_are_read(data: str, value: Any) -> None:
    found = cbor.decode(bytes.fromhex(data))
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "data",
    [
        "", "18", "1903", "61", "62c3", "61ff", "82", "8201", "a1", "a161", "a16161", "9f", "5f", "5f61", "bf6161ff", "7f4100ff", "5f5f4100ffff",
        "ff", "1c", "1f", "3f", "df", "f8ff", "fc", "0000", "a10102", "c1f5", "c161", "c200", "9b7fffffffffffffff", "bb7fffffffffffffff",
        "5bffffffffffffffff", "7b7fffffffffffffff", "81" * 101 + "00", "9f" * 5000, "c1" * 5000, "a16161" * 101 + "00", "c258ff" + "ff" * 255,
    ],
)  # fmt: skip
def test_what_is_not_one_value_is_refused(data: str) -> None:
    with pytest.raises(cbor.CborError):
        cbor.decode(bytes.fromhex(data))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_what_is_written_is_read_again(value: Any) -> None:
    assert cbor.decode(cbor.encode(value)) == value


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=64))
def test_noise_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(cbor.CborError):
        cbor.decode(data)


def test_a_timestamp_is_written_with_its_tag() -> None:
    assert cbor.encode(cbor.Epoch(1363896240.0)).hex() == "c11a514b67b0"
    assert cbor.encode(cbor.Epoch(1363896240.5)).hex() == "c1fb41d452d9ec200000"
