"""What runs in a container, and what it uses."""

from __future__ import annotations

import re
import shlex

from cloudstead.engine.errors import InvalidArgument, Unsupported
from cloudstead.engine.host.handlers import handles
from cloudstead.engine.host.programs import find
from cloudstead.engine.host.server import Host
from cloudstead.engine.pods import cgroup_stats, cgroups, commands, host_family
from cloudstead.engine.pods.host_state import pods_of
from cloudstead.engine.pods.states import Processes, Stats

DEFAULT_ARGUMENTS = "-ef"


@handles(commands.ReadStats)
async def read_stats(host: Host, command: commands.ReadStats, descriptors: list[int]) -> Stats:
    _, record = pods_of(host).require_running(command.id)
    tree = cgroups.tree()
    fields = None if tree.roots else host_family.usage(host_family.processes(record))
    return cgroup_stats.read(tree, record.cgroup, record.init.pid, fields)


@handles(commands.ListProcesses)
async def list_processes(host: Host, command: commands.ListProcesses, descriptors: list[int]) -> Processes:
    _, record = pods_of(host).require_running(command.id)
    text = command.ps_arguments or DEFAULT_ARGUMENTS
    try:
        arguments = shlex.split(text)
    except ValueError as error:
        raise InvalidArgument(f"error in the arguments of ps: {error}") from None
    for name in re.findall(r"([^\s,]*)=\s*PID\b", text):
        if name != "pid":
            raise InvalidArgument(f'specifying "{name}=PID" is not allowed: the column PID says which processes are the container\'s')
    pids = set(host_family.processes(record))
    try:
        find("ps")
    except Unsupported:
        if text != DEFAULT_ARGUMENTS:
            raise
        return from_proc(sorted(pids))
    finished = await host.run(["ps", *arguments], check=False, within=30.0)
    if finished.status:
        said = finished.stderr.decode(errors="replace").strip() or f"status {finished.status}"
        raise InvalidArgument(f"error running ps: {said}")
    return parse_ps(finished.stdout.decode(errors="replace"), pids)


def parse_ps(output: str, pids: set[int]) -> Processes:
    """Lines of these processes. The last column takes what is left of a line.

    Raises:
        InvalidArgument: there is no column PID.
    """
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidArgument("Couldn't find PID field in ps output")
    column = titles.index("PID")
    rows = []
    for line in lines[1:]:
        fields = line.split(None, len(titles) - 1)
        if len(fields) == len(titles) and fields[column].isdecimal() and int(fields[column]) in pids:
            rows.append(tuple(field.rstrip() for field in fields))
    return Processes(tuple(titles), tuple(rows))


def from_proc(pids: list[int]) -> Processes:
    """For a host without ps: what /proc says at once."""
    rows = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as file:
                after = file.read().rpartition(")")[2].split()
            with open(f"/proc/{pid}/cmdline", "rb") as command:
                words = command.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        rows.append((str(pid), after[1], words))
    return Processes(("PID", "PPID", "CMD"), tuple(rows))
