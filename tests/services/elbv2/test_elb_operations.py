"""The operations of Elastic Load Balancing, through boto3: what they answer and what they refuse."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support import CloudThread, client_of


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudThread]:
    with CloudThread(tmp_path_factory.mktemp("elb") / "data") as running:
        yield running


class Place:
    """An account of its own for each test."""

    count = 0

    def __init__(self, cloud: CloudThread) -> None:
        Place.count += 1
        self.account = f"{Place.count:012d}"
        self.elb = client_of(cloud.endpoint, "elbv2", key=self.account)
        self.ec2 = client_of(cloud.endpoint, "ec2", key=self.account)
        found = self.ec2.describe_subnets()["Subnets"]
        self.vpc: str = found[0]["VpcId"]
        self.subnets: list[str] = [one["SubnetId"] for one in sorted(found, key=lambda one: one["AvailabilityZone"])]

    def balancer(self, name: str = "web", **more: Any) -> dict[str, Any]:
        options = {"Name": name, "Subnets": self.subnets[:2]} | more
        found: dict[str, Any] = self.elb.create_load_balancer(**options)["LoadBalancers"][0]
        return found

    def group(self, name: str = "one", **more: Any) -> str:
        options = {"Name": name, "Protocol": "HTTP", "Port": 80, "VpcId": self.vpc, "TargetType": "ip"} | more
        return str(self.elb.create_target_group(**options)["TargetGroups"][0]["TargetGroupArn"])

    def listener(self, balancer: str, *actions: Any, port: int = 18181, **more: Any) -> dict[str, Any]:
        options = {"LoadBalancerArn": balancer, "Protocol": "HTTP", "Port": port, "DefaultActions": list(actions)} | more
        found: dict[str, Any] = self.elb.create_listener(**options)["Listeners"][0]
        return found

    def rule(self, listener: str, priority: int, *actions: Any, path: str = "/x") -> str:
        conditions = [{"Field": "path-pattern", "Values": [path]}]
        made = self.elb.create_rule(ListenerArn=listener, Priority=priority, Conditions=conditions, Actions=list(actions))
        return str(made["Rules"][0]["RuleArn"])


@pytest.fixture
def place(cloud: CloudThread) -> Place:
    return Place(cloud)


def to(group: str) -> dict[str, str]:
    return {"Type": "forward", "TargetGroupArn": group}


def fixed(status: str = "200") -> dict[str, Any]:
    return {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": status}}


def refused(call: Any, **options: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**options)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_load_balancer_becomes_active_and_tells_where_it_is(place: Place) -> None:
    made = place.balancer(Tags=[{"Key": "Team", "Value": "shop"}])
    assert made["State"]["Code"] == "provisioning"
    assert re.fullmatch(r"arn:aws:elasticloadbalancing:us-east-1:\d{12}:loadbalancer/app/web/[0-9a-f]{16}", made["LoadBalancerArn"])
    assert re.fullmatch(r"web-[0-9a-f]{16}\.us-east-1\.elb\.localhost", made["DNSName"])
    place.elb.get_waiter("load_balancer_available").wait(Names=["web"], WaiterConfig={"Delay": 1})
    place.elb.get_waiter("load_balancer_exists").wait(Names=["web"])
    told = place.elb.describe_load_balancers(LoadBalancerArns=[made["LoadBalancerArn"]])["LoadBalancers"][0]
    assert told["State"] == {"Code": "active"}
    assert (told["Scheme"], told["Type"], told["IpAddressType"]) == ("internet-facing", "application", "ipv4")
    assert [zone["SubnetId"] for zone in told["AvailabilityZones"]] == place.subnets[:2]
    assert len(told["SecurityGroups"]) == 1
    assert told["AvailabilityZones"][0]["LoadBalancerAddresses"][0]["IpAddress"].startswith("127.")
    tags = place.elb.describe_tags(ResourceArns=[made["LoadBalancerArn"]])["TagDescriptions"][0]["Tags"]
    assert tags == [{"Key": "Team", "Value": "shop"}]


def test_asked_for_the_same_again_the_same_is_told_and_for_something_else_it_is_refused(place: Place) -> None:
    first = place.balancer()
    assert place.balancer()["LoadBalancerArn"] == first["LoadBalancerArn"]
    assert refused(place.balancer, Scheme="internal") == (
        "DuplicateLoadBalancerName",
        "A load balancer with the same name 'web' exists, but with different settings",
    )


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        ({"Name": "a" * 33}, "ValidationError", "cannot be longer than '32' characters"),
        ({"Name": "a_b"}, "ValidationError", "can only contain characters that are alphanumeric"),
        ({"Name": "-a"}, "ValidationError", "cannot begin or end with a hyphen"),
        ({"Name": "internal-a"}, "ValidationError", "cannot begin with 'internal-'"),
        ({"Subnets": []}, "ValidationError", "A subnet or a subnet mapping must be specified"),
        ({"Subnets": ["subnet-0123456789abcdef0", "subnet-1"]}, "SubnetNotFound", "does not exist"),
        ({"Type": "gateway"}, "InvalidConfigurationRequest", "is not supported by Cloudstead"),
        ({"IpAddressType": "dualstack"}, "InvalidConfigurationRequest", "is not supported by Cloudstead"),
        ({"SecurityGroups": ["sg-0123456789abcdef0"]}, "InvalidSecurityGroup", "One or more security groups are invalid"),
    ],
)
def test_a_load_balancer_that_cannot_be_is_refused(place: Place, options: dict[str, Any], code: str, sentence: str) -> None:
    found = refused(place.balancer, **options)
    assert (found[0], sentence in found[1]) == (code, True), found


def test_an_application_load_balancer_is_in_two_zones_at_least(place: Place) -> None:
    assert refused(place.balancer, Subnets=place.subnets[:1])[1] == (
        "At least two subnets in two different Availability Zones must be specified"
    )
    zone = place.ec2.describe_subnets(SubnetIds=place.subnets[:1])["Subnets"][0]["AvailabilityZone"]
    twin = place.ec2.create_subnet(VpcId=place.vpc, CidrBlock="172.31.240.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
    assert refused(place.balancer, Subnets=[place.subnets[0], twin]) == (
        "InvalidConfigurationRequest",
        "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
    )
    assert place.balancer(Type="network", Subnets=place.subnets[:1])["Type"] == "network"


def test_attributes_are_told_with_their_defaults_and_act_or_are_refused(place: Place) -> None:
    arn = place.balancer()["LoadBalancerArn"]

    def modify(key: str, value: str) -> Any:
        return place.elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": key, "Value": value}])

    told = {one["Key"]: one["Value"] for one in place.elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]}
    assert (told["idle_timeout.timeout_seconds"], told["deletion_protection.enabled"]) == ("60", "false")
    assert refused(modify, key="no.such", value="1") == ("ValidationError", "Load balancer attribute key 'no.such' is not recognized")
    assert refused(modify, key="idle_timeout.timeout_seconds", value="0")[0] == "ValidationError"
    assert refused(modify, key="access_logs.s3.enabled", value="true")[0] == "InvalidConfigurationRequest"
    modify("deletion_protection.enabled", "true")
    assert refused(place.elb.delete_load_balancer, LoadBalancerArn=arn) == (
        "OperationNotPermitted",
        f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled",
    )
    modify("deletion_protection.enabled", "false")
    place.elb.delete_load_balancer(LoadBalancerArn=arn)
    place.elb.get_waiter("load_balancers_deleted").wait(LoadBalancerArns=[arn])
    assert refused(place.elb.describe_load_balancers, Names=["web"]) == ("LoadBalancerNotFound", "Load balancers '[web]' not found")
    place.elb.delete_load_balancer(LoadBalancerArn=arn)  # a second time is no error


def test_a_load_balancer_moves_to_other_subnets_and_groups(place: Place) -> None:
    arn = place.balancer()["LoadBalancerArn"]
    moved = place.elb.set_subnets(LoadBalancerArn=arn, Subnets=place.subnets[1:3])
    assert [zone["SubnetId"] for zone in moved["AvailabilityZones"]] == place.subnets[1:3]
    group = place.ec2.create_security_group(GroupName="web", Description="web", VpcId=place.vpc)["GroupId"]
    assert place.elb.set_security_groups(LoadBalancerArn=arn, SecurityGroups=[group])["SecurityGroupIds"] == [group]
    assert place.elb.set_ip_address_type(LoadBalancerArn=arn, IpAddressType="ipv4")["IpAddressType"] == "ipv4"
    assert refused(place.elb.set_ip_address_type, LoadBalancerArn=arn, IpAddressType="dualstack")[0] == "InvalidConfigurationRequest"


def test_target_groups_have_the_health_checks_of_their_protocol(place: Place) -> None:
    place.group("http")
    place.group("tcp", Protocol="TCP")
    http, tcp = place.elb.describe_target_groups(Names=["http", "tcp"])["TargetGroups"]
    assert (http["HealthCheckPath"], http["Matcher"], http["HealthCheckTimeoutSeconds"]) == ("/", {"HttpCode": "200"}, 5)
    assert (tcp["HealthCheckProtocol"], tcp.get("HealthCheckPath"), tcp["HealthCheckTimeoutSeconds"]) == ("TCP", None, 10)
    changed = place.elb.modify_target_group(
        TargetGroupArn=http["TargetGroupArn"], HealthCheckPath="/up", Matcher={"HttpCode": "200-299"}, HealthCheckIntervalSeconds=15
    )["TargetGroups"][0]
    assert (changed["HealthCheckPath"], changed["Matcher"]["HttpCode"], changed["HealthCheckIntervalSeconds"]) == ("/up", "200-299", 15)


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        ({"Name": "a" * 33}, "ValidationError", "cannot be longer than '32' characters"),
        ({"TargetType": "lambda"}, "InvalidConfigurationRequest", "The target type 'lambda' is not supported by Cloudstead"),
        ({"Protocol": "UDP"}, "InvalidConfigurationRequest", "is not supported by Cloudstead"),
        ({"ProtocolVersion": "GRPC"}, "InvalidConfigurationRequest", "is not supported by Cloudstead"),
        ({"VpcId": "vpc-0123456789abcdef0"}, "ValidationError", "The VPC ID 'vpc-0123456789abcdef0' is not found"),
        ({"Matcher": {"HttpCode": "99"}}, "ValidationError", "must be within '200-599' inclusive"),
        ({"HealthCheckTimeoutSeconds": 30}, "ValidationError", "must be smaller than the interval '30'"),
        ({"HealthCheckProtocol": "TCP"}, "ValidationError", "is not supported for target groups with the protocol 'HTTP'"),
        ({"HealthCheckPath": "up"}, "ValidationError", "must begin with a '/' character"),
        ({"HealthCheckPort": "0"}, "ValidationError", "Health check port '0' is not valid"),
        ({"TargetType": "alb"}, "ValidationError", "must have the protocol 'TCP'"),
    ],
)
def test_a_target_group_that_cannot_be_is_refused(place: Place, options: dict[str, Any], code: str, sentence: str) -> None:
    found = refused(place.group, **options)
    assert (found[0], sentence in found[1]) == (code, True), found


def test_a_target_group_in_use_stays_and_serves_one_load_balancer_only(place: Place) -> None:
    group, balancer, other = place.group(), place.balancer()["LoadBalancerArn"], place.balancer("other")["LoadBalancerArn"]
    listener = place.listener(balancer, to(group))
    assert place.elb.describe_target_groups(LoadBalancerArn=balancer)["TargetGroups"][0]["LoadBalancerArns"] == [balancer]
    assert refused(place.elb.delete_target_group, TargetGroupArn=group) == (
        "ResourceInUse",
        f"Target group '{group}' is currently in use by a listener or a rule",
    )
    assert refused(place.listener, balancer=other, DefaultActions=[to(group)]) == (
        "TargetGroupAssociationLimit",
        f"The following target groups cannot be associated with more than one load balancer: {group}",
    )
    place.elb.delete_listener(ListenerArn=listener["ListenerArn"])
    place.elb.delete_target_group(TargetGroupArn=group)
    assert refused(place.elb.describe_target_groups, TargetGroupArns=[group])[0] == "TargetGroupNotFound"


def test_listeners_are_refused_for_what_they_cannot_do(place: Place) -> None:
    balancer, group, tcp = place.balancer()["LoadBalancerArn"], place.group(), place.group("tcp", Protocol="TCP")
    place.listener(balancer, to(group))
    for options, code in (
        ({}, "DuplicateListener"),
        ({"port": 2, "Protocol": "TCP"}, "ValidationError"),
        ({"port": 2, "Protocol": "HTTPS"}, "ValidationError"),
        ({"port": 2, "Protocol": "HTTPS", "Certificates": [{"CertificateArn": "arn:aws:acm:us-east-1:1:x"}]}, "CertificateNotFound"),
        ({"port": 2, "SslPolicy": "ELBSecurityPolicy-2016-08"}, "ValidationError"),
        ({"port": 2, "DefaultActions": [to(tcp)]}, "IncompatibleProtocols"),
        ({"port": 2, "DefaultActions": [to(group[:-1] + "x")]}, "TargetGroupNotFound"),
        ({"port": 2, "DefaultActions": [to(group), fixed()]}, "InvalidLoadBalancerAction"),
        ({"port": 2, "DefaultActions": [{"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301"}}]}, "InvalidLoadBalancerAction"),
        ({"port": 2, "LoadBalancerArn": balancer[:-1] + "x"}, "LoadBalancerNotFound"),
    ):
        assert refused(place.listener, **({"balancer": balancer, "DefaultActions": [to(group)]} | options))[0] == code, options
    oidc = {"Issuer": "a", "AuthorizationEndpoint": "a", "TokenEndpoint": "a", "UserInfoEndpoint": "a", "ClientId": "a"}
    authenticate = {"Type": "authenticate-oidc", "AuthenticateOidcConfig": oidc, "Order": 1}
    assert "is not supported by Cloudstead" in refused(place.listener, balancer=balancer, port=2, DefaultActions=[authenticate])[1]


def test_rules_keep_their_order_and_may_change_places(place: Place) -> None:
    balancer = place.balancer()["LoadBalancerArn"]
    listener = place.listener(balancer, fixed("404"))["ListenerArn"]
    first, second = place.rule(listener, 10, fixed(), path="/1"), place.rule(listener, 20, fixed(), path="/2")
    assert refused(place.rule, listener=listener, priority=10)[0] == "ValidationError"  # no action
    with pytest.raises(ClientError, match="Priority '10' is currently in use"):
        place.rule(listener, 10, fixed())
    pairs = [{"RuleArn": first, "Priority": 20}, {"RuleArn": second, "Priority": 10}]
    place.elb.set_rule_priorities(RulePriorities=pairs)
    told = place.elb.describe_rules(ListenerArn=listener)["Rules"]
    assert [one["Priority"] for one in told] == ["10", "20", "default"]
    assert [one["RuleArn"] for one in told[:2]] == [second, first]
    assert told[0]["Conditions"] == [{"Field": "path-pattern", "Values": ["/2"], "PathPatternConfig": {"Values": ["/2"]}}]
    default = told[2]["RuleArn"]
    assert refused(place.elb.delete_rule, RuleArn=default) == ("OperationNotPermitted", f"Default rule '{default}' cannot be deleted")
    with pytest.raises(ClientError, match="PriorityInUse"):
        place.elb.set_rule_priorities(RulePriorities=[{"RuleArn": first, "Priority": 10}])
    place.elb.delete_rule(RuleArn=first)
    assert refused(place.elb.delete_rule, RuleArn=first) == ("RuleNotFound", "One or more rules not found")


@pytest.mark.parametrize(
    "condition",
    [
        {"Field": "no-such", "Values": ["a"]},
        {"Field": "path-pattern", "Values": []},
        {"Field": "path-pattern", "Values": ["a b"]},
        {"Field": "path-pattern", "Values": ["/a"] * 6},
        {"Field": "path-pattern", "Values": ["/*a*b*c*d*e*f*g"]},
        {"Field": "source-ip", "SourceIpConfig": {"Values": ["nowhere"]}},
        {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "Host", "Values": ["a"]}},
        {"Field": "query-string", "QueryStringConfig": {"Values": []}},
        {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["get"]}},
    ],
)
def test_a_condition_that_cannot_be_is_refused(place: Place, condition: dict[str, Any]) -> None:
    listener = place.listener(place.balancer()["LoadBalancerArn"], fixed())["ListenerArn"]
    options = {"ListenerArn": listener, "Priority": 1, "Conditions": [condition], "Actions": [fixed()]}
    assert refused(place.elb.create_rule, **options)[0] == "ValidationError"


def test_targets_come_and_go(place: Place) -> None:
    group = place.group()
    place.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.0.1"}, {"Id": "10.0.0.1", "Port": 81}])
    told = place.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    assert [one["Target"]["Port"] for one in told] == [80, 81]
    assert {one["TargetHealth"]["Reason"] for one in told} == {"Target.NotInUse"}
    place.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.0.1"}, {"Id": "10.9.9.9"}])
    place.elb.get_waiter("target_deregistered").wait(TargetGroupArn=group, Targets=[{"Id": "10.0.0.1"}])
    gone = place.elb.describe_target_health(TargetGroupArn=group, Targets=[{"Id": "10.0.0.1"}])["TargetHealthDescriptions"][0]
    assert gone["TargetHealth"] == {
        "State": "unused",
        "Reason": "Target.NotRegistered",
        "Description": "Target is not registered to the target group",
    }
    assert refused(place.elb.register_targets, TargetGroupArn=group, Targets=[{"Id": "i-0123456789abcdef0"}])[0] == "InvalidTarget"


def test_attributes_of_target_groups_are_checked(place: Place) -> None:
    group = place.group()

    def modify(**values: str) -> Any:
        given = [{"Key": key.replace("__", "."), "Value": value} for key, value in values.items()]
        return place.elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=given)

    assert refused(modify, deregistration_delay__timeout_seconds="3601")[0] == "ValidationError"
    assert refused(modify, stickiness__enabled="true", stickiness__type="app_cookie")[0] == "InvalidConfigurationRequest"
    both = {"slow_start__duration_seconds": "30", "load_balancing__algorithm__type": "least_outstanding_requests"}
    assert refused(modify, **both)[0] == "InvalidConfigurationRequest"
    modify(deregistration_delay__timeout_seconds="5")
    told = {one["Key"]: one["Value"] for one in place.elb.describe_target_group_attributes(TargetGroupArn=group)["Attributes"]}
    assert (told["deregistration_delay.timeout_seconds"], told["stickiness.type"]) == ("5", "lb_cookie")


def test_tags_are_of_everything_that_has_an_arn(place: Place) -> None:
    balancer, group = place.balancer()["LoadBalancerArn"], place.group()
    listener = place.listener(balancer, to(group))["ListenerArn"]
    everything = [balancer, group, listener, place.rule(listener, 1, fixed())]
    place.elb.add_tags(ResourceArns=everything, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    place.elb.remove_tags(ResourceArns=everything, TagKeys=["a"])
    told = place.elb.describe_tags(ResourceArns=everything)["TagDescriptions"]
    assert [one["Tags"] for one in told] == [[{"Key": "b", "Value": "2"}]] * 4
    twice = [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]
    assert refused(place.elb.add_tags, ResourceArns=[group], Tags=twice)[0] == "DuplicateTagKeys"
    assert refused(place.elb.describe_tags, ResourceArns=[group[:-1] + "x"])[0] == "TargetGroupNotFound"


def test_lists_come_in_pages(place: Place) -> None:
    for at in range(5):
        place.group(f"group-{at}")
    found, marker = [], {}
    while True:
        page = place.elb.describe_target_groups(PageSize=2, **marker)
        found += [one["TargetGroupName"] for one in page["TargetGroups"]]
        if "NextMarker" not in page:
            break
        marker = {"Marker": page["NextMarker"]}
    assert found == [f"group-{at}" for at in range(5)]
    assert refused(place.elb.describe_target_groups, Marker="made-up")[0] == "ValidationError"


def test_policies_and_limits_are_told(place: Place) -> None:
    policies = place.elb.describe_ssl_policies(Names=["ELBSecurityPolicy-TLS13-1-2-2021-06"])["SslPolicies"]
    assert policies[0]["SslProtocols"] == ["TLSv1.2", "TLSv1.3"]
    assert refused(place.elb.describe_ssl_policies, Names=["none"]) == ("SSLPolicyNotFound", "SSL policy 'none' not found")
    limits = {one["Name"]: one["Max"] for one in place.elb.describe_account_limits()["Limits"]}
    assert (limits["target-groups"], limits["application-load-balancers"]) == ("3000", "50")


def test_classic_load_balancers_are_still_the_companions(place: Place, cloud: CloudThread) -> None:
    classic = client_of(cloud.endpoint, "elb", key=place.account)
    assert classic.describe_load_balancers()["LoadBalancerDescriptions"] == []
    assert place.elb.describe_load_balancers()["LoadBalancers"] == []


def test_load_balancers_listen_again_after_a_restart(tmp_path: Path) -> None:

    with CloudThread(tmp_path / "data") as cloud:
        place = Place(cloud)
        arn = place.balancer()["LoadBalancerArn"]
        text = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200", "MessageBody": "still here"}}
        place.listener(arn, text, port=18282)
        account = place.account
    with CloudThread(tmp_path / "data") as cloud:
        elb = client_of(cloud.endpoint, "elbv2", key=account)
        elb.get_waiter("load_balancer_available").wait(Names=["web"], WaiterConfig={"Delay": 1})
        zone = elb.describe_load_balancers()["LoadBalancers"][0]["AvailabilityZones"][0]
        address = zone["LoadBalancerAddresses"][0]["IpAddress"]
        with urllib.request.urlopen(f"http://{address}:18282/", timeout=20) as answer:
            assert answer.read() == b"still here"
