"""Limits as files, and control groups of v1, v2 and both: with folders in place of the kernel's, and with the kernel's own where it can be."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstead.engine.errors import InvalidArgument, Unsupported
from cloudstead.engine.pods import cgroup_stats, cgroups, limits
from cloudstead.engine.pods.limits import Kernel, Write
from cloudstead.engine.pods.specs import Resources, ThrottleDevice
from waiting import until

V1 = Kernel(version=1, controllers=frozenset(("cpu", "cpuset", "memory", "pids", "blkio", "freezer")), cpuset=frozenset((0, 1)))
V2 = Kernel(version=2, cpuset=frozenset((0, 1)))
NO_SWAP = V2._replace(swap=False)

HYBRID = """\
24 1 0:22 / / rw - ext4 /dev/vda rw
31 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 31 0:28 / /sys/fs/cgroup/memory rw,relatime shared:7 - cgroup cgroup rw,memory
34 31 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
35 31 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""


def test_a_hybrid_host_has_its_controllers_in_v1() -> None:
    tree = cgroups.read_tree(HYBRID)
    assert tree.kernel.version == 1
    assert tree.mounts["cpu"] == tree.mounts["cpuacct"] == "/sys/fs/cgroup/cpu,cpuacct"
    assert tree.unified == "/sys/fs/cgroup/unified"
    assert tree.roots == [f"/sys/fs/cgroup/{name}" for name in ("cpu,cpuacct", "memory", "systemd", "unified")]
    assert tree.folder("memory", "/a/b") == "/sys/fs/cgroup/memory/a/b"


def test_systemds_named_hierarchy_alone_is_v2() -> None:
    lines = [line for line in HYBRID.splitlines() if "systemd" in line or "unified" in line]
    tree = cgroups.read_tree("\n".join(lines))
    assert tree.kernel.version == 2
    assert tree.folder("memory", "/a") == "/sys/fs/cgroup/unified/a"


@pytest.mark.parametrize("swap", [True, False])
def test_a_kernel_that_does_not_count_swap_is_known_by_its_groups(swap: bool, tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    (tmp_path / "user.slice").mkdir()
    group = tmp_path / "system.slice"
    group.mkdir()
    (group / "memory.max").write_text("max")
    if swap:
        (group / "memory.swap.max").write_text("max")
    tree = cgroups.read_tree(f"31 24 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw")
    assert tree.kernel.swap is swap
    writes = limits.files(Resources(memory=64 << 20), tree.kernel)
    assert [write.file for write in writes] == ["memory.max", "memory.swap.max"][: 1 + swap]


def test_a_host_without_control_groups_is_refused() -> None:
    with pytest.raises(Unsupported, match="no control groups are mounted"):
        cgroups.read_tree(HYBRID.splitlines()[0])


# ---------------------------------------------------------------------------------------------------------------- what makes sense


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Resources(memory=1 << 20), "Minimum memory limit allowed is 6MB"),
        (Resources(memory=64 << 20, memory_swap=32 << 20), "Minimum memoryswap limit should be larger"),
        (Resources(memory_swap=32 << 20), "You should always set the Memory limit"),
        (Resources(memory_swap=-2), "-1"),
        (Resources(memory=10 << 20, memory_reservation=20 << 20), "can not be less than memory reservation"),
        (Resources(memory_swappiness=101), "0-100"),
        (Resources(cpu_shares=-1), "must be a positive integer"),
        (Resources(cpu_period=999), "CPU cfs period"),
        (Resources(cpu_quota=999), "CPU cfs quota"),
        (Resources(cpuset_cpus="a"), "Invalid value a for cpuset cpus"),
        (Resources(cpuset_cpus="0-7"), "Requested CPUs are not available"),
        (Resources(blkio_weight=5), "10 to 1000"),
    ],
)
def test_senseless_limits_are_refused_in_dockers_words(wanted: Resources, words: str) -> None:
    for kernel in (V1, V2):
        with pytest.raises(InvalidArgument, match=words):
            limits.check(wanted, kernel)


@pytest.mark.parametrize(
    ("wanted", "kernel"),
    [
        (Resources(memory=64 << 20), V2._replace(controllers=frozenset(("cpu",)))),
        (Resources(cpu_quota=50_000), V2._replace(controllers=frozenset(("memory",)))),
        (Resources(pids_limit=5), V2._replace(controllers=frozenset(("memory",)))),
        (Resources(cpuset_cpus="0"), V2._replace(controllers=frozenset(("memory",)))),
        (Resources(memory=64 << 20, memory_swap=128 << 20), NO_SWAP),
        (Resources(memory_swappiness=10), V2),
        (Resources(oom_kill_disable=True), V2),
        (Resources(blkio_weight=100), V2._replace(io_weight=False)),
    ],
)
def test_what_the_kernel_cannot_do_is_refused(wanted: Resources, kernel: Kernel) -> None:
    with pytest.raises(Unsupported):
        limits.check(wanted, kernel)


