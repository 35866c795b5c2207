"""What stands at each path of an instance's metadata. Pure: a folder is a dict, a file its text.

A folder answers with the names in it, one a line, those of folders with a slash. Credentials are no text here but the name of a role (`Lent`): they are
made when somebody asks.
"""

from __future__ import annotations

import time
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import unquote

import msgspec

from cloudstead.kernel.role_credentials import RoleCredentials
from cloudstead.services.ec2.imds.model import Instance, Interface, Profile

VERSIONS: Final = (
    "1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04", "2011-01-01",
    "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19", "2016-06-30", "2016-09-02", "2018-03-28",
    "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03", "2021-03-23", "2021-07-15", "2022-09-24", "2024-04-11", "latest",
)  # fmt: skip


class Lent(NamedTuple):
    """In the place of a role's credentials."""

    role_arn: str


class Names(NamedTuple):
    """A folder whose list of names is not simply that."""

    shown: str
    inside: dict[str, Any]


Node: TypeAlias = "str | bytes | Lent | Names | dict[str, Any]"


def find(instance: Instance, path: str) -> str | bytes | Lent | None:
    """What a path answers with; None when nothing stands there."""
    parts = [unquote(part) for part in path.split("/") if part]
    if not parts:
        return "\n".join(VERSIONS)
    if parts[0] not in VERSIONS:
        return None
    node: Node = root(instance)
    for part in parts[1:]:
        folder = node.inside if isinstance(node, Names) else node
        if not isinstance(folder, dict) or part not in folder:
            return None
        node = folder[part]
    if isinstance(node, dict):
        return listing(node)
    return node.shown if isinstance(node, Names) else node


def listing(folder: dict[str, Any]) -> str:
    return "\n".join(f"{name}/" if isinstance(inside, dict | Names) else name for name, inside in sorted(folder.items()))


def root(instance: Instance) -> dict[str, Any]:
    top: dict[str, Any] = {"dynamic": _dynamic(instance), "meta-data": _meta_data(instance)}
    if instance.user_data:
        top["user-data"] = instance.user_data
    return top


def _meta_data(instance: Instance) -> dict[str, Any]:
    tags = instance.tags if instance.options.instance_metadata_tags == "enabled" else {}
    folder = {
        "ami-id": instance.image_id,
        "ami-launch-index": str(instance.launch_index),
        "ami-manifest-path": "(unknown)",
        "block-device-mapping": {"ami": instance.root_device, "root": instance.root_device, **instance.devices},
        "events": {"maintenance": {"history": "[]", "scheduled": "[]"}},
        "hostname": instance.local_hostname,
        "instance-action": "none",
        "instance-id": instance.instance_id,
        "instance-life-cycle": instance.life_cycle,
        "instance-type": instance.instance_type,
        "local-hostname": instance.local_hostname,
        "local-ipv4": instance.local_ipv4,
        "mac": instance.mac,
        "network": {"interfaces": {"macs": {each.mac: _interface(each) for each in instance.interfaces}}} if instance.interfaces else {},
        "placement": _placement(instance),
        "product-codes": "\n".join(instance.product_codes),
        "profile": "default-hvm",
        "public-hostname": instance.public_hostname,
        "public-ipv4": instance.public_ipv4,
        "reservation-id": instance.reservation_id,
        "security-groups": "\n".join(instance.security_groups),
        "services": {"domain": instance.domain, "partition": instance.partition},
        "system": "nitro",
        "tags": {"instance": dict(tags)} if tags else {},
        "autoscaling": _some({"target-lifecycle-state": instance.autoscaling_target_state}),
        "spot": _some({"instance-action": instance.spot_action, "termination-time": instance.spot_termination_time}),
    }
    if instance.rebalance:
        folder["events"] |= {"recommendations": {"rebalance": instance.rebalance}}  # type: ignore[operator]
    if instance.profile is not None:
        folder["iam"] = _iam(instance.profile)
    if instance.key_name:
        folder["public-keys"] = Names(f"0={instance.key_name}", {"0": {"openssh-key": instance.public_key}})  # type: ignore[assignment]
    return _some(folder)


