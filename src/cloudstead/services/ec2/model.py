"""The rows that EC2 keeps.

    account
    └── region
        ├── region                          that its default VPC has been made                      Region
        ├── vpcs/<id>                       address blocks, DNS attributes                          Vpc
        │   ├── subnets/<id>                a block in one zone                                     Subnet
        │   ├── route-tables/<id>           routes and the subnets they hold for                    RouteTable
        │   ├── network-acls/<id>           entries and the subnets they hold for                   NetworkAcl
        │   ├── security-groups/<id>                                                                SecurityGroup
        │   │   └── rules/<id>              what may come in or go out                              GroupRule
        │   ├── nat-gateways/<id>                                                                   NatGateway
        │   └── network-interfaces/<id>     addresses of a subnet, groups, what it is attached to   NetworkInterface
        ├── internet-gateways/<id>          attached to a VPC or to none                            InternetGateway
        ├── addresses/<id>                  elastic addresses                                       Address
        ├── instances/<id>                  what is wanted of a machine, and how far it is          Instance
        ├── dhcp-options/<id>                                                                       DhcpOptions
        └── key-pairs/<id>                  public halves                                           KeyPair

Which addresses of a subnet are taken is what the network interfaces say, and nothing else: an index over them is the list. Times are seconds since the epoch.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from cloudstead.kernel import quotas
from cloudstead.kernel.quotas import Quota
from cloudstead.kernel.store import Row, Table
from cloudstead.services.ec2.imds.model import MetadataOptions

Place: TypeAlias = tuple[str, str, str]  # account, region, id of a VPC


class Resource(Row, frozen=True, kw_only=True):
    """What has an id and bears tags."""

    account: str
    region: str
    id: str
    tags: dict[str, str] = {}


class Region(Row, frozen=True, kw_only=True):
    account: str
    region: str
    began: float


class CidrAssociation(msgspec.Struct, frozen=True):
    id: str
    cidr: str


class Vpc(Resource, frozen=True, kw_only=True):
    cidrs: tuple[CidrAssociation, ...]  # the first is the primary one
    tenancy: str = "default"
    is_default: bool = False
    dns_support: bool = True
    dns_hostnames: bool = False
    usage_metrics: bool = False
    dhcp_options: str = "default"

    @property
    def cidr(self) -> str:
        return self.cidrs[0].cidr


class Subnet(Resource, frozen=True, kw_only=True):
    vpc: str
    zone: str  # "us-east-1a"
    cidr: str
    default_for_az: bool = False
    map_public_ip: bool = False
    hostname_type: str = "ip-name"
    dns_a_record: bool = False


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """`target` is an id (igw-, nat-, eni-), or "local"."""

    destination: str  # a CIDR of IPv4 or IPv6
    target: str
    origin: str = "CreateRoute"


class TableAssociation(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    subnet: str = ""  # empty: the table is the VPC's main one


class RouteTable(Resource, frozen=True, kw_only=True):
    vpc: str
    routes: tuple[Route, ...]
    associations: tuple[TableAssociation, ...] = ()

    @property
    def main(self) -> bool:
        return any(not one.subnet for one in self.associations)


class AclEntry(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    egress: bool
    protocol: str
    action: str
    cidr: str  # of IPv4 or IPv6
    ports: tuple[int, int] | None = None
    icmp: tuple[int, int] | None = None  # type and code


class AclAssociation(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    subnet: str


class NetworkAcl(Resource, frozen=True, kw_only=True):
    vpc: str
    is_default: bool = False
    entries: tuple[AclEntry, ...] = ()
    associations: tuple[AclAssociation, ...] = ()


class SecurityGroup(Resource, frozen=True, kw_only=True):
    vpc: str
    name: str
    description: str

    def arn(self) -> str:
        return f"arn:aws:ec2:{self.region}:{self.account}:security-group/{self.id}"


class GroupRule(Resource, frozen=True, kw_only=True):
    """What a security group lets through, to or from one peer: a block of addresses, or the members of a group."""

    group: str
    vpc: str
    egress: bool
    protocol: str  # "tcp", "udp", "icmp", "icmpv6", a number, "-1" for all
    from_port: int = -1
    to_port: int = -1
    cidr4: str = ""
    cidr6: str = ""
    peer_group: str = ""
    description: str | None = None

    @property
    def identity(self) -> tuple[bool, str, int, int, str]:
        """Two rules with the same are one rule."""
        return (self.egress, self.protocol, self.from_port, self.to_port, self.cidr4 or self.cidr6 or self.peer_group)


class InternetGateway(Resource, frozen=True, kw_only=True):
    vpc: str = ""


class NatGateway(Resource, frozen=True, kw_only=True):
    vpc: str
    subnet: str
    interface: str
    private_ip: str
    state: str  # pending, available, failed, deleting, deleted
    created: float
    public: bool = True
    allocation: str = ""
    association: str = ""
    public_ip: str = ""
    deleted: float | None = None
    failed: tuple[str, str] | None = None  # code and sentence


class Address(Resource, frozen=True, kw_only=True):
    ip: str
    association: str = ""
    interface: str = ""
    private_ip: str = ""


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """To an instance, or to what a service runs."""

    id: str
    at: float
    instance: str = ""
    owner: str = ""
    device_index: int = 0
    delete_on_termination: bool = False


class NetworkInterface(Resource, frozen=True, kw_only=True):
    vpc: str
    subnet: str
    zone: str
    ips: tuple[str, ...]  # the first is the primary one
    mac: str
    created: float
    description: str = ""
    groups: tuple[str, ...] = ()
    interface_type: str = "interface"
    requester: str = ""  # the service that has it, and alone may change it
    attachment: Attachment | None = None
    source_dest_check: bool = True
    public_ip: str = ""  # one of Amazon's, that goes with the interface; elastic ones are rows of their own
    delete_with_owner: bool = False

    @property
    def ip(self) -> str:
        return self.ips[0]

    @property
    def status(self) -> str:
        return "available" if self.attachment is None else "in-use"


class ProfileAssociation(msgspec.Struct, frozen=True, kw_only=True):
    """An instance profile, and the role that it had when it was associated."""

    id: str
    at: float
    arn: str
    profile_id: str
    role: str = ""  # the ARN


class Instance(Resource, frozen=True, kw_only=True):
    """`state` is what the controller brings on: an operation sets pending, stopping or shutting-down, the controller what follows."""

    vpc: str
    subnet: str
    zone: str
    image: str  # ami-…
    root: str  # the id of the engine's image
    type: str
    reservation: str
    index: int
    interface: str  # the primary one
    ip: str
    launched: float
    state: str = "pending"
    since: float = 0.0  # of this state
    reason: tuple[str, str] | None = None  # code and sentence
    transition: str = ""  # "User initiated (…)"
    reboot: bool = False  # asked for, and not done yet
    key_name: str = ""
    public_key: str = ""
    user_data: str = ""  # in base64
    profile: ProfileAssociation | None = None
    options: MetadataOptions = MetadataOptions()
    shutdown: str = "stop"  # when the machine ends by itself; or "terminate"
    keep: bool = False  # DisableApiTermination
    keep_running: bool = False  # DisableApiStop
    monitoring: bool = False
    ebs_optimized: bool = False
    credits: str = ""
    client_token: str = ""


class DhcpOptions(Resource, frozen=True, kw_only=True):
    configurations: dict[str, tuple[str, ...]]


class KeyPair(Resource, frozen=True, kw_only=True):
    name: str
    kind: str  # rsa, ed25519
    fingerprint: str
    public_key: str
    created: float


def key_of(row: Resource) -> tuple[str, str, str]:
    return (row.account, row.region, row.id)


def by_vpc(row: Vpc | Subnet | RouteTable | NetworkAcl | SecurityGroup | NatGateway | NetworkInterface | Instance) -> Place:
    return (row.account, row.region, getattr(row, "vpc", row.id))


REGIONS = Table("ec2.regions", Region, key=lambda row: (row.account, row.region))
VPCS = Table(
    "ec2.vpcs", Vpc, key=key_of, indexes={"default": lambda row: (row.account, row.region) if row.is_default else None}, unique=("default",)
)
SUBNETS = Table("ec2.subnets", Subnet, key=key_of, indexes={"by_vpc": by_vpc})
ROUTE_TABLES = Table(
    "ec2.route_tables",
    RouteTable,
    key=key_of,
    indexes={
        "by_vpc": by_vpc,
        "by_association": lambda row: [(row.account, row.region, one.id) for one in row.associations],
        "by_subnet": lambda row: [(row.account, row.region, one.subnet or row.vpc) for one in row.associations],  # the VPC's: the main one
    },
    unique=("by_association", "by_subnet"),
)
NETWORK_ACLS = Table(
    "ec2.network_acls",
    NetworkAcl,
    key=key_of,
    indexes={
        "by_vpc": by_vpc,
        "by_association": lambda row: [(row.account, row.region, one.id) for one in row.associations],
        "by_subnet": lambda row: [(row.account, row.region, one.subnet) for one in row.associations],
    },
    unique=("by_association",),
)
SECURITY_GROUPS = Table(
    "ec2.security_groups",
    SecurityGroup,
    key=key_of,
    indexes={"by_vpc": by_vpc, "by_name": lambda row: (row.account, row.region, row.vpc, row.name)},
    unique=("by_name",),
)
GROUP_RULES = Table(
    "ec2.group_rules",
    GroupRule,
    key=key_of,
    indexes={
        "by_group": lambda row: (row.account, row.region, row.group, row.egress),
        "by_peer": lambda row: (row.account, row.region, row.peer_group) if row.peer_group else None,
        "by_vpc": lambda row: (row.account, row.region, row.vpc),
    },
)
INTERNET_GATEWAYS = Table(
    "ec2.internet_gateways",
    InternetGateway,
    key=key_of,
    indexes={"by_vpc": lambda row: (row.account, row.region, row.vpc) if row.vpc else None},
)
NAT_GATEWAYS = Table("ec2.nat_gateways", NatGateway, key=key_of, indexes={"by_vpc": by_vpc})
ADDRESSES = Table(
    "ec2.addresses",
    Address,
    key=key_of,
    indexes={
        "by_ip": lambda row: (row.ip,),  # no two accounts have one
        "by_association": lambda row: (row.account, row.region, row.association) if row.association else None,
        "by_interface": lambda row: (row.account, row.region, row.interface) if row.interface else None,
    },
    unique=("by_ip",),
)
INTERFACES = Table(
    "ec2.network_interfaces",
    NetworkInterface,
    key=key_of,
    indexes={
        "by_vpc": by_vpc,
        "by_address": lambda row: [(row.account, row.region, row.subnet, ip) for ip in row.ips],
        "by_group": lambda row: [(row.account, row.region, group) for group in row.groups],
        "by_public_ip": lambda row: (row.public_ip,) if row.public_ip else None,
    },
    unique=("by_address", "by_public_ip"),
)
INSTANCES = Table(
    "ec2.instances",
    Instance,
    key=key_of,
    indexes={
        "by_vpc": by_vpc,
        "by_interface": lambda row: (row.account, row.region, row.interface) if row.interface else None,
    },
)
DHCP_OPTIONS = Table("ec2.dhcp_options", DhcpOptions, key=key_of)
KEY_PAIRS = Table(
    "ec2.key_pairs", KeyPair, key=key_of, indexes={"by_name": lambda row: (row.account, row.region, row.name)}, unique=("by_name",)
)

TABLES = (
    REGIONS,
    VPCS,
    SUBNETS,
    ROUTE_TABLES,
    NETWORK_ACLS,
    SECURITY_GROUPS,
    GROUP_RULES,
    INTERNET_GATEWAYS,
    NAT_GATEWAYS,
    ADDRESSES,
    INTERFACES,
    INSTANCES,
    DHCP_OPTIONS,
    KEY_PAIRS,
)

# https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html; how many of each thing a region holds is not limited here
quotas.declare(
    Quota("ec2", "cidrs", "IPv4 CIDR blocks per VPC", 5, aws_code="L-83CA0A9D"),
    Quota("ec2", "rules", "Inbound or outbound rules per security group", 60, aws_code="L-0EA8095F"),
    Quota("ec2", "groups_of_interface", "Security groups per network interface", 5, aws_code="L-2AFB9258"),
    Quota("ec2", "routes", "Routes per route table", 500, aws_code="L-93826ACB"),
    Quota("ec2", "acl_entries", "Rules per network ACL", 20, aws_code="L-2AEEBF1A"),
)
