"""A task definition as pods and containers: for each member what the engine is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from registrations import request

from cloudstead.engine.network.api import Attachment, PodNetwork, PortMapping
from cloudstead.engine.pods.specs import ContainerSpec, Device, HealthCheck, LogSpec, Mount, Resources, Ulimit
from cloudstead.services.ecs import defaults, reading, validation
from cloudstead.services.ecs.definition import EnvironmentFile, KeyValuePair
from cloudstead.services.ecs.overriding import ContainerOverride, Overrides, overridden
from cloudstead.services.ecs.translation import Image, NeededVolume, Supplies, Task, Unsupported, environment, limits, task_spec

MIB = 1 << 20
IMAGE = Image(
    layers=("sha256:1",),
    entrypoint=("/entry",),
    cmd=("serve",),
    env=("PATH=/bin", "A=image"),
    cwd="/srv",
    user="www",
    stop_signal="SIGQUIT",
)


def definition(**members: Any) -> Any:
    given = reading.definition(request(**members))
    validation.check(given)
    return defaults.fill(given)


def supplies(*names: str, **members: Any) -> Supplies:
    wanted = names or ("app",)
    members = {"task_id": "t", "ids": {name: name * 8 for name in wanted}, "images": dict.fromkeys(wanted, IMAGE)} | members
    return Supplies(**members)


def task(*containers: dict[str, Any], given: Supplies | None = None, **members: Any) -> Task:
    wanted = definition(containerDefinitions=list(containers) or [{}], **members)
    return task_spec(wanted, given or supplies(*[each.called for each in wanted.container_definitions]))


def one(given: Supplies | None = None, **container: Any) -> ContainerSpec:
    (pod,) = task(container, given=given).pods
    (spec,) = pod.containers
    return spec


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, {"args": ("/entry", "serve"), "cwd": "/srv", "user": "www", "stop_signal": "SIGQUIT", "stop_timeout": 30.0}),
        ({"command": ["a", "b"]}, {"args": ("/entry", "a", "b")}),
        ({"entryPoint": ["/other"]}, {"args": ("/other",)}),
        ({"entryPoint": ["/other"], "command": ["c"]}, {"args": ("/other", "c")}),
        ({"entryPoint": [], "command": []}, {"args": ("/entry", "serve")}),
        ({"user": "1000:1000", "workingDirectory": "/w"}, {"user": "1000:1000", "cwd": "/w"}),
        ({"stopTimeout": 90}, {"stop_timeout": 90.0}),
        ({"interactive": True, "pseudoTerminal": True}, {"stdin": True, "tty": True}),
        ({"privileged": True, "readonlyRootFilesystem": True}, {"privileged": True, "read_only": True}),
        ({"dockerSecurityOptions": ["no-new-privileges"]}, {"no_new_privileges": True}),
        (
            {"linuxParameters": {"capabilities": {"add": ["SYS_PTRACE"], "drop": ["ALL"]}}},
            {"cap_add": ("SYS_PTRACE",), "cap_drop": ("ALL",)},
        ),
        ({"linuxParameters": {"initProcessEnabled": True, "sharedMemorySize": 128}}, {"init": True, "shm_size": 128 * MIB}),
        (
            {"linuxParameters": {"devices": [{"hostPath": "/dev/kvm", "containerPath": "/dev/k", "permissions": ["read", "mknod"]}]}},
            {"devices": (Device(path="/dev/kvm", container_path="/dev/k", permissions="rm"),)},
        ),
        (
            {"linuxParameters": {"tmpfs": [{"containerPath": "/t", "size": 8, "mountOptions": ["noexec", "mode=0700", "defaults"]}]}},
            {"mounts": (Mount(type="tmpfs", target="/t", tmpfs_size=8 * MIB, tmpfs_mode=0o700, options=("noexec",)),)},
        ),
        ({"ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 2}]}, {"ulimits": (Ulimit(name="nofile", soft=1, hard=2),)}),
        ({"dockerLabels": {"a": "b"}}, {"labels": {"a": "b", "com.amazonaws.ecs.container-name": "app"}}),
        (
            {"healthCheck": {"command": ["CMD", "ok"], "interval": 7, "startPeriod": 3}},
            {"health": HealthCheck(test=("CMD", "ok"), interval=7.0, timeout=5.0, start_period=3.0, start_interval=7.0, retries=3)},
        ),
        ({"healthCheck": {"command": ["NONE"]}}, {"health": None}),
        (
            {"logConfiguration": {"logDriver": "json-file", "options": {"max-size": "2m", "max-file": "5"}}},
            {"log": LogSpec(driver="file", max_size=2 * MIB, max_files=5)},
        ),
        ({"cpu": 512}, {"resources": Resources(memory=64 * MIB, memory_swap=64 * MIB, cpu_shares=512)}),
        (
            {"memory": None, "memoryReservation": 32},
            {"resources": Resources(memory_reservation=32 * MIB, cpu_shares=2)},
        ),
        (
            {"linuxParameters": {"maxSwap": 16, "swappiness": 9}},
            {"resources": Resources(memory=64 * MIB, memory_swap=80 * MIB, memory_swappiness=9, cpu_shares=2)},
        ),
    ],
    ids=lambda value: ", ".join(value)[:50] if isinstance(value, dict) else "",
)
def test_what_a_container_says_is_what_the_engine_is_told(said: dict[str, Any], told: dict[str, Any]) -> None:
    spec = one(**said)
    assert {name: getattr(spec, name) for name in told} == told


def test_variables_count_in_this_order() -> None:
    given = supplies(
        environment_files={"app": ({"A": "first", "B": "first", "C": "first"}, {"A": "second", "D": "second"})},
        secrets={"app": {"S": "secret"}},
        environment={"app": {"ECS": "4", "E": "ecs"}},
    )
    spec = one(given, environment=[{"name": "B", "value": "said"}, {"name": "E", "value": "said"}, {"name": "EMPTY"}])
    found = dict(pair.split("=", 1) for pair in spec.env)
    assert found == {
        "PATH": "/bin",
        "A": "first",
        "B": "said",
        "C": "first",
        "D": "second",
        "E": "ecs",
        "EMPTY": "",
        "S": "secret",
        "ECS": "4",
    }


def test_an_environment_file_is_read_line_by_line() -> None:
    assert environment.of_file("# no\nA=1\n\nB = two words \r\nC==\n=x\nD\nA=2\n") == {"A": "2", "B": " two words ", "C": "="}


def test_containers_of_a_task_with_awsvpc_are_one_pod_with_its_limits() -> None:
    interface = PodNetwork(attachments=(Attachment(network="vpc-1", subnet="subnet-1", security_groups=("sg-1",)),))
    given = supplies("a", "b", network=interface, hostname="ip-10-0-0-5", fargate=True)
    made = task(
        {"name": "a", "systemControls": [{"namespace": "net.core.somaxconn", "value": "9"}], "portMappings": [{"containerPort": 80}]},
        {"name": "b"},
        given=given,
        networkMode="awsvpc",
        cpu="512",
        memory="1024",
        pidMode="task",
        requiresCompatibilities=["FARGATE"],
        ephemeralStorage={"sizeInGiB": 30},
    )
    (pod,) = made.pods
    assert (pod.spec.id, pod.spec.owner, pod.spec.network, pod.spec.hostname) == ("ecs-t", "ecs", interface, "ip-10-0-0-5")
    assert pod.spec.resources == Resources(memory=1024 * MIB, memory_swap=1024 * MIB, cpu_quota=50_000, cpu_period=100_000)
    assert (pod.spec.share_pids, pod.spec.sysctls) == (True, {"net.core.somaxconn": "9"})
    assert [(each.name, each.id, each.pid_mode) for each in pod.containers] == [("a", "a" * 8, ""), ("b", "b" * 8, "")]
    assert {each.storage_size for each in pod.containers} == {30 << 30}
    assert {each.ulimits for each in pod.containers} == {(Ulimit(name="nofile", soft=65535, hard=65535),)}


def test_containers_with_bridge_are_a_pod_each() -> None:
    bridge = PodNetwork(attachments=(Attachment(network="bridge"),))
    given = supplies("web", "db", network=bridge, addresses={"db": "172.17.0.2"}, host_ports={"web": {"81/tcp": 40_000}})
    made = task(
        {
            "name": "web",
            "links": ["db:sql"],
            "hostname": "www",
            "portMappings": [
                {"containerPort": 80, "hostPort": 8080},
                {"containerPort": 81},
                {"containerPortRange": "90-91", "protocol": "udp"},
            ],
            "extraHosts": [{"hostname": "h", "ipAddress": "10.0.0.1"}],
            "dnsServers": ["10.0.0.2"],
            "dnsSearchDomains": ["x"],
        },
        {"name": "db", "disableNetworking": True},
        given=given,
        cpu="256",
        memory="256",
        pidMode="task",
        ipcMode="task",
    )
    web, db = made.pods
    assert [pod.spec.id for pod in made.pods] == ["ecs-t-0", "ecs-t-1"]
    assert web.spec.network == PodNetwork(
        attachments=bridge.attachments,
        ports=(
            PortMapping(container_port=80, host_port=8080),
            PortMapping(container_port=81, host_port=40_000),
            PortMapping(container_port=90, protocol="udp"),
            PortMapping(container_port=91, protocol="udp"),
        ),
        dns=("10.0.0.2",),
        dns_search=("x",),
        extra_hosts=("h:10.0.0.1", "sql:172.17.0.2", "db:172.17.0.2"),
    )
    assert (web.spec.hostname, web.spec.share_pids, db.spec.network) == ("www", False, PodNetwork(mode="none"))
    assert [(pod.containers[0].pid_mode, pod.containers[0].ipc_mode) for pod in made.pods] == [
        ("", "shareable"),
        ("container:" + "web" * 8, "container:" + "web" * 8),
    ]
    assert web.containers[0].resources.cpu_quota == 25_000
    assert web.containers[0].resources.memory == 64 * MIB


@pytest.mark.parametrize(("mode", "told"), [("host", "host"), ("none", "none")])
def test_the_other_network_modes_are_the_engine_s(mode: str, told: str) -> None:
    assert [pod.spec.network for pod in task({}, networkMode=mode).pods] == [PodNetwork(mode=told)]  # type: ignore[arg-type]


def test_namespaces_of_the_host_and_of_oneself() -> None:
    (pod,) = task({}, networkMode="host", pidMode="host", ipcMode="none").pods
    assert (pod.containers[0].pid_mode, pod.containers[0].ipc_mode) == ("host", "none")


def test_volumes_become_the_engine_s() -> None:
    volumes = [
        {"name": "machine", "host": {"sourcePath": "/var/data"}},
        {"name": "scratch"},
        {"name": "mine", "dockerVolumeConfiguration": {"scope": "task", "driver": "local", "driverOpts": {"type": "tmpfs"}}},
        {"name": "ours", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": True, "labels": {"a": "b"}}},
        {"name": "theirs", "dockerVolumeConfiguration": {"scope": "shared"}},
        {"name": "files", "efsVolumeConfiguration": {"fileSystemId": "fs-12345678"}},
    ]
    points = [{"sourceVolume": each["name"], "containerPath": f"/{each['name']}", "readOnly": each["name"] == "files"} for each in volumes]
    image = msgspec.structs.replace(IMAGE, volumes=("/data", "/scratch"))
    given = supplies("app", "other", images={"app": image, "other": IMAGE}, volumes={"files": "efs-1"})
    made = task(
        {"mountPoints": points, "linuxParameters": {"tmpfs": [{"containerPath": "/t", "size": 1}]}},
        {
            "name": "other",
            "volumesFrom": [{"sourceContainer": "app", "readOnly": True}],
            "mountPoints": [points[1] | {"containerPath": "/data"}],
        },
        given=given,
        volumes=volumes,
    )
    assert made.volumes == (
        NeededVolume("ecs-t-scratch", owned=True, create=True),
        NeededVolume("ecs-t-mine", owned=True, create=True, options=(("type", "tmpfs"),)),
        NeededVolume("ours", owned=False, create=True, labels=(("a", "b"),)),
        NeededVolume("theirs", owned=False, create=False),
        NeededVolume("efs-1", owned=False, create=False),
        NeededVolume("ecs-t-app-0", owned=True, create=True),
    )
    app, other = ({mount.target: (mount.type, mount.source, mount.read_only) for mount in pod.containers[0].mounts} for pod in made.pods)
    assert app == {
        "/t": ("tmpfs", "", False),
        "/machine": ("bind", "/var/data", False),
        "/scratch": ("volume", "ecs-t-scratch", False),
        "/mine": ("volume", "ecs-t-mine", False),
        "/ours": ("volume", "ours", False),
        "/theirs": ("volume", "theirs", False),
        "/files": ("volume", "efs-1", True),
        "/data": ("volume", "ecs-t-app-0", False),
    }
    assert other == {
        **{path: (kind, source, True) for path, (kind, source, _) in app.items() if kind != "tmpfs"},
        "/data": ("volume", "ecs-t-scratch", False),
    }


@pytest.mark.parametrize(
    ("said", "members"),
    [
        ({"logConfiguration": {"logDriver": "gelf"}}, {}),
        ({"dockerSecurityOptions": ["apparmor:x"]}, {}),
        ({"resourceRequirements": [{"type": "GPU", "value": "1"}]}, {}),
        ({}, {"enableFaultInjection": True}),
        ({}, {"runtimePlatform": {"cpuArchitecture": "X86_64" if limits.ARCHITECTURE == "ARM64" else "ARM64"}}),
        (
            {"mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]},
            {"volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-12345678"}}]},
        ),
    ],
)
def test_what_the_engine_cannot_do_is_said_and_not_left_out(said: dict[str, Any], members: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        task(said, **members)


def test_long_names_and_names_that_differ_in_case_stay_apart() -> None:
    made = task({"name": "A"}, {"name": "a"}, volumes=[{"name": "v" * 255}])
    assert len({pod.spec.id for pod in made.pods}) == 2
    assert len(made.volumes[0].name) < 255


def test_the_same_gives_the_same() -> None:
    """So that a daemon that looks again finds what it began."""
    assert task({"name": "a"}, {"name": "b"}) == task({"name": "a"}, {"name": "b"})


def test_overrides_change_one_run() -> None:
    before = definition(
        cpu="256",
        memory="512",
        containerDefinitions=[{"environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}, {"name": "other"}],
    )
    files = (EnvironmentFile(type="s3", value="arn:aws:s3:::b/x.env"),)
    change = ContainerOverride(
        name="app",
        command=("once",),
        environment=(KeyValuePair(name="B", value="3"), KeyValuePair(name="C", value="4")),
        environment_files=files,
        cpu=7,
        memory=70,
        memory_reservation=60,
    )
    after = overridden(before, Overrides(containers=(change,), memory="1024", task_role_arn="arn:role"))
    app = after.container_definitions[0]
    assert (after.cpu, after.memory, after.task_role_arn) == ("256", "1024", "arn:role")
    assert [(pair.name, pair.value) for pair in app.environment or ()] == [("A", "1"), ("B", "3"), ("C", "4")]
    assert (app.command, app.environment_files, app.cpu, app.memory, app.memory_reservation) == (("once",), files, 7, 70, 60)
    assert after.container_definitions[1] == before.container_definitions[1]
