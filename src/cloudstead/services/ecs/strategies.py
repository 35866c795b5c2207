"""Capacity provider strategies: which providers get tasks, and how many. Read here from requests; `base` first, then by `weight`.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CapacityProviderStrategyItem.html
"""

from __future__ import annotations

from collections.abc import Iterable

from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.services.ecs import api, arns, checks
from cloudstead.services.ecs.model import CAPACITY_PROVIDERS, FARGATE, StrategyItem


def providers(ctx: Context, given: Iterable[str]) -> tuple[str, ...]:
    """The names of the capacity providers that a cluster is to have.

    Raises:
        InvalidParameterException, ClientException
    """
    names = tuple(dict.fromkeys(_name(ctx, text) for text in given))
    allowed = quotas.limit(ctx, "ecs", "capacity_providers")
    if len(names) > allowed:
        checks.invalid(f"The maximum number of capacity providers for a cluster is {allowed}.")
    return names


def default(ctx: Context, given: Iterable[api.CapacityProviderStrategyItem], allowed: tuple[str, ...]) -> tuple[StrategyItem, ...]:
    """The default strategy of a cluster that has these providers."""
    found = strategy(ctx, given)
    if any(each.capacity_provider not in allowed for each in found):
        checks.invalid(
            "The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster. "
            "Associate the capacity provider with the cluster and try again."
        )
    return found


def strategy(ctx: Context, given: Iterable[api.CapacityProviderStrategyItem]) -> tuple[StrategyItem, ...]:
    """A strategy that is right in itself.

    Raises:
        InvalidParameterException
    """
    items = tuple(
        StrategyItem(capacity_provider=_name(ctx, each.capacity_provider), weight=each.weight or 0, base=each.base or 0) for each in given
    )
    names = [each.capacity_provider for each in items]
    if len(names) != len(set(names)):
        checks.invalid("The specified capacity provider strategy contains a capacity provider more than once.")
    if len(names) > 20:
        checks.invalid("A capacity provider strategy can contain a maximum of 20 capacity providers.")
    if sum(each.base > 0 for each in items) > 1:
        checks.invalid("The specified capacity provider strategy contains multiple capacity providers with a base value defined.")
    if len(items) > 1 and all(each.weight == 0 for each in items):
        checks.invalid("At least one capacity provider of the strategy must have a weight greater than 0.")
    if any(name in FARGATE for name in names) and any(name not in FARGATE for name in names):
        checks.invalid(
            "A capacity provider strategy cannot contain a mix of capacity providers using Auto Scaling groups and Fargate providers."
        )
    return items


def _name(ctx: Context, text: str) -> str:
    name = arns.name_of(ctx, "capacity-provider", text)
    if name in FARGATE:
        return str(name)
    row = None if name is None else ctx.table(CAPACITY_PROVIDERS).get((ctx.account, ctx.region, name))
    if row is None or row.status != "ACTIVE":
        checks.invalid("The specified capacity provider was not found. Specify a valid name or ARN and try again.")
    return str(row.name)


def describe(item: StrategyItem) -> api.CapacityProviderStrategyItem:
    return api.CapacityProviderStrategyItem(capacity_provider=item.capacity_provider, weight=item.weight, base=item.base)
