"""The engine host as a process: frames with descriptors, commands, forks, its end; and one that root starts for another user's daemon."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cloudstead.engine.errors import Conflict, Failed, InvalidArgument, NoSpace, Unavailable, Unsupported
from cloudstead.engine.host import channel, forked, listening, reaper, server
from cloudstead.engine.host.channel import Channel
from cloudstead.engine.host.client import HostClient, needs_root
from cloudstead.engine.host.handlers import HANDLERS, With, handles
from cloudstead.engine.host.layout import Layout
from cloudstead.engine.host.messages import Command, Event, Name
from cloudstead.engine.host.programs import run_program
from cloudstead.engine.host.server import Host
from cloudstead.engine.pods import commands
from cloudstead.engine.volumes import commands as volume_commands

root_only = pytest.mark.skipif(bool(needs_root()), reason="a host needs root's rights")


# ---------------------------------------------------------------------------------------------------------------- commands to test with


class Ask(Command[str], frozen=True, kw_only=True):
    """Does what `what` says."""

    answers: ClassVar[type[str]] = str
    what: Name


class Heard(Event, frozen=True, kw_only=True):
    text: str


DONE: list[str] = []


async def ask(host: Host, command: Ask, descriptors: list[int]) -> Any:
    match command.what:
        case "pipe":
            reading, writing = os.pipe()
            os.write(writing, b"through")
            os.close(writing)
            return With("a pipe", [reading])
        case "read":
            return os.read(descriptors[0], 100).decode()
        case "wait":
            try:
                await asyncio.sleep(60)
            finally:
                DONE.append("cut off")
        case "conflict":
            raise Conflict("it is so")
        case "bug":
            raise ZeroDivisionError
        case "system":
            raise FileNotFoundError(2, "No such file or directory", "/x")
        case "tell":
            host.tell(Heard(text="news"))
    return command.what


@pytest.fixture
def answering() -> Iterator[None]:
    """A host in this process knows `Ask`, for one test."""
    handles(Ask)(ask)
    try:
        yield
    finally:
        del HANDLERS[Ask]


@contextlib.asynccontextmanager
async def pair(data: Path) -> AsyncIterator[tuple[HostClient, Host]]:
    ours, theirs = socket.socketpair()
    host, client = Host(Layout(data)), HostClient(Layout(data))
    serving = asyncio.ensure_future(host.serve(theirs))
    await asyncio.sleep(0)
    client.join(ours)
    try:
        yield client, host
    finally:
        await client.close()
        await serving
        host.close()


def played(scenario: Callable[[HostClient, Host], Coroutine[Any, Any, None]], data: Path) -> None:
    async def play() -> None:
        async with pair(data) as (client, host):
            await scenario(client, host)

    before = set(os.listdir("/proc/self/fd"))
    asyncio.run(play())
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.usefixtures("answering")
def test_commands_are_answered_with_values_and_descriptors(tmp_path: Path) -> None:
    async def scenario(client: HostClient, host: Host) -> None:
        assert await client.call(Ask(what="plain")) == "plain"
        value, (fd,) = await client.call_with_descriptors(Ask(what="pipe"))
        assert (value, os.read(fd, 100)) == ("a pipe", b"through")
        os.close(fd)
        assert await client.call(Ask(what="pipe")) == "a pipe"  # closes what it does not hand on
        fd = os.memfd_create("text")
        os.pwrite(fd, b"of ours", 0)
        assert await client.call(Ask(what="read"), [fd]) == "of ours"
        os.close(fd)

    played(scenario, tmp_path)


@pytest.mark.usefixtures("answering")
def test_what_goes_wrong_comes_as_its_own_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(client: HostClient, host: Host) -> None:
        for what, kind, words in (
            ("conflict", Conflict, "it is so"),
            ("bug", Failed, "ZeroDivisionError"),
            ("system", Failed, "No such file or directory"),
        ):
            with pytest.raises(kind, match=words):
                await client.call(Ask(what=what))
        assert await client.call(Ask(what="still-there")) == "still-there"

    played(scenario, tmp_path)


@pytest.mark.usefixtures("answering")
def test_a_command_that_does_not_fit_never_reaches_its_handler(tmp_path: Path) -> None:
    async def scenario(client: HostClient, host: Host) -> None:
        for wrong in ("../../etc/passwd", "", "a" * 200, ".hidden", "a b"):
            with pytest.raises(InvalidArgument):
                await client.call(Ask(what=wrong))
        with pytest.raises(Unsupported, match="no command"):
            await client.call(volume_commands.DropVolume(name="volume") if volume_commands.DropVolume not in HANDLERS else Unknown())

    played(scenario, tmp_path)


class Unknown(Command[None], frozen=True, kw_only=True):
    pass


@pytest.mark.usefixtures("answering")
def test_a_call_that_is_given_up_is_cut_off(tmp_path: Path) -> None:
    async def scenario(client: HostClient, host: Host) -> None:
        DONE.clear()
        call = asyncio.ensure_future(client.call(Ask(what="wait")))
        await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert await client.call(Ask(what="next")) == "next"
        assert DONE == ["cut off"]
        waiting = asyncio.ensure_future(client.call(Ask(what="wait")))
        await asyncio.sleep(0.05)
        host.end()
        with pytest.raises(Unavailable):
            await waiting

    played(scenario, tmp_path)
    assert DONE == ["cut off", "cut off"]


@pytest.mark.usefixtures("answering")
def test_events_reach_who_listens_for_them(tmp_path: Path) -> None:
    async def scenario(client: HostClient, host: Host) -> None:
        heard: list[str] = []
        await client.call(Ask(what="tell"))  # nobody listens yet
        client.on(Heard, lambda event: heard.append(event.text))
        await client.call(Ask(what="tell"))
        assert heard == ["news"]

    played(scenario, tmp_path)


# ---------------------------------------------------------------------------------------------------------------- frames


class Ends:
    def __init__(self) -> None:
        self.got: list[tuple[bytes, list[int]]] = []
        self.lost = 0
        self.expected = 0
        self.all_there = asyncio.Event()

    def received(self, payload: bytes, descriptors: list[int]) -> None:
        self.got.append((payload, descriptors))
        if len(self.got) == self.expected:
            self.all_there.set()

    def gone(self) -> None:
        self.lost += 1


def test_frames_keep_their_order_and_their_descriptors_when_the_socket_is_full() -> None:
    async def play() -> None:
        one, other = socket.socketpair()
        for sock in (one, other):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        ends, silent = Ends(), Ends()
        ends.expected = 200
        _receiving, sending = Channel(one, ends.received, ends.gone), Channel(other, silent.received, silent.gone)
        for number in range(200):
            reading, writing = os.pipe()
            os.write(writing, str(number).encode())
            os.close(writing)
            sending.send(b"x" * (number * 37) + f":{number}".encode(), [reading] * (number % 3))
            os.close(reading)  # what is queued was duplicated
        async with asyncio.timeout(20):
            await ends.all_there.wait()
        for number, (payload, descriptors) in enumerate(ends.got):
            assert payload.endswith(f":{number}".encode())
            assert len(descriptors) == number % 3
            if descriptors:
                assert os.read(descriptors[0], 10) == str(number).encode()
            channel.close_all(descriptors)
        sending.close()
        await asyncio.sleep(0.01)
        assert ends.lost == 1
        with pytest.raises(ConnectionError):
            sending.send(b"")

    before = set(os.listdir("/proc/self/fd"))
    asyncio.run(play())
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "nonsense", [b"\xff" * 100, struct.pack(">IB", channel.LONGEST + 1, 0), struct.pack(">IB", 1, 200), struct.pack(">IB", 1, 1) + b"x"]
)
def test_nonsense_ends_the_connection(nonsense: bytes) -> None:
    async def play() -> None:
        one, other = socket.socketpair()
        ends = Ends()
        Channel(one, ends.received, ends.gone)
        with other:
            other.send(nonsense)
            await asyncio.sleep(0.05)
        assert (ends.lost, ends.got) == (1, [])

    asyncio.run(play())


def test_a_frame_may_come_byte_by_byte() -> None:
    async def play() -> None:
        one, other = socket.socketpair()
        ends = Ends()
        receiving = Channel(one, ends.received, ends.gone)
        with other:
            for byte in struct.pack(">IB", 3, 0) + b"abc" + struct.pack(">IB", 0, 0):
                other.send(bytes([byte]))
                await asyncio.sleep(0)
            await asyncio.sleep(0.02)
            assert ends.got == [(b"abc", []), (b"", [])]
        with pytest.raises(ValueError, match="too large"):
            receiving.send(b"x" * (channel.LONGEST + 1))
        receiving.close()

    asyncio.run(play())


# ---------------------------------------------------------------------------------------------------------------- children


def add(one: int, other: int) -> int:
    return one + other


def fail(code: str) -> None:
    if code == "full":
        raise OSError(28, "No space left on device")
    if code == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    raise Conflict(code)


def open_descriptors() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1]  # but the listing's own


def sleep_long() -> None:
    time.sleep(60)


def test_functions_run_in_children_and_bring_their_results_back() -> None:
    async def play() -> None:
        assert await forked.call(add, (1, 2), ()) == 3
        for code, kind in (("full", NoSpace), ("die", Failed), ("no", Conflict)):
            with pytest.raises(kind):
                await forked.call(fail, (code,), ())

    asyncio.run(play())


def test_a_child_has_only_the_descriptors_that_it_was_given() -> None:
    async def play() -> None:
        reading, writing = os.pipe()
        try:
            found = await forked.call(open_descriptors, (), (reading,))
        finally:
            os.close(reading)
            os.close(writing)
        assert found[:3] == [0, 1, 2]
        assert reading in found
        assert len(found) == 5  # and the pipe for its result

    asyncio.run(play())


def children() -> set[str]:
    """Of this process's first thread."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_a_child_is_killed_when_nobody_waits_for_it() -> None:
    async def play() -> None:
        call = asyncio.ensure_future(forked.call(sleep_long, (), ()))
        await asyncio.sleep(0.1)
        made = children() - before
        assert made
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert not made & children()

    before = children()
    asyncio.run(play())


