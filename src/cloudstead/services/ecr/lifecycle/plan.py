"""Which images a lifecycle policy takes, and by which of its rules. Pure: rules, images and the time go in, what is to be done comes out.

AWS's evaluation, in its own order (https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html):

1. Every rule *identifies* the images of its storage class that meet its tagging requirements, whether or not a rule above does so too.
2. Every rule *marks* some of those it has identified: all but the youngest n, or those older than n days (to the second: older, not as old).
3. The rules are applied in the order of their priorities. An image that a rule has identified is no longer available to those below, marked or
   not. They have still counted it among their n.

What AWS leaves open is decided so:

- **An untagged image that belongs to another is not identified by rules, but goes where the other goes.** An image belongs to each index here that
  speaks of it and, if it has a subject here (a signature, a list of contents), to that. It expires when all that it belongs to have gone or go
  now, and goes to the archive when all of them are there or go there. So the parts of a tagged index are not "untagged", do not count as images
  of their own, and do not stay behind when the index goes (https://github.com/aws/containers-roadmap/issues/1466).
- **A tagged one is identified by its own tags** like any other. But nothing goes before an index that speaks of it: a mark is void while that stays.
- An artifact whose subject is not here belongs to nothing and is an untagged image like others: who knows whether the subject is still to come.
- Whoever restores an image from the archive wants it: it does not follow what went to the archive before that.
- An image that is being restored is in neither storage class.
- An untagged image that was pushed less than `settle` seconds ago is not taken: the index that is going to speak of it may be on its way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import TypeAlias

import msgspec

from cloudstead.kernel.wildcards import matches
from cloudstead.services.ecr.lifecycle.policy import COUNTED, PULLED, TRANSITIONED, Action, Rule

DAY = 86_400.0


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy looks at of an image. Times are seconds since the epoch."""

    digest: str
    tags: tuple[str, ...] = ()
    pushed: float
    pulled: float | None = None
    archived: float | None = None
    activated: float | None = None  # last restored from the archive
    storage: str = "STANDARD"  # STANDARD, ARCHIVE; empty while it is being restored
    children: tuple[str, ...] = ()  # of an index
    subject: str = ""

    @property
    def since(self) -> float:
        """ "If an image was archived and then restored at any point in the past, the image's last_activated_at is used instead of pushed_at_time." """
        return self.pushed if self.activated is None else self.activated

    @property
    def used(self) -> float:
        """The last pull; the push or the restoration when there was none since."""
        return self.since if self.pulled is None or self.pulled < (self.activated or 0.0) else self.pulled


class Taken(msgspec.Struct, frozen=True):
    digest: str
    action: Action
    priority: int  # of the rule; 0: none, it follows what somebody archived by hand


class Plan(msgspec.Struct, frozen=True):
    taken: tuple[Taken, ...] = ()  # in an order in which they can go: an index before what it speaks of
    due: float | None = None  # until when nothing changes by itself


def plan(rules: Sequence[Rule], images: Iterable[Image], now: float, settle: float = 0.0) -> Plan:
    """
    Args:
        rules: in the order of their priorities.
        settle: how old an untagged image has to be.
    """
    found = sorted(images, key=lambda image: (image.since, image.digest))
    kinship = Kinship(found)
    marks, due = _marks(rules, [image for image in found if not kinship.belongs(image)], now)
    for image in found:
        if image.digest in marks and not image.tags and image.pushed > now - settle:
            del marks[image.digest]
            due.append(image.pushed + settle)
    return Plan(_settled(found, kinship, marks), min(due, default=None))


# ── who belongs to whom ──────────────────────────────────────────────────────────────────────────────────────────────


class Kinship:
    """The indexes and subjects among the images of a repository."""

    def __init__(self, images: Sequence[Image]) -> None:
        self._images = {image.digest: image for image in images}
        self._parents: dict[str, list[str]] = {}
        self._subjects: dict[str, str] = {}
        self._referrers: dict[str, list[str]] = {}
        for image in images:
            for child in dict.fromkeys(image.children):
                if child in self._images:
                    self._parents.setdefault(child, []).append(image.digest)
        for image in images:
            if image.subject in self._images and not self._speaks_of(image, image.subject):
                self._subjects[image.digest] = image.subject
                self._referrers.setdefault(image.subject, []).append(image.digest)

    def parents(self, digest: str) -> list[str]:
        return self._parents.get(digest, [])

    def holders(self, digest: str) -> list[str]:
        """What an image belongs to, its tags aside."""
        subject = self._subjects.get(digest)
        return self.parents(digest) if subject is None else [*self.parents(digest), subject]

    def belongs(self, image: Image) -> bool:
        return not image.tags and (image.digest in self._parents or image.digest in self._subjects)

    def dependents(self, digest: str) -> list[str]:
        children = [child for child in self._images[digest].children if child in self._images]
        return children + self._referrers.get(digest, [])

    def _speaks_of(self, index: Image, digest: str) -> bool:
        """Whether an image is below an index. What speaks of its own subject would belong to its own part, and nothing would ever decide on them."""
        waiting, seen = [index.digest], {index.digest}
        while waiting:
            for child in self._images[waiting.pop()].children:
                if child == digest:
                    return True
                if child in self._images and child not in seen:
                    seen.add(child)
                    waiting.append(child)
        return False


