"""A capacity provider strategy: the base of each provider first, then by weight.

"The base value designates how many tasks, at a minimum, to run on the specified capacity provider", counting those that run there already; the others
go where most is missing of the share that the weights give. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CapacityProviderStrategyItem.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from cloudstead.services.ecs.deployments.model import CapacityItem


def distribute(strategy: Sequence[CapacityItem], running: Mapping[str, int], count: int) -> list[tuple[str, int]]:
    """How many of so many new tasks go to each provider, in the strategy's order; providers that get none are left out."""
    if not strategy:
        return [("", count)] if count > 0 else []
    given = {item.provider: 0 for item in strategy}
    left = count
    for item in strategy:
        given[item.provider] += (based := min(left, max(0, item.base - running.get(item.provider, 0))))
        left -= based
    weighted = [item for item in strategy if item.weight > 0]
    for _ in range(left if weighted else 0):

        def share(item: CapacityItem) -> Fraction:
            beyond = max(0, running.get(item.provider, 0) + given[item.provider] - item.base)
            return Fraction(beyond + 1, item.weight)

        given[min(weighted, key=share).provider] += 1
    return [(provider, number) for provider, number in given.items() if number]