def test_programs_are_run_without_a_shell_and_ended_when_they_take_too_long() -> None:
    async def play() -> None:
        assert (await run_program(["echo", "$HOME; x"])).stdout == b"$HOME; x\n"
        assert (await run_program(["cat"], stdin=b"in")).stdout == b"in"
        assert (await run_program(["false"], check=False)).status == 1
        with pytest.raises(Failed, match="ls: "):
            await run_program(["ls", "/not/there"])
        with pytest.raises(Failed, match=r"did not end within 0\.1 seconds"):
            await run_program(["sleep", "50"], within=0.1)
        with pytest.raises(Unsupported, match="is not installed"):
            await run_program(["no-such-program-at-all"])

    asyncio.run(play())


def test_zombies_that_nobody_waits_for_are_ended() -> None:
    async def play() -> tuple[bool, bool]:
        reaping = reaper.Reaper()
        reaping.reap()
        first = is_there()
        reaping.reap()
        reaping.close()
        return first, is_there()

    def is_there() -> bool:
        return Path(f"/proc/{pid}").exists()

    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert asyncio.run(play()) == (True, False)  # at the first look, whoever made it may still come for it


# ---------------------------------------------------------------------------------------------------------------- a process of its own


@root_only
def test_the_host_ends_with_its_daemon_and_prepares_folders_for_root_alone(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")

    async def play() -> int:
        client = HostClient(layout)
        await client.start()
        assert await client.call(commands.ListContainers()) == []
        assert client._process is not None
        pid = client._process.pid
        for folder in (layout.containers, layout.snapshots, layout.volumes, layout.run, layout.netns, layout.runtime):
            assert (folder.stat().st_mode & 0o077, folder.stat().st_uid) == (0, 0)
        assert len(os.listdir(f"/proc/{pid}/task")) == 1  # it forks, so it has no threads
        await client.close()
        return pid

    pid = asyncio.run(play())
    assert not Path(f"/proc/{pid}").exists()


@root_only
def test_a_host_that_is_killed_is_missed_at_once(tmp_path: Path) -> None:
    async def play() -> None:
        client = HostClient(Layout(tmp_path / "data"))
        lost = asyncio.Event()
        client.lost = lost.set
        await client.start()
        await client.call(commands.ListContainers())
        assert client._process is not None
        client._process.kill()
        async with asyncio.timeout(10):
            await lost.wait()
        with pytest.raises(Unavailable):
            await client.call(commands.ListContainers())
        await client.restart()
        assert await client.call(commands.ListContainers()) == []
        await client.close()

    asyncio.run(play())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--socket", "3", "--listen", "/x"],
        ["--listen", "/x"],
        ["--socket", "3", "--user", "root"],
        ["--socket", "3", "--option", "novalue"],
    ],
)
def test_the_command_line_is_checked(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "cloudstead.engine.host", "--data", str(tmp_path), *arguments]
    finished = subprocess.run(command, capture_output=True, check=False)
    assert finished.returncode == 2
    assert b"error: " in finished.stderr


