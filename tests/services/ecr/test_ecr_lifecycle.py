"""Lifecycle policies at work: the operations, images that go by themselves on virtual time, previews."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cloudstead.engine.images import digests
from cloudstead.engine.registry.model import ImageRow, Repository
from cloudstead.kernel.clock import VirtualClock
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.events import Event
from cloudstead.services.ecr import api, pushes
from cloudstead.services.ecr.catalogs import catalog
from cloudstead.services.ecr.lifecycle import running
from cloudstead.services.ecr.lifecycle.running import Lifecycle
from cloudstead.services.ecr.model import PREVIEWS, REPOSITORIES, Preview
from support import ACCOUNT, REGION, CloudThread, context_in, local_cloud

HOUR, DAY = 3600.0, 86_400.0
PLACE = Repository(f"{ACCOUNT}/{REGION}", "app")
EXPIRE = {"type": "expire"}
ARCHIVE = {"type": "transition", "targetStorageClass": "archive"}


def rule(priority: int, action: dict[str, str] = EXPIRE, **selection: Any) -> dict[str, Any]:
    return {"rulePriority": priority, "selection": selection, "action": action}


def older(days: int, priority: int = 1, since: str = "sinceImagePushed", status: str = "any", **more: Any) -> dict[str, Any]:
    return rule(priority, tagStatus=status, countType=since, countUnit="days", countNumber=days, **more)


def keep(number: int, priority: int = 1, status: str = "any", **more: Any) -> dict[str, Any]:
    return rule(priority, tagStatus=status, countType="imageCountMoreThan", countNumber=number, **more)


def text(*rules: dict[str, Any]) -> str:
    return json.dumps({"rules": rules}, indent=1)


# ── a registry on virtual time ───────────────────────────────────────────────────────────────────────────────────────


class Registry:
    """A cloud with the repository "app" in which time passes when it is told to."""

    def __init__(self, cloud: Cloud, clock: VirtualClock) -> None:
        self.cloud = cloud
        self.clock = clock
        self.ctx: Context = context_in(cloud)
        self.events: list[Event] = []
        self.number = 0

    @property
    def lifecycle(self) -> Lifecycle:
        found: Lifecycle = self.cloud.parts["ecr"].lifecycle
        return found

    async def push(self, tag: str = "", *, children: Iterable[str] = (), subject: str = "") -> str:
        """An image of one blob, or an index; its digest."""
        self.number += 1
        return await push(self.ctx, f"{self.number}", tag, children, subject)

    async def put(self, *rules: dict[str, Any]) -> None:
        await self.ctx.call(api.PutLifecyclePolicyRequest(repository_name="app", lifecycle_policy_text=text(*rules)))
        await self.at_rest()

    async def passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.at_rest()

    async def at_rest(self) -> None:
        """What is to be done now has been done."""
        for _ in range(3):
            await self.cloud.store.settled()
            await asyncio.sleep(0)
            await self.lifecycle.policies.settled()
            await self.lifecycle.previews.settled()
        await self.cloud.bus.idle()

    def images(self) -> set[str]:
        return {row.digest for row in catalog(self.ctx).images_of(PLACE)}

    def tags(self) -> list[str]:
        return catalog(self.ctx).tags_of(PLACE)

    def image(self, digest: str) -> ImageRow:
        found = catalog(self.ctx).image(PLACE, digest)
        assert found is not None
        return found

    def told(self, action: str) -> list[tuple[str, str]]:
        """Digest and tag of the events of an action."""
        found = [event.detail for event in self.events if event.detail.get("action-type") == action]
        return [(detail["image-digest"], detail.get("image-tag", "")) for detail in found]


async def push(ctx: Context, seed: str, tag: str = "", children: Iterable[str] = (), subject: str = "") -> str:
    store = catalog(ctx)
    document: dict[str, Any] = {"schemaVersion": 2, "annotations": {"seed": seed}}
    if subject:
        document["subject"] = described(subject, "application/vnd.oci.image.manifest.v1+json")
    if children:
        document |= {"mediaType": "application/vnd.oci.image.index.v1+json"}
        document["manifests"] = [described(child, "application/vnd.oci.image.manifest.v1+json") for child in children]
    else:
        config = json.dumps({"seed": seed}).encode()
        await store.content.put(config, digests.of(config))
        await store.link(PLACE, (digests.of(config), len(config)))
        document |= {"mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []}
        document["config"] = described(digests.of(config), "application/vnd.oci.image.config.v1+json", len(config))
    done = await store.put(pushes.rules_of(ctx.cloud, ACCOUNT, REGION, "app"), json.dumps(document).encode(), tag=tag)
    await ctx.store.settled()
    return done.image.digest


def described(digest: str, media_type: str, size: int = 100) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


@asynccontextmanager
async def registry(data: Path, clock: VirtualClock | None = None, *, new: bool = True) -> AsyncIterator[Registry]:
    clock = clock or VirtualClock()
    async with local_cloud(data, clock=clock) as cloud:
        await cloud.ready("ecr")
        made = Registry(cloud, clock)
        cloud.bus.subscribe("test", made.events.append)
        if new:
            await made.ctx.call(api.CreateRepositoryRequest(repository_name="app"))
        yield made


# ── images go by themselves ──────────────────────────────────────────────────────────────────────────────────────────


async def test_an_image_expires_when_it_is_older_than_fourteen_days_and_not_before(tmp_path: Path) -> None:
    async with registry(tmp_path) as app:
        await app.put(older(14))
        first = await app.push("v1")
        await app.passes(10 * DAY)
        second = await app.push("v2")
        await app.passes(4 * DAY)
        assert app.images() == {first, second}
        await app.passes(1.5)
        assert app.images() == {second}
        assert app.tags() == ["v2"]
        assert app.told("DELETE") == [(first, "v1")]
        await app.passes(10 * DAY)
        assert app.images() == set()


async def test_a_push_beyond_the_count_takes_the_oldest_within_seconds(tmp_path: Path) -> None:
    async with registry(tmp_path) as app:
        await app.put(keep(2))
        pushed = []
        for number in range(4):
            pushed.append(await app.push(f"v{number}"))
            await app.passes(1.0)
        await app.passes(10.0)
        assert app.images() == set(pushed[2:])
        assert app.told("DELETE") == [(pushed[0], "v0"), (pushed[1], "v1")]


async def test_a_policy_is_carried_out_on_what_is_there_and_says_when(tmp_path: Path) -> None:
    async with registry(tmp_path) as app:
        old = await app.push("v1")
        await app.passes(1.0)
        new = await app.push("v2")
        await app.put(keep(1))
        asked = api.GetLifecyclePolicyRequest(repository_name="app")
        assert (await app.ctx.call(asked)).last_evaluated_at == 0.0
        assert app.images() == {old, new}
        await app.passes(10.0)
        assert app.images() == {new}
        assert (await app.ctx.call(asked)).last_evaluated_at == app.clock.time()
        await app.passes(2 * HOUR)
        assert app.clock.time() - (await app.ctx.call(asked)).last_evaluated_at <= HOUR


async def test_the_parts_of_an_index_stay_with_it_and_its_signature_goes_with_it(tmp_path: Path) -> None:
    async with registry(tmp_path) as app:
        await app.put(keep(1, status="untagged"), older(3, priority=2, status="tagged", tagPatternList=["v*"]))
        parts = [await app.push() for _ in range(3)]
        index = await app.push("v1", children=parts)
        signature = await app.push(subject=index)
        await app.passes(2 * HOUR)
        assert app.images() == {*parts, index, signature}
        await app.passes(3 * DAY)
        assert app.images() == set()
        assert {digest for digest, _ in app.told("DELETE")} == {*parts, index, signature}
        deleted = [event.detail_type for event in app.events if event.detail["action-type"] == "DELETE"]
        assert sorted(deleted) == ["ECR Image Action"] * 4 + ["ECR Referrer Action"]


async def test_untagged_images_wait_an_hour_for_the_index_that_is_being_pushed(tmp_path: Path) -> None:
    async with registry(tmp_path) as app:
        await app.put(keep(1, status="untagged"))
        parts = [await app.push() for _ in range(3)]
        await app.passes(running.SETTLE - 60)
        assert app.images() == set(parts)
        index = await app.push("v1", children=parts[:2])
        await app.passes(HOUR)
        assert app.images() == {*parts, index}  # the third alone is not too many
        await app.push()
        await app.passes(2 * HOUR)
        assert parts[2] not in app.images()


async def test_images_go_to_the_archive_and_expire_from_there(tmp_path: Path) -> None:
    async with registry(tmp_path) as app:
        archived_long = older(90, 2, "sinceImageTransitioned", storageClass="archive")
        await app.put(older(5, since="sinceImagePulled") | {"action": ARCHIVE}, archived_long)
        one, two = await app.push("v1"), await app.push("v2")
        await app.passes(3 * DAY)
        catalog(app.ctx).noted(app.image(two), pulled=app.clock.time())
        await app.passes(2 * DAY + 2)
        assert (app.image(one).status, app.image(two).status) == ("ARCHIVED", "ACTIVE")
        assert app.image(one).archived == app.clock.time()
        assert app.told("UPDATE_STORAGE_CLASS") == [(one, "")]
        await app.passes(3 * DAY)
        assert app.image(two).status == "ARCHIVED"
        await app.passes(87 * DAY + 2)
        assert app.images() == {two}


async def test_images_that_nobody_set_a_policy_for_stay(tmp_path: Path) -> None:
    async with registry(tmp_path) as app:
        image = await app.push("v1")
        await app.put(older(1))
        await app.ctx.call(api.DeleteLifecyclePolicyRequest(repository_name="app"))
        await app.passes(30 * DAY)
        assert app.images() == {image}
        with pytest.raises(api.LifecyclePolicyNotFoundException):
            await app.ctx.call(api.DeleteLifecyclePolicyRequest(repository_name="app"))


async def test_what_came_of_age_while_nothing_ran_goes_at_the_start(tmp_path: Path) -> None:
    async with registry(tmp_path) as app:
        await app.put(older(14))
        await app.push("v1")
        await app.push("v2")
    clock = VirtualClock(app.clock.time() + 20 * DAY)
    async with registry(tmp_path, clock, new=False) as again:
        await again.at_rest()
        assert again.images() == set()


async def test_an_image_that_changes_while_a_long_plan_is_made_is_spared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "AT_ONCE", 1)
    async with registry(tmp_path) as app:
        pushed = [await app.push(f"v{number}") for number in range(4)]
        await app.passes(20 * DAY)
        row = app.cloud.store.table(REPOSITORIES).get((ACCOUNT, REGION, "app"))
        assert row is not None
        made, planned, go_on = running.in_thread, asyncio.Event(), asyncio.Event()

        async def slowly(function: Any) -> Any:
            found = await made(function)
            planned.set()
            await go_on.wait()
            return found

        monkeypatch.setattr(running, "in_thread", slowly)
        await app.put(older(14))
        app.clock.advance(10.0)
        await planned.wait()
        catalog(app.ctx).noted(app.image(pushed[0]), pulled=app.clock.time())
        index = await push(app.ctx, "index", "new", [pushed[1]])
        go_on.set()
        await app.lifecycle.policies.settled()
        assert app.images() == {pushed[0], pushed[1], index}
        await app.passes(HOUR + 10)
        assert app.images() == {pushed[1], index}


async def test_a_policy_that_was_put_past_all_checks_does_nothing(tmp_path: Path) -> None:
    async with registry(tmp_path) as app:
        image = await app.push("v1")
        row = app.cloud.store.table(REPOSITORIES).get((ACCOUNT, REGION, "app"))
        assert row is not None
        with app.cloud.store.transaction() as tx:
            tx.update(REPOSITORIES, row, lifecycle_policy='{"rules": []}')
        await app.passes(DAY)
        assert app.images() == {image}
        assert app.lifecycle.policies.failing() == {}


# ── the operations ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_policy_is_kept_without_its_white_space(tmp_path: Path) -> None:
    async with registry(tmp_path) as app:
        document = text(keep(5) | {"description": "viele"})
        put = await app.ctx.call(api.PutLifecyclePolicyRequest(repository_name="app", lifecycle_policy_text=document))
        got = await app.ctx.call(api.GetLifecyclePolicyRequest(repository_name="app"))
        assert put.lifecycle_policy_text == got.lifecycle_policy_text == json.dumps(json.loads(document), separators=(",", ":"))
        assert (got.registry_id, got.repository_name) == (ACCOUNT, "app")
        gone = await app.ctx.call(api.DeleteLifecyclePolicyRequest(repository_name="app"))
        assert gone.lifecycle_policy_text == got.lifecycle_policy_text
        with pytest.raises(api.LifecyclePolicyNotFoundException) as caught:
            await app.ctx.call(api.GetLifecyclePolicyRequest(repository_name="app"))
        assert caught.value.message == (
            f"Lifecycle policy does not exist for the repository with name 'app' in the registry with id '{ACCOUNT}'"
        )


@pytest.mark.parametrize(
    "request_",
    [
        api.PutLifecyclePolicyRequest(repository_name="none", lifecycle_policy_text=text(keep(5))),
        api.GetLifecyclePolicyRequest(repository_name="none"),
        api.DeleteLifecyclePolicyRequest(repository_name="none"),
        api.StartLifecyclePolicyPreviewRequest(repository_name="none"),
        api.GetLifecyclePolicyPreviewRequest(repository_name="none"),
    ],
    ids=lambda request: request.operation,
)
async def test_a_repository_that_is_not_there_is_told(tmp_path: Path, request_: Any) -> None:
    async with registry(tmp_path) as app:
        with pytest.raises(api.RepositoryNotFoundException):
            await app.ctx.call(request_)


async def test_a_policy_that_is_refused_leaves_the_other_in_place(tmp_path: Path) -> None:
    async with registry(tmp_path) as app:
        await app.put(keep(5))
        for request in (api.PutLifecyclePolicyRequest, api.StartLifecyclePolicyPreviewRequest):
            with pytest.raises(api.InvalidParameterException) as caught:
                await app.ctx.call(request(repository_name="app", lifecycle_policy_text=text(keep(0))))
            assert "numeric instance is lower than the required minimum (minimum: 1, found: 0)" in caught.value.message
        assert (await app.ctx.call(api.GetLifecyclePolicyRequest(repository_name="app"))).lifecycle_policy_text.count('"countNumber":5')


# ── previews ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def start(app: Registry, *rules: dict[str, Any]) -> api.StartLifecyclePolicyPreviewResponse:
    document = text(*rules) if rules else None
    started: api.StartLifecyclePolicyPreviewResponse = await app.ctx.call(
        api.StartLifecyclePolicyPreviewRequest(repository_name="app", lifecycle_policy_text=document)
    )
    return started


async def preview(app: Registry, **more: Any) -> api.GetLifecyclePolicyPreviewResponse:
    found: api.GetLifecyclePolicyPreviewResponse = await app.ctx.call(api.GetLifecyclePolicyPreviewRequest(repository_name="app", **more))
    return found


def previewed(found: api.GetLifecyclePolicyPreviewResponse) -> list[str | None]:
    return [result.image_digest for result in found.preview_results or ()]


async def test_a_preview_tells_what_would_go_and_touches_nothing(tmp_path: Path) -> None:
    async with registry(tmp_path) as app:
        old, untagged = await app.push("v1"), await app.push()
        await app.passes(10 * DAY)
        new, fresh = await app.push("v2"), await app.push()
        rules = keep(1, status="untagged"), older(5, priority=2) | {"action": ARCHIVE}
        started = await start(app, *rules)
        assert (started.status, started.lifecycle_policy_text) == ("IN_PROGRESS", text(*rules))
        with pytest.raises(api.LifecyclePolicyPreviewInProgressException):
            await start(app, keep(1))
        await app.at_rest()
        found = await preview(app)
        assert (found.status, previewed(found)) == ("COMPLETE", sorted([old, untagged]))
        results = {result.image_digest: result for result in found.preview_results or ()}
        assert results[old].image_tags == ["v1"]
        assert results[old].action == api.LifecyclePolicyRuleAction(type="TRANSITION", target_storage_class="ARCHIVE")
        assert (results[old].applied_rule_priority, results[old].storage_class) == (2, "STANDARD")
        assert results[untagged].action == api.LifecyclePolicyRuleAction(type="EXPIRE")
        assert found.summary == api.LifecyclePolicyPreviewSummary(
            expiring_image_total_count=1,
            transitioning_image_total_counts=[api.TransitioningImageTotalCount(target_storage_class="ARCHIVE", image_total_count=1)],
        )
        await app.passes(30.0)
        assert app.images() == {old, untagged, new, fresh}


async def test_a_preview_is_filtered_and_paged(tmp_path: Path) -> None:
    async with registry(tmp_path) as app:
        pushed = []
        for number in range(5):
            pushed.append(await app.push(f"v{number}" if number < 3 else ""))
            await app.passes(1.0)
        await app.passes(10 * DAY)
        await start(app, older(5))
        await app.at_rest()
        tagged = await preview(app, filter=api.LifecyclePolicyPreviewFilter(tag_status="TAGGED"))
        assert (previewed(tagged), tagged.summary.expiring_image_total_count if tagged.summary else 0) == (pushed[:3], 5)
        assert previewed(await preview(app, filter=api.LifecyclePolicyPreviewFilter(tag_status="UNTAGGED"))) == pushed[3:]
        first = await preview(app, max_results=2)
        second = await preview(app, max_results=3, next_token=first.next_token)
        assert (previewed(first), previewed(second), second.next_token) == (pushed[:2], pushed[2:], None)
        named = [api.ImageIdentifier(image_tag="v1"), api.ImageIdentifier(image_digest=pushed[4]), api.ImageIdentifier(image_tag="v9")]
        assert previewed(await preview(app, image_ids=named)) == [pushed[1], pushed[4]]
        for wrong in ({"next_token": "x"}, {"image_ids": named, "max_results": 5}):
            with pytest.raises(api.InvalidParameterException):
                await preview(app, **wrong)


async def test_a_preview_without_a_text_is_of_the_policy_in_force(tmp_path: Path) -> None:
    async with registry(tmp_path) as app:
        with pytest.raises(api.LifecyclePolicyPreviewNotFoundException):
            await preview(app)
        with pytest.raises(api.LifecyclePolicyNotFoundException):
            await start(app)
        await app.put(keep(5))
        await start(app)
        await app.at_rest()
        found = await preview(app)
        assert (found.status, previewed(found), json.loads(found.lifecycle_policy_text or "")) == ("COMPLETE", [], {"rules": [keep(5)]})


async def test_an_interrupted_preview_is_made_after_the_restart(tmp_path: Path) -> None:
    async with registry(tmp_path) as app:
        await app.push("v1")
        row = Preview(account=ACCOUNT, region=REGION, repository="app", policy=text(older(1)), started=0.0)
        await app.lifecycle.stop()
        with app.cloud.store.transaction() as tx:
            tx.put(PREVIEWS, row)
    async with registry(tmp_path, VirtualClock(app.clock.time() + 2 * DAY), new=False) as again:
        await again.at_rest()
        found = await preview(again)
        assert (found.status, len(previewed(found))) == ("COMPLETE", 1)


# ── over the wire ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_waiter_of_a_preview_returns(cloud: CloudThread) -> None:
    ecr = cloud.client("ecr")
    ecr.create_repository(repositoryName="app")

    async def pushed() -> None:
        for number in range(3):
            await push(context_in(cloud.running.cloud), f"{number}", f"v{number}")

    cloud.do(pushed)
    policy = text(keep(1, status="tagged", tagPrefixList=["v"]))
    ecr.start_lifecycle_policy_preview(repositoryName="app", lifecyclePolicyText=policy)
    ecr.get_waiter("lifecycle_policy_preview_complete").wait(repositoryName="app", WaiterConfig={"Delay": 1})
    found = list(ecr.get_paginator("get_lifecycle_policy_preview").paginate(repositoryName="app", PaginationConfig={"PageSize": 1}))
    assert [result["imageTags"] for page in found for result in page["previewResults"]] == [["v0"], ["v1"]]
    assert found[0]["summary"] == {"expiringImageTotalCount": 2}
    assert ecr.put_lifecycle_policy(repositoryName="app", lifecyclePolicyText=policy)["registryId"] == ACCOUNT
    assert json.loads(ecr.get_lifecycle_policy(repositoryName="app")["lifecyclePolicyText"]) == json.loads(policy)
    with pytest.raises(ecr.exceptions.InvalidParameterException) as caught:
        ecr.put_lifecycle_policy(repositoryName="app", lifecyclePolicyText=policy.replace("expire", "delete"))
    assert caught.value.response["Error"]["Message"] == (
        "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: "
        "'Lifecycle policy validation failure: instance failed to match exactly one schema (matched 0 out of 2)\n'"
    )


def test_another_account_sees_no_policy(cloud: CloudThread) -> None:
    ecr, stranger = cloud.client("ecr"), cloud.client("ecr", key="111122223333")
    ecr.create_repository(repositoryName="own")
    with pytest.raises(stranger.exceptions.RepositoryNotFoundException):
        stranger.get_lifecycle_policy(repositoryName="own")
    with pytest.raises(stranger.exceptions.ClientError) as caught:
        stranger.put_lifecycle_policy(registryId=ACCOUNT, repositoryName="own", lifecyclePolicyText=text(keep(1)))
    assert "AccessDenied" in caught.value.response["Error"]["Code"]
