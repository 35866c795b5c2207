"""Pieces of an engine without root that need no machine for it."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from cloudstead.engine.errors import InvalidArgument, Unsupported
from cloudstead.engine.host import delegation, rootless, subordinate
from cloudstead.engine.host.layout import Layout
from cloudstead.engine.network.datagrams import Datagrams
from cloudstead.engine.pods.limits import Kernel, check
from cloudstead.engine.pods.oci_spec import Surroundings, runtime_config
from cloudstead.engine.pods.seccomp import this_machine
from cloudstead.engine.pods.specs import ContainerSpec, Mount, Resources


@pytest.fixture
def ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file for both kinds."""
    path = tmp_path / "ranges"
    monkeypatch.setattr(subordinate, "FILES", {"uid": path, "gid": path})
    monkeypatch.setattr(subordinate, "user_name", lambda: "ann")
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getgid", lambda: 1001)
    monkeypatch.setattr(subordinate, "find", lambda program: f"/usr/bin/{program}")
    return path


def test_a_map_has_the_user_as_root_and_the_ranges_by_name_and_number_after_it(ranges: Path) -> None:
    ranges.write_text("bob:5:7\nann:100000:65536\n\n1000:300000:10\nann:x:1\n")
    assert subordinate.mapping("uid") == ["0", "1000", "1", "1", "100000", "65536", "65537", "300000", "10"]
    assert subordinate.mapping("gid")[:3] == ["0", "1001", "1"]


@pytest.mark.parametrize("text", ["", "bob:100000:65536\n", "ann:100000:1000\n"])
def test_who_has_too_few_ids_is_told_how_to_get_them(ranges: Path, text: str) -> None:
    ranges.write_text(text)
    first = next(iter(subordinate.lacking()))
    assert "gives ann no range of 65536 ids: `usermod --add-subuids" in first


def test_what_an_administrator_has_forbidden_is_told(ranges: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranges.write_text("ann:100000:65536\n")
    for name, value, word in (
        ("kernel/unprivileged_userns_clone", "0", "unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "max_user_namespaces"),
    ):
        monkeypatch.setattr(subordinate, "sysctl", lambda asked, name=name, value=value: value if asked == name else "")
        assert [word in sentence for sentence in subordinate.lacking()] == [True]
    monkeypatch.setattr(subordinate, "sysctl", lambda asked: "1" if asked == subordinate.APPARMOR else "")
    assert list(subordinate.lacking()) == []
    assert "AppArmor" in subordinate.hint()


def test_a_folder_in_tmp_that_others_can_write_is_refused(tmp_path: Path) -> None:
    rootless.own_folder(tmp_path / "own")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "own")
    for name in ("open", "link"):
        with pytest.raises(Unsupported, match="only this user can write"):
            rootless.own_folder(tmp_path / name)


def test_the_host_lives_in_a_leaf_of_the_group_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for path, above in (("/user.slice/x.scope/cloudstead-host", "/user.slice/x.scope"), ("/user.slice/x.scope", ""), ("", "")):
        monkeypatch.setattr(delegation, "own", lambda path=path: path)
        assert delegation.above_leaf() == above
    assert Layout(Path("/data"), Path("/runs"), "/user.slice/x.scope").cgroup.startswith("/user.slice/x.scope/cloudstead/")


def test_limits_without_cgroups_are_refused_with_the_reason_and_none_are_fine() -> None:
    kernel = Kernel(2, frozenset(), swap=False, io_weight=False, none="for want of rights")
    check(Resources(), kernel)
    with pytest.raises(Unsupported, match=r"memory limit.*\(for want of rights\)"):
        check(Resources(memory=64 << 20), kernel)


def config(**around: object) -> dict[str, object]:
    spec = ContainerSpec(
        id="c" * 64,
        name="c",
        layers=(),
        args=("true",),
        mounts=(Mount(type="bind", source="/a", target="/a", read_only=True, recursive=False),),
    )
    found = Surroundings(
        rootfs="/r",
        cgroup="/g",
        machine=this_machine(),
        mounts=[(spec.mounts[0], "/a")],
        **{"kernel": Kernel(), **around},  # type: ignore[arg-type]
    )
    return runtime_config(spec, found)


def test_without_cgroups_a_container_names_and_sees_none() -> None:
    made = config(kernel=Kernel(2, frozenset(), none="none"), user_namespace=True, largest_gid=65536, locked={"/a": ("nosuid", "nodev")})
    linux = made["linux"]
    assert isinstance(linux, dict)
    assert "cgroupsPath" not in linux
    assert linux["sysctl"]["net.ipv4.ping_group_range"] == "0 65536"
    mounts = {mount["destination"]: mount for mount in made["mounts"]}  # type: ignore[attr-defined]
    assert "/sys/fs/cgroup" not in mounts
    assert {"ro", "nosuid", "nodev"} <= set(mounts["/a"]["options"])
    assert mounts["/proc"]["type"] == "proc"


def test_the_machines_processes_are_seen_by_its_own_proc_and_no_domain_name_is_set() -> None:
    mounts = {mount["destination"]: mount for mount in config(user_namespace=True, pids=None)["mounts"]}  # type: ignore[attr-defined]
    assert (mounts["/proc"]["type"], mounts["/proc"]["source"]) == ("bind", "/proc")
    with pytest.raises(Unsupported, match="domain name"):
        config(user_namespace=True, domainname="example.com")


# ------------------------------------------------------------------------------------------------------------------ udp


def test_each_sender_has_its_answers_and_who_cannot_be_reached_loses_datagrams() -> None:
    asyncio.run(relay_for_two())


async def relay_for_two() -> None:
    loop = asyncio.get_running_loop()
    far = datagram_socket()
    tried = 0

    async def dial() -> int:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise InvalidArgument("not yet")
        sock = datagram_socket()
        sock.connect(far.getsockname())
        return sock.detach()

    relayed = datagram_socket()
    address = relayed.getsockname()
    relay = Datagrams(relayed, dial)
    senders = [datagram_socket() for _ in range(2)]
    try:
        for sender in senders:
            sender.connect(address)
        senders[0].send(b"lost")
        await asyncio.sleep(0.05)
        for number, sender in enumerate(senders):
            sender.send(b"%d" % number)
            sender.send(b"again")
        for _ in range(4):
            data, whom = await asyncio.wait_for(loop.sock_recvfrom(far, 100), 5)
            await loop.sock_sendto(far, data * 2, whom)
        for number, sender in enumerate(senders):
            assert await asyncio.wait_for(loop.sock_recv(sender, 100), 5) == b"%d%d" % (number, number)
            assert await asyncio.wait_for(loop.sock_recv(sender, 100), 5) == b"againagain"
        assert tried == 3
    finally:
        relay.close()
        for sock in (far, *senders):
            sock.close()


def datagram_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock
