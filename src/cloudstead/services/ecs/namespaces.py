"""The namespace of Cloud Map that a cluster's services are in when they say none: Service Connect's default. Cloud Map is the companion's."""

from __future__ import annotations

from typing import Any

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import NotImplementedHere
from cloudstead.services.ecs import api


async def resolve(ctx: Context, wanted: str) -> str:
    """The ARN of a namespace that is given by ARN or by name. One of a new name is made, as AWS does.

    Raises:
        NamespaceNotFoundException: there is none of that ARN.
    """
    found = await _find(ctx, wanted)
    if found is None and wanted.startswith("arn:"):
        raise api.NamespaceNotFoundException("The specified namespace does not exist.")
    if found is None:
        await _ask(ctx, "CreateHttpNamespace", {"Name": wanted})
        found = await _find(ctx, wanted)
    if found is None:
        raise api.NamespaceNotFoundException("The specified namespace does not exist.")
    return found


async def _find(ctx: Context, wanted: str) -> str | None:
    said: dict[str, Any] = {}
    while True:
        said = await _ask(ctx, "ListNamespaces", {"NextToken": said["NextToken"]} if "NextToken" in said else {})
        for namespace in said.get("Namespaces", ()):
            if wanted in (namespace["Arn"], namespace["Name"]):
                return str(namespace["Arn"])
        if not said.get("NextToken"):
            return None


async def _ask(ctx: Context, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
    if ctx.cloud.companion is None:
        raise NotImplementedHere("servicediscovery is not available.")
    return await ctx.cloud.companion.call(ctx, "servicediscovery", operation, parameters)
