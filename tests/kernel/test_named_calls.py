"""Calling operations by their names on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import NotImplementedHere, ServiceError, ValidationFailed
from cloudstead.kernel.named_calls import call_named
from cloudstead.services.logs import api
from support import context_in, local_cloud


class Companion:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Mapping[str, Any]]] = []

    async def call(self, ctx: Context, service: str, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((service, operation, parameters))
        return {}


def test_a_service_that_is_written_here_is_called_here(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with local_cloud(tmp_path, in_memory=True) as cloud:
            ctx = context_in(cloud)
            await call_named(ctx, "logs", "CreateLogGroup", {"logGroupName": "group"})
            assert [one.log_group_name for one in (await ctx.call(api.DescribeLogGroupsRequest())).log_groups] == ["group"]

    asyncio.run(scenario())


def test_others_are_the_companions(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with local_cloud(tmp_path, in_memory=True) as cloud:
            with pytest.raises(NotImplementedHere):
                await call_named(context_in(cloud), "sqs", "SendMessage", {})
            cloud.companion = companion = Companion()
            await call_named(context_in(cloud), "sqs", "SendMessage", {"MessageBody": "m"})
            assert companion.asked == [("sqs", "SendMessage", {"MessageBody": "m"})]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("operation", "parameters", "refusal"),
    [
        ("NoSuchThing", {}, NotImplementedHere),
        ("CreateLogGroup", {"logGroupName": 1}, ValidationFailed),
        ("CreateLogGroup", {}, ValidationFailed),
    ],
)
def test_what_cannot_be_called_is_refused_as_a_service_does(
    tmp_path: Path, operation: str, parameters: dict[str, Any], refusal: type[ServiceError]
) -> None:
    async def scenario() -> None:
        async with local_cloud(tmp_path, in_memory=True) as cloud:
            with pytest.raises(refusal):
                await call_named(context_in(cloud), "logs", operation, parameters)

    asyncio.run(scenario())
