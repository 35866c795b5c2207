"""What may be a tag, and what setting and taking away does."""

from __future__ import annotations

import msgspec
import pytest

from cloudstead.kernel.tags import Rules, from_list, merge, to_list, without


class Refused(Exception):
    pass


class TooMany(Exception):
    pass


class Tag(msgspec.Struct, kw_only=True):
    key: str
    value: str | None = None


RULES = Rules(invalid=Refused, too_many=TooMany)
LIKE_IAM = Rules(invalid=Refused, too_many=TooMany, case_sensitive=False)


def test_new_tags_join_the_old_and_replace_those_of_the_same_key() -> None:
    assert merge({"a": "1", "b": "2"}, {"b": "3", "c": ""}, RULES) == {"a": "1", "b": "3", "c": ""}
    assert merge({"Team": "1"}, {"team": "2"}, RULES) == {"Team": "1", "team": "2"}


def test_where_case_does_not_matter_the_new_spelling_counts() -> None:
    assert merge({"Team": "1", "x": "y"}, {"tEAM": "2"}, LIKE_IAM) == {"x": "y", "tEAM": "2"}
    assert without({"Team": "1", "x": "y"}, ["TEAM"], LIKE_IAM) == {"x": "y"}


def test_taking_away_ignores_unknown_keys() -> None:
    assert without({"a": "1", "b": "2"}, ["b", "c", "A"], RULES) == {"a": "1"}


@pytest.mark.parametrize("tags", [{"k" * 128: "v" * 256}, {"a": ""}, {"a b/c:d=e+f-g@h._": "ä 日本 ½"}, {"awsome": "aws:x"}])
def test_what_aws_allows_is_allowed(tags: dict[str, str]) -> None:
    assert merge({}, tags, RULES) == tags


@pytest.mark.parametrize(
    "tags", [{"": "v"}, {"k" * 129: "v"}, {"k": "v" * 257}, {"aws:x": "v"}, {"AWS:x": "v"}, {"a!": "v"}, {"a": "<"}, {"a\n": "v"}]
)
def test_what_aws_refuses_is_refused(tags: dict[str, str]) -> None:
    with pytest.raises(Refused):
        merge({}, tags, RULES)


def test_fifty_tags_are_enough_and_those_of_aws_do_not_count() -> None:
    fifty = {f"{number}": "" for number in range(50)}
    full = merge(merge({}, fifty, RULES), {"aws:cloudformation:stack-name": "s"}, RULES, system=True)
    assert len(full) == 51
    assert merge(full, {"7": "again"}, RULES)["7"] == "again"
    with pytest.raises(TooMany):
        merge(full, {"x": ""}, RULES)


def test_the_tags_of_aws_cannot_be_taken_away() -> None:
    with pytest.raises(Refused):
        without({"aws:x": "1"}, ["aws:x"], RULES)


def test_a_list_of_tags_names_each_key_once() -> None:
    tags = [Tag(key="a", value="1"), Tag(key="A"), Tag(key="b", value="2")]
    assert from_list(tags, RULES) == {"a": "1", "A": "", "b": "2"}
    assert from_list(None, RULES) == {}
    with pytest.raises(Refused, match="case insensitive"):
        from_list(tags, LIKE_IAM)
    with pytest.raises(Refused, match="Duplicate"):
        from_list([*tags, Tag(key="b")], RULES)


def test_a_mapping_becomes_a_list_of_the_services_own_structure() -> None:
    assert to_list({"a": "1", "b": ""}, Tag) == [Tag(key="a", value="1"), Tag(key="b", value="")]
