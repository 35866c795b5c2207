"""A field is acted on or refused, never swallowed: every member of every request is read by what answers it.

For each operation the functions are found that its handler may reach within its service (by names; a method by its name alone, so rather too many).
A member counts as read when one of them that takes this kind of request reads `request.<member>`; a member of a structure within, when one of them
reads an attribute of that name. That proves no use, but a new member that nobody thought of fails here. What is not read, and why that is right,
stands in the tables below; an entry that is no longer needed fails too.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import sys
import textwrap
import typing
from collections.abc import Iterator
from functools import cache
from types import FunctionType
from typing import Any

import msgspec
import pytest

import cloudstead.services
from cloudstead.kernel.operations import Operation, Registry
from cloudstead.kernel.service_names import package_of
from cloudstead.services import SERVICES

REGISTRY = Registry(SERVICES)

# Members of requests that nothing reads.
UNREAD = {
    "ecr-public:DescribeRegistries.max_results": "there is one registry",
    "events:DeleteRule.force": "it matters for rules that services manage, and there are none",
    "events:RemoveTargets.force": "it matters for rules that services manage, and there are none",
    "logs:DescribeLogGroups.include_linked_accounts": "no accounts are linked to another",
    "logs:FilterLogEvents.interleaved": "AWS has ignored it since 2019: results are always interleaved",
    "logs:ListLogGroups.include_linked_accounts": "no accounts are linked to another",
    "logs:PutDestinationPolicy.force_update": "it overrides a check of the filters in other accounts, which is not made (coverage.toml)",
    "logs:PutLogEvents.sequence_token": "AWS has ignored it since 2023",
}

# Structures within requests of which members are not read; "*" for all.
AS_A_WHOLE = {
    "ec2": {
        "AvailabilityZoneAddress": ("*", "AvailabilityZoneAddresses is refused"),
        "ConnectionTrackingSpecificationRequest": ("*", "ConnectionTrackingSpecification is refused"),
        "EnaSrdSpecification": ("*", "EnaSrdSpecification is refused"),
        "EnaSrdUdpSpecification": ("*", "EnaSrdSpecification is refused"),
        "InstanceIpv6Address": ("*", "Ipv6Addresses is refused"),
        "Ipv4PrefixSpecificationRequest": ("*", "Ipv4Prefixes is refused"),
        "Ipv6PrefixSpecificationRequest": ("*", "Ipv6Prefixes is refused"),
        "OperatorRequest": ("*", "Operator is refused"),
        "PrefixListId": ("*", "PrefixListIds is refused"),
        "VpcEncryptionControlConfiguration": ("*", "VpcEncryptionControl is refused"),
        "BlockDeviceMapping": ("*", "BlockDeviceMappings is refused"),
        "EbsBlockDevice": ("*", "BlockDeviceMappings is refused"),
        "InstanceBlockDeviceMappingSpecification": ("*", "BlockDeviceMappings is refused"),
        "EbsInstanceBlockDeviceSpecification": ("*", "BlockDeviceMappings is refused"),
        "CapacityReservationSpecification": ("*", "CapacityReservationSpecification is refused"),
        "CapacityReservationTarget": ("*", "CapacityReservationSpecification is refused"),
        "CpuOptionsRequest": ("*", "CpuOptions is refused"),
        "EnaSrdSpecificationRequest": ("*", "EnaSrdSpecification is refused"),
        "EnaSrdUdpSpecificationRequest": ("*", "EnaSrdSpecification is refused"),
        "EnclaveOptionsRequest": ("*", "EnclaveOptions is refused"),
        "HibernationOptionsRequest": ("*", "HibernationOptions is refused"),
        "InstanceMaintenanceOptionsRequest": ("*", "MaintenanceOptions is refused"),
        "InstanceMarketOptionsRequest": ("*", "InstanceMarketOptions is refused"),
        "InstanceNetworkInterfaceSpecification": ("*", "launch_places refuses by name what it does not act on"),
        "InstanceNetworkPerformanceOptionsRequest": ("*", "NetworkPerformanceOptions is refused"),
        "InstanceSecondaryInterfaceSpecificationRequest": ("*", "SecondaryInterfaces is refused"),
        "LaunchTemplateSpecification": ("*", "LaunchTemplate is refused"),
        "LicenseConfigurationRequest": ("*", "LicenseSpecifications is refused"),
        "Placement": ("*", "launch_places refuses by name what it does not act on"),
        "PrivateDnsNameOptionsRequest": ("*", "PrivateDnsNameOptions is refused"),
        "PrivateIpAddressSpecification": ("primary", "PrivateIpAddresses of RunInstances is refused"),
        "SpotMarketOptions": ("*", "InstanceMarketOptions is refused"),
    },
    "ecr": {
        "ImageTagMutabilityExclusionFilter": ("filter_type", "WILDCARD is the only one"),
        "RepositoryFilter": ("filter_type", "PREFIX_MATCH is the only one"),
        "ScanningRepositoryFilter": ("filter_type", "WILDCARD is the only one"),
        "SigningRepositoryFilter": ("filter_type", "WILDCARD_MATCH is the only one"),
    },
    "ecs": {
        "ContainerDefinition": ("*", "kept whole in the row; tests/services/ecs/test_task_members.py asks who reads it"),
        "Device": ("permissions", "kept whole in the row; tests/services/ecs/test_task_members.py asks who reads it"),
        "MountPoint": ("read_only", "kept whole in the row; tests/services/ecs/test_task_members.py asks who reads it"),
        "RuntimePlatform": ("cpu_architecture", "kept whole in the row; tests/services/ecs/test_task_members.py asks who reads it"),
        "VolumeFrom": ("read_only", "kept whole in the row; tests/services/ecs/test_task_members.py asks who reads it"),
        "EBSTagSpecification": ("*", "volumes that are configured at launch are refused"),
        "TaskManagedEBSVolumeConfiguration": ("*", "volumes that are configured at launch are refused"),
        "TaskManagedEBSVolumeTerminationPolicy": ("*", "volumes that are configured at launch are refused"),
        "TaskVolumeConfiguration": ("*", "volumes that are configured at launch are refused"),
        "InferenceAcceleratorOverride": ("*", "Elastic Inference is refused"),
        "PlacementStrategy": ("*", "refused until there are container instances"),
        "InferenceAccelerator": ("*", "Elastic Inference is refused"),
        "ManagedStorageConfiguration": ("*", "keys of KMS are refused"),
        "NvidiaMpsAllocation": ("*", "sharing of GPUs is refused"),
        "S3FilesVolumeConfiguration": ("*", "s3filesVolumeConfiguration is refused"),
        "SharingStrategy": ("*", "sharing of GPUs is refused"),
        "TrustedExecutionConfiguration": ("*", "trustedExecutionConfiguration is refused"),
        "CreateManagedInstancesProviderConfiguration": ("*", "capacity providers of managed instances are refused"),
        "UpdateManagedInstancesProviderConfiguration": ("*", "capacity providers of managed instances are refused"),
        "InstanceLaunchTemplate": ("*", "capacity providers of managed instances are refused"),
        "InstanceLaunchTemplateUpdate": ("*", "capacity providers of managed instances are refused"),
        "ManagedInstancesNetworkConfiguration": ("*", "capacity providers of managed instances are refused"),
        "ManagedInstancesStorageConfiguration": ("*", "capacity providers of managed instances are refused"),
        "ManagedInstancesLocalStorageConfiguration": ("*", "capacity providers of managed instances are refused"),
        "InstanceRequirementsRequest": ("*", "capacity providers of managed instances are refused"),
        "VCpuCountRangeRequest": ("*", "capacity providers of managed instances are refused"),
        "MemoryMiBRequest": ("*", "capacity providers of managed instances are refused"),
        "MemoryGiBPerVCpuRequest": ("*", "capacity providers of managed instances are refused"),
        "NetworkInterfaceCountRequest": ("*", "capacity providers of managed instances are refused"),
        "TotalLocalStorageGBRequest": ("*", "capacity providers of managed instances are refused"),
        "BaselineEbsBandwidthMbpsRequest": ("*", "capacity providers of managed instances are refused"),
        "AcceleratorCountRequest": ("*", "capacity providers of managed instances are refused"),
        "AcceleratorTotalMemoryMiBRequest": ("*", "capacity providers of managed instances are refused"),
        "NetworkBandwidthGbpsRequest": ("*", "capacity providers of managed instances are refused"),
        "CapacityReservationRequest": ("*", "capacity providers of managed instances are refused"),
        "InfrastructureOptimization": ("*", "capacity providers of managed instances are refused"),
        "AutoRepairConfiguration": ("*", "capacity providers of managed instances are refused"),
    },
    "elbv2": {
        "AuthenticateCognitoActionConfig": ("*", "actions that authenticate are refused"),
        "AuthenticateOidcActionConfig": ("*", "actions that authenticate are refused"),
        "JwtValidationActionConfig": ("*", "actions that authenticate are refused"),
        "JwtValidationActionAdditionalClaim": ("*", "actions that authenticate are refused"),
        "Certificate": ("is_default", "told only; AWS says not to give it"),
        "MutualAuthenticationAttributes": ("*", "refused unless it is off"),
        "RuleTransform": ("*", "transforms are refused"),
        "HostHeaderRewriteConfig": ("*", "transforms are refused"),
        "UrlRewriteConfig": ("*", "transforms are refused"),
        "RewriteConfig": ("*", "transforms are refused"),
    },
    "events": {
        "CreateConnectionAuthRequestParameters": ("*", "kept under its names on the wire, by which http_targets reads it"),
        "CreateConnectionBasicAuthRequestParameters": ("*", "kept under its names on the wire"),
        "CreateConnectionOAuthRequestParameters": ("*", "kept under its names on the wire"),
        "CreateConnectionOAuthClientRequestParameters": ("*", "kept under its names on the wire"),
        "CreateConnectionApiKeyAuthRequestParameters": ("*", "kept under its names on the wire"),
        "UpdateConnectionAuthRequestParameters": ("*", "kept under its names on the wire, by which http_targets reads it"),
        "UpdateConnectionBasicAuthRequestParameters": ("*", "kept under its names on the wire"),
        "UpdateConnectionOAuthRequestParameters": ("*", "kept under its names on the wire"),
        "UpdateConnectionOAuthClientRequestParameters": ("*", "kept under its names on the wire"),
        "UpdateConnectionApiKeyAuthRequestParameters": ("*", "kept under its names on the wire"),
        "ConnectionHttpParameters": ("*", "kept under its names on the wire"),
        "ConnectionHeaderParameter": ("*", "kept under its names on the wire"),
        "ConnectionQueryStringParameter": ("*", "kept under its names on the wire"),
        "ConnectionBodyParameter": ("*", "kept under its names on the wire"),
        "ConnectivityResourceParameters": ("*", "private connections are refused"),
        "ConnectivityResourceConfigurationArn": ("*", "private connections are refused"),
        "PutEventsRequestEntry": ("trace_header", "there is no X-Ray (coverage.toml)"),
        "HttpParameters": ("*", "kept under its names on the wire, by which http_targets reads it"),
        "EcsParameters": ("*", "refused with the kind of target that it belongs to"),
        "NetworkConfiguration": ("*", "refused with EcsParameters"),
        "AwsVpcConfiguration": ("*", "refused with EcsParameters"),
        "CapacityProviderStrategyItem": ("*", "refused with EcsParameters"),
        "PlacementConstraint": ("*", "refused with EcsParameters"),
        "PlacementStrategy": ("*", "refused with EcsParameters"),
        "Tag": ("*", "of targets: refused with EcsParameters; of rules and buses kernel.tags reads it"),
        "BatchParameters": ("*", "refused with the kind of target that it belongs to"),
        "BatchArrayProperties": ("*", "refused with BatchParameters"),
        "BatchRetryStrategy": ("*", "refused with BatchParameters"),
        "RunCommandParameters": ("*", "refused with the kind of target that it belongs to"),
        "RunCommandTarget": ("*", "refused with RunCommandParameters"),
        "RedshiftDataParameters": ("*", "refused with the kind of target that it belongs to"),
        "SageMakerPipelineParameters": ("*", "refused with the kind of target that it belongs to"),
        "SageMakerPipelineParameter": ("*", "refused with SageMakerPipelineParameters"),
        "AppSyncParameters": ("*", "refused with the kind of target that it belongs to"),
        "Target": ("*_parameters", "read by name: rule_targets.PARAMETERS"),
    },
    "iam": {
        "ContextEntry": ("context_key_type", "the operator of a condition says how a value is read (coverage.toml)"),
        "InlinePolicyIdentifierType": ("*", "PolicyExclusionList is refused"),
        "OrderedOrganizationPolicyType": ("*", "OrderedOrganizationPolicyInputList is refused"),
        "PolicyIdentifier": ("*", "PolicyExclusionList is refused"),
    },
    "logs": {
        "DataSourceFilter": ("*", "dataSources is refused"),
        "Entity": ("*", "an entity is answered as rejected"),
        "QueryParameter": ("*", "parameters of saved queries are refused"),
    },
    "sts": {"ProvidedContext": ("*", "ProvidedContexts is refused")},
}

for each in pkgutil.walk_packages(cloudstead.services.__path__, "cloudstead.services."):
    importlib.import_module(each.name)  # all of them: what is read must not depend on which tests came before

OPERATIONS = [operation for service in SERVICES for operation in REGISTRY.operations(service.name).values()]


def ours(module: str, service: str) -> bool:
    """Whether what a module does with a request counts. Of the kernel only tags: that a page token is bound to a member is no use of it."""
    return module == "cloudstead.kernel.tags" or (
        module.startswith(f"cloudstead.services.{package_of(service)}.") and not module.endswith(".api")
    )


@cache
def body(function: FunctionType) -> ast.AST:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (SyntaxError, OSError):
        return ast.Module([], [])  # the second line of an expression: a key function of a table; what a dataclass is given


@cache
def methods(service: str) -> dict[str, list[FunctionType]]:
    found: dict[str, list[FunctionType]] = {}
    for module in [module for name, module in sys.modules.items() if ours(name, service)]:
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__:
                for name, member in vars(kind).items():
                    function = member.fget if isinstance(member, property) else member
                    if isinstance(function, FunctionType):
                        found.setdefault(name, []).append(function)
    return found


def named(node: ast.expr, function: FunctionType) -> Any:
    """The thing that `a` or `a.b.c` is in the function's module."""
    if isinstance(node, ast.Name):
        return function.__globals__.get(node.id)
    return getattr(named(node.value, function), node.attr, None) if isinstance(node, ast.Attribute) else None


