"""The document of a lifecycle policy, read and refused as AWS does.

AWS checks it twice: against a JSON schema, all faults of which it lists with the sentences of its validator, a line each; then what the rules mean
together, where the first fault is told. The schema's peculiarity is that what depends on `countType` and on the action's type are alternatives, of
which exactly one must fit, so that whatever is wrong there is told as one that failed to match.
https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import msgspec

StorageClass: TypeAlias = Literal["STANDARD", "ARCHIVE"]
Action: TypeAlias = Literal["EXPIRE", "TRANSITION"]

MOST_RULES = 50
MOST_WILDCARDS = 4  # of one pattern
LARGEST_NUMBER = 2**31 - 1
DAYS_IN_ARCHIVE = 90  # "Images must be in archive storage for a minimum of 90 days before deletion."

COUNTED, PUSHED, PULLED, TRANSITIONED = "imageCountMoreThan", "sinceImagePushed", "sinceImagePulled", "sinceImageTransitioned"
COUNT_TYPES = (COUNTED, PUSHED, PULLED, TRANSITIONED)


class PolicyInvalid(ValueError):
    """A document that is refused; the message is AWS's, as it stands in its InvalidParameterException."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation failure: {why}'"
        )


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    priority: int
    tag_status: str  # tagged, untagged, any
    patterns: tuple[str, ...] = ()  # wildcards, each of which one tag of the image or another must match
    prefixes: tuple[str, ...] = ()  # the same without wildcards: a "*" in one is nothing but a character, which no tag has
    storage_class: StorageClass = "STANDARD"  # of the images that it sees
    count_type: str
    number: int  # of images, or of days
    action: Action


@lru_cache(256)
def parse(text: str) -> tuple[Rule, ...]:
    """The rules of a policy, in the order of their priorities.

    Raises:
        PolicyInvalid
    """
    document = _decode(text)
    faults = list(_faults_of_document(document))
    if faults:
        raise PolicyInvalid("\n".join(faults) + "\n")
    for rule in document["rules"]:
        _check_rule(rule)
    rules = sorted((_rule(each) for each in document["rules"]), key=lambda rule: rule.priority)
    _check_together(rules)
    return tuple(rules)


def normalised(text: str) -> str:
    """A valid policy as it is given back: the same members in the same order, without white space between them."""
    return msgspec.json.encode(_decode(text)).decode()


def _decode(text: str) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise PolicyInvalid("Could not map policyString into LifecyclePolicy.")
    return document


# ── the schema ───────────────────────────────────────────────────────────────────────────────────────────────────────

Faults: TypeAlias = Iterator[str]
Check: TypeAlias = Callable[[Any], Faults]


def _faults_of_document(document: dict[str, Any]) -> Faults:
    yield from _members(document, {"rules": _rules}, required=("rules",))


def _rules(rules: Any) -> Faults:
    yield from _list(rules, _one_rule)
    if isinstance(rules, list) and not rules:
        yield "array is too short: must have at least 1 elements but instance has 0 elements"
    if isinstance(rules, list) and len(rules) > MOST_RULES:
        yield f"array is too long: must have at most {MOST_RULES} elements but instance has {len(rules)} elements"


def _one_rule(rule: Any) -> Faults:
    checks = {"rulePriority": _positive, "description": _string, "selection": _selection, "action": _action}
    yield from _members(rule, checks, required=("action", "rulePriority", "selection"))


def _selection(selection: Any) -> Faults:
    checks: dict[str, Check] = {
        "tagStatus": lambda value: _one_of(value, ("any", "tagged", "untagged")),
        "tagPatternList": lambda value: _list(value, _string),
        "tagPrefixList": lambda value: _list(value, _string),
        "storageClass": lambda value: _one_of(value, ("archive", "standard")),
        "countType": _anything,
        "countUnit": _anything,
        "countNumber": _positive,
    }
    yield from _members(selection, checks, required=("countNumber", "countType", "tagStatus"))
    if isinstance(selection, dict) and "countType" in selection:
        kind = selection["countType"]
        fits = "countUnit" not in selection if kind == COUNTED else selection.get("countUnit") == "days"
        if kind not in COUNT_TYPES or not fits:
            yield "instance failed to match exactly one schema (matched 0 out of 4)"


def _action(action: Any) -> Faults:
    if not isinstance(action, dict):
        yield _wrong_type(action, "object")
    elif action not in ({"type": "expire"}, {"type": "transition", "targetStorageClass": "archive"}):
        yield "instance failed to match exactly one schema (matched 0 out of 2)"


def _members(value: Any, checks: dict[str, Check], *, required: tuple[str, ...]) -> Faults:
    if not isinstance(value, dict):
        yield _wrong_type(value, "object")
        return
    if missing := [name for name in required if name not in value]:
        yield f"object has missing required properties ({_told(missing)})"
    if others := sorted(value.keys() - checks.keys()):
        yield f"object instance has properties which are not allowed by the schema: {_told(others)}"
    for name, check in checks.items():
        if name in value:
            yield from check(value[name])


def _list(value: Any, check: Check) -> Faults:
    if not isinstance(value, list):
        yield _wrong_type(value, "array")
        return
    for each in value:
        yield from check(each)


