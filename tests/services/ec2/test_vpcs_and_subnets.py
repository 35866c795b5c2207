"""VPCs, subnets, filters and pages, over the wire."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cloudstead.services.ec2.filtering import fits, tokens
from support import CloudThread

Refusal = Callable[..., tuple[str, str]]


def named(name: str, *values: str) -> list[dict[str, Any]]:
    return [{"Name": name, "Values": list(values)}]


def test_a_region_has_a_default_vpc_with_all_that_belongs_to_it(ec2: Any) -> None:
    [vpc] = ec2.describe_vpcs()["Vpcs"]
    assert (vpc["CidrBlock"], vpc["IsDefault"]) == ("172.31.0.0/16", True)
    subnets = ec2.describe_subnets()["Subnets"]
    assert sorted((one["AvailabilityZone"], one["CidrBlock"], one["AvailableIpAddressCount"]) for one in subnets) == [
        ("us-east-1a", "172.31.0.0/20", 4091),
        ("us-east-1b", "172.31.16.0/20", 4091),
        ("us-east-1c", "172.31.32.0/20", 4091),
    ]
    assert all(one["DefaultForAz"] and one["MapPublicIpOnLaunch"] for one in subnets)
    [gateway] = ec2.describe_internet_gateways()["InternetGateways"]
    assert gateway["Attachments"] == [{"State": "available", "VpcId": vpc["VpcId"]}]
    [table] = ec2.describe_route_tables()["RouteTables"]
    assert [(one["DestinationCidrBlock"], one["GatewayId"], one["State"]) for one in table["Routes"]] == [
        ("172.31.0.0/16", "local", "active"),
        ("0.0.0.0/0", gateway["InternetGatewayId"], "active"),
    ]
    [group] = ec2.describe_security_groups()["SecurityGroups"]
    assert (group["GroupName"], group["Description"]) == ("default", "default VPC security group")
    [acl] = ec2.describe_network_acls()["NetworkAcls"]
    assert len(acl["Associations"]) == 3
    assert acl["IsDefault"]
    [options] = ec2.describe_dhcp_options()["DhcpOptions"]
    assert options["DhcpOptionsId"] == vpc["DhcpOptionsId"]


def test_a_default_vpc_that_was_deleted_comes_back_only_when_asked_for(ec2: Any, refusal: Refusal) -> None:
    [vpc] = ec2.describe_vpcs()["Vpcs"]
    assert refusal(ec2.create_default_vpc)[0] == "DefaultVpcAlreadyExists"
    assert refusal(ec2.delete_vpc, VpcId=vpc["VpcId"]) == (
        "DependencyViolation",
        f"The vpc '{vpc['VpcId']}' has dependencies and cannot be deleted.",
    )
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    [gateway] = ec2.describe_internet_gateways()["InternetGateways"]
    ec2.detach_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"], VpcId=vpc["VpcId"])
    ec2.delete_vpc(VpcId=vpc["VpcId"])
    assert ec2.describe_vpcs()["Vpcs"] == []
    assert ec2.describe_security_groups()["SecurityGroups"] == []
    assert refusal(ec2.create_default_subnet, AvailabilityZone="us-east-1a")[0] == "DefaultVpcDoesNotExist"
    assert refusal(ec2.create_security_group, GroupName="a", Description="b") == ("VPCIdNotSpecified", "No default VPC for this user")
    assert ec2.create_default_vpc()["Vpc"]["IsDefault"]
    assert len(ec2.describe_subnets()["Subnets"]) == 3


def test_a_default_subnet_can_be_made_again(ec2: Any, refusal: Refusal) -> None:
    [gone] = ec2.describe_subnets(Filters=named("availability-zone", "us-east-1b"))["Subnets"]
    code, sentence = refusal(ec2.create_default_subnet, AvailabilityZone="us-east-1b")
    assert (code, sentence) == (
        "DefaultSubnetAlreadyExistsInAvailabilityZone",
        f"'{gone['SubnetId']}' is already the default subnet in us-east-1b.",
    )
    ec2.delete_subnet(SubnetId=gone["SubnetId"])
    made = ec2.create_default_subnet(AvailabilityZone="us-east-1b")["Subnet"]
    assert (made["CidrBlock"], made["DefaultForAz"]) == ("172.31.16.0/20", True)


@pytest.mark.parametrize(
    ("block", "code", "sentence"),
    [
        ("10.0.0.0/8", "InvalidVpc.Range", "The CIDR '10.0.0.0/8' is invalid."),
        ("10.0.0.0/29", "InvalidVpc.Range", "The CIDR '10.0.0.0/29' is invalid."),
        ("127.0.0.0/16", "InvalidVpc.Range", "The CIDR '127.0.0.0/16' is invalid."),
        ("nonsense", "InvalidParameterValue", "Value (nonsense) for parameter cidrBlock is invalid. This is not a valid CIDR block."),
    ],
)
def test_a_vpc_has_between_16_and_65536_addresses(ec2: Any, refusal: Refusal, block: str, code: str, sentence: str) -> None:
    assert refusal(ec2.create_vpc, CidrBlock=block) == (code, sentence)


def test_what_is_set_behind_the_prefix_is_cut_off(ec2: Any) -> None:
    assert ec2.create_vpc(CidrBlock="100.68.0.18/18")["Vpc"]["CidrBlock"] == "100.68.0.0/18"


def test_subnets_lie_within_their_vpc_and_apart(ec2: Any, vpc: str, subnet: str, refusal: Refusal) -> None:
    assert refusal(ec2.create_subnet, VpcId=vpc, CidrBlock="10.1.0.0/24") == ("InvalidSubnet.Range", "The CIDR '10.1.0.0/24' is invalid.")
    assert refusal(ec2.create_subnet, VpcId=vpc, CidrBlock="10.0.0.0/20") == (
        "InvalidSubnet.Conflict",
        "The CIDR '10.0.0.0/20' conflicts with another subnet",
    )
    code, sentence = refusal(ec2.create_subnet, VpcId=vpc, CidrBlock="10.0.2.0/24", AvailabilityZone="us-east-1z")
    assert code == "InvalidParameterValue"
    assert "us-east-1a, us-east-1b, us-east-1c" in sentence
    made = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.2.0/28", AvailabilityZoneId="use1-az3")["Subnet"]
    assert (made["AvailabilityZone"], made["AvailableIpAddressCount"]) == ("us-east-1c", 11)


def test_a_vpc_can_have_more_blocks(ec2: Any, vpc: str, refusal: Refusal) -> None:
    association = ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="10.9.0.0/16")["CidrBlockAssociation"]["AssociationId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    [table] = ec2.describe_route_tables(Filters=named("vpc-id", vpc))["RouteTables"]
    assert {one["DestinationCidrBlock"] for one in table["Routes"]} == {"10.0.0.0/16", "10.9.0.0/16"}
    assert refusal(ec2.disassociate_vpc_cidr_block, AssociationId=association)[0] == "InvalidCidrBlock.InUse"
    ec2.delete_subnet(SubnetId=subnet)
    ec2.disassociate_vpc_cidr_block(AssociationId=association)
    [described] = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    [primary] = described["CidrBlockAssociationSet"]
    assert refusal(ec2.disassociate_vpc_cidr_block, AssociationId=primary["AssociationId"])[0] == "OperationNotPermitted"


def test_attributes_are_changed_one_at_a_time(ec2: Any, vpc: str, refusal: Refusal) -> None:
    assert ec2.describe_vpc_attribute(VpcId=vpc, Attribute="enableDnsHostnames")["EnableDnsHostnames"] == {"Value": False}
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    assert ec2.describe_vpc_attribute(VpcId=vpc, Attribute="enableDnsHostnames")["EnableDnsHostnames"] == {"Value": True}
    both = {"EnableDnsHostnames": {"Value": True}, "EnableDnsSupport": {"Value": True}}
    assert refusal(ec2.modify_vpc_attribute, VpcId=vpc, **both)[0] == "InvalidParameterCombination"


@pytest.mark.parametrize(
    ("operation", "member", "id", "code"),
    [
        ("describe_vpcs", "VpcIds", "vpc-0123456789abcdef0", "InvalidVpcID.NotFound"),
        ("describe_vpcs", "VpcIds", "nonsense", "InvalidVpcID.Malformed"),
        ("describe_subnets", "SubnetIds", "subnet-01234567", "InvalidSubnetID.NotFound"),
        ("describe_route_tables", "RouteTableIds", "rtb-01234567", "InvalidRouteTableID.NotFound"),
        ("describe_internet_gateways", "InternetGatewayIds", "igw-01234567", "InvalidInternetGatewayID.NotFound"),
        ("describe_nat_gateways", "NatGatewayIds", "nat-01234567", "NatGatewayNotFound"),
        ("describe_security_groups", "GroupIds", "sg-01234567", "InvalidGroup.NotFound"),
        ("describe_security_groups", "GroupIds", "sg", "InvalidGroupId.Malformed"),
        ("describe_network_interfaces", "NetworkInterfaceIds", "eni-01234567", "InvalidNetworkInterfaceID.NotFound"),
        ("describe_network_acls", "NetworkAclIds", "acl-01234567", "InvalidNetworkAclID.NotFound"),
        ("describe_dhcp_options", "DhcpOptionsIds", "dopt-01234567", "InvalidDhcpOptionID.NotFound"),
        ("describe_addresses", "AllocationIds", "eipalloc-01234567", "InvalidAllocationID.NotFound"),
        ("describe_addresses", "PublicIps", "198.18.0.1", "InvalidAddress.NotFound"),
        ("describe_key_pairs", "KeyNames", "mine", "InvalidKeyPair.NotFound"),
        ("describe_instance_types", "InstanceTypes", "t3.enormous", "InvalidInstanceType"),
    ],
)
def test_an_id_that_leads_to_nothing_is_refused(ec2: Any, refusal: Refusal, operation: str, member: str, id: str, code: str) -> None:
    assert refusal(getattr(ec2, operation), **{member: [id]})[0] == code


def test_every_filter_must_be_passed_and_an_unknown_one_is_refused(ec2: Any, vpc: str, refusal: Refusal) -> None:
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "team", "Value": "shop"}])
    found = ec2.describe_vpcs(Filters=[*named("tag:team", "sh*"), *named("cidr", "10.0.?.0/16", "x")])["Vpcs"]
    assert [one["VpcId"] for one in found] == [vpc]
    assert ec2.describe_vpcs(Filters=[*named("tag:team", "shop"), *named("is-default", "true")])["Vpcs"] == []
    assert [one["VpcId"] for one in ec2.describe_vpcs(Filters=named("tag-key", "team"))["Vpcs"]] == [vpc]
    assert refusal(ec2.describe_vpcs, Filters=named("colour", "red")) == ("InvalidParameterValue", "The filter 'colour' is invalid")


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("a*c", "abbc", True),
        ("a*c", "abb", False),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("*", "", True),
        (r"a\*", "a*", True),
        (r"a\*", "ab", False),
    ],
)
def test_wildcards_stand_for_characters_unless_a_backslash_is_before_them(pattern: str, text: str, matches: bool) -> None:
    assert fits(text, tokens(pattern)) is matches


def test_a_pattern_of_many_stars_costs_little() -> None:
    assert not fits("a" * 5000, tokens("*a" * 100 + "b"))


def test_pages_give_everything_once(ec2: Any, vpc: str, refusal: Refusal) -> None:
    made = {ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24")["Subnet"]["SubnetId"] for n in range(12)}
    pages = ec2.get_paginator("describe_subnets").paginate(Filters=named("vpc-id", vpc), PaginationConfig={"PageSize": 5})
    found = [[one["SubnetId"] for one in page["Subnets"]] for page in pages]
    assert [len(page) for page in found] == [5, 5, 2]
    assert {id for page in found for id in page} == made
    assert refusal(ec2.describe_subnets, NextToken="nonsense", MaxResults=5)[0] == "InvalidNextToken"


def test_a_dry_run_makes_nothing(ec2: Any) -> None:
    with pytest.raises(ClientError) as caught:
        ec2.create_vpc(CidrBlock="10.0.0.0/16", DryRun=True)
    assert caught.value.response["Error"]["Code"] == "DryRunOperation"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert len(ec2.describe_vpcs()["Vpcs"]) == 1


def test_what_does_not_act_is_refused_and_not_swallowed(ec2: Any, vpc: str, refusal: Refusal) -> None:
    code, sentence = refusal(ec2.create_vpc, CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)
    assert (code, sentence) == ("UnsupportedOperation", "The parameter AmazonProvidedIpv6CidrBlock is not supported by Cloudstead.")
    assert ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.9.0/24", Ipv6Native=False)["Subnet"]["State"] == "available"
    assert refusal(ec2.describe_volumes)[0] == "NotImplemented"


def test_tags_come_with_what_is_made_and_later(ec2: Any, refusal: Refusal) -> None:
    tags = [{"ResourceType": "vpc", "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]}]
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tags)["Vpc"]["VpcId"]
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "b", "Value": "3"}, {"Key": "c", "Value": ""}])
    ec2.delete_tags(Resources=[vpc], Tags=[{"Key": "a"}, {"Key": "b", "Value": "2"}])
    described = ec2.describe_tags(Filters=named("resource-id", vpc))["Tags"]
    assert [(one["Key"], one["Value"], one["ResourceType"]) for one in described] == [("b", "3", "vpc"), ("c", "", "vpc")]
    ec2.delete_tags(Resources=[vpc])
    assert ec2.describe_tags()["Tags"] == []
    assert refusal(ec2.create_tags, Resources=["thing-1"], Tags=[{"Key": "a", "Value": ""}]) == (
        "InvalidID",
        "The ID 'thing-1' is not valid",
    )
    assert refusal(ec2.create_tags, Resources=[vpc], Tags=[{"Key": "aws:a", "Value": ""}])[0] == "InvalidParameterValue"
    many = [{"Key": str(n), "Value": ""} for n in range(51)]
    assert refusal(ec2.create_tags, Resources=[vpc], Tags=many)[0] == "TagLimitExceeded"
    wrong = [{"ResourceType": "subnet", "Tags": [{"Key": "a", "Value": "1"}]}]
    assert refusal(ec2.create_vpc, CidrBlock="10.0.0.0/16", TagSpecifications=wrong) == (
        "InvalidParameterValue",
        "'subnet' is not a valid taggable resource type for this operation.",
    )


def test_accounts_and_regions_are_apart(cloud: CloudThread, ec2: Any, vpc: str, account: str, refusal: Refusal) -> None:
    elsewhere = cloud.client("ec2", key=account, region="eu-west-1")
    stranger = cloud.client("ec2", key="999999999999")
    assert refusal(elsewhere.describe_vpcs, VpcIds=[vpc])[0] == refusal(stranger.describe_vpcs, VpcIds=[vpc])[0] == "InvalidVpcID.NotFound"
    assert {one["AvailabilityZoneId"] for one in elsewhere.describe_subnets()["Subnets"]} == {"euw1-az1", "euw1-az2", "euw1-az3"}


def test_all_is_there_again_after_a_restart(tmp_path: Path) -> None:
    with CloudThread(tmp_path / "data") as cloud:
        ec2 = cloud.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        before = ec2.describe_vpcs()["Vpcs"], ec2.describe_security_groups()["SecurityGroups"], ec2.describe_route_tables()["RouteTables"]
    with CloudThread(tmp_path / "data") as cloud:
        ec2 = cloud.client("ec2")
        assert before == (
            ec2.describe_vpcs()["Vpcs"],
            ec2.describe_security_groups()["SecurityGroups"],
            ec2.describe_route_tables()["RouteTables"],
        )
        ec2.delete_vpc(VpcId=vpc)


def test_zones_regions_and_attributes_are_told(ec2: Any, refusal: Refusal) -> None:
    zones = ec2.describe_availability_zones(Filters=named("zone-id", "use1-az[12]", "use1-az2"))["AvailabilityZones"]
    assert [one["ZoneName"] for one in zones] == ["us-east-1b"]
    assert "af-south-1" not in {one["RegionName"] for one in ec2.describe_regions()["Regions"]}
    assert "af-south-1" in {one["RegionName"] for one in ec2.describe_regions(AllRegions=True)["Regions"]}
    assert refusal(ec2.describe_regions, RegionNames=["moon-1"])[0] == "InvalidParameterValue"
    [default] = ec2.describe_account_attributes(AttributeNames=["default-vpc"])["AccountAttributes"]
    assert default["AttributeValues"] == [{"AttributeValue": ec2.describe_vpcs()["Vpcs"][0]["VpcId"]}]


def test_instance_types_tell_processors_and_memory(ec2: Any) -> None:
    types = ec2.describe_instance_types(Filters=[*named("instance-type", "m5.*"), *named("vcpu-info.default-vcpus", "8")])["InstanceTypes"]
    assert [(one["InstanceType"], one["MemoryInfo"]["SizeInMiB"], one["VCpuInfo"]["DefaultCores"]) for one in types] == [
        ("m5.2xlarge", 32768, 4)
    ]
    offered = ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=named("instance-type", "t3.micro"))
    assert [one["Location"] for one in offered["InstanceTypeOfferings"]] == ["us-east-1a", "us-east-1b", "us-east-1c"]
