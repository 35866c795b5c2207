"""What a task definition may say: each rule with AWS's sentence, as a table of changes to a definition that is right."""

from __future__ import annotations

from typing import Any

import pytest
from registrations import AWSLOGS, FARGATE, ROLE, request

from cloudstead.kernel.errors import ServiceError
from cloudstead.services.ecs import api, reading, validation
from cloudstead.services.ecs.validation import graph, sizes

HEALTH = {"command": ["CMD-SHELL", "true"]}
FIRELENS = {"name": "router", "image": "i", "essential": False, "firelensConfiguration": {"type": "fluentbit"}}


def said(**members: Any) -> str:
    """The code and sentence of the refusal; empty when the definition is right."""
    try:
        validation.check(reading.definition(request(**members)))
    except ServiceError as refusal:
        return f"{refusal.code}: {refusal.message}"
    return ""


def one(**members: Any) -> dict[str, Any]:
    """A definition of one container that says this."""
    return {"containerDefinitions": [members]}


def two(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {"containerDefinitions": [{"name": "a"} | first, {"name": "b"} | second]}


def ports(*mappings: dict[str, Any], mode: str = "awsvpc") -> dict[str, Any]:
    return {"networkMode": mode} | one(portMappings=list(mappings))


def efs(**members: Any) -> dict[str, Any]:
    return {"volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-12345678"} | members}]}


RIGHT: dict[str, dict[str, Any]] = {
    "the least": {},
    "memory of the task instead of the container's": {"memory": "512", **one(memory=None)},
    "only a reservation": one(memory=None, memoryReservation=32),
    "Fargate": FARGATE | one(memory=None),
    "Fargate in vCPU and GB": FARGATE | {"cpu": ".5 vCPU", "memory": "1 GB"},
    "Fargate with a tmpfs": FARGATE
    | one(linuxParameters={"tmpfs": [{"containerPath": "/t", "size": 16, "mountOptions": ["noexec", "mode=700"]}]}),
    "Fargate with SYS_PTRACE": FARGATE | one(linuxParameters={"capabilities": {"add": ["SYS_PTRACE"], "drop": ["NET_RAW"]}}),
    "Fargate with two minutes to stop": FARGATE | one(stopTimeout=120),
    "EC2 with longer": one(stopTimeout=600),
    "links with bridge": two({"links": ["b:db"]}, {}),
    "dynamic ports": ports({"containerPort": 80}, {"containerPort": 81, "hostPort": 0}, mode="bridge"),
    "one port as two of the host": ports({"containerPort": 80, "hostPort": 1}, {"containerPort": 80, "hostPort": 2}, mode="bridge"),
    "one port with two protocols": ports({"containerPort": 53, "protocol": "udp"}, {"containerPort": 53}),
    "a range": ports({"containerPortRange": "8000-8010"}, {"containerPort": 80}),
    "depends on an essential one that is healthy": two(
        {"dependsOn": [{"containerName": "b", "condition": "HEALTHY"}]}, {"healthCheck": HEALTH}
    ),
    "a secret with key, stage and version": {"executionRoleArn": ROLE}
    | one(secrets=[{"name": "S", "valueFrom": "arn:aws:secretsmanager:us-east-1:000000000000:secret:db-AbCdEf:user::"}]),
    "a parameter by name": {"executionRoleArn": ROLE} | one(secrets=[{"name": "S", "valueFrom": "/app/password"}]),
    "an environment file": one(environmentFiles=[{"type": "s3", "value": "arn:aws:s3:::bucket/path/app.env"}]),
    "a volume at launch": {"volumes": [{"name": "v", "configuredAtLaunch": True}]}
    | one(mountPoints=[{"sourceVolume": "v", "containerPath": "/v"}]),
    "an access point": efs(transitEncryption="ENABLED", authorizationConfig={"accessPointId": "fsap-12345678", "iam": "ENABLED"}),
    "FireLens": {"containerDefinitions": [FIRELENS, {"logConfiguration": {"logDriver": "awsfirelens", "options": {"Name": "stdout"}}}]},
    "an unlimited ulimit": one(ulimits=[{"name": "core", "softLimit": -1, "hardLimit": -1}]),
    "kernel parameters": one(
        systemControls=[{"namespace": "net.core.somaxconn", "value": "9"}, {"namespace": "kernel.msgmax", "value": "9"}]
    ),
}

