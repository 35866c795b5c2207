"""Patterns with `*`."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from cloudstead.kernel.wildcards import matches


@given(st.text("ab*", max_size=8), st.text("ab\n", max_size=12))
def test_a_star_stands_for_any_characters(pattern: str, text: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None
    assert matches(pattern, text) is expected


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    assert not matches("*a" * 10_000 + "*b", "a" * 100_000)
