"""Network interfaces, elastic addresses, routes and gateways, over the wire."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

Refusal = Callable[..., tuple[str, str]]


@pytest.fixture
def gateway(ec2: Any, vpc: str) -> str:
    id = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=id, VpcId=vpc)
    return str(id)


def interface(ec2: Any, subnet: str, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = ec2.create_network_interface(SubnetId=subnet, **more)["NetworkInterface"]
    return made


def free(ec2: Any, subnet: str) -> int:
    return int(ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"])


def test_interfaces_have_the_addresses_of_their_subnet(ec2: Any, vpc: str, refusal: Refusal) -> None:
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.3.0/28")["Subnet"]["SubnetId"]
    made = [interface(ec2, subnet) for _ in range(11)]
    assert {one["PrivateIpAddress"] for one in made} == {f"10.0.3.{n}" for n in range(4, 15)}
    assert free(ec2, subnet) == 0
    assert refusal(ec2.create_network_interface, SubnetId=subnet)[0] == "InsufficientFreeAddressesInSubnet"
    ec2.delete_network_interface(NetworkInterfaceId=made[3]["NetworkInterfaceId"])
    assert interface(ec2, subnet)["PrivateIpAddress"] == made[3]["PrivateIpAddress"]
    assert refusal(ec2.delete_subnet, SubnetId=subnet) == (
        "DependencyViolation",
        f"The subnet '{subnet}' has dependencies and cannot be deleted.",
    )


def test_an_address_can_be_asked_for(ec2: Any, subnet: str, refusal: Refusal) -> None:
    assert interface(ec2, subnet, PrivateIpAddress="10.0.1.9")["PrivateIpAddress"] == "10.0.1.9"
    for ip, code in (("10.0.1.9", "InvalidIPAddress.InUse"), ("10.0.1.3", "InvalidParameterValue"), ("10.0.2.9", "InvalidParameterValue")):
        assert refusal(ec2.create_network_interface, SubnetId=subnet, PrivateIpAddress=ip)[0] == code


def test_further_addresses_come_and_go(ec2: Any, subnet: str, refusal: Refusal) -> None:
    one = interface(ec2, subnet, SecondaryPrivateIpAddressCount=2)
    id = one["NetworkInterfaceId"]
    assert [ip["Primary"] for ip in one["PrivateIpAddresses"]] == [True, False, False]
    assert free(ec2, subnet) == 251 - 3
    ec2.assign_private_ip_addresses(NetworkInterfaceId=id, PrivateIpAddresses=["10.0.1.200"])
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=id, PrivateIpAddresses=[one["PrivateIpAddresses"][1]["PrivateIpAddress"]])
    [now] = ec2.describe_network_interfaces(NetworkInterfaceIds=[id])["NetworkInterfaces"]
    assert now["PrivateIpAddresses"][-1]["PrivateIpAddress"] == "10.0.1.200"
    assert len(now["PrivateIpAddresses"]) == 3
    primary = {"NetworkInterfaceId": id, "PrivateIpAddresses": [one["PrivateIpAddress"]]}
    assert refusal(ec2.unassign_private_ip_addresses, **primary)[0] == "InvalidParameterValue"


def test_attributes_of_an_interface_are_changed(ec2: Any, vpc: str, subnet: str, refusal: Refusal) -> None:
    id = interface(ec2, subnet)["NetworkInterfaceId"]
    group = ec2.create_security_group(GroupName="a", Description="b", VpcId=vpc)["GroupId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=id, Groups=[group])
    ec2.modify_network_interface_attribute(NetworkInterfaceId=id, SourceDestCheck={"Value": False})
    ec2.modify_network_interface_attribute(NetworkInterfaceId=id, Description={"Value": "mine"})
    [now] = ec2.describe_network_interfaces(Filters=[{"Name": "group-id", "Values": [group]}])["NetworkInterfaces"]
    assert (now["SourceDestCheck"], now["Description"], now["Status"], now["RequesterManaged"]) == (False, "mine", "available", False)
    ec2.reset_network_interface_attribute(NetworkInterfaceId=id, SourceDestCheck="")
    told = ec2.describe_network_interface_attribute(NetworkInterfaceId=id, Attribute="sourceDestCheck")
    assert told["SourceDestCheck"] == {"Value": True}
    elsewhere = ec2.create_security_group(GroupName="a", Description="of the default VPC")["GroupId"]
    assert refusal(ec2.modify_network_interface_attribute, NetworkInterfaceId=id, Groups=[elsewhere])[0] == "InvalidParameterValue"


def test_an_elastic_address_is_associated_with_an_interface(ec2: Any, vpc: str, subnet: str, refusal: Refusal) -> None:
    id = interface(ec2, subnet)["NetworkInterfaceId"]
    address = ec2.allocate_address(Domain="vpc")
    allocation = address["AllocationId"]
    wanted = {"AllocationId": allocation, "NetworkInterfaceId": id}
    assert refusal(ec2.associate_address, **wanted) == (
        "Gateway.NotAttached",
        f"Network {vpc} is not attached to any internet gateway",
    )
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    association = ec2.associate_address(**wanted)["AssociationId"]
    [now] = ec2.describe_network_interfaces(NetworkInterfaceIds=[id])["NetworkInterfaces"]
    assert (now["Association"]["PublicIp"], now["Association"]["AllocationId"]) == (address["PublicIp"], allocation)
    assert refusal(ec2.release_address, AllocationId=allocation)[0] == "InvalidIPAddress.InUse"
    assert refusal(ec2.detach_internet_gateway, InternetGatewayId=gateway, VpcId=vpc)[0] == "DependencyViolation"
    ec2.disassociate_address(AssociationId=association)
    assert refusal(ec2.disassociate_address, AssociationId=association)[0] == "InvalidAssociationID.NotFound"
    ec2.release_address(AllocationId=allocation)
    assert ec2.describe_addresses()["Addresses"] == []
    assert refusal(ec2.associate_address, AllocationId=allocation, InstanceId="i-01234567")[0] == "InvalidAllocationID.NotFound"


def test_routes_lead_to_gateways_of_the_vpc_or_nowhere(ec2: Any, vpc: str, gateway: str, refusal: Refusal) -> None:
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    out = {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"}
    ec2.create_route(**out, GatewayId=gateway)
    stranger = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    assert refusal(ec2.create_route, **out, GatewayId=stranger)[0] == "InvalidParameterValue"
    assert refusal(ec2.create_route, **out, GatewayId="igw-01234567")[0] == "InvalidInternetGatewayID.NotFound"
    assert refusal(ec2.replace_route, RouteTableId=table, DestinationCidrBlock="1.0.0.0/8", GatewayId=gateway) == (
        "InvalidParameterValue",
        "There is no route defined for '1.0.0.0/8' in the route table. Use CreateRoute instead.",
    )
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    [told] = ec2.describe_route_tables(Filters=[{"Name": "route.state", "Values": ["blackhole"]}])["RouteTables"]
    assert told["RouteTableId"] == table
    ec2.delete_route(**out)
    assert refusal(ec2.delete_route, **out) == (
        "InvalidRoute.NotFound",
        f"no route with destination-cidr-block 0.0.0.0/0 in route table {table}",
    )
    local = {"RouteTableId": table, "DestinationCidrBlock": "10.0.0.0/16"}
    assert refusal(ec2.delete_route, **local)[1] == f"cannot remove local route 10.0.0.0/16 in route table {table}"
    ec2.delete_route_table(RouteTableId=table)


def test_a_subnet_has_one_route_table(ec2: Any, vpc: str, subnet: str, refusal: Refusal) -> None:
    one, two = (ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"] for _ in range(2))
    first = ec2.associate_route_table(RouteTableId=one, SubnetId=subnet)["AssociationId"]
    assert ec2.associate_route_table(RouteTableId=one, SubnetId=subnet)["AssociationId"] == first
    assert refusal(ec2.associate_route_table, RouteTableId=two, SubnetId=subnet)[0] == "Resource.AlreadyAssociated"
    second = ec2.replace_route_table_association(AssociationId=first, RouteTableId=two)["NewAssociationId"]
    assert refusal(ec2.delete_route_table, RouteTableId=two)[0] == "DependencyViolation"
    ec2.disassociate_route_table(AssociationId=second)
    ec2.delete_route_table(RouteTableId=two)
    [main] = ec2.describe_route_tables(Filters=[{"Name": "association.main", "Values": ["true"]}, {"Name": "vpc-id", "Values": [vpc]}])[
        "RouteTables"
    ]
    association = main["Associations"][0]["RouteTableAssociationId"]
    assert refusal(ec2.disassociate_route_table, AssociationId=association)[0] == "InvalidParameterValue"
    ec2.replace_route_table_association(AssociationId=association, RouteTableId=one)
    ec2.delete_route_table(RouteTableId=main["RouteTableId"])


def until(ec2: Any, nat: str, state: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while (found := ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"][0])["State"] != state:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return dict(found)


def test_a_nat_gateway_becomes_available_and_gives_everything_back(ec2: Any, vpc: str, subnet: str, gateway: str, refusal: Refusal) -> None:
    allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
    made = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=allocation, ClientToken="once")["NatGateway"]
    again = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=allocation, ClientToken="once")["NatGateway"]
    nat = made["NatGatewayId"]
    assert (made["State"], again["NatGatewayId"]) == ("pending", nat)
    assert refusal(ec2.create_nat_gateway, SubnetId=subnet, AllocationId=allocation)[0] == "Resource.AlreadyAssociated"
    until(ec2, nat, "available")
    [one] = ec2.describe_network_interfaces(Filters=[{"Name": "interface-type", "Values": ["nat_gateway"]}])["NetworkInterfaces"]
    assert (one["RequesterManaged"], one["Status"], one["Description"]) == (True, "in-use", f"Interface for NAT Gateway {nat}")
    assert refusal(ec2.delete_network_interface, NetworkInterfaceId=one["NetworkInterfaceId"])[0] == "AuthFailure"
    ec2.delete_nat_gateway(NatGatewayId=nat)
    until(ec2, nat, "deleted")
    ec2.delete_subnet(SubnetId=subnet)
    ec2.release_address(AllocationId=allocation)


def test_a_nat_gateway_without_a_way_out_fails(ec2: Any, subnet: str, vpc: str) -> None:
    allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
    nat = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=allocation)["NatGateway"]["NatGatewayId"]
    failed = until(ec2, nat, "failed")
    assert (failed["FailureCode"], failed["FailureMessage"]) == (
        "Gateway.NotAttached",
        f"Network {vpc} has no Internet gateway attached",
    )


def test_network_acls_hold_numbered_entries_and_are_exchanged(ec2: Any, vpc: str, subnet: str, refusal: Refusal) -> None:
    acl = ec2.create_network_acl(VpcId=vpc)["NetworkAcl"]["NetworkAclId"]
    entry = {"NetworkAclId": acl, "RuleNumber": 100, "Egress": False}
    allow = {**entry, "Protocol": "6", "RuleAction": "allow", "CidrBlock": "10.0.0.0/8", "PortRange": {"From": 80, "To": 80}}
    ec2.create_network_acl_entry(**allow)
    assert refusal(ec2.create_network_acl_entry, **allow)[0] == "NetworkAclEntryAlreadyExists"
    ec2.replace_network_acl_entry(**{**allow, "RuleAction": "deny"})
    [told] = ec2.describe_network_acls(NetworkAclIds=[acl])["NetworkAcls"]
    assert [one["RuleAction"] for one in told["Entries"] if one["RuleNumber"] == 100] == ["deny"]
    [default] = ec2.describe_network_acls(Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])["NetworkAcls"]
    association = default["Associations"][0]["NetworkAclAssociationId"]
    back = ec2.replace_network_acl_association(AssociationId=association, NetworkAclId=acl)["NewAssociationId"]
    assert refusal(ec2.delete_network_acl, NetworkAclId=acl)[0] == "DependencyViolation"
    ec2.replace_network_acl_association(AssociationId=back, NetworkAclId=default["NetworkAclId"])
    ec2.delete_network_acl_entry(**entry)
    assert refusal(ec2.delete_network_acl_entry, **entry)[0] == "InvalidNetworkAclEntry.NotFound"
    ec2.delete_network_acl(NetworkAclId=acl)
    assert refusal(ec2.delete_network_acl, NetworkAclId=default["NetworkAclId"])[0] == "InvalidParameterValue"


def test_dhcp_options_belong_to_vpcs(ec2: Any, vpc: str, refusal: Refusal) -> None:
    wanted = [{"Key": "domain-name", "Values": ["shop.internal"]}]
    options = ec2.create_dhcp_options(DhcpConfigurations=wanted)["DhcpOptions"]["DhcpOptionsId"]
    ec2.associate_dhcp_options(DhcpOptionsId=options, VpcId=vpc)
    assert refusal(ec2.delete_dhcp_options, DhcpOptionsId=options)[0] == "DependencyViolation"
    ec2.associate_dhcp_options(DhcpOptionsId="default", VpcId=vpc)
    ec2.delete_dhcp_options(DhcpOptionsId=options)
    assert refusal(ec2.create_dhcp_options, DhcpConfigurations=[{"Key": "colour", "Values": ["red"]}])[0] == "InvalidParameterValue"


def test_a_key_pair_has_a_key_that_works(ec2: Any, refusal: Refusal) -> None:
    rsa = ec2.create_key_pair(KeyName="rsa")
    assert load_pem_private_key(rsa["KeyMaterial"].encode(), None) is not None
    ed = ec2.create_key_pair(KeyName="ed", KeyType="ed25519")
    assert load_ssh_private_key(ed["KeyMaterial"].encode(), None) is not None
    assert refusal(ec2.create_key_pair, KeyName="rsa")[0] == "InvalidKeyPair.Duplicate"
    told = ec2.describe_key_pairs(KeyNames=["rsa"], IncludePublicKey=True)["KeyPairs"][0]
    assert told["KeyFingerprint"] == rsa["KeyFingerprint"]
    assert told["PublicKey"].startswith("ssh-rsa ")
    imported = ec2.import_key_pair(KeyName="again", PublicKeyMaterial=told["PublicKey"].encode())
    assert len(imported["KeyFingerprint"].split(":")) == 16
    assert refusal(ec2.import_key_pair, KeyName="bad", PublicKeyMaterial=b"nonsense") == (
        "InvalidKey.Format",
        "Key is not in valid OpenSSH public key format",
    )
    ec2.delete_key_pair(KeyPairId=ed["KeyPairId"])
    ec2.delete_key_pair(KeyName="never there")
    assert [one["KeyName"] for one in ec2.describe_key_pairs()["KeyPairs"]] in (["again", "rsa"], ["rsa", "again"])
