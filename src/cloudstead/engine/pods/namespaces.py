"""Which network namespace a container lives in, and what it finds there: its own names, other names, name servers."""

from __future__ import annotations

import os
from pathlib import Path

from cloudstead.engine.errors import Conflict
from cloudstead.engine.pods import network_files
from cloudstead.engine.pods.commands import CreateContainer, NetworkNamespace
from cloudstead.engine.pods.records import Container, Pod, Records

HOSTS, RESOLV_CONF = Path("/etc/hosts"), Path("/etc/resolv.conf")
MOST_SHARED = 8  # pods that share the network of one that shares the network …


class Namespaces:
    """Of the pods of a driver."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def owner(self, pod: Pod) -> Pod:
        """Whose network a pod has: its own, or that of the one it shares with.

        Raises:
            NotFound, Conflict
        """
        for _ in range(MOST_SHARED):
            if pod.spec.network.mode != "pod":
                return pod
            pod = self._records.pod(pod.spec.network.pod)
        raise Conflict(f"the pod {pod.id} shares a network in a circle")

    def check(self, pod: Pod) -> None:
        """Raises Conflict: it is to share the network of a pod that does not run."""
        owner = self.owner(pod)
        if owner is not pod and not owner.alive:
            raise Conflict(f"cannot join network of a non running container: {owner.id}")

    def names_of(self, pod: Pod) -> tuple[str, ...]:
        """By which other pods find it, beside the aliases of its attachments."""
        return (pod.spec.hostname,) if pod.spec.hostname else ()

    def creation(self, container: Container, *, start: bool, attach: bool) -> CreateContainer:
        """All that the host needs to know."""
        pod = container.pod
        owner = self.owner(pod)
        hosts, resolv_conf = self.files(pod)
        return CreateContainer(
            pod=pod.id,
            spec=container.spec,
            network=self._namespace(owner),
            pod_resources=pod.spec.resources,
            share_pids=pod.spec.share_pids,
            hostname=_hostname(owner),
            domainname=owner.spec.domainname,
            hosts=hosts,
            resolv_conf=resolv_conf,
            sysctls=pod.spec.sysctls,
            start=start,
            attach=attach,
        )

    def _namespace(self, owner: Pod) -> NetworkNamespace:
        mode = owner.spec.network.mode
        if mode == "host":
            return NetworkNamespace(kind="host")
        if mode == "vpc":
            return NetworkNamespace(kind="named", name=owner.id)
        for other in owner.containers.values():
            if other.alive:
                return NetworkNamespace(kind="container", name=other.id)
        return NetworkNamespace()

    def files(self, pod: Pod) -> tuple[str, str]:
        """/etc/hosts and /etc/resolv.conf."""
        owner = self.owner(pod)
        network, interfaces = owner.spec.network, owner.row.interfaces
        of_host = _read(RESOLV_CONF)
        if network.mode == "host":
            hosts = _read(HOSTS) + "".join(network_files.extra_lines(network, "127.0.0.1"))
            servers = list(network.dns) or network_files.servers_of(of_host)
        else:
            hosts = network_files.hosts(network, interfaces, _hostname(owner), owner.spec.domainname)
            gateways = [interface.gateway for interface in interfaces if interface.gateway]
            servers = gateways[:1] or list(network.dns) or network_files.reachable(network_files.servers_of(of_host))
        return hosts, network_files.resolv_conf(servers, network, of_host)


def _hostname(owner: Pod) -> str:
    """A pod without one is called by its first container, as in Docker."""
    if owner.spec.network.mode == "host" and not owner.spec.hostname:
        return os.uname().nodename
    return owner.spec.hostname or next((container.id[:12] for container in owner.containers.values()), "")


def _read(path: Path) -> str:
    """A small file that everybody reads all the time: it is in memory."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
