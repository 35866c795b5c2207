"""An engine without root on machines of other kinds: one that gives the user a cgroup, one that gives them no ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from rootless_host import RootlessHost, unified, why_no_rootless

pytestmark = pytest.mark.xdist_group("rootless")


@pytest.fixture(autouse=True)
def can_be() -> None:
    if reason := why_no_rootless():
        pytest.skip(reason)


def test_in_a_cgroup_of_the_users_own_limits_hold() -> None:
    try:
        controllers = set((unified() / "cgroup.subtree_control").read_text().split())
    except FileNotFoundError:
        pytest.skip("no cgroup v2 is mounted")
    with RootlessHost(delegated=True) as host:
        host.up()
        host.run("image", "bootstrap", "busybox")
        host.docker("run", "-d", "--name", "one", "busybox", "sleep", "1000")
        groups = [path for path in Path(host.cgroup, "cloudstead").glob("*/*/*") if path.is_dir()]
        assert len(groups) == 1
        assert host.docker("pause", "one") == "one"
        assert "(Paused)" in host.docker("ps")
        assert host.docker("unpause", "one") == "one"
        assert "sleep 1000" in host.docker("top", "one")
        assert host.docker("run", "--rm", "--pid", "container:one", "busybox", "ps").count("sleep 1000") == 1
        assert "sleep 1000" in host.docker("run", "--rm", "--pid", "host", "busybox", "ps")
        limited = host.docker("run", "--rm", "-m", "16m", "busybox", "cat", "/sys/fs/cgroup/memory.max", check=False)
        assert limited == str(16 << 20) if "memory" in controllers else "memory limit capabilities" in limited
        host.docker("rm", "-f", "one")
        assert not groups[0].exists()


def test_a_user_without_ids_is_told_what_to_ask_for() -> None:
    with RootlessHost(ranges=False) as host:
        host.up()
        said = host.docker("run", "busybox", "true", check=False)
        assert "without root they cannot run either: /etc/subuid gives" in said
        assert "usermod --add-subuids" in said
        told = host.run("doctor", check=False)
        assert "rootless" in told
        assert "usermod --add-subuids" in told