def test_a_change_may_name_one_limit_of_two() -> None:
    limits.check(Resources(memory_swap=128 << 20), V1, update=True)
    assert limits.files(Resources(memory=64 << 20), V1, update=True) == [Write("memory", "memory.limit_in_bytes", str(64 << 20))]


@pytest.mark.parametrize(
    ("memory", "swap", "kernel", "expected"),
    [(64, 0, V2, 128), (64, 100, V2, 100), (64, -1, V2, -1), (64, 64, V2, 64), (64, 0, NO_SWAP, 0), (0, 0, V2, 0)],
)
def test_swap_is_twice_the_memory_unless_it_is_named(memory: int, swap: int, kernel: Kernel, expected: int) -> None:
    assert limits.swap_of(Resources(memory=memory, memory_swap=swap), kernel) == expected


def test_v1_and_v2_say_the_same_in_their_own_files() -> None:
    wanted = Resources(
        memory=64 << 20, memory_reservation=32 << 20, cpu_shares=1024, cpu_quota=50_000, cpu_period=200_000, pids_limit=-1, cpuset_cpus="0"
    )
    assert {write.file: write.value for write in limits.files(wanted, V1)} == {
        "memory.limit_in_bytes": "67108864",
        "memory.memsw.limit_in_bytes": "134217728",
        "memory.soft_limit_in_bytes": "33554432",
        "cpu.shares": "1024",
        "cpu.cfs_period_us": "200000",
        "cpu.cfs_quota_us": "50000",
        "cpuset.cpus": "0",
        "pids.max": "max",
    }
    assert {write.file: write.value for write in limits.files(wanted, V2)} == {
        "memory.max": "67108864",
        "memory.swap.max": "67108864",
        "memory.low": "33554432",
        "cpu.weight": "39",
        "cpu.max": "50000 200000",
        "cpuset.cpus": "0",
        "pids.max": "max",
    }


def test_throttled_devices_are_named_by_their_numbers(tmp_path: Path) -> None:
    block = next((path for path in sorted(Path("/dev").iterdir()) if path.is_block_device()), None)
    if block is None:
        pytest.skip("this machine shows no block device")
    number = f"{os.major(block.stat().st_rdev)}:{os.minor(block.stat().st_rdev)}"
    wanted = Resources(blkio_read_bps=(ThrottleDevice(path=str(block), rate=1000),))
    assert limits.files(wanted, V1) == [Write("blkio", "blkio.throttle.read_bps_device", f"{number} 1000")]
    assert limits.files(wanted, V2) == [Write("io", "io.max", f"{number} rbps=1000")]
    (tmp_path / "file").touch()
    for path in ("/dev/null", str(tmp_path / "file"), str(tmp_path / "absent")):
        with pytest.raises(InvalidArgument):
            limits.files(Resources(blkio_write_iops=(ThrottleDevice(path=path, rate=1),)), V2)


@given(st.integers(2, 262_144), st.integers(2, 262_144))
def test_weights_grow_with_shares(one: int, other: int) -> None:
    assert 1 <= limits.weight_of(one) <= 10_000
    if one <= other:
        assert limits.weight_of(one) <= limits.weight_of(other)


# ---------------------------------------------------------------------------------------------------------------- folders instead of the kernel


@pytest.fixture
def unified(tmp_path: Path) -> cgroups.Tree:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    (tmp_path / "cgroup.subtree_control").write_text("memory")
    return cgroups.Tree({}, str(tmp_path), V2)


def test_a_group_is_made_at_each_level_and_controllers_handed_down(unified: cgroups.Tree) -> None:
    root = Path(unified.unified)
    cgroups.make(unified, "/one/two", [])
    assert (root / "one" / "two").is_dir()
    assert (root / "cgroup.subtree_control").read_text() == "+pidsy"  # the kernel would add; a file is written over from its start


def test_what_fails_is_tried_again_after_the_others(unified: cgroups.Tree) -> None:
    group = Path(unified.unified, "g")
    group.mkdir()
    (group / "cpu.max").write_text("max 100000")
    cgroups.write(unified, "/g", [Write("cpu", "cpu.max", "50000 =")])
    assert (group / "cpu.max").read_text() == "50000 100000"
    with pytest.raises(Unsupported, match=r"no memory\.max"):
        cgroups.write(unified, "/g", [Write("memory", "memory.max", "1")])


