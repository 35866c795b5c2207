"""IpPermissions: what a call says of rules, brought to one form, and the rows told in AWS's forms. Pure, but for groups that are looked up.

One IpPermission may name many peers; here and in AWS a rule has one. https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import msgspec

from cloudstead.services.ec2 import api
from cloudstead.services.ec2.failures import invalid, missing, unsupported
from cloudstead.services.ec2.model import GroupRule

ALL = "-1"
_NAMES = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6", "all": ALL}
_WITH_PORTS = ("tcp", "udp")
_ICMP = ("icmp", "icmpv6")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as a call says it."""

    egress: bool
    protocol: str
    from_port: int
    to_port: int
    cidr4: str = ""
    cidr6: str = ""
    peer_group: str = ""
    description: str | None = None

    @property
    def identity(self) -> tuple[bool, str, int, int, str]:
        return (self.egress, self.protocol, self.from_port, self.to_port, self.cidr4 or self.cidr6 or self.peer_group)

    def sentence(self) -> str:
        """As AWS names it in errors."""
        peer = self.cidr4 or self.cidr6 or self.peer_group
        if self.protocol == ALL:
            return f'"peer: {peer}, ALL, ALLOW"'
        return f'"peer: {peer}, {self.protocol.upper()}, from port: {self.from_port}, to port: {self.to_port}, ALLOW"'


GroupOf = Callable[[api.UserIdGroupPair], str]


def wanted(permissions: Iterable[api.IpPermission], *, egress: bool, group_of: GroupOf) -> list[Wanted]:
    """All rules of some IpPermissions, each once."""
    found: dict[Any, Wanted] = {}
    for permission in permissions:
        rules = _rules(permission, egress, group_of)
        if not rules:
            raise invalid("Missing source specification: include source security group or CIDR information")
        for rule in rules:
            if rule.identity in found:
                raise invalid("The same permission must not appear multiple times")
            found[rule.identity] = rule
    return list(found.values())


def _rules(permission: api.IpPermission, egress: bool, group_of: GroupOf) -> list[Wanted]:
    protocol = protocol_of(permission.ip_protocol)
    low, high = ports_of(protocol, permission.from_port, permission.to_port)
    if permission.prefix_list_ids:
        raise unsupported("Rules with prefix lists are not supported by Cloudstead.")

    def rule(description: str | None, **peer: str) -> Wanted:
        return Wanted(
            egress=egress,
            protocol=protocol,
            from_port=low,
            to_port=high,
            description=described(description),
            **peer,
        )

    return [
        *(rule(one.description, cidr4=cidr4(one.cidr_ip)) for one in permission.ip_ranges or ()),
        *(rule(one.description, cidr6=cidr6(one.cidr_ipv6)) for one in permission.ipv6_ranges or ()),
        *(rule(one.description, peer_group=group_of(one)) for one in permission.user_id_group_pairs or ()),
    ]


def flat(
    ip_protocol: str | None, from_port: int | None, to_port: int | None, cidr_ip: str | None, group_name: str | None, owner: str | None
) -> list[api.IpPermission]:
    """The one permission that a call gives without the list."""
    if not any((ip_protocol, cidr_ip, group_name)):
        return []
    return [
        api.IpPermission(
            ip_protocol=ip_protocol or (ALL if group_name else None),
            from_port=from_port,
            to_port=to_port,
            ip_ranges=[api.IpRange(cidr_ip=cidr_ip)] if cidr_ip else None,
            user_id_group_pairs=[api.UserIdGroupPair(group_name=group_name, user_id=owner)] if group_name else None,
        )
    ]


def protocol_of(text: str | None) -> str:
    if text is None:
        raise missing("ipProtocol")
    name = _NAMES.get(text.lower(), text.lower())
    if name in (*_WITH_PORTS, *_ICMP, ALL) or (len(name) <= 3 and name.isascii() and name.isdecimal() and int(name) <= 255):
        return name
    raise invalid(f"Invalid value '{text}' for IP protocol. Unknown protocol.")


def ports_of(protocol: str, low: int | None, high: int | None) -> tuple[int, int]:
    if protocol in _WITH_PORTS:
        if low is None or high is None:
            raise invalid("Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.")
        if (low, high) == (-1, -1):
            return (0, 65535)
        for port in (low, high):
            if not 0 <= port <= 65535:
                raise invalid(f"TCP/UDP port ({port}) out of range")
        if low > high:
            raise invalid(f"Invalid TCP/UDP port range ({low}:{high})")
        return low, high
    if protocol in _ICMP:
        kind, code = -1 if low is None else low, -1 if high is None else high
        if not -1 <= kind <= 255 or not -1 <= code <= 255:
            raise invalid(f"ICMP code ({code}) out of range" if -1 <= kind <= 255 else f"ICMP type ({kind}) out of range")
        return kind, code
    return -1, -1


def cidr4(text: str | None) -> str:
    try:
        if "/" not in (text or ""):
            raise ValueError
        return str(IPv4Network(text or "", strict=False))
    except ValueError:
        raise invalid(f"CIDR block {text} is malformed") from None


def cidr6(text: str | None) -> str:
    try:
        if "/" not in (text or ""):
            raise ValueError
        return str(IPv6Network(text or "", strict=False))
    except ValueError:
        raise invalid(f"CIDR block {text} is malformed") from None


_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789. _-:/()#,@[]+=&;{}!$*")


def described(text: str | None) -> str | None:
    if text and (len(text) > 255 or not set(text) <= _ALLOWED):
        raise invalid(
            "Invalid rule description. Valid descriptions are strings less than 256 characters from the following set: "
            "a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"
        )
    return text


# ------------------------------------------------------------------------------------------------------------------------ telling


def grouped(rules: Iterable[GroupRule], owner_of: str) -> list[api.IpPermission]:
    """Rules as IpPermissions: those of the same protocol and ports together."""
    found: dict[tuple[str, int, int], api.IpPermission] = {}
    for rule in rules:
        permission = found.setdefault((rule.protocol, rule.from_port, rule.to_port), _empty(rule))
        if rule.cidr4:
            _list(permission.ip_ranges).append(api.IpRange(cidr_ip=rule.cidr4, description=rule.description))
        elif rule.cidr6:
            _list(permission.ipv6_ranges).append(api.Ipv6Range(cidr_ipv6=rule.cidr6, description=rule.description))
        else:
            pair = api.UserIdGroupPair(user_id=owner_of, group_id=rule.peer_group, description=rule.description)
            _list(permission.user_id_group_pairs).append(pair)
    return list(found.values())


def _list(value: Any) -> Any:
    return value


def _empty(rule: GroupRule) -> api.IpPermission:
    with_ports = rule.protocol in (*_WITH_PORTS, *_ICMP)
    return api.IpPermission(
        ip_protocol=rule.protocol,
        from_port=rule.from_port if with_ports else None,
        to_port=rule.to_port if with_ports else None,
        ip_ranges=[],
        ipv6_ranges=[],
        prefix_list_ids=[],
        user_id_group_pairs=[],
    )
