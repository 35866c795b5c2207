"""Every operation declares what an IAM policy can say about it: the resource, its tags. What has none is listed here.

The service authorization reference is the measure: https://docs.aws.amazon.com/service-authorization/latest/reference/
"""

from __future__ import annotations

import asyncio
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloudstead.kernel.arn import Arn
from cloudstead.kernel.operations import Operation, Registry
from cloudstead.kernel.service_names import action_prefix
from cloudstead.services import SERVICES
from support import context_in, local_cloud

REGISTRY = Registry(SERVICES)
OPERATIONS = [operation for service in SERVICES for operation in REGISTRY.operations(service.name).values()]

# Operations for which the reference names no resource type, or for which no ARN can be known beforehand.
ON_EVERYTHING = {
    "ec2": {
        "DescribeAccountAttributes",
        "DescribeAddresses",
        "DescribeAddressesAttribute",
        "DescribeAvailabilityZones",
        "DescribeDhcpOptions",
        "DescribeIamInstanceProfileAssociations",
        "DescribeImages",
        "DescribeInstanceCreditSpecifications",
        "DescribeInstanceStatus",
        "DescribeInstanceTypeOfferings",
        "DescribeInstanceTypes",
        "DescribeInstances",
        "DescribeInternetGateways",
        "DescribeKeyPairs",
        "DescribeNatGateways",
        "DescribeNetworkAcls",
        "DescribeNetworkInterfaces",
        "DescribeRegions",
        "DescribeRouteTables",
        "DescribeSecurityGroupReferences",
        "DescribeSecurityGroupRules",
        "DescribeSecurityGroups",
        "DescribeSubnets",
        "DescribeTags",
        "DescribeVpcs",
    },
    "ecr": {
        "CreatePullThroughCacheRule",
        "CreateRepositoryCreationTemplate",
        "DeletePullThroughCacheRule",
        "DeleteRegistryPolicy",
        "DeleteRepositoryCreationTemplate",
        "DeleteSigningConfiguration",
        "DeregisterPullTimeUpdateExclusion",
        "DescribePullThroughCacheRules",
        "DescribeRegistry",
        "DescribeReplicationBackfillResults",
        "DescribeRepositoryCreationTemplates",
        "GetAccountSetting",
        "GetAuthorizationToken",
        "GetRegistryPolicy",
        "GetRegistryScanningConfiguration",
        "GetSigningConfiguration",
        "ListPullTimeUpdateExclusions",
        "ListReplicationBackfills",
        "PutAccountSetting",
        "PutRegistryPolicy",
        "PutRegistryScanningConfiguration",
        "PutReplicationConfiguration",
        "PutSigningConfiguration",
        "RegisterPullTimeUpdateExclusion",
        "StartReplicationBackfill",
        "StopReplicationBackfill",
        "UpdatePullThroughCacheRule",
        "UpdateRepositoryCreationTemplate",
        "ValidatePullThroughCacheRule",
    },
    "ecr-public": {"GetAuthorizationToken"},
    "ecs": {
        "DeleteAccountSetting",
        "DeregisterTaskDefinition",
        "DescribeTaskDefinition",
        "ListAccountSettings",
        "ListClusters",
        "ListTaskDefinitionFamilies",
        "ListTaskDefinitions",
        "ListTasks",
        "PutAccountSetting",
        "PutAccountSettingDefault",
    },
    "elbv2": {
        "DescribeAccountLimits",
        "DescribeCapacityReservation",
        "DescribeListenerAttributes",
        "DescribeListenerCertificates",
        "DescribeListeners",
        "DescribeLoadBalancerAttributes",
        "DescribeLoadBalancers",
        "DescribeRules",
        "DescribeSSLPolicies",
        "DescribeTags",
        "DescribeTargetGroupAttributes",
        "DescribeTargetGroups",
        "DescribeTargetHealth",
    },
    "events": {"ListApiDestinations", "ListArchives", "ListConnections", "ListEventBuses", "ListReplays", "TestEventPattern"},
    "iam": {
        "CreateAccountAlias",
        "DeleteAccountAlias",
        "DeleteAccountPasswordPolicy",
        "GenerateCredentialReport",
        "GetAccountAuthorizationDetails",
        "GetAccountPasswordPolicy",
        "GetAccountSummary",
        "GetContextKeysForCustomPolicy",
        "GetCredentialReport",
        "GetServiceLastAccessedDetails",
        "GetServiceLastAccessedDetailsWithEntities",
        "ListAccountAliases",
        "ListPolicies",
        "SetSecurityTokenServicePreferences",
        "SimulateCustomPolicy",
        "UpdateAccountPasswordPolicy",
    },
    "logs": {
        "DeleteQueryDefinition",
        "DeleteResourcePolicy",
        "DescribeDestinations",
        "DescribeQueries",
        "DescribeQueryDefinitions",
        "DescribeResourcePolicies",
        "GetQueryResults",
        "ListLogGroupsForQuery",
        "PutQueryDefinition",
        "PutResourcePolicy",
        "StopQuery",
        "TestMetricFilter",
    },
    "sts": {"DecodeAuthorizationMessage", "GetAccessKeyInfo", "GetCallerIdentity", "GetSessionToken"},
}