CLIENT = "ClientException: "
WRONG: list[tuple[dict[str, Any], str]] = [
    # the task
    ({"family": "a b"}, "Family contains invalid characters."),
    ({"family": ""}, "Family should not be null or empty."),
    ({"containerDefinitions": []}, "Container list cannot be empty."),
    ({"containerDefinitions": [{"name": f"c{n}"} for n in range(11)]}, "Too many containers."),
    (
        {"cpu": "64"},
        "Invalid 'cpu' setting for task. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.",
    ),
    (
        {"memory": "lots"},
        "Invalid 'memory' setting for task. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.",
    ),
    ({"cpu": "256"} | one(cpu=512), "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'."),
    ({"memory": "32"}, "The 'memory' setting for container 'app' is greater than for the task."),
    ({"ephemeralStorage": {"sizeInGiB": 20}}, "EphemeralStorage size should be at least 21."),
    ({"ephemeralStorage": {"sizeInGiB": 201}}, "EphemeralStorage size should be at most 200."),
    (
        {"requiresCompatibilities": ["EC2"], "ephemeralStorage": {"sizeInGiB": 30}},
        "Tasks using the EC2 launch type do not support EphemeralStorage.",
    ),
    (
        {"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}},
        "The operating system of Windows containers is not supported by Cloudstead.",
    ),
    ({"placementConstraints": [{"type": "memberOf"}]}, "The expression of a placement constraint should not be null or empty."),
    (
        {"proxyConfiguration": {"containerName": "app"}},
        "APPMESH proxy configuration is only supported in networkMode=awsvpc.",
    ),
    ({"networkMode": "awsvpc", "proxyConfiguration": {"containerName": "envoy"}}, "Proxy container [envoy] does not exist"),
    ({"networkMode": "awsvpc", "proxyConfiguration": {"containerName": "app", "properties": []}}, "Ingress port not found"),
    # one container
    (one(name=""), "Container.name should not be null or empty."),
    (one(name="a b"), "Container.name contains invalid characters."),
    (one(image=None), "Container.image should not be null or empty."),
    (one(image="$IMAGE"), "Container.image contains invalid characters."),
    (one(essential=False), "Task definition doesn't have any essential container."),
    (two({"name": "b"}, {}), "Container names must be unique within a task definition."),
    (one(memory=None), "Invalid setting for container 'app'. At least one of 'memory' or 'memoryReservation' must be specified."),
    (one(memory=5), "Invalid setting for container 'app'. 'memory' must be at least 6."),
    (one(memoryReservation=65), "Invalid setting for container 'app'. 'memory' must be greater than or equal to 'memoryReservation'."),
    (one(cpu=-1), "Invalid setting for container 'app'. 'cpu' must be at least 0."),
    (one(startTimeout=1), "Granular start timeout on container 'app' must be at least 2 seconds."),
    (
        one(healthCheck={"command": ["true"]}),
        "Invalid health check command for container 'app'. The command must start with CMD, CMD-SHELL or NONE.",
    ),
    (one(healthCheck=HEALTH | {"interval": 4}), "The health check 'interval' setting for container 'app' must be between 5 and 300."),
    (one(healthCheck=HEALTH | {"timeout": 61}), "The health check 'timeout' setting for container 'app' must be between 2 and 60."),
    (one(healthCheck=HEALTH | {"retries": 0}), "The health check 'retries' setting for container 'app' must be between 1 and 10."),
    (
        one(healthCheck=HEALTH | {"startPeriod": 301}),
        "The health check 'startPeriod' setting for container 'app' must be between 0 and 300.",
    ),
    (
        one(restartPolicy={"enabled": True, "restartAttemptPeriod": 59}),
        "the 'restartAttemptPeriod' setting for container 'app' must be between 60 and 1800",
    ),
    (one(credentialSpecs=["x"]), "Active Directory (credentialSpecs) is not supported by Cloudstead."),
    # the kernel
    (one(ulimits=[{"name": "nofile", "softLimit": 9, "hardLimit": 8}]), "Soft limit exceeds hard limit for ulimit nofile"),
    (one(linuxParameters={"capabilities": {"add": ["CAP_KILL"]}}), "CAP_KILL is not a valid Linux capability."),
    (one(linuxParameters={"swappiness": 101}), "The 'swappiness' setting for container 'app' must be between 0 and 100."),
    (one(systemControls=[{"namespace": "vm.swappiness", "value": "1"}]), "vm.swappiness is not a valid system control namespace."),
    (
        {"networkMode": "host"} | one(systemControls=[{"namespace": "net.core.somaxconn", "value": "1"}]),
        "Network namespace system controls are not supported when networkMode=host.",
    ),
    # network modes and ports
    ({"networkMode": "awsvpc"} | two({"links": ["b"]}, {}), "Links are not supported when networkMode=awsvpc."),
    ({"networkMode": "awsvpc"} | one(hostname="h"), "hostname is not supported on container when networkMode=awsvpc."),
    ({"networkMode": "awsvpc"} | one(dnsServers=["10.0.0.2"]), "DNS servers are not supported on container when networkMode=awsvpc."),
    (
        {"networkMode": "awsvpc"} | one(extraHosts=[{"hostname": "h", "ipAddress": "10.0.0.2"}]),
        "Extra hosts are not supported on container when networkMode=awsvpc.",
    ),
    ({"networkMode": "awsvpc"} | one(disableNetworking=True), "Disable Networking is not supported on container when networkMode=awsvpc."),
    (
        ports({"containerPort": 80, "hostPort": 8080}),
        "When networkMode=awsvpc, the host ports and container ports in port mappings must match.",
    ),
    (
        ports({"containerPort": 80, "hostPort": 8080}, mode="host"),
        "When networkMode=host, the host ports and container ports in port mappings must match.",
    ),
    (ports({"containerPort": 80}, mode="none"), "Port mappings are not supported when networkMode=none."),
    (ports({"containerPort": 0}), "Invalid 'containerPort' setting. The container port must be between 1 and 65535."),
    (ports({"containerPort": 80, "name": "Web"}), "Invalid port mapping name: Web."),
    (ports({"containerPort": 80, "name": "w"}, {"containerPort": 81, "name": "w"}), "The port mapping name w is already used."),
    (ports({"containerPortRange": "90-80"}), "Invalid 'containerPortRange' setting: 90-80."),
    (ports({"containerPortRange": "80-90", "hostPort": 80}), "Invalid port mapping: cannot specify both single port and port range."),
    (ports({"containerPortRange": "80-90"}, {"containerPort": 85}), "The container port 85 is used multiple times in task."),
    (
        ports({"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}, mode="bridge"),
        "The host port 9 is used multiple times in task.",
    ),
    # containers among themselves
    (one(dependsOn=[{"containerName": "x", "condition": "START"}]), "Cannot depend on container + 'x' because it does not exist"),
    (
        two({"dependsOn": [{"containerName": "b", "condition": "SUCCESS"}]}, {}),
        "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container",
    ),
    (
        two({"dependsOn": [{"containerName": "b", "condition": "HEALTHY"}]}, {}),
        "A dependency container with HEALTHY condition must have health check configured",
    ),
    (
        two({"dependsOn": [{"containerName": "b", "condition": "START"}]}, {"dependsOn": [{"containerName": "a", "condition": "START"}]}),
        "Container dependencies should not have a cycle",
    ),
    (two({"links": ["b"]}, {"links": ["a"]}), "Container links should not have a cycle"),
    (one(volumesFrom=[{"sourceContainer": "x"}]), "Invalid 'volumesFrom' setting. Unknown container: 'x'."),
    # volumes
    (one(mountPoints=[{"sourceVolume": "x", "containerPath": "/x"}]), "Unknown volume 'x'."),
    ({"volumes": [{"name": "v", "configuredAtLaunch": True}]}, "Volumes [v] are not referenced by any of the containers."),
    ({"volumes": [{"name": "v"}, {"name": "v"}]}, "The volume name 'v' is used more than once."),
    (
        {"volumes": [{"name": "v", "dockerVolumeConfiguration": {"scope": "task", "autoprovision": True}}]},
        "The autoprovision setting of a docker volume is only supported with the shared scope.",
    ),
    (efs(transitEncryptionPort=2049), "TransitEncryptionPort requires that TransitEncryption is enabled."),
    (efs(authorizationConfig={"iam": "ENABLED"}), "EFS IAM authorization requires TransitEncryption to be enabled."),
    (
        efs(transitEncryption="ENABLED", rootDirectory="/d", authorizationConfig={"accessPointId": "fsap-12345678"}),
        'When using an EFS access point, the root directory must either be set to "/" or be omitted.',
    ),
    # logs
    (one(logConfiguration={"logDriver": "awslogs"}), "Log driver awslogs requires options: awslogs-region, awslogs-group"),
    (
        one(logConfiguration={"logDriver": "awslogs", "options": AWSLOGS["options"] | {"log_key": "x"}}),  # type: ignore[operator]
        "Log driver awslogs disallows options: log_key",
    ),
    (
        one(logConfiguration={"logDriver": "awsfirelens"}),
        "When awsfirelens log driver is specified in log configuration, a firelens configuration object must be specified.",
    ),
    (
        {"containerDefinitions": [{}, FIRELENS]},
        "When a firelensConfiguration object is specified, at least one container has to be configured with the awsfirelens log driver.",
    ),
    # where values come from
    (
        one(secrets=[{"name": "S", "valueFrom": "p"}]),
        "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.",
    ),
    (
        {"executionRoleArn": ROLE} | one(environment=[{"name": "S", "value": "x"}], secrets=[{"name": "S", "valueFrom": "p"}]),
        "The secret name must be unique and not shared with any new or existing environment variables set on the container, such as 'S'.",
    ),
    (
        {"executionRoleArn": ROLE} | one(secrets=[{"name": "S", "valueFrom": "a b"}]),
        "The Systems Manager parameter name specified for secret S is invalid. The parameter name can be up to 2048 characters and include "
        "the following letters and symbols: a-zA-Z0-9_.-,",
    ),
    (one(environmentFiles=[{"type": "s3", "value": "bucket/app.env"}]), "Invalid arn syntax."),
    (
        one(environmentFiles=[{"type": "s3", "value": "arn:aws:s3:::bucket/a.env"}] * 11),
        "The maximum number of environment files was exceeded. Specify ten or less and try again.",
    ),
    # Fargate
    (FARGATE | {"networkMode": "bridge"}, "Fargate only supports network mode \u2018awsvpc\u2019."),
    (FARGATE | {"cpu": None}, "Fargate requires that 'cpu' be defined at the task level."),
    (FARGATE | {"memory": None}, "Fargate requires that 'memory' be defined at the task level."),
    (
        FARGATE | {"memory": "8192"},
        "No Fargate configuration exists for given values: 256 CPU, 8192 memory. See the Amazon ECS documentation for the valid values.",
    ),
    (FARGATE | one(privileged=True), "Fargate requires that the 'privileged' setting be 'false'."),
    (FARGATE | one(stopTimeout=121), "Tasks using the Fargate launch type must have a container stop timeout of less than 120 seconds."),
    (
        FARGATE | one(image="000000000000.dkr.ecr.us-east-1.amazonaws.com/app:1"),
        "Fargate requires task definition to have execution role ARN to support ECR images.",
    ),
    (FARGATE | one(logConfiguration=AWSLOGS), "Fargate requires task definition to have execution role ARN to support log driver awslogs."),
    (
        FARGATE
        | {"executionRoleArn": ROLE}
        | one(logConfiguration={"logDriver": "awslogs", "options": {"awslogs-group": "g", "awslogs-region": "r"}}),
        "Fargate requires log configuration options to include awslogs-stream-prefix to support log driver awslogs.",
    ),
    (
        FARGATE | one(logConfiguration={"logDriver": "json-file"}),
        "json-file is not a valid log driver. Must be one of [awslogs, splunk, awsfirelens]",
    ),
    (FARGATE | one(linuxParameters={"capabilities": {"add": ["SYS_ADMIN"]}}), "SYS_ADMIN is not allowed on Fargate."),
    (FARGATE | one(linuxParameters={"devices": [{"hostPath": "/dev/null"}]}), "Fargate compatible task definitions do not support devices"),
    (FARGATE | one(linuxParameters={"sharedMemorySize": 64}), "Fargate compatible task definitions do not support sharedMemorySize"),
    (FARGATE | one(linuxParameters={"maxSwap": 0}), "Fargate compatible task definitions do not support maxSwap"),
    (FARGATE | {"volumes": [{"name": "v", "host": {"sourcePath": "/v"}}]}, "Fargate compatible task definitions do not support sourcePath"),
    (FARGATE | {"pidMode": "host"}, "Tasks using the Fargate launch type do not support pidMode 'host'"),
    (FARGATE | {"ipcMode": "task"}, "Fargate compatible task definitions do not support ipcMode"),
    (
        FARGATE | {"placementConstraints": [{"type": "memberOf", "expression": "attribute:x == y"}]},
        "Fargate compatible task definitions do not support constraints",
    ),
    (
        FARGATE | one(resourceRequirements=[{"type": "GPU", "value": "1"}]),
        "Tasks using the Fargate launch type do not support GPU resource requirements",
    ),
]


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_taken(name: str) -> None:
    assert said(**RIGHT[name]) == ""


@pytest.mark.parametrize(("members", "sentence"), WRONG, ids=lambda value: value[:60] if isinstance(value, str) else "")
def test_what_is_wrong_is_refused_in_aws_s_words(members: dict[str, Any], sentence: str) -> None:
    assert said(**members) == CLIENT + sentence


@pytest.mark.parametrize(
    ("text", "units"),
    [("256", 256), ("1 vCPU", 1024), ("1vcpu", 1024), (".25 vCPU", 256), ("0.5 VCPU", 512), (" 2 vcpus ", 2048), ("192 vCPU", 196608)],
)
def test_cpu_is_said_in_units_or_vcpus(text: str, units: int) -> None:
    assert sizes.cpu_units(text) == units


@pytest.mark.parametrize("text", ["", "vCPU", "127", "196609", "1.5", "-256", "1 GB", "٢٥٦", "0x100", "1e3", "256 256", "1" * 400])
def test_what_is_no_cpu_is_refused(text: str) -> None:
    with pytest.raises(api.ClientException, match="Invalid 'cpu' setting for task"):
        sizes.cpu_units(text)


@pytest.mark.parametrize(("text", "mib"), [("512", 512), ("0.5GB", 512), ("1 GB", 1024), ("30 gb", 30720)])
def test_memory_is_said_in_mib_or_gb(text: str, mib: int) -> None:
    assert sizes.memory_mib(text) == mib


@pytest.mark.parametrize("text", ["", "GB", "0", "-1", "1 MB", "0.0001 GB", "9" * 40])
def test_what_is_no_memory_is_refused(text: str) -> None:
    with pytest.raises(api.ClientException, match="Invalid 'memory' setting for task"):
        sizes.memory_mib(text)


def test_fargate_has_these_sizes_and_no_others() -> None:
    """The table of AWS's page, by the number of memory sizes of each CPU size."""
    every = range(128, 131_072, 128)
    counts = {
        cpu: sum(sizes.fargate_has(cpu, memory) for memory in every) for cpu in (128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768)
    }
    assert counts == {128: 0, 256: 3, 512: 4, 1024: 7, 2048: 13, 4096: 23, 8192: 12, 16_384: 12, 32_768: 0}


@pytest.mark.parametrize(
    ("edges", "circle"),
    [
        ({}, False),
        ({"a": ["b"], "b": ["c"], "c": []}, False),
        ({"a": ["b", "c"], "b": ["c"], "c": []}, False),
        ({"a": ["a"]}, True),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, True),
        ({"a": ["elsewhere"]}, False),
    ],
)
def test_a_circle_is_seen(edges: dict[str, list[str]], circle: bool) -> None:
    assert graph.has_circle(edges) is circle


def test_many_wide_port_ranges_are_judged_quickly() -> None:
    """By their ends, not port by port."""
    mappings = [{"containerPortRange": f"{first}-{first + 600}"} for first in range(1, 60_000, 601)]
    assert len(mappings) == 100
    assert said(networkMode="bridge", containerDefinitions=[{"name": f"c{n}", "portMappings": mappings} for n in range(10)]) == ""
