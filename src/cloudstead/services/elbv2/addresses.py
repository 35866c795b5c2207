"""The addresses of load balancers: each has one of the loopback network of its own, so that two of them may both listen on port 80.

127.0.0.0/8 is this machine's as a whole on Linux, and nobody else's: 127.64.0.0/10 of it is used, which leaves alone what others use by habit
(127.0.0.1, 127.0.0.53, 127.0.1.1).
"""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.services.elbv2.model import LOAD_BALANCERS, TARGETS, LoadBalancer, Target

_ROOM = 1 << 22


def free(ctx: Context, number: str) -> str:
    """An address that no load balancer of this cloud has; which one follows from the load balancer's id, so that clouds on one machine hardly ever meet."""
    at = int(number, 16)
    while ctx.table(LOAD_BALANCERS).find("by_address", ((address := _address(at)),)) is not None:
        at += 1
    return address


def _address(number: int) -> str:
    place = number % (_ROOM - 2) + 1
    return f"127.{64 + (place >> 16)}.{place >> 8 & 255}.{place & 255}"


def registered(ctx: Context, row: LoadBalancer) -> list[Target]:
    """Where a load balancer is itself a target."""
    return list(ctx.table(TARGETS).scan((row.account, row.region, row.arn), index="by_id"))
