"""What routes lead to: whether their target is there, and which table holds for a subnet."""

from __future__ import annotations

from typing import Literal

from cloudstead.kernel.store import Store
from cloudstead.services.ec2.making import LOCAL
from cloudstead.services.ec2.model import INTERFACES, INTERNET_GATEWAYS, NAT_GATEWAYS, ROUTE_TABLES, Route, RouteTable, Subnet


def state_of(store: Store, table: RouteTable, route: Route) -> Literal["active", "blackhole"]:
    """A route whose target is gone, or not in the VPC any more, leads nowhere."""
    return "active" if leads(store, table, route.target) else "blackhole"


def leads(store: Store, table: RouteTable, target: str) -> bool:
    key = (table.account, table.region, target)
    if target == LOCAL:
        return True
    if target.startswith("igw-"):
        gateway = store.table(INTERNET_GATEWAYS).get(key)
        return gateway is not None and gateway.vpc == table.vpc
    if target.startswith("nat-"):
        nat = store.table(NAT_GATEWAYS).get(key)
        return nat is not None and nat.state in ("pending", "available")
    interface = store.table(INTERFACES).get(key)
    return interface is not None and interface.attachment is not None


def table_of(store: Store, subnet: Subnet) -> RouteTable | None:
    """The table that holds for a subnet: its own or the main one."""
    tables, place = store.table(ROUTE_TABLES), (subnet.account, subnet.region)
    return tables.find("by_subnet", (*place, subnet.id)) or tables.find("by_subnet", (*place, subnet.vpc))


def leads_out(store: Store, subnet: Subnet) -> bool:
    """Whether packets of a subnet find a way to the outside world: by an internet gateway or a public NAT gateway."""
    table = table_of(store, subnet)
    if table is None:
        return False
    out = [route.target for route in table.routes if ":" not in route.destination and leads(store, table, route.target)]
    return any(target.startswith("igw-") or (target.startswith("nat-") and _public(store, subnet, target)) for target in out)


def _public(store: Store, subnet: Subnet, target: str) -> bool:
    nat = store.table(NAT_GATEWAYS).get((subnet.account, subnet.region, target))
    return nat is not None and nat.public and nat.state == "available"