# Kinds of resources that bear tags, and the operations on one of them that declare none, with the reason.
TAGGED = {
    "ec2": {
        "dhcp-options",
        "elastic-ip",
        "instance",
        "internet-gateway",
        "key-pair",
        "natgateway",
        "network-acl",
        "network-interface",
        "route-table",
        "security-group",
        "security-group-rule",
        "subnet",
        "vpc",
    },
    "ecr": {"repository"},
    "ecr-public": {"repository"},
    "ecs": {"capacity-provider", "cluster", "task", "task-definition"},
    "elbv2": {"listener", "listener-rule", "loadbalancer", "targetgroup"},
    "events": {"event-bus", "rule"},
    "iam": {"instance-profile", "mfa", "oidc-provider", "policy", "role", "saml-provider", "server-certificate", "user"},
    "logs": {"destination", "log-group"},
    "sts": set[str](),
}
UNTAGGED = {
    "ec2:AllocateAddress": "makes one",
    "ec2:ImportKeyPair": "makes one",
    "ec2:RunInstances": "makes them",
    "ecr-public:DescribeRepositories": "of several repositories",
    "ecs:RegisterTaskDefinition": "of a revision that is not there yet",
    "events:ListRuleNamesByTarget": "of all rules of a bus",
    "events:ListRules": "of all rules of a bus",
    "events:PutEvents": "AWS evaluates no tags of buses for it",
    "events:PutPermission": "AWS evaluates no tags of buses for it",
    "events:RemovePermission": "AWS evaluates no tags of buses for it",
    "iam:ChangePassword": "of the caller itself",
    "iam:GenerateServiceLastAccessedDetails": "of any kind of thing; a report tells nothing that changes",
    "iam:GetContextKeysForPrincipalPolicy": "of any kind of principal",
    "iam:GetServiceLinkedRoleDeletionStatus": "of a role that is gone",
    "iam:ListPoliciesGrantingServiceAccess": "of any kind of principal",
    "iam:SimulatePrincipalPolicy": "of any kind of principal",
    "logs:DescribeLogGroups": "of all groups",
    "logs:GetLogRecord": "the group is only known by the record's pointer",
    "logs:StartLiveTail": "of several groups",
    "logs:StartQuery": "of several groups",
    "sts:AssumeRole": "judged by the handler, with the role's tags",
    "sts:AssumeRoleWithWebIdentity": "judged by the handler, with the role's tags",
}
MAKING = ("Create", "Upload", "List")  # what begins so is about a thing that is not there yet, or about all of them


def sample(kind: Any) -> Any:
    """A value of a type; text is the ARN-like name of something that is not there."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return sample(arguments[0])
    if origin is typing.Literal:
        return arguments[0]
    if origin in (list, set):
        return [sample(arguments[0])]
    if origin is dict:
        return {}
    if origin is not None:  # a union
        return sample(arguments[0])
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind(**required(kind))
    return {str: "name", int: 1, float: 1.0, bool: True, bytes: b"x"}.get(kind)


def required(kind: type[msgspec.Struct]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: sample(hints[field.name]) for field in msgspec.structs.fields(kind) if field.required}


@pytest.mark.parametrize("service", [service.name for service in SERVICES])
def test_the_operations_on_everything_are_those_that_aws_names_no_resource_for(service: str) -> None:
    found = {operation.name for operation in OPERATIONS if operation.service == service and operation.resource == "*"}
    assert found == ON_EVERYTHING.get(service, set())


async def _resources(tmp_path: Path) -> dict[str, tuple[str, ...]]:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        for service in SERVICES:
            await cloud.ready(service.name)
        return {
            f"{operation.service}:{operation.name}": operation.resources(ctx, operation.request(**required(operation.request)))
            for operation in OPERATIONS
            if operation.resource != "*"
        }


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """What each operation declares for a call with nothing but the required members, about things that are not there."""
    return asyncio.run(_resources(tmp_path_factory.mktemp("declared")))


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.resource != "*"], ids=lambda one: f"{one.service}-{one.name}")
def test_what_is_declared_is_an_arn_even_for_what_is_not_there(operation: Operation, resources: dict[str, tuple[str, ...]]) -> None:
    for arn in resources[f"{operation.service}:{operation.name}"]:
        # "name": the request says the ARN itself
        assert arn == "name" or Arn.parse(arn).service in (action_prefix(operation.service), "iam")


def about(operation: Operation, resources: dict[str, tuple[str, ...]]) -> set[str]:
    """The kinds of things that an operation is about."""
    arns = [arn for arn in resources.get(f"{operation.service}:{operation.name}", ()) if arn != "name"]
    return {Arn.parse(arn).kind for arn in arns} if arns else set(TAGGED[operation.service]) if operation.resource != "*" else set()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.service}-{one.name}")
def test_the_tags_of_what_bears_tags_are_declared(operation: Operation, resources: dict[str, tuple[str, ...]]) -> None:
    if operation.resource_tags is None and about(operation, resources) & TAGGED[operation.service]:
        assert operation.name.startswith(MAKING) or f"{operation.service}:{operation.name}" in UNTAGGED


def test_every_exception_is_still_needed(resources: dict[str, tuple[str, ...]]) -> None:
    without = {f"{one.service}:{one.name}" for one in OPERATIONS if one.resource_tags is None and one.resource != "*"}
    assert set(UNTAGGED) - without == set()
