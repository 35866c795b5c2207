"""Instances as the metadata service describes them. What is empty has no path."""

from __future__ import annotations

from typing import Literal

import msgspec


class MetadataOptions(msgspec.Struct, frozen=True, kw_only=True):
    """As ModifyInstanceMetadataOptions sets them."""

    http_tokens: Literal["optional", "required"] = "required"
    http_put_response_hop_limit: int = 2
    http_endpoint: Literal["enabled", "disabled"] = "enabled"
    instance_metadata_tags: Literal["enabled", "disabled"] = "disabled"


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    mac: str
    interface_id: str
    owner_id: str
    device_number: int = 0
    network_card: int = 0
    local_hostname: str = ""
    local_ipv4s: tuple[str, ...] = ()
    public_hostname: str = ""
    public_ipv4s: tuple[str, ...] = ()
    ipv4_associations: dict[str, tuple[str, ...]] = {}  # private addresses by the public one
    ipv6s: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()  # names
    security_group_ids: tuple[str, ...] = ()
    subnet_id: str = ""
    subnet_ipv4_cidr_block: str = ""
    subnet_ipv6_cidr_blocks: tuple[str, ...] = ()
    vpc_id: str = ""
    vpc_ipv4_cidr_block: str = ""
    vpc_ipv4_cidr_blocks: tuple[str, ...] = ()
    vpc_ipv6_cidr_blocks: tuple[str, ...] = ()


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The instance profile, with its role when it has one."""

    arn: str
    id: str
    role_name: str = ""
    role_arn: str = ""
    updated: float = 0.0  # when it was associated, in seconds since the epoch


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    account: str
    region: str
    instance_id: str
    image_id: str
    instance_type: str
    availability_zone: str
    availability_zone_id: str = ""
    reservation_id: str = ""
    launch_index: int = 0
    launched: float = 0.0  # seconds since the epoch
    architecture: str = "x86_64"
    life_cycle: Literal["on-demand", "spot", "scheduled", "capacity-block"] = "on-demand"
    monitoring: Literal["disabled", "enabled"] = "disabled"
    root_device: str = "/dev/xvda"
    devices: dict[str, str] = {}  # further ones: "ebs1" → "/dev/sdb"
    local_hostname: str = ""
    local_ipv4: str = ""
    public_hostname: str = ""
    public_ipv4: str = ""
    mac: str = ""
    interfaces: tuple[Interface, ...] = ()
    security_groups: tuple[str, ...] = ()  # names
    key_name: str = ""
    public_key: str = ""  # as in authorized_keys
    group_name: str = ""  # of placement
    partition_number: int | None = None
    host_id: str = ""
    product_codes: tuple[str, ...] = ()
    domain: str = "amazonaws.com"
    partition: str = "aws"
    autoscaling_target_state: str = ""  # "InService"
    spot_action: str = ""  # JSON, once it is to be interrupted
    spot_termination_time: str = ""
    rebalance: str = ""  # JSON, once that is recommended
    profile: Profile | None = None
    tags: dict[str, str] = {}
    user_data: bytes = b""
    options: MetadataOptions = MetadataOptions()


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: an instance, or a container on it."""

    instance: Instance
    hops: int = 1  # from the service: 1 the instance itself, 2 a container behind its bridge
