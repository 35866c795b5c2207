"""Every field with which Docker's API 1.41 lets a container be made is acted on, or refused by its name."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from cloudstead.engine.dockerapi import shapes
from cloudstead.engine.dockerapi.limits import resources
from cloudstead.engine.dockerapi.mounts import bound, temporary
from cloudstead.engine.errors import EngineError, InvalidArgument
from cloudstead.engine.images.api import ExecConfig, HealthConfig
from cloudstead.engine.network.api import PortMapping
from cloudstead.engine.pods.specs import ContainerSpec, Device, HealthCheck, LogSpec, PodSpec, ThrottleDevice, Ulimit
from docker_stage import Stage, staged

# The names in `ContainerConfig` and `HostConfig` (with `Resources`) of moby's api/docs/v1.41.yaml.
DOCUMENTED = """
    ArgsEscaped AttachStderr AttachStdin AttachStdout Cmd Domainname Entrypoint Env ExposedPorts Healthcheck Hostname Image Labels MacAddress
    NetworkDisabled OnBuild OpenStdin Shell StdinOnce StopSignal StopTimeout Tty User Volumes WorkingDir NetworkingConfig
""".split()  # noqa: SIM905
DOCUMENTED_HOST = """
    AutoRemove Binds BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps BlkioDeviceWriteIOps BlkioWeight BlkioWeightDevice CapAdd CapDrop
    Cgroup CgroupParent CgroupnsMode ConsoleSize ContainerIDFile CpuCount CpuPercent CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime
    CpuShares CpusetCpus CpusetMems DeviceCgroupRules DeviceRequests Devices Dns DnsOptions DnsSearch ExtraHosts GroupAdd IOMaximumBandwidth
    IOMaximumIOps Init IpcMode Isolation KernelMemory KernelMemoryTCP Links LogConfig MaskedPaths Memory MemoryReservation MemorySwap
    MemorySwappiness Mounts NanoCpus NetworkMode OomKillDisable OomScoreAdj PidMode PidsLimit PortBindings Privileged PublishAllPorts
    ReadonlyPaths ReadonlyRootfs RestartPolicy Runtime SecurityOpt ShmSize StorageOpt Sysctls Tmpfs UTSMode Ulimits UsernsMode VolumeDriver
    VolumesFrom
