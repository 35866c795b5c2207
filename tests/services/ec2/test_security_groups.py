"""Security groups and their rules, over the wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Refusal = Callable[..., tuple[str, str]]
ANYWHERE = [{"CidrIp": "0.0.0.0/0"}]


@pytest.fixture
def group(ec2: Any, vpc: str) -> str:
    return str(ec2.create_security_group(GroupName="web", Description="the web", VpcId=vpc)["GroupId"])


def tcp(port: int, **peers: Any) -> dict[str, Any]:
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **peers}


def described(ec2: Any, group: str) -> dict[str, Any]:
    found: dict[str, Any] = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    return found


def test_a_new_group_lets_everything_out_and_nothing_in(ec2: Any, group: str) -> None:
    one = described(ec2, group)
    assert one["IpPermissions"] == []
    assert [(rule["IpProtocol"], rule["IpRanges"]) for rule in one["IpPermissionsEgress"]] == [("-1", ANYWHERE)]


def test_names_are_unique_within_a_vpc(ec2: Any, vpc: str, group: str, refusal: Refusal) -> None:
    make = {"Description": "x", "VpcId": vpc}
    assert refusal(ec2.create_security_group, GroupName="web", **make) == (
        "InvalidGroup.Duplicate",
        f"The security group 'web' already exists for VPC '{vpc}'",
    )
    assert ec2.create_security_group(GroupName="web", Description="in the default VPC")["GroupId"] != group
    assert refusal(ec2.create_security_group, GroupName="sg-mine", **make)[0] == "InvalidParameterValue"
    assert refusal(ec2.create_security_group, GroupName="default", **make)[1] == "Cannot use reserved security group name: default"
    assert refusal(ec2.create_security_group, GroupName="ä", **make)[0] == "InvalidParameterValue"


def test_rules_have_ids_and_are_told_together_by_protocol_and_ports(ec2: Any, group: str, account: str) -> None:
    permissions = [
        tcp(
            443, IpRanges=[{"CidrIp": "10.1.2.3/8", "Description": "inside"}, {"CidrIp": "192.0.2.0/24"}], Ipv6Ranges=[{"CidrIpv6": "::/0"}]
        ),
        {"IpProtocol": "6", "FromPort": 443, "ToPort": 443, "UserIdGroupPairs": [{"GroupId": group}]},
        {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "IpRanges": ANYWHERE},
    ]
    tags = [{"ResourceType": "security-group-rule", "Tags": [{"Key": "why", "Value": "web"}]}]
    made = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=permissions, TagSpecifications=tags)["SecurityGroupRules"]
    assert len(made) == 5
    assert all(rule["SecurityGroupRuleId"].startswith("sgr-") and rule["Tags"] for rule in made)
    together = {rule["IpProtocol"]: rule for rule in described(ec2, group)["IpPermissions"]}
    https = together["tcp"]
    assert sorted(one["CidrIp"] for one in https["IpRanges"]) == ["10.0.0.0/8", "192.0.2.0/24"]
    assert https["UserIdGroupPairs"] == [{"UserId": account, "GroupId": group}]
    assert (together["icmp"]["FromPort"], together["icmp"]["ToPort"]) == (8, -1)
    filtered = ec2.describe_security_groups(Filters=[{"Name": "ip-permission.cidr", "Values": ["192.0.2.*"]}])["SecurityGroups"]
    assert [one["GroupId"] for one in filtered] == [group]


def test_a_rule_is_there_once(ec2: Any, group: str, refusal: Refusal) -> None:
    rule = [tcp(22, IpRanges=ANYWHERE)]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rule)
    assert refusal(ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=rule) == (
        "InvalidPermission.Duplicate",
        'the specified rule "peer: 0.0.0.0/0, TCP, from port: 22, to port: 22, ALLOW" already exists',
    )
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=rule)
    assert refusal(ec2.revoke_security_group_ingress, GroupId=group, IpPermissions=rule) == (
        "InvalidPermission.NotFound",
        "The specified rule does not exist in this security group.",
    )


def test_rules_are_revoked_by_their_ids_in_their_direction(ec2: Any, group: str, refusal: Refusal) -> None:
    [out] = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
    id = out["SecurityGroupRuleId"]
    assert refusal(ec2.revoke_security_group_ingress, GroupId=group, SecurityGroupRuleIds=[id])[0] == "InvalidPermission.NotFound"
    [gone] = ec2.revoke_security_group_egress(GroupId=group, SecurityGroupRuleIds=[id])["RevokedSecurityGroupRules"]
    assert (gone["SecurityGroupRuleId"], gone["CidrIpv4"]) == (id, "0.0.0.0/0")
    assert refusal(ec2.revoke_security_group_egress, GroupId=group, SecurityGroupRuleIds=[id])[0] == "InvalidSecurityGroupRuleId.NotFound"


def test_a_rule_can_be_given_in_plain_parameters(ec2: Any) -> None:
    ec2.create_security_group(GroupName="plain", Description="x")
    ec2.authorize_security_group_ingress(GroupName="plain", IpProtocol="udp", FromPort=53, ToPort=53, CidrIp="10.0.0.0/8")
    [group] = ec2.describe_security_groups(GroupNames=["plain"])["SecurityGroups"]
    assert group["IpPermissions"][0]["IpRanges"] == [{"CidrIp": "10.0.0.0/8"}]


@pytest.mark.parametrize(
    ("permission", "code", "sentence"),
    [
        (tcp(70000, IpRanges=ANYWHERE), "InvalidParameterValue", "TCP/UDP port (70000) out of range"),
        (
            {"IpProtocol": "tcp", "FromPort": 9, "ToPort": 8, "IpRanges": ANYWHERE},
            "InvalidParameterValue",
            "Invalid TCP/UDP port range (9:8)",
        ),
        ({"IpProtocol": "tcp", "IpRanges": ANYWHERE}, "InvalidParameterValue", "Must specify both from and to ports with TCP/UDP."),
        ({"IpProtocol": "smoke", "IpRanges": ANYWHERE}, "InvalidParameterValue", "Unknown protocol."),
        (tcp(1, IpRanges=[{"CidrIp": "10.0.0.0/33"}]), "InvalidParameterValue", "CIDR block 10.0.0.0/33 is malformed"),
        (tcp(1, IpRanges=[{"CidrIp": "10.0.0.0/8", "Description": "ä"}]), "InvalidParameterValue", "Invalid rule description."),
        (tcp(1), "InvalidParameterValue", "Missing source specification"),
        (tcp(1, PrefixListIds=[{"PrefixListId": "pl-1"}]), "UnsupportedOperation", "prefix lists"),
        (tcp(1, UserIdGroupPairs=[{"GroupId": "sg-01234567"}]), "InvalidGroup.NotFound", "sg-01234567"),
        (tcp(1, IpRanges=ANYWHERE * 2), "InvalidParameterValue", "The same permission must not appear multiple times"),
    ],
)
def test_rules_that_make_no_sense_are_refused(
    ec2: Any, group: str, refusal: Refusal, permission: dict[str, Any], code: str, sentence: str
) -> None:
    found = refusal(ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[permission])
    assert found[0] == code
    assert sentence in found[1]


def test_a_group_holds_sixty_rules_in_each_direction(ec2: Any, group: str, refusal: Refusal) -> None:
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(port, IpRanges=ANYWHERE) for port in range(1, 61)])
    assert refusal(ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[tcp(61, IpRanges=ANYWHERE)]) == (
        "RulesPerSecurityGroupLimitExceeded",
        "The maximum number of rules per security group has been reached.",
    )
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[tcp(61, IpRanges=ANYWHERE)])


def test_a_rule_keeps_its_id_when_it_is_changed(ec2: Any, group: str) -> None:
    [rule] = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(80, IpRanges=ANYWHERE)])["SecurityGroupRules"]
    id = rule["SecurityGroupRuleId"]
    new = {"IpProtocol": "tcp", "FromPort": 81, "ToPort": 82, "CidrIpv4": "10.0.0.0/8", "Description": "now"}
    ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[{"SecurityGroupRuleId": id, "SecurityGroupRule": new}])
    [rule] = ec2.describe_security_group_rules(SecurityGroupRuleIds=[id])["SecurityGroupRules"]
    assert (rule["FromPort"], rule["ToPort"], rule["CidrIpv4"], rule["Description"]) == (81, 82, "10.0.0.0/8", "now")
    ec2.update_security_group_rule_descriptions_ingress(
        GroupId=group, SecurityGroupRuleDescriptions=[{"SecurityGroupRuleId": id, "Description": "later"}]
    )
    assert described(ec2, group)["IpPermissions"][0]["IpRanges"][0]["Description"] == "later"


def test_a_group_that_something_depends_on_stays(ec2: Any, vpc: str, subnet: str, group: str, refusal: Refusal) -> None:
    other = ec2.create_security_group(GroupName="other", Description="x", VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=other, IpPermissions=[tcp(1, UserIdGroupPairs=[{"GroupId": group}])])
    stays = ("DependencyViolation", f"resource {group} has a dependent object")
    assert refusal(ec2.delete_security_group, GroupId=group) == stays
    ec2.delete_security_group(GroupId=other)
    interface = ec2.create_network_interface(SubnetId=subnet, Groups=[group])["NetworkInterface"]["NetworkInterfaceId"]
    assert refusal(ec2.delete_security_group, GroupId=group) == stays
    ec2.delete_network_interface(NetworkInterfaceId=interface)
    ec2.delete_security_group(GroupId=group)
    [default] = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"]
    assert refusal(ec2.delete_security_group, GroupId=default["GroupId"])[0] == "CannotDelete"