@cache
def called(function: FunctionType, service: str) -> frozenset[FunctionType]:
    return frozenset(_called(function, service))


def _called(function: FunctionType, service: str) -> Iterator[FunctionType]:
    for node in ast.walk(body(function)):
        if not isinstance(node, ast.Name | ast.Attribute):
            continue
        thing = named(node, function)
        if isinstance(thing, FunctionType):
            if ours(thing.__module__, service):
                yield thing
        elif isinstance(thing, type) and ours(thing.__module__, service):
            yield from (member for member in vars(thing).values() if isinstance(member, FunctionType))
        elif isinstance(node, ast.Attribute):
            yield from methods(service).get(node.attr, ())


def reached(operation: Operation) -> set[FunctionType]:
    seen: set[FunctionType] = set()
    todo: list[Any] = [operation.handler]
    while todo:
        function = todo.pop()
        if function not in seen:
            seen.add(function)
            todo += called(function, operation.service)
    return seen


@cache
def attributes(function: FunctionType) -> frozenset[tuple[str, str]]:
    """(variable, member): what is read, also by `getattr(request, "member")`. The variable is empty when the value is no plain name."""
    found = set()
    for node in ast.walk(body(function)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            found.add((node.value.id if isinstance(node.value, ast.Name) else "", node.attr))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
            if isinstance(node.args[0], ast.Name) and isinstance(node.args[1], ast.Constant):
                found.add((node.args[0].id, str(node.args[1].value)))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "idempotency.recall":
            found.add(("request", next((str(one.value.value) for one in node.keywords if one.arg == "field"), "client_token")))  # type: ignore[attr-defined]
    return frozenset(found)


def takes(function: FunctionType, request: type) -> bool:
    """Whether the function's `request` may be one of this kind."""
    written = function.__annotations__.get("request", "None")
    wanted = eval(written, function.__globals__) if isinstance(written, str) else written
    return wanted is Any or request in (wanted, *typing.get_args(wanted)) or (isinstance(wanted, type) and issubclass(request, wanted))


def within(kind: Any, found: dict[type, None]) -> dict[type, None]:
    """The structures that a type consists of."""
    for part in typing.get_args(kind):
        within(part, found)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in found:
        found[kind] = None
        for member in typing.get_type_hints(kind).values():
            within(member, found)
    return found


def unread(operation: Operation) -> tuple[set[str], dict[str, set[str]]]:
    """The members of the request that nothing reads, and those of the structures in it."""
    functions = reached(operation)
    everything = {member for function in functions for _, member in attributes(function)}
    own = {
        member for function in functions if takes(function, operation.request) for name, member in attributes(function) if name == "request"
    }
    kept = set() if "__struct_fields__" in own else set(operation.request.__struct_fields__) - own
    inner = {
        kind.__name__: left
        for kind in within(operation.request, {})
        if kind is not operation.request and (left := set(kind.__struct_fields__) - everything)
    }
    return kept, inner


def excused(service: str, structure: str, members: set[str]) -> bool:
    which, _ = AS_A_WHOLE.get(service, {}).get(structure, ("", ""))
    return which == "*" or all(member == which or (which.startswith("*") and member.endswith(which[1:])) for member in members)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: f"{operation.service}-{operation.name}")
def test_no_member_of_a_request_is_swallowed(operation: Operation) -> None:
    kept, inner = unread(operation)
    swallowed = {member for member in kept if f"{operation.service}:{operation.name}.{member}" not in UNREAD}
    assert swallowed == set(), "act on it, refuse it, or give the reason in UNREAD"
    assert {name: left for name, left in inner.items() if not excused(operation.service, name, left)} == {}


def test_every_exception_is_still_needed() -> None:
    found: set[str] = set()
    for operation in OPERATIONS:
        kept, inner = unread(operation)
        found |= {f"{operation.service}:{operation.name}.{member}" for member in kept} | {f"{operation.service}:{name}" for name in inner}
    assert set(UNREAD) - found == set()
    assert {f"{service}:{name}" for service, structures in AS_A_WHOLE.items() for name in structures} - found == set()