""".split()  # noqa: SIM905

Made = tuple[Stage, PodSpec, ContainerSpec, dict[str, Any]]
Look = Callable[[Stage, PodSpec, ContainerSpec, dict[str, Any]], object]


async def made(stage: Stage, **body: Any) -> Made:
    id = await stage.create(**{"Cmd": ["sleep", "1000"], **body})
    container = stage.driver.records.containers[id]
    return stage, container.pod.spec, container.spec, await stage.get(f"/containers/{id}/json")


def on_a_stage(test: Callable[[Stage], Awaitable[None]]) -> None:
    async def play() -> None:
        async with asyncio.timeout(30), staged() as stage:
            await test(stage)

    asyncio.run(play())


THROTTLE = [{"Path": "/dev/sda", "Rate": 1024}]
THROTTLED = (ThrottleDevice(path="/dev/sda", rate=1024),)
MOUNT = {"Type": "tmpfs", "Target": "/scratch", "TmpfsOptions": {"SizeBytes": 4096, "Mode": 0o700}}


def of(name: str) -> Look:
    return lambda stage, pod, spec, told: getattr(spec, name)


def limit(name: str) -> Look:
    return lambda stage, pod, spec, told: getattr(spec.resources, name)


def network(name: str) -> Look:
    return lambda stage, pod, spec, told: getattr(pod.network, name)


def shown(*path: str) -> Look:
    """What Docker itself only keeps and tells: it is for clients."""

    def look(stage: Stage, pod: PodSpec, spec: ContainerSpec, told: dict[str, Any]) -> object:
        value: Any = told
        for name in path:
            value = value[name]
        return value

    return look


ACTED_ON: dict[str, tuple[Any, Look, object]] = {
    "AttachStderr": (True, shown("Config", "AttachStderr"), True),
    "AttachStdin": (True, shown("Config", "AttachStdin"), True),
    "AttachStdout": (True, shown("Config", "AttachStdout"), True),
    "Cmd": (["echo", "a"], of("args"), ("echo", "a")),
    "Domainname": ("example.org", lambda stage, pod, spec, told: pod.domainname, "example.org"),
    "Entrypoint": (["env"], of("args"), ("env", "sleep", "1000")),
    "Env": (["A=b"], lambda stage, pod, spec, told: "A=b" in spec.env, True),
    "ExposedPorts": ({"80/tcp": {}}, shown("Config", "ExposedPorts"), {"80/tcp": {}}),
    "Healthcheck": (
        {"Test": ["CMD-SHELL", "exit 0"], "Interval": 10**9, "Timeout": 2 * 10**9, "Retries": 5, "StartPeriod": 10**9, "StartInterval": 10**9},
        of("health"),
        HealthCheck(test=("CMD-SHELL", "exit 0"), interval=1.0, timeout=2.0, retries=5, start_period=1.0, start_interval=1.0),
    ),
    "Hostname": ("box", lambda stage, pod, spec, told: pod.hostname, "box"),
    "Image": ("busybox:latest", shown("Config", "Image"), "busybox:latest"),
    "Labels": ({"a": "b"}, of("labels"), {"a": "b"}),
    "MacAddress": ("02:42:ac:11:00:99", lambda stage, pod, spec, told: pod.network.attachments[0].mac, "02:42:ac:11:00:99"),
    "NetworkDisabled": (True, network("mode"), "none"),
    "OnBuild": (["RUN true"], shown("Config", "OnBuild"), ["RUN true"]),  # `docker commit` gives it to the image
    "OpenStdin": (True, of("stdin"), True),
    "Shell": (["ash", "-c"], shown("Config", "Shell"), ["ash", "-c"]),  # and see the test of health checks
    "StdinOnce": (True, of("stdin_once"), True),
    "StopSignal": ("SIGUSR1", of("stop_signal"), "SIGUSR1"),
    "StopTimeout": (3, of("stop_timeout"), 3.0),
    "Tty": (True, of("tty"), True),
    "User": ("1:2", of("user"), "1:2"),
    "Volumes": ({"/data": {}}, lambda stage, pod, spec, told: [(mount.type, mount.target) for mount in spec.mounts], [("volume", "/data")]),
    "WorkingDir": ("/tmp", of("cwd"), "/tmp"),
    "NetworkingConfig": (
        {"EndpointsConfig": {"bridge": {"MacAddress": "02:42:ac:11:00:98"}}},
        lambda stage, pod, spec, told: pod.network.attachments[0].mac,
        "02:42:ac:11:00:98",
    ),
}  # fmt: skip

ACTED_ON_BY_HOST: dict[str, tuple[Any, Look, object]] = {
    "AutoRemove": (True, shown("HostConfig", "AutoRemove"), True),  # test_docker_containers.py sees it go
    "Binds": (["/srv:/data:ro"], lambda stage, pod, spec, told: [(m.source, m.target, m.read_only) for m in spec.mounts], [("/srv", "/data", True)]),
    "BlkioDeviceReadBps": (THROTTLE, limit("blkio_read_bps"), THROTTLED),
    "BlkioDeviceReadIOps": (THROTTLE, limit("blkio_read_iops"), THROTTLED),
    "BlkioDeviceWriteBps": (THROTTLE, limit("blkio_write_bps"), THROTTLED),
    "BlkioDeviceWriteIOps": (THROTTLE, limit("blkio_write_iops"), THROTTLED),
    "BlkioWeight": (300, limit("blkio_weight"), 300),
    "CapAdd": (["CAP_NET_ADMIN", "sys_time"], of("cap_add"), ("NET_ADMIN", "SYS_TIME")),
    "CapDrop": (["ALL"], of("cap_drop"), ("ALL",)),
    "CgroupnsMode": ("host", of("cgroupns_mode"), "host"),
    "ConsoleSize": ([24, 80], shown("HostConfig", "ConsoleSize"), [24, 80]),  # test_docker_streams.py sees it act
    "ContainerIDFile": ("/tmp/cid", shown("HostConfig", "ContainerIDFile"), "/tmp/cid"),  # the client writes it
    "CpuPeriod": (50000, limit("cpu_period"), 50000),
    "CpuQuota": (50000, limit("cpu_quota"), 50000),
    "CpuShares": (512, limit("cpu_shares"), 512),
    "CpusetCpus": ("0", limit("cpuset_cpus"), "0"),
    "CpusetMems": ("0", limit("cpuset_mems"), "0"),
    "DeviceCgroupRules": (["c 10:* rwm"], of("device_rules"), ("c 10:* rwm",)),
    "Devices": (
        [{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/f", "CgroupPermissions": "r"}],
        of("devices"),
        (Device(path="/dev/fuse", container_path="/dev/f", permissions="r"),),
    ),
    "Dns": (["9.9.9.9"], network("dns"), ("9.9.9.9",)),
    "DnsOptions": (["ndots:2"], network("dns_options"), ("ndots:2",)),
    "DnsSearch": (["example.org"], network("dns_search"), ("example.org",)),
    "ExtraHosts": (["db:10.0.0.9"], network("extra_hosts"), ("db:10.0.0.9",)),
    "GroupAdd": (["27"], of("groups"), ("27",)),
    "Init": (True, of("init"), True),
    "IpcMode": ("shareable", of("ipc_mode"), "shareable"),
    "LogConfig": ({"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}, of("log"), LogSpec(max_size=10 << 20, max_files=3)),
    "MaskedPaths": ([], of("masked_paths"), ()),
    "Memory": (64 << 20, limit("memory"), 64 << 20),
    "MemoryReservation": (32 << 20, limit("memory_reservation"), 32 << 20),
    "MemorySwap": (-1, limit("memory_swap"), -1),
    "Mounts": ([MOUNT], lambda stage, pod, spec, told: [(m.type, m.target, m.tmpfs_size, m.tmpfs_mode) for m in spec.mounts], [("tmpfs", "/scratch", 4096, 0o700)]),
    "NanoCpus": (500_000_000, lambda stage, pod, spec, told: (spec.resources.cpu_quota, spec.resources.cpu_period), (50_000, 100_000)),
    "NetworkMode": ("host", network("mode"), "host"),
    "OomScoreAdj": (500, of("oom_score_adj"), 500),
    "PidMode": ("host", of("pid_mode"), "host"),
    "PidsLimit": (50, limit("pids_limit"), 50),
    "PortBindings": (
        {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]},
        network("ports"),
        (PortMapping(container_port=80, host_ip="127.0.0.1", host_port=8080),),
    ),
    "Privileged": (True, of("privileged"), True),
    "PublishAllPorts": (True, shown("HostConfig", "PublishAllPorts"), True),  # acts on exposed ports: see the test of ports
    "ReadonlyPaths": (["/proc/sys"], of("readonly_paths"), ("/proc/sys",)),
    "ReadonlyRootfs": (True, of("read_only"), True),
    "RestartPolicy": ({"Name": "on-failure", "MaximumRetryCount": 2}, shown("HostConfig", "RestartPolicy", "MaximumRetryCount"), 2),
    "Runtime": ("runc", of("runtime"), "runc"),
    "SecurityOpt": (["no-new-privileges", "seccomp=unconfined"], lambda stage, pod, spec, told: (spec.no_new_privileges, spec.seccomp), (True, "unconfined")),
    "ShmSize": (1 << 20, of("shm_size"), 1 << 20),
    "StorageOpt": ({"size": "1G"}, of("storage_size"), 1 << 30),
    "Sysctls": ({"net.ipv4.ip_forward": "1"}, lambda stage, pod, spec, told: pod.sysctls, {"net.ipv4.ip_forward": "1"}),
    "Tmpfs": ({"/run": "size=1m,exec"}, lambda stage, pod, spec, told: [(m.tmpfs_size, "exec" in m.options, "noexec" in m.options) for m in spec.mounts], [(1 << 20, True, False)]),
    "UTSMode": ("host", of("uts_mode"), "host"),
    "Ulimits": ([{"Name": "nofile", "Soft": 10, "Hard": 20}], of("ulimits"), (Ulimit(name="nofile", soft=10, hard=20),)),
    "UsernsMode": ("host", of("userns"), "host"),
    "VolumeDriver": ("local", shown("HostConfig", "VolumeDriver"), "local"),
}  # fmt: skip
NEEDED_BESIDE: dict[str, dict[str, Any]] = {
    "MemorySwap": {"Memory": 64 << 20},
}

REFUSED: dict[str, Any] = {"ArgsEscaped": True}
REFUSED_BY_HOST: dict[str, Any] = {
    "BlkioWeightDevice": [{"Path": "/dev/sda", "Weight": 300}],
    "Cgroup": "container:other",
    "CgroupParent": "/mine",
    "CpuCount": 1,
    "CpuPercent": 50,
    "CpuRealtimePeriod": 1000,
    "CpuRealtimeRuntime": 1000,
    "DeviceRequests": [{"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}],
    "IOMaximumBandwidth": 1000,
    "IOMaximumIOps": 1000,
    "Isolation": "hyperv",
    "KernelMemory": 64 << 20,
    "KernelMemoryTCP": 64 << 20,
    "Links": ["db:db"],
}
ELSEWHERE = {"VolumesFrom", "OomKillDisable", "MemorySwappiness"}  # have a test of their own


def test_every_documented_field_is_in_one_of_the_tables() -> None:
    assert set(DOCUMENTED) == ACTED_ON.keys() | REFUSED.keys()
    assert set(DOCUMENTED_HOST) == ACTED_ON_BY_HOST.keys() | REFUSED_BY_HOST.keys() | ELSEWHERE
    assert not ACTED_ON.keys() & REFUSED.keys()
    assert not ACTED_ON_BY_HOST.keys() & REFUSED_BY_HOST.keys()


def test_the_structs_have_the_documented_fields_and_no_others() -> None:
    assert set(shapes.HostConfig.__struct_encode_fields__) == set(DOCUMENTED_HOST)
    assert set(shapes.CreateRequest.__struct_encode_fields__) == {*DOCUMENTED, "HostConfig", "Runtime"}  # the last is docker-py's


@pytest.mark.parametrize("name", ACTED_ON)
def test_a_field_of_the_configuration_is_acted_on(name: str) -> None:
    value, look, expected = ACTED_ON[name]

    async def test(stage: Stage) -> None:
        assert look(*await made(stage, **{name: value})) == expected
        if name not in ("Cmd", "Image"):
            assert look(*await made(stage)) != expected, "the field makes no difference"

    on_a_stage(test)


@pytest.mark.parametrize("name", ACTED_ON_BY_HOST)
def test_a_field_of_the_host_configuration_is_acted_on(name: str) -> None:
    value, look, expected = ACTED_ON_BY_HOST[name]

    async def test(stage: Stage) -> None:
        beside = NEEDED_BESIDE.get(name, {})
        assert look(*await made(stage, HostConfig={name: value, **beside})) == expected
        if name not in ("VolumeDriver",):
            assert _safely(look, await made(stage, HostConfig=beside)) != expected, "the field makes no difference"

    on_a_stage(test)


def _safely(look: Look, found: Made) -> object:
    try:
        return look(*found)
    except (IndexError, TypeError):
        return None


@pytest.mark.parametrize("name", [*REFUSED, *REFUSED_BY_HOST])
def test_what_nobody_would_act_on_is_refused_by_name(name: str) -> None:
    async def test(stage: Stage) -> None:
        body = (
            {"Image": "busybox", name: REFUSED[name]}
            if name in REFUSED
            else {"Image": "busybox", "HostConfig": {name: REFUSED_BY_HOST[name]}}
        )
        status, answer = await stage.ask("POST", "/containers/create", None, body)
        assert status in (400, 501)
        assert name.lower() in answer["message"].lower()
        assert await stage.get("/containers/json", all=1) == []

    on_a_stage(test)


def test_unknown_fields_are_refused_when_they_ask_for_something() -> None:
    async def test(stage: Stage) -> None:
        assert await stage.create(HostConfig={"Annotations": {"a": "b"}}, expect=400) == "HostConfig.Annotations is not supported"
        assert await stage.create(Wibble=1, expect=400) == "Wibble is not supported"
        await stage.create("true", HostConfig={"Annotations": {}, "Wibble": None}, Wobble="")

    on_a_stage(test)


def test_names_are_taken_without_regard_to_case_as_go_takes_them() -> None:
    async def test(stage: Stage) -> None:
        _, pod, spec, _ = await made(stage, hostconfig={"memory": 64 << 20}, HOSTNAME="box")
        assert (spec.resources.memory, pod.hostname) == (64 << 20, "box")

    on_a_stage(test)


def test_limits_of_cgroup_v1_are_passed_on_and_refused_by_the_driver_where_the_kernel_has_none() -> None:
    found = resources(shapes.HostConfig(oom_kill_disable=True, memory=64 << 20, memory_swappiness=10))
    assert (found.oom_kill_disable, found.memory_swappiness) == (True, 10)

    async def test(stage: Stage) -> None:
        assert "swappiness" in await stage.create(HostConfig={"MemorySwappiness": 10}, expect=501)  # simulated kernels have v2

    on_a_stage(test)


def test_volumes_come_from_other_containers() -> None:
    async def test(stage: Stage) -> None:
        first = await stage.create("true", name="first", HostConfig={"Binds": ["data:/data", "/srv:/srv"]}, Volumes={"/anonymous": {}})
        anonymous = next(m["Name"] for m in (await stage.get(f"/containers/{first}/json"))["Mounts"] if m["Destination"] == "/anonymous")
        _, _, spec, _ = await made(stage, HostConfig={"VolumesFrom": ["first:ro"], "Tmpfs": {"/srv": ""}})
        found = {mount.target: (mount.type, mount.source, mount.read_only) for mount in spec.mounts}
        assert found == {"/data": ("volume", "data", True), "/srv": ("tmpfs", "", False), "/anonymous": ("volume", anonymous, True)}

    on_a_stage(test)


def test_published_ports_are_those_bound_and_with_publish_all_the_exposed_ones() -> None:
    async def test(stage: Stage) -> None:
        host = {"PublishAllPorts": True, "PortBindings": {"80/tcp": [{}], "53/udp": [{"HostPort": "5353"}]}}
        _, pod, _, _ = await made(stage, ExposedPorts={"80/tcp": {}, "443/tcp": {}}, HostConfig=host)
        assert pod.network.ports == (
            PortMapping(container_port=80),
            PortMapping(container_port=53, protocol="udp", host_port=5353),
            PortMapping(container_port=443),
        )

    on_a_stage(test)


def test_a_container_is_what_its_image_says_unless_told_otherwise() -> None:
    async def test(stage: Stage) -> None:
        config = ExecConfig(
            user="daemon",
            env=("A=image", "B=image"),
            entrypoint=("/entry",),
            cmd=("image",),
            working_dir="/srv",
            volumes={"/data": {}},
            labels={"a": "image", "b": "image"},
            stop_signal="SIGINT",
            exposed_ports={"80/tcp": {}},
            shell=("ash", "-c"),
            healthcheck=HealthConfig(test=("CMD-SHELL", "check"), interval=7 * 10**9),
        )
        stage.images.add("full:latest", config)
        _, _, spec, told = await made(stage, Image="full", Cmd=None, Env=["A=mine", "B"], Labels={"b": "mine"}, Healthcheck={"Retries": 9})
        assert spec.args == ("/entry", "image")
        assert {"A=mine"} <= set(spec.env)
        assert not [line for line in spec.env if line.startswith("B")]
        assert (spec.user, spec.cwd, spec.stop_signal, spec.labels) == ("daemon", "/srv", "SIGINT", {"a": "image", "b": "mine"})
        assert spec.health == HealthCheck(test=("CMD", "ash", "-c", "check"), interval=7.0, retries=9)
        assert [mount.target for mount in spec.mounts] == ["/data"]
        assert told["Config"]["ExposedPorts"] == {"80/tcp": {}}
        assert (await made(stage, Image="full", Cmd=["mine"]))[2].args == ("/entry", "mine")
        assert (await made(stage, Image="full", Cmd=None, Entrypoint=["/mine"]))[2].args == ("/mine",)
        assert (await made(stage, Image="full", Cmd=["mine"], Entrypoint=[""]))[2].args == ("mine",)
        assert (await made(stage, Image="full", Healthcheck={"Test": ["NONE"]}))[2].health is None

    on_a_stage(test)


def test_a_process_gets_dockers_own_variables() -> None:
    async def test(stage: Stage) -> None:
        _, pod, spec, _ = await made(stage, Tty=True, Env=["HOSTNAME=mine"])
        assert set(spec.env) == {"PATH=/bin", "TERM=xterm", "HOSTNAME=mine"}
        _, pod, spec, _ = await made(stage)
        assert set(spec.env) == {"PATH=/bin", f"HOSTNAME={pod.hostname}"}
        assert pod.hostname == spec.id[:12]

    on_a_stage(test)


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ({"Memory": 1024}, "Minimum memory limit allowed is 6MB"),
        ({"MemorySwap": 64 << 20}, "You should always set the Memory limit when using Memoryswap limit, see usage"),
        ({"Memory": 64 << 20, "MemorySwap": 32 << 20}, "Minimum memoryswap limit should be larger than memory limit, see usage"),
        ({"NanoCpus": 10**12}, f"range of CPUs is from 0.01 to {os.cpu_count()}.00, as there are only {os.cpu_count()} CPUs available"),
        ({"NanoCpus": 10**9, "CpuQuota": 10000}, "Conflicting options: Nano CPUs and CPU Quota cannot both be set."),
        ({"ShmSize": -1}, "SHM size can not be less than 0"),
        ({"AutoRemove": True, "RestartPolicy": {"Name": "always"}}, "can't create 'AutoRemove' container with restart policy"),
        ({"Binds": ["/a:/x", "/b:/x"]}, "Duplicate mount point: /x"),
        ({"Binds": ["relative/path:/x"]}, None),
        ({"Binds": ["/a:/"]}, "invalid volume specification: '/a:/': invalid specification: destination can't be '/'"),
        ({"Mounts": [{"Type": "bind", "Target": "/x"}]}, 'invalid mount config for type "bind": field Source must not be empty'),
        ({"Mounts": [{"Type": "image", "Target": "/x"}]}, 'mount type unknown: "image"'),
        ({"SecurityOpt": ["wibble"]}, 'invalid --security-opt 2: "wibble"'),
        ({"NetworkMode": "container:no"}, None),
        ({"PortBindings": {"http": [{}]}}, "invalid port specification: 'http'"),
        ({"Ulimits": [{"Name": "nofile", "Soft": 2, "Hard": 1}]}, "ulimit soft limit must be less than or equal to hard limit: 2 > 1"),
        ({"NetworkMode": "host", "Sysctls": {"net.x": "1"}}, 'sysctl "net.x" not allowed in host network namespace'),
        ({"LogConfig": {"Type": "json-file", "Config": {"wibble": "1"}}}, "unknown log opt 'wibble' for json-file log driver"),
    ],
)
def test_what_makes_no_sense_is_refused_in_dockers_words(host: dict[str, Any], sentence: str | None) -> None:
    async def test(stage: Stage) -> None:
        status, answer = await stage.ask("POST", "/containers/create", None, {"Image": "busybox", "HostConfig": host})
        assert status in (400, 404)
        assert sentence is None or answer["message"] == sentence
        assert stage.driver.records.containers == {}
        assert stage.volumes.all() == []

    on_a_stage(test)


def test_sharing_a_network_excludes_what_would_change_it() -> None:
    async def test(stage: Stage) -> None:
        id = await stage.create("true", name="first")
        _, pod, _, _ = await made(stage, HostConfig={"NetworkMode": "container:first"})
        assert (pod.network.mode, pod.network.pod) == ("pod", id)
        for field, value in {"Hostname": "x", "MacAddress": "02:42:ac:11:00:99"}.items():
            message = await stage.create(**{field: value}, HostConfig={"NetworkMode": "container:first"}, expect=400)
            assert message.startswith("conflicting options: ")
        message = await stage.create(HostConfig={"NetworkMode": "container:first", "PortBindings": {"80/tcp": [{}]}}, expect=400)
        assert message == "conflicting options: port publishing and the container type network mode"

    on_a_stage(test)


def test_a_network_of_ones_own_gives_names_and_addresses() -> None:
    async def test(stage: Stage) -> None:
        network = (await stage.post("/networks/create", {"Name": "mine", "IPAM": {"Config": [{"Subnet": "10.9.0.0/24"}]}}, 201))["Id"]
        endpoint = {"Aliases": ["db"], "IPAMConfig": {"IPv4Address": "10.9.0.7"}}
        id = await stage.create(
            "true", name="box", HostConfig={"NetworkMode": "mine"}, NetworkingConfig={"EndpointsConfig": {"mine": endpoint}}
        )
        (attachment,) = stage.driver.records.pods[id].spec.network.attachments
        assert (attachment.network, attachment.ip, attachment.aliases) == (network, "10.9.0.7", ("box", id[:12], "db"))
        message = await stage.create(HostConfig={"NetworkMode": "nowhere"}, expect=404)
        assert message == "network nowhere not found"

    on_a_stage(test)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a:/b", ("bind", "/a", "/b", False, "")),
        ("/a/../c:/b/:ro,rshared", ("bind", "/c", "/b", True, "rshared")),
        ("data:/b:nocopy", ("volume", "data", "/b", False, "")),
        ("/b", ("volume", "", "/b", False, "")),
        ("/a:/b:z", ("bind", "/a", "/b", False, "")),
    ],
)
def test_binds_are_read_as_docker_reads_them(text: str, expected: tuple[object, ...]) -> None:
    mount = bound(text).mount
    assert (mount.type, mount.source, mount.target, mount.read_only, mount.propagation) == expected


@pytest.mark.parametrize(
    "text", ["", ":", "a:b", "/a:/b:rw:ro", "/a:/b:wibble", "data:/b:rshared", "/a:/b:nocopy", "/a:", "../a:/b", "/a:/b\0"]
)
def test_binds_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        bound(text)


def test_tmpfs_has_dockers_options_unless_told_otherwise() -> None:
    mount = temporary("/run", "ro,size=64k,mode=0700,suid").mount
    assert (mount.read_only, mount.tmpfs_size, mount.tmpfs_mode) == (True, 64 << 10, 0o700)
    assert set(mount.options) == {"noexec", "nodev", "suid"}
    with pytest.raises(InvalidArgument):
        temporary("/run", "wibble")


def test_random_bodies_cause_no_failure_of_ours() -> None:
    """Values of the wrong kind in each field: refused with a sentence, never a traceback."""
    wrong: list[Any] = [-1, 2**70, "x", "\0", [], [None], [[]], {}, {"": None}, {"a": "b"}, [{"a": 1}], 1.5, True]

    async def test(stage: Stage) -> None:
        for name in [*DOCUMENTED, *DOCUMENTED_HOST]:
            for value in wrong:
                body = {"Image": "busybox", **({name: value} if name in DOCUMENTED else {"HostConfig": {name: value}})}
                status, _, data = await stage.raw("POST", "/containers/create", None, body)
                assert status in (201, 400, 404, 409, 501), (name, value, data)

    on_a_stage(test)


def test_errors_leave_nothing_behind() -> None:
    async def test(stage: Stage) -> None:
        async def fail(*_: object) -> None:
            raise EngineError("no")

        stage.driver.create_container = fail  # type: ignore[method-assign]
        assert await stage.create(Volumes={"/data": {}}, HostConfig={"Binds": ["kept:/kept"]}, expect=500) == "no"
        assert stage.driver.records.pods == {}
        assert await stage.get("/containers/json", all=1) == []
        assert [volume.name for volume in stage.volumes.all()] == ["kept"]

    on_a_stage(test)


def test_what_is_kept_reads_back_as_it_was() -> None:
    host = shapes.HostConfig(memory=1, mounts=[shapes.MountRequest(type="tmpfs", target="/x")], log_config=shapes.LogConfig(type="none"))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(host), type=shapes.HostConfig) == host
