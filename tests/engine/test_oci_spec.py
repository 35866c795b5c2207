"""config.json of a container: what is wanted becomes what the runtime is told, and senseless wishes become sentences."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloudstead.engine.errors import InvalidArgument, Unsupported
from cloudstead.engine.pods import capabilities, failures, oci_mounts, oci_spec, seccomp
from cloudstead.engine.pods.limits import Kernel
from cloudstead.engine.pods.oci_spec import DeviceNode, Surroundings, User
from cloudstead.engine.pods.specs import ContainerSpec, Mount, Ulimit

V1, V2 = Kernel(version=1, controllers=frozenset(("cpu", "memory", "pids"))), Kernel()
PC = seccomp.Machine("x86_64", (6, 1))


def config(*, around: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    wanted = ContainerSpec(id="a" * 64, layers=(), **{"args": ("sh",), **spec})
    found = Surroundings(**{"rootfs": "/r", "cgroup": "/c", "kernel": V2, "machine": PC, "hostname": "box", **(around or {})})
    made = oci_spec.runtime_config(wanted, found)
    json.dumps(made)
    return made


def kinds(made: dict[str, Any]) -> dict[str, str]:
    return {entry["type"]: entry.get("path", "") for entry in made["linux"]["namespaces"]}


def mounted(made: dict[str, Any], target: str) -> list[str]:
    return next(mount["options"] for mount in made["mounts"] if mount["destination"] == target)


def test_a_container_has_all_namespaces_of_its_own() -> None:
    assert kinds(config()) == dict.fromkeys(("mount", "network", "pid", "ipc", "uts", "cgroup"), "")
    assert "cgroup" not in kinds(config(around={"kernel": V1}))
    assert "cgroup" in kinds(config(around={"kernel": V1}, cgroupns_mode="private"))
    assert "cgroup" not in kinds(config(cgroupns_mode="host"))


def test_namespaces_are_joined_and_left_out() -> None:
    made = config(around={"network": "/n", "pids": None, "ipc": "/i"}, uts_mode="host")
    assert kinds(made) == {"mount": "", "network": "/n", "ipc": "/i", "cgroup": ""}
    assert "hostname" not in made
    assert not [entry for entry in made["process"]["env"] if entry.startswith("HOSTNAME")]


@pytest.mark.parametrize("field", ["uts_mode", "cgroupns_mode"])
def test_unknown_modes_are_refused(field: str) -> None:
    with pytest.raises(InvalidArgument):
        config(**{field: "container:x"})


def test_the_defaults_of_isolation() -> None:
    made = config()
    assert set(made["process"]["capabilities"]["bounding"]) == set(capabilities.DEFAULT)
    assert made["process"]["capabilities"].keys() == {"bounding", "effective", "permitted"}
    assert made["linux"]["resources"]["devices"] == [{"allow": False, "access": "rwm"}]
    assert "/proc/kcore" in made["linux"]["maskedPaths"]
    assert "/proc/sys" in made["linux"]["readonlyPaths"]
    assert "ro" in mounted(made, "/sys")
    assert made["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert made["process"]["noNewPrivileges"] is False


def test_privileged_takes_the_walls_down_and_gives_no_more_than_the_host_has() -> None:
    device = DeviceNode("/dev/kmsg", "c", 1, 11, 0o644, 0, 0, "rwm")
    made = config(privileged=True, around={"available": frozenset(("CAP_SYS_ADMIN", "CAP_KILL")), "devices": [device]})
    assert set(made["process"]["capabilities"]["effective"]) == {"CAP_SYS_ADMIN", "CAP_KILL"}
    assert made["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert (made["linux"]["maskedPaths"], made["linux"]["readonlyPaths"]) == ([], [])
    assert "seccomp" not in made["linux"]
    assert "ro" not in mounted(made, "/sys")
    assert made["linux"]["devices"][0]["path"] == "/dev/kmsg"


def test_paths_are_masked_as_asked_for() -> None:
    made = config(masked_paths=("/x",), readonly_paths=())
    assert (made["linux"]["maskedPaths"], made["linux"]["readonlyPaths"]) == (["/x"], [])
    with pytest.raises(InvalidArgument):
        config(masked_paths=("x",))


def test_devices_open_what_was_asked_for_and_no_more() -> None:
    device = DeviceNode("/dev/a", "b", 8, 1, 0o660, 0, 6, "r")
    rules = config(around={"devices": [device]}, device_rules=("c 10:* rw",))["linux"]["resources"]["devices"]
    assert rules[1:] == [
        {"allow": True, "type": "b", "major": 8, "minor": 1, "access": "r"},
        {"allow": True, "type": "c", "major": 10, "access": "rw"},
    ]


def test_the_environment_has_dockers_defaults_under_the_wishes() -> None:
    env = config(env=("A=1", "PATH=/x", "A=2"), tty=True)["process"]["env"]
    assert env == ["PATH=/x", "HOSTNAME=box", "TERM=xterm", "A=2"]
    assert config(env=("HOSTNAME",))["process"]["env"] == [f"PATH={oci_spec.DEFAULT_PATH}"]
    for wrong in ("=x", "A=\0"):
        with pytest.raises(InvalidArgument):
            config(env=(wrong,))


@pytest.mark.parametrize(
    ("field", "value"), [("args", ()), ("args", ("",)), ("cwd", "relative"), ("oom_score_adj", 1001), ("shm_size", -1)]
)
def test_senseless_wishes_are_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidArgument):
        config(**{field: value})


def test_a_hostname_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="too long"):
        config(around={"hostname": "h" * 65})


def test_the_groups_have_the_own_one_first() -> None:
    assert config(around={"user": User(5, 6, (7, 6))})["process"]["user"] == {"uid": 5, "gid": 6, "additionalGids": [6, 7]}


def test_an_init_stands_before_the_command_where_it_is_the_first_process() -> None:
    made = config(around={"init": "/usr/bin/tini"}, args=("a", "b"))
    assert made["process"]["args"] == ["/sbin/docker-init", "--", "a", "b"]
    assert made["mounts"][-1]["source"] == "/usr/bin/tini"
    assert config(around={"init": "/usr/bin/tini", "pids": "/p"})["process"]["args"] == ["sh"]


def test_ulimits_are_checked() -> None:
    limits = config(ulimits=(Ulimit(name="core", soft=-1, hard=-1),), around={"usual_limits": {"nofile": (10, 20), "core": (0, 0)}})
    assert limits["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20},
        {"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1},
    ]
    for wrong in (Ulimit(name="NOFILE", soft=1, hard=1), Ulimit(name="nofile", soft=2, hard=1), Ulimit(name="nofile", soft=-2, hard=1)):
        with pytest.raises(InvalidArgument):
            config(ulimits=(wrong,))
    with pytest.raises(Unsupported, match="cannot be raised above 100"):
        config(ulimits=(Ulimit(name="nofile", soft=1, hard=101),), around={"hard_limits": {"nofile": 100}})
    config(ulimits=(Ulimit(name="nofile", soft=1, hard=100),), around={"hard_limits": {"nofile": 100}})


def test_an_oom_score_is_left_out_where_it_may_not_be_set() -> None:
    assert config()["process"]["oomScoreAdj"] == 0
    assert "oomScoreAdj" not in config(around={"lowest_oom_score": 100})["process"]
    with pytest.raises(Unsupported):
        config(oom_score_adj=-1, around={"lowest_oom_score": 0})


def test_sysctls_are_judged_by_the_namespaces() -> None:
    assert config()["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"] == "0"
    assert (
        config(around={"sysctls": {"net.ipv4.ip_unprivileged_port_start": "9"}})["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"]
        == "9"
    )
    assert config(around={"network": None})["linux"]["sysctl"] == {}
    assert config(around={"domainname": "d"})["linux"]["sysctl"]["kernel.domainname"] == "d"
    for sysctls, around in (
        ({"vm.swappiness": "1"}, {}),
        ({"net.core.somaxconn": "1"}, {"network": None}),
        ({"kernel.msgmax": "1"}, {"ipc": None}),
        ({"fs.mqueue.msg_max": "1"}, {"ipc": None}),
    ):
        with pytest.raises(InvalidArgument):
            config(around={"sysctls": sysctls, **around})


# ---------------------------------------------------------------------------------------------------------------- mounts


def placed(*mounts: Mount, **options: Any) -> list[dict[str, Any]]:
    around = {"mounts": [(mount, f"/host{mount.target}") for mount in mounts], **options.pop("around", {})}
    made = config(around=around, **options)
    return [mount for mount in made["mounts"] if mount["source"].startswith("/host") or mount["destination"].startswith("/t")]


def test_an_outer_mount_comes_before_what_lies_in_it() -> None:
    made = placed(Mount(type="volume", target="/a/b", source="x"), Mount(type="bind", target="/a/", source="/y"))
    assert [mount["destination"] for mount in made] == ["/a", "/a/b"]


def test_mounts_have_dockers_options() -> None:
    read_only = placed(Mount(type="bind", target="/a", source="/x", read_only=True, propagation="rslave"))
    assert read_only[0]["options"] == ["rbind", "rslave", "rro"]
    assert placed(Mount(type="bind", target="/a", source="/x", recursive=False, read_only=True))[0]["options"] == ["bind", "rprivate", "ro"]
    assert (
        placed(Mount(type="bind", target="/a", source="/x", read_only=True), around={"read_only_recursively": False})[0]["options"][-1]
        == "ro"
    )
    assert (
        config(around={"mounts": [(Mount(type="bind", target="/a", source="/x", propagation="shared"), "/x")]})["linux"][
            "rootfsPropagation"
        ]
        == "shared"
    )


def test_a_tmpfs_takes_only_what_tmpfs_has() -> None:
    assert placed(Mount(type="tmpfs", target="/t"))[0]["options"] == ["noexec", "nosuid", "nodev", "mode=1777"]
    made = placed(Mount(type="tmpfs", target="/t", options=("exec", "size=64m", "mode=700"), read_only=True, tmpfs_size=5))
    assert made[0]["options"] == ["nosuid", "nodev", "exec", "ro", "mode=700", "size=64m"]
    for wrong in ("bind", "rshared", "size=", "upperdir=/x", "size=1,remount", "remount"):
        with pytest.raises(InvalidArgument):
            placed(Mount(type="tmpfs", target="/t", options=(wrong,)))


def test_a_wish_replaces_a_default() -> None:
    made = config(around={"mounts": [(Mount(type="bind", target="/dev", source="/x"), "/x")], "files": {"/etc/hosts": "/h"}})
    assert [mount["destination"] for mount in made["mounts"] if mount["destination"].startswith("/dev")] == ["/dev"]
    made = config(around={"mounts": [(Mount(type="bind", target="/etc/hosts", source="/x"), "/x")], "files": {"/etc/hosts": "/h"}})
    assert [mount["source"] for mount in made["mounts"] if mount["destination"] == "/etc/hosts"] == ["/x"]


def test_a_place_is_taken_once() -> None:
    with pytest.raises(InvalidArgument, match="Duplicate mount point: /a"):
        placed(Mount(type="tmpfs", target="/a"), Mount(type="tmpfs", target="//a/./"))


def test_a_read_only_root_leaves_the_kernels_file_systems_usable() -> None:
    made = config(read_only=True)
    assert made["root"]["readonly"] is True
    assert "ro" not in mounted(made, "/dev/shm")
    assert "ro" not in mounted(made, "/proc")


def test_no_shared_memory_where_none_is_wanted() -> None:
    assert not [mount for mount in config(ipc_mode="none")["mounts"] if mount["destination"] == "/dev/shm"]
    assert mounted(config(around={"shm": "/s"}), "/dev/shm")[0] == "rbind"
    assert oci_mounts.propagation([]) == ""


# ---------------------------------------------------------------------------------------------------------------- capabilities


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), (), set(capabilities.DEFAULT)),
        (("net_admin",), (), {*capabilities.DEFAULT, "CAP_NET_ADMIN"}),
        ((), ("CAP_CHOWN", "mknod"), set(capabilities.DEFAULT) - {"CAP_CHOWN", "CAP_MKNOD"}),
        (("KILL",), ("ALL",), {"CAP_KILL"}),
        (("ALL",), ("KILL",), set(capabilities.NAMES) - {"CAP_KILL"}),
        (("all",), ("all",), set(capabilities.NAMES)),
    ],
)
def test_capabilities_are_added_and_dropped_as_with_docker(add: tuple[str, ...], drop: tuple[str, ...], expected: set[str]) -> None:
    found = capabilities.of_container(add, drop, privileged=False, available=capabilities.NAMES)
    assert set(found) == expected
    assert len(found) == len(set(found))


def test_a_capability_that_the_host_lacks_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="not available in the current environment"):
        capabilities.of_container(("SYS_RESOURCE",), (), privileged=False, available=("CAP_KILL",))
    assert capabilities.of_container((), (), privileged=False, available=("CAP_KILL", "CAP_SYS_ADMIN")) == ("CAP_KILL",)
    assert capabilities.from_mask(0b100001) == ("CAP_CHOWN", "CAP_KILL")


# ---------------------------------------------------------------------------------------------------------------- seccomp


def rules(profile: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    assert profile is not None
    return [rule for rule in profile["syscalls"] if name in rule["names"]]


def test_the_default_profile_opens_what_a_capability_stands_for() -> None:
    default = seccomp.default_profile(frozenset(capabilities.DEFAULT), PC)
    assert rules(default, "read")
    assert rules(default, "ptrace")
    assert rules(default, "chroot")
    for name in ("mount", "bpf", "keyctl", "add_key", "kexec_load", "userfaultfd", "init_module", "io_uring_setup", "settimeofday"):
        assert not rules(default, name)
    assert rules(default, "clone3")[0]["errnoRet"] == seccomp.ENOSYS
    assert rules(default, "clone")[0]["args"][0]["op"] == "SCMP_CMP_MASKED_EQ"
    admin = seccomp.default_profile(frozenset(("CAP_SYS_ADMIN",)), PC)
    assert rules(admin, "mount")
    assert "args" not in rules(admin, "clone")[0]


def test_the_default_profile_fits_the_machine() -> None:
    arm = seccomp.default_profile(frozenset(), seccomp.Machine("aarch64", (6, 1)))
    assert arm["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    assert not rules(arm, "arch_prctl")
    assert rules(arm, "cacheflush")
    assert not rules(seccomp.default_profile(frozenset(), seccomp.Machine("x86_64", (4, 7))), "ptrace")


def test_a_profile_of_the_users_is_read() -> None:
    text = json.dumps(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
            "syscalls": [
                {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "comment": "why"},
                {"name": "chown", "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["CAP_KILL"], "minKernel": "5.0"}},
                {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "excludes": {"arches": ["amd64"]}},
            ],
        }
    )
    found = config(seccomp=text, privileged=True)["linux"]["seccomp"]
    assert found["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert [rule["names"] for rule in found["syscalls"]] == [["chmod"], ["chown"]]
    assert found["syscalls"][0]["errnoRet"] == 5
    assert len(config(seccomp=text, cap_drop=("KILL",))["linux"]["seccomp"]["syscalls"]) == 1
    assert "seccomp" not in config(seccomp="unconfined")["linux"]
    assert "seccomp" not in config(seccomp="{}")["linux"]


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        '{"defaultAction": "SCMP_ACT_WISH"}',
        '{"defaultAction": "SCMP_ACT_NOTIFY"}',
        '{"defaultAction": "SCMP_ACT_ALLOW", "unknown": 1}',
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}]}',
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "x"}]}',
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "x"}]}]}',
        '{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "SCMP_ARCH_X86"}]}',
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "new"}}]}',
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        config(seccomp=text)


# ---------------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ('exec: "x": executable file not found in $PATH', 127),
        ('exec: "/x": stat /x: no such file or directory', 127),
        ("not a directory", 127),
        ("permission denied", 126),
        ('exec: "/etc": is a directory', 126),
        ("no space left on device", 128),
    ],
)
def test_exit_codes_follow_from_the_runtimes_words(said: str, code: int) -> None:
    assert failures.exit_code_of(failures.start_failure(said)) == code


def test_the_runtimes_words_are_found_in_what_it_writes() -> None:
    line = json.dumps({"level": "error", "msg": 'exec: "x" failed', "time": "now"})
    for said in (
        f'{{"level":"warning","msg":"other"}}\n{line}\n',
        'time="now" level=error msg="exec: \\"x\\" failed"\n',
        'exec: "x" failed',
    ):
        assert failures.exec_failure(said) == 'OCI runtime exec failed: exec: "x" failed: unknown'
    assert "without a word" in failures.start_failure(" \n")
    assert failures.start_failure("x is a directory").endswith(": permission denied")
    assert "Are you trying to mount a directory onto a file" in failures.start_failure("not a directory")


@pytest.mark.parametrize(
    "spec",
    [
        {"args": ("x" * 5000,)},
        {"cwd": "/" + "\u00e4" * 2048},
        {"masked_paths": ("/" + "x" * 5000,)},
        {"around": {"mounts": [(Mount(type="bind", source="/x", target="/" + "x" * 5000), "/x")]}},
        {"around": {"sysctls": {"net." + "x" * 5000: "1"}}},
    ],
)
def test_names_that_the_kernel_does_not_take_are_refused_before_the_runtime_repeats_them(spec: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="file name too long"):
        config(**spec)