def _placement(instance: Instance) -> dict[str, Any]:
    return _some(
        {
            "availability-zone": instance.availability_zone,
            "availability-zone-id": instance.availability_zone_id,
            "group-name": instance.group_name,
            "host-id": instance.host_id,
            "partition-number": "" if instance.partition_number is None else str(instance.partition_number),
            "region": instance.region,
        }
    )


def _interface(interface: Interface) -> dict[str, Any]:
    return _some(
        {
            "device-number": str(interface.device_number),
            "interface-id": interface.interface_id,
            "ipv4-associations": {public: "\n".join(private) for public, private in interface.ipv4_associations.items()},
            "ipv6s": "\n".join(interface.ipv6s),
            "local-hostname": interface.local_hostname,
            "local-ipv4s": "\n".join(interface.local_ipv4s),
            "mac": interface.mac,
            "network-card": str(interface.network_card),
            "owner-id": interface.owner_id,
            "public-hostname": interface.public_hostname,
            "public-ipv4s": "\n".join(interface.public_ipv4s),
            "security-group-ids": "\n".join(interface.security_group_ids),
            "security-groups": "\n".join(interface.security_groups),
            "subnet-id": interface.subnet_id,
            "subnet-ipv4-cidr-block": interface.subnet_ipv4_cidr_block,
            "subnet-ipv6-cidr-blocks": "\n".join(interface.subnet_ipv6_cidr_blocks),
            "vpc-id": interface.vpc_id,
            "vpc-ipv4-cidr-block": interface.vpc_ipv4_cidr_block,
            "vpc-ipv4-cidr-blocks": "\n".join(interface.vpc_ipv4_cidr_blocks),
            "vpc-ipv6-cidr-blocks": "\n".join(interface.vpc_ipv6_cidr_blocks),
        }
    )


def _iam(profile: Profile) -> dict[str, Any]:
    info = {
        "Code": "Success",
        "LastUpdated": date(profile.updated),
        "InstanceProfileArn": profile.arn,
        "InstanceProfileId": profile.id,
    }
    folder: dict[str, Any] = {"info": indented(info)}
    if profile.role_name:
        folder["security-credentials"] = {profile.role_name: Lent(profile.role_arn)}
    return folder


def _dynamic(instance: Instance) -> dict[str, Any]:
    return {"fws": {"instance-monitoring": instance.monitoring}, "instance-identity": {"document": indented(identity_document(instance))}}


def identity_document(instance: Instance) -> dict[str, Any]:
    return {
        "accountId": instance.account,
        "architecture": instance.architecture,
        "availabilityZone": instance.availability_zone,
        "billingProducts": None,
        "devpayProductCodes": None,
        "marketplaceProductCodes": list(instance.product_codes) or None,
        "imageId": instance.image_id,
        "instanceId": instance.instance_id,
        "instanceType": instance.instance_type,
        "kernelId": None,
        "pendingTime": date(instance.launched),
        "privateIp": instance.local_ipv4,
        "ramdiskId": None,
        "region": instance.region,
        "version": "2017-09-30",
    }


def credentials(lent: RoleCredentials) -> str:
    return indented(
        {
            "Code": "Success",
            "LastUpdated": date(lent.updated),
            "Type": "AWS-HMAC",
            "AccessKeyId": lent.access_key_id,
            "SecretAccessKey": lent.secret_access_key,
            "Token": lent.token,
            "Expiration": date(lent.expiration),
        }
    )


def failed_credentials(now: float) -> str:
    """When the role cannot be assumed."""
    message = "EC2 cannot assume the role. Please see documentation at https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html."
    return indented({"Code": "AssumeRoleUnauthorizedAccess", "Message": message, "LastUpdated": date(now)})


def indented(document: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode().replace('": ', '" : ')


def date(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _some(folder: dict[str, Any]) -> dict[str, Any]:
    return {name: inside for name, inside in folder.items() if inside}