def test_counters_of_v2_are_read(unified: cgroups.Tree) -> None:
    group = Path(unified.unified, "g")
    group.mkdir()
    (group / "cpu.stat").write_text("usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 4\nnr_throttled 3\nthrottled_usec 20\n")
    (group / "memory.current").write_text("1000\n")
    (group / "memory.stat").write_text("anon 400\ninactive_file 300\n")
    (group / "memory.max").write_text("max\n")
    (group / "memory.events").write_text("low 0\noom 1\noom_kill 2\noom_group_kill 0\n")
    (group / "pids.current").write_text("5\n")
    (group / "pids.max").write_text("max\n")
    (group / "io.stat").write_text("8:0 rbytes=10 wbytes=20 rios=1 wios=2\n8:16 rbytes=1 wbytes=2\n")
    stats = cgroup_stats.read(unified, "/g", os.getpid())
    assert (stats.cpu_total, stats.cpu_user, stats.cpu_system) == (1_500_000, 1_000_000, 500_000)
    assert (stats.periods, stats.throttled_periods, stats.throttled_time) == (4, 3, 20_000)
    assert (stats.memory, stats.memory_usage, stats.memory_limit) == (700, 1000, cgroup_stats.memory_of_host())
    assert (stats.pids, stats.pids_limit) == (5, 0)
    assert set(stats.block_io) == {(8, 0, "read", 10), (8, 0, "write", 20), (8, 16, "read", 1), (8, 16, "write", 2)}
    assert cgroups.oom_kills(unified, "/g") == 2


def test_counters_of_a_group_that_has_gone_are_nought(unified: cgroups.Tree) -> None:
    stats = cgroup_stats.read(unified, "/gone", 0)
    assert (stats.cpu_total, stats.memory, stats.pids, stats.networks) == (0, 0, 0, {})
    assert cgroups.oom_kills(unified, "/gone") == 0
    assert cgroups.remove(unified, "/gone")
    assert cgroups.children(unified, "/gone") == set()


# ---------------------------------------------------------------------------------------------------------------- the kernel's own


def real_trees() -> list[cgroups.Tree]:
    """This machine's, and where it is hybrid its v2 side too, which can freeze and kill without controllers."""
    if os.geteuid() != 0:
        return []
    tree = cgroups.tree()
    only_v2 = cgroups.Tree({}, tree.unified, V2._replace(controllers=frozenset()))
    return [tree] + ([only_v2] if tree.kernel.version == 1 and tree.unified else [])


@pytest.fixture(params=range(2), ids=("all", "v2"))
def group(request: pytest.FixtureRequest) -> Iterator[tuple[cgroups.Tree, str]]:
    trees = real_trees()
    if len(trees) <= request.param:
        pytest.skip("needs root, and a second hierarchy for the second round")
    tree, name = trees[request.param], f"/cloudstead-test-{os.getpid()}-{request.param}"
    for root in tree.roots:
        os.mkdir(root + name)
    try:
        if "cpuset" in tree.mounts:
            cgroups._inherit_cpuset(tree.mounts["cpuset"], name)
        yield tree, name
    finally:
        deadline = time.monotonic() + 10
        while not cgroups.remove(tree, name) and time.monotonic() < deadline:
            cgroups.kill(tree, name)
            time.sleep(0.01)
        assert not cgroups.exists(tree, name)


def _sleeper(tree: cgroups.Tree, name: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(["sleep", "60"])
    for root in tree.roots:
        Path(root + name, "cgroup.procs").write_text(str(process.pid))
    return process


def test_processes_of_a_group_are_frozen_and_killed(group: tuple[cgroups.Tree, str]) -> None:
    tree, name = group
    process = _sleeper(tree, name)
    try:
        assert cgroups.processes(tree, name) == [process.pid]
        assert not cgroups.remove(tree, name)
        cgroups.freeze(tree, name, True)
        assert cgroups.is_to_freeze(tree, name)
        until(lambda: cgroups.is_frozen(tree, name))
        assert Path(f"/proc/{process.pid}/stat").read_text().split()[2] in "DS"
        cgroups.freeze(tree, name, False)
        until(lambda: not cgroups.is_frozen(tree, name))
        assert not cgroups.is_to_freeze(tree, name)
        assert not cgroups.kill(tree, name)
        assert process.wait(10) == -9
        until(lambda: cgroups.kill(tree, name))
    finally:
        process.kill()
        process.wait()


def test_groups_inside_go_too(group: tuple[cgroups.Tree, str]) -> None:
    tree, name = group
    for root in tree.roots:
        os.makedirs(f"{root}{name}/a/b")
    assert cgroups.children(tree, name) == {"a"}
    assert cgroups.remove(tree, name)
    assert not cgroups.exists(tree, name)
    for root in tree.roots:
        os.mkdir(root + name)


def test_limits_are_written_in_any_order(group: tuple[cgroups.Tree, str]) -> None:
    tree, name = group
    if "memory" not in tree.kernel.controllers:
        pytest.skip("this hierarchy has no memory controller")
    for size in (64, 32, 256, 16):
        wanted = Resources(memory=size << 20, memory_swap=2 * size << 20, pids_limit=size)
        cgroups.write(tree, name, limits.files(wanted, tree.kernel))
        assert cgroup_stats.read(tree, name, os.getpid()).memory_limit == size << 20


def test_what_the_kernel_refuses_says_so(group: tuple[cgroups.Tree, str]) -> None:
    tree, name = group
    if "pids" not in tree.kernel.controllers:
        pytest.skip("this hierarchy has no pids controller")
    with pytest.raises(InvalidArgument, match=r"does not take nonsense for pids\.max"):
        cgroups.write(tree, name, [Write("pids", "pids.max", "nonsense")])