def _string(value: Any) -> Faults:
    if not isinstance(value, str):
        yield _wrong_type(value, "string")


def _positive(value: Any) -> Faults:
    if not isinstance(value, int) or isinstance(value, bool):
        yield _wrong_type(value, "integer")
    elif value < 1:
        yield f"numeric instance is lower than the required minimum (minimum: 1, found: {value})"
    elif value > LARGEST_NUMBER:
        yield f"numeric instance is greater than the required maximum (maximum: {LARGEST_NUMBER}, found: {value})"


def _one_of(value: Any, allowed: tuple[str, ...]) -> Faults:
    if not isinstance(value, str):
        yield _wrong_type(value, "string")
    elif value not in allowed:
        yield f"instance value ({_told(value)}) not found in enum (possible values: {_told(allowed)})"


def _anything(value: Any) -> Faults:
    yield from ()


def _wrong_type(value: Any, allowed: str) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    return f'instance type ({names[type(value)]}) does not match any allowed primitive type (allowed: ["{allowed}"])'


def _told(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


# ── what the rules mean ──────────────────────────────────────────────────────────────────────────────────────────────


def _check_rule(rule: dict[str, Any]) -> None:
    selection = rule["selection"]
    patterns, prefixes = selection.get("tagPatternList"), selection.get("tagPrefixList")
    if selection["tagStatus"] != "tagged":
        for name, given in (("tagPatternList", patterns), ("tagPrefixList", prefixes)):
            if given:
                raise PolicyInvalid(f"Cannot specify {name} when tagStatus={selection['tagStatus'].upper()}.")
    elif patterns and prefixes:
        raise PolicyInvalid("If policy has a tagged rule, it must specify only one of tagPrefixList or tagPatternList.")
    elif not patterns and not prefixes:
        raise PolicyInvalid("Must specify tagPrefixList or tagPatternList when tagStatus=TAGGED.")
    if any(not pattern or pattern.count("*") > MOST_WILDCARDS for pattern in patterns or ()):
        raise PolicyInvalid("Invalid tag pattern provided.")
    if any(not prefix for prefix in prefixes or ()):
        raise PolicyInvalid("Invalid tag prefix provided.")
    _check_storage(selection["countType"], selection.get("storageClass", "standard"), rule["action"]["type"], selection["countNumber"])


def _check_storage(count_type: str, storage_class: str, action: str, number: int) -> None:
    """Archived images can only expire, by how long they have been there; who was pulled when can only lead to the archive."""
    if count_type != TRANSITIONED and storage_class != "standard":
        raise PolicyInvalid("SINCE_IMAGE_PUSHED, SINCE_IMAGE_PULLED and IMAGE_COUNT_MORE_THAN support the STANDARD storage class only.")
    if count_type == TRANSITIONED and storage_class != "archive":
        raise PolicyInvalid("SINCE_IMAGE_TRANSITIONED supports the ARCHIVE storage class only.")
    if count_type == PULLED and action != "transition":
        raise PolicyInvalid("SINCE_IMAGE_PULLED supports the TRANSITION action only.")
    if count_type == TRANSITIONED and action != "expire":
        raise PolicyInvalid("SINCE_IMAGE_TRANSITIONED supports the EXPIRE action only.")
    if count_type == TRANSITIONED and number < DAYS_IN_ARCHIVE:
        raise PolicyInvalid(f"countNumber must be at least {DAYS_IN_ARCHIVE} when countType=SINCE_IMAGE_TRANSITIONED.")


def _check_together(rules: list[Rule]) -> None:
    """Rules are alike, or above one another, only among those that see the same storage class."""
    if len({rule.priority for rule in rules}) < len(rules):
        raise PolicyInvalid("Duplicate priority in multiple rules.")
    for storage_class in ("STANDARD", "ARCHIVE"):
        own = [rule for rule in rules if rule.storage_class == storage_class]
        statuses = [rule.tag_status for rule in own]
        if statuses.count("untagged") > 1:
            raise PolicyInvalid("Only one rule can select Untagged images per storage class.")
        if statuses.count("any") > 1:
            raise PolicyInvalid("Only one rule can specify tagStatus=ANY per storage class.")
        if "any" in statuses[:-1]:
            raise PolicyInvalid("Rule for tagStatus=ANY must have the lowest priority per storage class.")
        tagged = [frozenset(f"{prefix}*" for prefix in rule.prefixes) | {*rule.patterns} for rule in own if rule.tag_status == "tagged"]
        if len(set(tagged)) < len(tagged):
            raise PolicyInvalid("The set of all rules selecting a storage class must contain a unique set of tag prefixes and patterns.")


def _rule(rule: dict[str, Any]) -> Rule:
    selection = rule["selection"]
    return Rule(
        priority=rule["rulePriority"],
        tag_status=selection["tagStatus"],
        patterns=tuple(selection.get("tagPatternList") or ()),
        prefixes=tuple(selection.get("tagPrefixList") or ()),
        storage_class=selection.get("storageClass", "standard").upper(),
        count_type=selection["countType"],
        number=selection["countNumber"],
        action=rule["action"]["type"].upper(),
    )