# ── what the rules mark ──────────────────────────────────────────────────────────────────────────────────────────────


def _marks(rules: Sequence[Rule], images: Sequence[Image], now: float) -> tuple[dict[str, Rule], list[float]]:
    """The images that rules mark, and the times at which they will mark others if nothing changes."""
    seen: set[str] = set()
    marks: dict[str, Rule] = {}
    due: list[float] = []
    for rule in rules:
        identified = _identified(rule, images)
        available = [image for image in identified if image.digest not in seen]
        seen.update(image.digest for image in available)
        if rule.count_type == COUNTED:
            surplus = {image.digest for image in identified[: max(0, len(identified) - rule.number)]}
            marks.update((image.digest, rule) for image in available if image.digest in surplus)
            continue
        for image in available:
            end = _clock_of(rule)(image) + rule.number * DAY
            if end < now:
                marks[image.digest] = rule
            else:
                due.append(end)
    return marks, due


def _identified(rule: Rule, images: Sequence[Image]) -> list[Image]:
    """Those that a rule sees, the oldest first."""
    meets = _requirement(rule)
    found = [image for image in images if image.storage == rule.storage_class and meets(image.tags)]
    return sorted(found, key=lambda image: (_transitioned(image), image.digest)) if rule.storage_class == "ARCHIVE" else found


Requirement: TypeAlias = Callable[[tuple[str, ...]], bool]


def _requirement(rule: Rule) -> Requirement:
    if rule.tag_status == "any":
        return lambda tags: True
    if rule.tag_status == "untagged":
        return lambda tags: not tags
    needed = [_fits(pattern) for pattern in rule.patterns] + [_begins(prefix) for prefix in rule.prefixes]
    return lambda tags: bool(tags) and all(any(fits(tag) for tag in tags) for fits in needed)


def _fits(pattern: str) -> Callable[[str], bool]:
    """Most patterns are prefixes, and there may be 50 rules for 100,000 images."""
    before, star, after = pattern.partition("*")
    return _begins(before) if star and not after else lambda tag: matches(pattern, tag)


def _begins(prefix: str) -> Callable[[str], bool]:
    return lambda tag: tag.startswith(prefix)


def _clock_of(rule: Rule) -> Callable[[Image], float]:
    """Since when the days of a rule count."""
    if rule.count_type == TRANSITIONED:
        return _transitioned
    return attrgetter("used" if rule.count_type == PULLED else "since")


def _transitioned(image: Image) -> float:
    return image.pushed if image.archived is None else image.archived


# ── what can go ──────────────────────────────────────────────────────────────────────────────────────────────────────

_HERE, _ARCHIVED, _GONE = 0, 1, 2
_LEVELS: dict[Action, int] = {"TRANSITION": _ARCHIVED, "EXPIRE": _GONE}
_ACTIONS: dict[int, Action] = {_ARCHIVED: "TRANSITION", _GONE: "EXPIRE"}


def _settled(images: Sequence[Image], kinship: Kinship, marks: dict[str, Rule]) -> tuple[Taken, ...]:
    """Let go what was marked and is not held, then what was held by it, until nothing more can go.

    Everything stays until it is shown that it may go, so images that hold one another stay.
    """
    levels = {image.digest: _ARCHIVED if image.storage == "ARCHIVE" else _HERE for image in images}
    by_digest = {image.digest: image for image in images}
    taken: dict[str, Taken] = {}
    waiting = deque(image.digest for image in images)
    while waiting:
        digest = waiting.popleft()
        image, rule = by_digest[digest], marks.get(digest)
        if kinship.belongs(image):
            level, priority = _following(image, kinship, levels, taken, by_digest)
        elif rule is not None and all(levels[parent] >= _LEVELS[rule.action] for parent in kinship.parents(digest)):
            level, priority = _LEVELS[rule.action], rule.priority
        else:
            continue
        if level > levels[digest]:
            levels[digest] = level
            taken.pop(digest, None)  # it goes further than it was to go before, and so behind what lets it
            taken[digest] = Taken(digest, _ACTIONS[level], priority)
            waiting.extend(kinship.dependents(digest))
    return tuple(taken.values())


def _following(
    image: Image, kinship: Kinship, levels: dict[str, int], taken: dict[str, Taken], images: dict[str, Image]
) -> tuple[int, int]:
    """How far an image goes with all that it belongs to, and the rule by which."""
    holders = kinship.holders(image.digest)
    level = min(levels[holder] for holder in holders)
    now = [taken[holder] for holder in holders if holder in taken]
    if level == _ARCHIVED and not image.storage:
        return _HERE, 0
    going_there = any(each.action == "TRANSITION" for each in now)
    if level == _ARCHIVED and not going_there and (image.activated or 0.0) > max(images[holder].archived or 0.0 for holder in holders):
        return _HERE, 0
    return level, min((each.priority for each in now if each.priority), default=0)