# ---------------------------------------------------------------------------------------------------------------- one that listens


class Listening:
    """A host that root started by itself."""

    def __init__(self, data: Path, path: Path, user: str = "nobody") -> None:
        self.layout = Layout(data)
        self.path = path
        self.process = subprocess.Popen(self.command(user), stderr=subprocess.PIPE)
        deadline = time.monotonic() + 20
        while not self.path.exists() and self.process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def command(self, user: str, path: Path | None = None) -> list[str]:
        place = ["--listen", str(path or self.path), "--user", user]
        return [sys.executable, "-P", "-m", "cloudstead.engine.host", "--data", str(self.layout.data), *place]

    def end(self) -> tuple[int, str]:
        self.process.terminate()
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said.decode()


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder through which every user comes; pytest's own are for one user alone."""
    folder = Path(tempfile.mkdtemp(prefix="cloudstead-test-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def listening_host(tmp_path: Path, public: Path) -> Iterator[Listening]:
    host = Listening(tmp_path / "data", public / "sockets" / "host.sock")
    try:
        yield host
    finally:
        if host.process.poll() is None:
            assert host.end()[0] == 0
        assert host.process.stderr is not None
        host.process.stderr.close()


@root_only
def test_daemons_join_one_after_the_other(listening_host: Listening) -> None:
    async def play() -> None:
        first, second = HostClient(listening_host.layout), HostClient(listening_host.layout)
        await first.connect(listening_host.path)
        assert await first.call(commands.ListContainers()) == []
        with pytest.raises(Unavailable, match="serves another daemon"):
            await second.connect(listening_host.path)
        await first.close()
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(Unavailable):
                    await second.connect(listening_host.path)
                    break
                await asyncio.sleep(0.01)
        assert await second.call(commands.ListContainers()) == []
        await second.close()

    asyncio.run(play())
    assert stat.S_IMODE(listening_host.path.stat().st_mode) == 0o700
    assert listening_host.layout.data.stat().st_uid == pwd.getpwnam("nobody").pw_uid
    assert listening_host.layout.engine.stat().st_uid == 0
    code, _ = listening_host.end()
    assert code == 0
    assert not listening_host.path.exists()


JOIN = textwrap.dedent("""
    import asyncio, os, sys
    from pathlib import Path
    from cloudstead.engine.errors import EngineError
    from cloudstead.engine.host.client import HostClient
    from cloudstead.engine.host.layout import Layout
    from cloudstead.engine.pods import commands

    os.setgroups([])
    os.setgid(int(sys.argv[3]))
    os.setuid(int(sys.argv[3]))

    async def main():
        client = HostClient(Layout(Path(sys.argv[1])))
        try:
            await client.connect(Path(sys.argv[2]))
            print(os.geteuid(), await client.call(commands.ListContainers()), (await client.call(commands.DescribeHost())).runtime)
            await client.close()
        except EngineError as error:
            print(type(error).__name__, error.message)

    asyncio.run(main())
""")


@root_only
def test_another_users_daemon_works_and_a_third_ones_does_not(listening_host: Listening) -> None:
    def joined(uid: int) -> str:
        command = [sys.executable, "-P", "-c", JOIN, str(listening_host.layout.data), str(listening_host.path), str(uid)]
        finished = subprocess.run(command, capture_output=True, check=False)
        return (finished.stdout + finished.stderr).decode().strip()

    nobody = 65534
    assert joined(nobody) == f"{nobody} [] runc"
    os.chmod(listening_host.path, 0o777)  # the socket's mode is not what keeps others out
    assert joined(12345).startswith("Unavailable process ")
    assert joined(nobody) == f"{nobody} [] runc"


@root_only
def test_a_daemon_of_another_data_directory_is_told(listening_host: Listening, tmp_path: Path) -> None:
    async def play() -> None:
        client = HostClient(Layout(tmp_path / "other"))
        with pytest.raises(Unavailable, match="serves another data directory"):
            await client.connect(listening_host.path)
        with pytest.raises(Unavailable, match="no engine host listens"):
            await client.connect(tmp_path / "nothing")

    asyncio.run(play())


@root_only
def test_a_second_host_for_the_same_place_or_data_ends_with_a_sentence(listening_host: Listening, tmp_path: Path) -> None:
    other = subprocess.run(listening_host.command("nobody", tmp_path / "other.sock"), capture_output=True, check=False, timeout=60)
    assert (other.returncode, b"another engine host serves" in other.stderr) == (1, True)
    unknown = subprocess.run(listening_host.command("nobody-at-all"), capture_output=True, check=False, timeout=60)
    assert (unknown.returncode, b"Traceback" in unknown.stderr) == (1, False)


@root_only
def test_a_dead_socket_is_replaced_and_a_living_or_a_file_is_not(tmp_path: Path) -> None:
    user = listening.find_user("root")
    path = tmp_path / "x.sock"
    listening.bind(path, user).close()
    with listening.bind(path, user):
        assert stat.S_ISSOCK(path.stat().st_mode)
        with pytest.raises(Unavailable, match="somebody listens"):
            listening.bind(path, user)
    path.unlink()
    path.write_text("content")
    with pytest.raises(InvalidArgument, match="is no socket"):
        listening.bind(path, user)
    assert path.read_text() == "content"


IMPOSTOR = "import os,socket,sys,time; os.setuid(65534); s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); print(flush=True); time.sleep(60)"


@root_only
def test_what_is_not_roots_is_no_host(public: Path) -> None:
    public.chmod(0o777)
    path = public / "false.sock"
    impostor = subprocess.Popen([sys.executable, "-P", "-c", IMPOSTOR, str(path)], stdout=subprocess.PIPE)
    try:
        assert impostor.stdout is not None
        assert impostor.stdout.readline() == b"\n"

        async def play() -> None:
            with pytest.raises(Unavailable, match="does not run as root"):
                await HostClient(Layout(public)).connect(path)

        asyncio.run(play())
    finally:
        impostor.kill()
        impostor.communicate()


def test_every_command_has_one_handler_and_a_name_of_its_own() -> None:
    server.load_rooms()
    tags = [kind.__struct_config__.tag for kind in HANDLERS]
    assert len(tags) == len(set(tags)) > 40
    declared = {
        kind
        for module in (commands, volume_commands)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Command) and kind is not Command
    }
    assert declared <= set(HANDLERS)
