"""Which images a lifecycle policy takes: AWS's examples, image families, and properties of every plan."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cloudstead.services.ecr.lifecycle.plan import DAY, Image, Plan, plan
from cloudstead.services.ecr.lifecycle.policy import Rule, parse

NOW = 1_767_225_600.0


def image(digest: str, *tags: str, ago: float = 1, **more: Any) -> Image:
    return Image(digest=digest, tags=tags, pushed=NOW - ago * DAY, **more)


def rule(priority: int, selection: dict[str, Any], action: str = "expire") -> dict[str, Any]:
    then = {"type": action} | ({"targetStorageClass": "archive"} if action == "transition" else {})
    return {"rulePriority": priority, "selection": selection, "action": then}


def keep(number: int, *patterns: str, status: str = "tagged") -> dict[str, Any]:
    selection = {"tagStatus": status, "countType": "imageCountMoreThan", "countNumber": number}
    return selection | ({"tagPatternList": list(patterns)} if patterns else {})


def older(days: int, *patterns: str, status: str = "tagged", since: str = "sinceImagePushed", **more: Any) -> dict[str, Any]:
    selection = {"tagStatus": status, "countType": since, "countUnit": "days", "countNumber": days} | more
    return selection | ({"tagPatternList": list(patterns)} if patterns else {})


def archived_for(days: int, status: str = "any") -> dict[str, Any]:
    return older(days, status=status, since="sinceImageTransitioned", storageClass="archive")


def rules(*given_rules: dict[str, Any]) -> tuple[Rule, ...]:
    return parse(json.dumps({"rules": given_rules}))


def taken(made: Plan, action: str = "EXPIRE") -> str:
    return "".join(sorted(each.digest for each in made.taken if each.action == action))


# ── the examples of https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_examples.html ───────────

PROD_AND_BETA = [image("A", "beta-1", "prod-1", ago=10), image("B", "beta-2", "prod-2", ago=9), image("C", "beta-3", ago=8)]
ALPHAS = [
    image("A", "alpha-1", ago=12),
    image("B", "beta-1", ago=11),
    image("C", "alpha-2", "beta-2", ago=10),
    image("D", "alpha-3", ago=4),
    image("E", "beta-3", ago=3),
    image("F", "alpha-4", "beta-4", ago=2),
]
GAMMAS = [
    image("A", "alpha-1", "beta-1", "gamma-1", ago=10),
    image("B", "alpha-2", "beta-2", ago=9),
    image("C", "alpha-3", "beta-3", "gamma-2", ago=8),
]
ALL = [image("A", "alpha-1", ago=4), image("B", "beta-1", ago=3), image("C", ago=2), image("D", "alpha-2", ago=1)]
MIXED = [
    image("A", "alpha-1", "beta-1", ago=4),
    image("B", ago=3),
    image("C", "alpha-2", ago=2),
    image("D", "git hash", ago=1),
    image("E", ago=1),
]
EXAMPLES = {
    "image age": ([image("A", "prod", ago=15), image("B", "prod1", ago=14), image("C", "dev", ago=99)], [rule(1, older(14, "prod*"))], "A"),
    "image count": ([image("A", ago=3), image("B", ago=2), image("C", ago=1)], [rule(1, keep(1, status="untagged"))], "AB"),
    "multiple rules A": (PROD_AND_BETA, [rule(1, keep(1, "prod*")), rule(2, keep(1, "beta*"))], "A"),
    "multiple rules B": (PROD_AND_BETA, [rule(1, keep(1, "beta*")), rule(2, keep(1, "prod*"))], "AB"),
    "multiple tags A": (ALPHAS, [rule(1, older(5, "alpha*", "beta*"))], "C"),
    "multiple tags B": (GAMMAS, [rule(1, keep(1, "alpha*", "beta*"))], "AB"),
    "all images A": (ALL, [rule(1, keep(1, status="any"))], "ABC"),
    "all images B": (
        MIXED,
        [rule(1, keep(1, "alpha*")), rule(2, older(1, status="untagged")), rule(3, keep(1, status="any"))],
        "ABD",
    ),
}


@pytest.mark.parametrize(("images", "policy", "expected"), EXAMPLES.values(), ids=EXAMPLES.keys())
def test_the_examples_of_aws_come_out_as_it_says(images: list[Image], policy: list[dict[str, Any]], expected: str) -> None:
    assert taken(plan(rules(*policy), images, NOW)) == expected


def test_archive_examples_of_aws() -> None:
    images = [
        image("A", "prod-1", ago=31),
        image("B", "prod-2", ago=30),
        image("C", "prod-3", ago=500, storage="ARCHIVE", archived=NOW - 366 * DAY),
        image("D", "prod-4", ago=500, storage="ARCHIVE", archived=NOW - 365 * DAY),
    ]
    made = plan(rules(rule(1, older(30, "prod*"), "transition")), images, NOW)
    assert (taken(made, "TRANSITION"), taken(made)) == ("A", "")
    made = plan(rules(rule(1, older(30, status="any"), "transition"), rule(2, archived_for(365))), images, NOW)
    assert (taken(made, "TRANSITION"), taken(made)) == ("A", "C")


def test_days_without_a_pull_count_from_the_push_or_the_restoration_when_there_was_none_since() -> None:
    images = [
        image("A", ago=100, pulled=NOW - 91 * DAY),
        image("B", ago=100, pulled=NOW - 89 * DAY),
        image("C", ago=91),
        image("D", ago=89),
        image("E", ago=300, pulled=NOW - 200 * DAY, activated=NOW - 89 * DAY),
        image("F", ago=300, pulled=NOW - 200 * DAY, activated=NOW - 91 * DAY),
        image("G", ago=300, pulled=NOW - 89 * DAY, activated=NOW - 100 * DAY),
        image("H", ago=300, activated=NOW - 91 * DAY),
    ]
    made = plan(rules(rule(1, older(90, status="any", since="sinceImagePulled"), "transition")), images, NOW)
    assert taken(made, "TRANSITION") == "ACFH"


def test_a_restored_image_is_as_young_as_its_restoration() -> None:
    images = [image("A", "v1", ago=300, activated=NOW - DAY), image("B", "v2", ago=30), image("C", "v3", ago=20)]
    assert taken(plan(rules(rule(1, older(14, "v*"))), images, NOW)) == "BC"
    assert taken(plan(rules(rule(1, keep(1, "v*"))), images, NOW)) == "BC"


def test_an_image_is_of_age_when_it_is_older_not_as_old() -> None:
    made = plan(rules(rule(1, older(1, status="untagged"))), [image("A", ago=1), image("B", ago=0.5)], NOW)
    assert made == Plan((), NOW)
    assert taken(plan(rules(rule(1, older(1, status="untagged"))), [image("A", ago=1)], NOW + 0.001)) == "A"


def test_due_is_when_the_next_image_comes_of_age() -> None:
    policy = rules(rule(1, older(10, "v*")), rule(2, older(3, status="untagged")), rule(3, keep(5, status="any")))
    images = [image("A", "v1", ago=4), image("B", ago=1), image("C", "other", ago=9)]
    assert plan(policy, images, NOW).due == NOW + 2 * DAY
    assert plan(policy, [image("C", "other")], NOW).due is None


def test_a_prefix_is_no_wildcard() -> None:
    selection = {"tagStatus": "tagged", "tagPrefixList": ["v*"], "countType": "imageCountMoreThan", "countNumber": 1}
    assert taken(plan(rules(rule(1, selection)), [image("A", "v1"), image("B", "v2", ago=2)], NOW)) == ""
    assert (
        taken(
            plan(
                rules(rule(1, selection | {"tagPrefixList": ["v", "w"]})),
                [image("A", "v1"), image("B", "v2", "wx"), image("C", "v", "w", ago=3)],
                NOW,
            )
        )
        == "C"
    )


def test_an_image_is_shielded_by_a_higher_rule_of_its_storage_class_only() -> None:
    shielded = rules(rule(1, keep(99, "prod*")), rule(2, older(5, status="any")), rule(3, archived_for(90)))
    images = [
        image("A", "prod-1", ago=50),
        image("B", "dev", ago=50),
        image("C", "prod-2", ago=300, storage="ARCHIVE", archived=NOW - 91 * DAY),
    ]
    assert taken(plan(shielded, images, NOW)) == "BC"


def test_a_lower_rule_counts_what_a_higher_one_took() -> None:
    images = [image("A", "prod", "x1", ago=1), image("B", "x2", ago=2), image("C", "x3", ago=3), image("Z", "prod", ago=0.5)]
    made = plan(rules(rule(1, keep(1, "prod")), rule(2, keep(2, "x*"))), images, NOW)
    assert [(each.digest, each.priority) for each in made.taken] == [("C", 2), ("A", 1)]


# ── families ─────────────────────────────────────────────────────────────────────────────────────────────────────────

UNTAGGED = rule(1, keep(1, status="untagged"))


def test_the_parts_of_an_index_are_not_untagged_and_go_with_it() -> None:
    images = [
        image("I", "v1", ago=9, children=("a", "b")),
        image("a", ago=9.1),
        image("b", ago=9.1),
        image("J", "v2", ago=3, children=("b", "c")),
        image("c", ago=3.1),
        image("u", ago=4),
        image("w", ago=5),
    ]
    assert taken(plan(rules(UNTAGGED), images, NOW)) == "w"
    made = plan(rules(rule(1, keep(1, "v*"))), images, NOW)
    assert taken(made) == "Ia"  # b is a part of J too
    assert [each.digest for each in made.taken] == ["I", "a"]
    assert {each.priority for each in made.taken} == {1}


def test_a_tagged_part_goes_by_its_own_tags_but_not_before_its_index() -> None:
    images = [image("I", "v1", ago=9, children=("a",)), image("a", "v1-amd64", ago=9.1)]
    assert taken(plan(rules(rule(1, older(5, "*-amd64"))), images, NOW)) == ""
    assert taken(plan(rules(rule(1, older(5, "v1"))), images, NOW)) == "I"
    assert taken(plan(rules(rule(1, older(5, "*-amd64")), rule(2, older(5, "v1"))), images, NOW)) == "Ia"


def test_nothing_expires_below_an_index_that_only_goes_to_the_archive() -> None:
    images = [image("I", "v1", ago=9, children=("a", "b")), image("a", "x", ago=9.1), image("b", ago=9.1)]
    made = plan(rules(rule(1, older(5, "v*"), "transition"), rule(2, older(5, "x"))), images, NOW)
    assert (taken(made, "TRANSITION"), taken(made)) == ("Ib", "")


def test_signatures_go_with_what_they_sign_however_many_there_are() -> None:
    images = [
        image("I", "v1", ago=9, children=("a",)),
        image("a", ago=9.1),
        image("s", ago=0, subject="a"),
        image("t", ago=0, subject="s"),
        image("k", ago=0, subject="elsewhere"),
    ]
    assert taken(plan(rules(rule(1, older(5, "v*"))), images, NOW)) == "Iast"
    assert taken(plan(rules(UNTAGGED), images, NOW)) == ""
    assert taken(plan(rules(rule(1, older(5, status="any"), "transition")), images, NOW), "TRANSITION") == "Iast"


def test_what_follows_an_archived_image_follows_it_out_but_not_back_after_it_was_restored() -> None:
    archived = NOW - 100 * DAY
    images = [
        image("I", "v1", ago=300, children=("a", "b", "c"), storage="ARCHIVE", archived=archived),
        image("a", ago=300, storage="ARCHIVE", archived=archived),
        image("b", ago=300, activated=archived + DAY),
        image("c", ago=300),
        image("d", ago=300, storage="", subject="I"),
    ]
    made = plan(rules(UNTAGGED), images, NOW)
    assert [(each.digest, each.action, each.priority) for each in made.taken] == [("c", "TRANSITION", 0)]
    assert taken(plan(rules(rule(1, archived_for(90, "tagged") | {"tagPatternList": ["v*"]})), images, NOW)) == "Iabcd"


def test_untagged_images_that_were_just_pushed_wait_for_their_index() -> None:
    images = [image("a", ago=0.01), image("b", ago=0.02), image("c", ago=1)]
    policy = rules(UNTAGGED)
    made = plan(policy, images, NOW, settle=3600.0)
    assert (taken(made), made.due) == ("c", images[1].pushed + 3600.0)
    assert taken(plan(policy, images, NOW)) == "bc"
    assert taken(plan(rules(rule(1, keep(1, "v*"))), [image("x", "v1", ago=0.01), image("y", "v2", ago=0)], NOW, settle=3600.0)) == "x"


def test_images_that_hold_one_another_stay() -> None:
    """Two untagged indexes, each about a part of the other: nobody could say which goes first."""
    images = [
        image("X", children=("q",), subject="p", ago=9),
        image("Y", children=("p",), subject="q", ago=9),
        image("p", ago=9),
        image("q", ago=9),
    ]
    assert plan(rules(rule(1, older(1, status="any"))), images, NOW).taken == ()


def test_an_index_about_its_own_part_is_an_index_like_others() -> None:
    images = [image("X", children=("m",), subject="p", ago=9), image("m", children=("p",), ago=9), image("p", ago=9)]
    assert taken(plan(rules(rule(1, older(1, status="untagged"))), images, NOW)) == "Xmp"


def test_deep_families_cost_no_stack() -> None:
    images = [image(f"{number:05}", ago=9, subject=f"{number - 1:05}") for number in range(1, 5000)]
    images.append(image("00000", "v1", ago=9))
    assert len(plan(rules(rule(1, older(5, "v*"))), images, NOW).taken) == 5000


# ── properties ───────────────────────────────────────────────────────────────────────────────────────────────────────

EXAMPLES_OF_PLANS = 300
TAGS = ["a", "ab", "b", "prod-1", "prod-2"]
SELECTIONS = st.one_of(
    st.builds(keep, st.integers(1, 3), st.sampled_from(["a*", "prod*", "*b", "*"])),
    st.builds(older, st.integers(1, 20), st.sampled_from(["a", "prod-*", "*1", "**"])),
)


@st.composite
def policies(draw: st.DrawFn) -> tuple[Rule, ...]:
    found: list[dict[str, Any]] = []
    seen = set()
    for selection in draw(st.lists(SELECTIONS, max_size=3)):
        if selection["tagPatternList"][0] not in seen:
            seen.add(selection["tagPatternList"][0])
            found.append(selection)
    if draw(st.booleans()):
        found.append(
            draw(
                st.one_of(
                    st.builds(keep, st.integers(1, 3), status=st.just("untagged")),
                    st.builds(older, st.integers(1, 20), status=st.just("untagged")),
                )
            )
        )
    if draw(st.booleans()) or not found:
        found.append(draw(st.builds(keep, st.integers(1, 3), status=st.just("any"))))
    actions = [draw(st.sampled_from(["expire", "transition"])) for _ in found]
    made = [rule(number, selection, action) for number, (selection, action) in enumerate(zip(found, actions, strict=True), 1)]
    if draw(st.booleans()):
        made.append(rule(99, archived_for(90)))
    return rules(*made)


@st.composite
def repositories(draw: st.DrawFn) -> list[Image]:
    """Images that speak of earlier ones; tags are each on one image."""
    free = list(TAGS)
    found: list[Image] = []
    moments = st.one_of(st.none(), st.integers(0, 300).map(lambda days: NOW - days * DAY))
    for number in range(draw(st.integers(1, 9))):
        earlier = [each.digest for each in found]
        tags = draw(st.lists(st.sampled_from(free), unique=True, max_size=2)) if free else []
        free = [tag for tag in free if tag not in tags]
        storage = draw(st.sampled_from(["STANDARD", "STANDARD", "ARCHIVE", ""]))
        found.append(
            Image(
                digest=f"{number}",
                tags=tuple(tags),
                pushed=NOW - draw(st.integers(0, 30)) * DAY,
                pulled=draw(moments),
                activated=draw(moments),
                archived=NOW - draw(st.integers(0, 200)) * DAY if storage == "ARCHIVE" else None,
                storage=storage,
                children=tuple(draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3))) if earlier else (),
                subject=draw(st.sampled_from(["", "", *earlier, "elsewhere"])),
            )
        )
    return found


def carried_out(images: list[Image], made: Plan) -> list[Image]:
    actions = {each.digest: each.action for each in made.taken}
    archived = {digest for digest, action in actions.items() if action == "TRANSITION"}
    stay = [each for each in images if actions.get(each.digest) != "EXPIRE"]
    return [replace(each, storage="ARCHIVE", archived=NOW) if each.digest in archived else each for each in stay]


@settings(max_examples=EXAMPLES_OF_PLANS, deadline=None)
@given(policies(), repositories(), st.sampled_from([0.0, 5 * DAY]))
def test_every_plan_keeps_to_the_rules(policy: tuple[Rule, ...], images: list[Image], settle: float) -> None:
    made = plan(policy, images, NOW, settle)
    by_digest = {each.digest: each for each in images}
    actions = {each.digest: each.action for each in made.taken}
    priorities = {rule.priority: rule for rule in policy}
    assert max(Counter(each.digest for each in made.taken).values(), default=0) <= 1
    gone: set[str] = set()
    for each in made.taken:
        own = by_digest[each.digest]
        assert each.action == "EXPIRE" or own.storage == "STANDARD"
        assert each.priority == 0 or priorities[each.priority].action == each.action or not own.tags
        for index in images:  # an index goes before what it speaks of, and if it stays, so does that
            if own.digest in index.children and each.action == "EXPIRE":
                assert index.digest in gone
            elif own.digest in index.children:
                assert index.digest in actions or index.storage == "ARCHIVE"
        if each.action == "EXPIRE":
            gone.add(each.digest)
    assert plan(policy, carried_out(images, made), NOW, settle).taken == ()
    assert made == plan(policy, list(reversed(images)), NOW, settle)


@settings(deadline=None)
@given(policies(), repositories())
def test_no_rule_leaves_fewer_images_than_it_says(policy: tuple[Rule, ...], images: list[Image]) -> None:
    tagged = [each for each in images if each.tags and each.storage == "STANDARD"]
    lonely = [replace(each, children=(), subject="") for each in tagged]
    first = policy[0]
    made = plan((first,), lonely, NOW)
    if first.count_type == "imageCountMoreThan":
        seen = len(plan((replace(first, count_type="sinceImagePushed", number=0),), lonely, NOW + DAY).taken)
        assert len(lonely) - len(made.taken) >= min(first.number, seen)
        assert len(made.taken) == max(0, seen - first.number)
    else:
        limit = NOW - first.number * DAY
        assert all(each.since < limit for each in lonely if each.digest in {one.digest for one in made.taken})
