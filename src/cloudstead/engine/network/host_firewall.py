"""Living with a firewall of the host's. nftables asks every table that hooks into forwarding, and a packet passes only if none drops it: where Docker or
ufw have set the policy of iptables' FORWARD chain to DROP, our networks need two rules there that accept what is theirs. What may pass between
networks is decided in our own table all the same."""

from __future__ import annotations

import contextlib
from pathlib import Path

from cloudstead.engine.errors import EngineError
from cloudstead.engine.host.server import Host
from cloudstead.engine.network import rules
from cloudstead.engine.network.host_nftables import Nftables

LEGACY = Path("/proc/net/ip_tables_names")


async def open_forwarding(host: Host, nftables: Nftables) -> list[str]:
    """Put the rules where they are needed and lacking. To be looked at now and then: Docker may be started after us."""
    said = []
    for program in programs(nftables):
        listed = (await host.run([program, "-S", "FORWARD"], check=False)).stdout.decode(errors="replace").splitlines()
        if "-P FORWARD DROP" not in listed:
            continue
        for direction in ("-o", "-i"):
            if not any(_is_ours(line, direction, host.layout.instance) for line in listed):
                await host.run([program, "-w", "5", "-I", "FORWARD", *_rule(direction, host.layout.instance)])
                said.append(f"let {program} forward what comes from and goes to our networks ({direction} {_links(host.layout.instance)})")
    return said


async def close_forwarding(host: Host, nftables: Nftables) -> list[str]:
    """Take the rules away again."""
    said = []
    for program in programs(nftables):
        with contextlib.suppress(EngineError):
            listed = (await host.run([program, "-S", "FORWARD"], check=False)).stdout.decode(errors="replace").splitlines()
            for direction in ("-i", "-o"):
                if any(_is_ours(line, direction, host.layout.instance) for line in listed):
                    await host.run([program, "-w", "5", "-D", "FORWARD", *_rule(direction, host.layout.instance)])
                    said.append(f"removed our rule from {program}'s FORWARD ({direction})")
    return said


def programs(nftables: Nftables) -> list[str]:
    """Those iptables that this host's firewall is made with; asking one that is not in use would make its tables."""
    found = []
    if "table ip filter" in nftables.run("list tables").splitlines():
        found.append("iptables-nft")
    with contextlib.suppress(OSError):
        if "filter" in LEGACY.read_text().split():
            found.append("iptables-legacy")
    return found


def _links(instance: str) -> str:
    return rules.link_prefix(instance) + "+"


def _rule(direction: str, instance: str) -> list[str]:
    return [direction, _links(instance), "-m", "comment", "--comment", f"cloudstead {instance}", "-j", "ACCEPT"]


def _is_ours(line: str, direction: str, instance: str) -> bool:
    return f"{direction} {_links(instance)} " in line and line.endswith("-j ACCEPT")
