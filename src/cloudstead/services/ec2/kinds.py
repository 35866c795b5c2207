"""The kinds of resources: what their ids look like, and AWS's sentences for an id that leads to nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from cloudstead.kernel.context import Context
from cloudstead.kernel.ids import hex_id
from cloudstead.kernel.store import Table
from cloudstead.services.ec2 import model
from cloudstead.services.ec2.failures import Ec2Error, failure

_DIGITS = re.compile(r"[0-9a-f]{8}(?:[0-9a-f]{9})?\Z")


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    prefix: str
    type: str  # as in ARNs and TagSpecifications
    table: Table[Any]
    not_found: str
    malformed: str
    sentence: str = ""  # with {id}

    def new_id(self) -> str:
        return hex_id(self.prefix)

    def unknown(self, id: str) -> Ec2Error:
        return failure(self.not_found, self.sentence.format(id=id))

    def find(self, ctx: Context, id: str) -> Any:
        return ctx.table(self.table).get((ctx.account, ctx.region, id))

    def require(self, ctx: Context, id: str) -> Any:
        """
        Raises:
            the kind's Malformed or NotFound
        """
        row = self.find(ctx, id)
        if row is None:
            self.check(id)
            raise self.unknown(id)
        return row

    def check(self, id: str) -> None:
        prefix, dash, digits = id.rpartition("-")
        if not dash or prefix != self.prefix or not _DIGITS.match(digits):
            raise failure(self.malformed, f'Invalid id: "{id}" (expecting "{self.prefix}-...")')

    def require_all(self, ctx: Context, ids: Iterable[str]) -> list[Any]:
        return [self.require(ctx, id) for id in dict.fromkeys(ids)]

    def of_vpc(self, ctx: Context, vpc: str) -> list[Any]:
        return ctx.table(self.table).scan((ctx.account, ctx.region, vpc), index="by_vpc")

    def all(self, ctx: Context) -> list[Any]:
        return ctx.table(self.table).scan((ctx.account, ctx.region))


def _kind(prefix: str, type: str, table: Table[Any], code: str, noun: str, malformed: str = "") -> Kind:
    return Kind(
        prefix=prefix,
        type=type,
        table=table,
        not_found=f"{code}.NotFound",
        malformed=malformed or f"{code}.Malformed",
        sentence=f"The {noun} '{{id}}' does not exist",
    )


VPC = _kind("vpc", "vpc", model.VPCS, "InvalidVpcID", "vpc ID")
SUBNET = _kind("subnet", "subnet", model.SUBNETS, "InvalidSubnetID", "subnet ID")
ROUTE_TABLE = _kind("rtb", "route-table", model.ROUTE_TABLES, "InvalidRouteTableID", "routeTable ID", "InvalidRouteTableId.Malformed")
INTERNET_GATEWAY = _kind(
    "igw",
    "internet-gateway",
    model.INTERNET_GATEWAYS,
    "InvalidInternetGatewayID",
    "internetGateway ID",
    "InvalidInternetGatewayId.Malformed",
)
NAT_GATEWAY = Kind(
    prefix="nat",
    type="natgateway",
    table=model.NAT_GATEWAYS,
    not_found="NatGatewayNotFound",
    malformed="NatGatewayMalformed",
    sentence="NAT gateway {id} was not found",
)
ADDRESS = _kind("eipalloc", "elastic-ip", model.ADDRESSES, "InvalidAllocationID", "allocation ID")
SECURITY_GROUP = _kind("sg", "security-group", model.SECURITY_GROUPS, "InvalidGroup", "security group", "InvalidGroupId.Malformed")
RULE = _kind("sgr", "security-group-rule", model.GROUP_RULES, "InvalidSecurityGroupRuleId", "security group rule ID")
INTERFACE = _kind(
    "eni", "network-interface", model.INTERFACES, "InvalidNetworkInterfaceID", "networkInterface ID", "InvalidNetworkInterfaceId.Malformed"
)
INSTANCE = _kind("i", "instance", model.INSTANCES, "InvalidInstanceID", "instance ID")
NETWORK_ACL = _kind("acl", "network-acl", model.NETWORK_ACLS, "InvalidNetworkAclID", "networkAcl ID", "InvalidNetworkAclId.Malformed")
DHCP = _kind("dopt", "dhcp-options", model.DHCP_OPTIONS, "InvalidDhcpOptionID", "dhcpOption ID", "InvalidDhcpOptionsId.Malformed")
KEY_PAIR = _kind("key", "key-pair", model.KEY_PAIRS, "InvalidKeyPair", "key pair", "InvalidKeyPairId.Malformed")

KINDS = (
    VPC,
    SUBNET,
    ROUTE_TABLE,
    INTERNET_GATEWAY,
    NAT_GATEWAY,
    ADDRESS,
    SECURITY_GROUP,
    RULE,
    INTERFACE,
    INSTANCE,
    NETWORK_ACL,
    DHCP,
    KEY_PAIR,
)
BY_PREFIX = {kind.prefix: kind for kind in KINDS}


def kind_of(id: str) -> Kind | None:
    return BY_PREFIX.get(id.rpartition("-")[0])
