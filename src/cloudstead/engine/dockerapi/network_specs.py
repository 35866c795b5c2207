"""From the body of `POST /networks/create` to a row and an engine network."""

from __future__ import annotations

import ipaddress

import msgspec

from cloudstead.engine.dockerapi.errors import DockerError
from cloudstead.engine.dockerapi.network_model import DockerNetwork
from cloudstead.engine.errors import InvalidArgument, NotFound, Unsupported
from cloudstead.engine.network.api import NetworkSpec, Subnet

PREDEFINED = ("bridge", "host", "none", "default")
ICC = "com.docker.network.bridge.enable_icc"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
MTU = "com.docker.network.driver.mtu"
HOST_IP = "com.docker.network.bridge.host_binding_ipv4"  # where ports are published; read when a container starts
IS_DEFAULT = "com.docker.network.bridge.default_bridge"
OPTIONS = (ICC, MASQUERADE, MTU, HOST_IP)
TRUE = frozenset({"1", "t", "true"})
FALSE = frozenset({"0", "f", "false"})


class IpamConfig(msgspec.Struct, frozen=True):
    subnet: str = msgspec.field(name="Subnet", default="")
    range: str = msgspec.field(name="IPRange", default="")
    gateway: str = msgspec.field(name="Gateway", default="")
    auxiliary: dict[str, str] = msgspec.field(name="AuxiliaryAddresses", default={})


class Ipam(msgspec.Struct, frozen=True):
    driver: str = msgspec.field(name="Driver", default="")
    config: tuple[IpamConfig, ...] = msgspec.field(name="Config", default=())
    options: dict[str, str] = msgspec.field(name="Options", default={})


class ConfigReference(msgspec.Struct, frozen=True):
    network: str = msgspec.field(name="Network", default="")


class NetworkCreate(msgspec.Struct, frozen=True):
    name: str = msgspec.field(name="Name", default="")
    check_duplicate: bool = msgspec.field(name="CheckDuplicate", default=False)  # they never may be, as since Docker 25
    driver: str = msgspec.field(name="Driver", default="")
    scope: str = msgspec.field(name="Scope", default="")
    enable_ipv4: bool = msgspec.field(name="EnableIPv4", default=True)
    enable_ipv6: bool = msgspec.field(name="EnableIPv6", default=False)
    ipam: Ipam = msgspec.field(name="IPAM", default=Ipam())
    internal: bool = msgspec.field(name="Internal", default=False)
    attachable: bool = msgspec.field(name="Attachable", default=False)  # told again; it means something to swarms alone
    ingress: bool = msgspec.field(name="Ingress", default=False)
    config_only: bool = msgspec.field(name="ConfigOnly", default=False)
    config_from: ConfigReference = msgspec.field(name="ConfigFrom", default=ConfigReference())
    options: dict[str, str] = msgspec.field(name="Options", default={})
    labels: dict[str, str] = msgspec.field(name="Labels", default={})


def row_of(create: NetworkCreate, id: str, now: float) -> DockerNetwork:
    """The row, its addresses still empty where none are asked for.

    Raises:
        InvalidArgument, Unsupported, NotFound, DockerError: in Docker's words where it has some.
    """
    if not create.name.strip():
        raise InvalidArgument("invalid network name: name is empty")
    if create.name in PREDEFINED:
        raise DockerError(403, f"operation is not permitted on predefined {create.name} network ")
    _check_driver(create.driver or "bridge")
    _refuse_unsupported(create)
    for name, value in create.options.items():
        _check_option(name, value)
    ipam = _addresses(create.ipam)
    return DockerNetwork(
        id=id,
        name=create.name,
        created=now,
        labels=create.labels,
        options=create.options,
        internal=create.internal,
        attachable=create.attachable,
        cidr=ipam.subnet,
        gateway=ipam.gateway,
        range=ipam.range,
    )


def spec_of(row: DockerNetwork) -> NetworkSpec:
    """The engine's network for a row of the driver `bridge` whose addresses are known."""
    masquerade = _boolean(MASQUERADE, row.options.get(MASQUERADE, "true"))
    return NetworkSpec(
        id=row.id,
        owner="docker",
        name=row.name,
        subnets=(Subnet(id="main", cidr=row.cidr, gateway=row.gateway, range=row.range, nat=not row.internal),),
        internal=row.internal,
        host_routes=True,
        members_talk=_boolean(ICC, row.options.get(ICC, "true")),
        masquerade=masquerade,
        mtu=int(row.options.get(MTU, "1500")),
        names=row.user_defined,
    )


def first_address(cidr: str) -> str:
    """The gateway of a subnet, unless another is asked for."""
    return str(ipaddress.IPv4Network(cidr).network_address + 1)


def _check_driver(driver: str) -> None:
    if driver == "bridge":
        return
    if driver in ("host", "null"):
        raise DockerError(403, f'only one instance of "{driver}" network is allowed')
    if driver == "overlay":
        raise DockerError(
            403,
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
        )
    if driver in ("macvlan", "ipvlan"):
        raise Unsupported(f"the network driver {driver} is not supported: bridge, host and none are")
    raise NotFound(f'plugin "{driver}" not found')


def _refuse_unsupported(create: NetworkCreate) -> None:
    if create.scope not in ("", "local"):
        raise InvalidArgument(f"the scope {create.scope} is for swarms; networks here are local")
    if create.enable_ipv6:
        raise Unsupported("IPv6 in networks is not supported")
    if not create.enable_ipv4:
        raise Unsupported("networks without IPv4 are not supported")
    if create.ingress:
        raise Unsupported("ingress networks are for swarms")
    if create.config_only or create.config_from.network:
        raise Unsupported("networks that are only a configuration are not supported")
    if create.ipam.driver not in ("", "default"):
        raise NotFound(f"could not resolve driver {create.ipam.driver} in registry")
    if create.ipam.options:
        raise Unsupported(f"the option {next(iter(create.ipam.options))} of IPAM is not supported")


def _check_option(name: str, value: str) -> None:
    if name not in OPTIONS:
        raise Unsupported(f"the network option {name} is not supported: {', '.join(OPTIONS)} are")
    if name in (ICC, MASQUERADE):
        _boolean(name, value)
    elif name == MTU:
        if not value.isascii() or not value.isdigit() or not 68 <= int(value[:6]) <= 65535:
            raise InvalidArgument(f"invalid value for {name}: {value} is no MTU")
    else:
        _address(value, f"invalid value for {name}")


def _addresses(ipam: Ipam) -> IpamConfig:
    """The one subnet that is asked for, checked; an empty one when none is."""
    if not ipam.config:
        return IpamConfig()
    if len(ipam.config) > 1:
        raise Unsupported("a network has one subnet here: more in IPAM.Config are not supported")
    config = ipam.config[0]
    if config.auxiliary:
        raise Unsupported("auxiliary addresses are not supported; give IPRange what containers may get")
    if not config.subnet:
        if config.range or config.gateway:
            raise InvalidArgument("invalid network config: a gateway or range needs a subnet")
        return config
    subnet = _network(config.subnet, "subnet")
    if subnet.prefixlen > 30:
        raise InvalidArgument(f"invalid subnet {config.subnet}: it has no room for a gateway and a container")
    if config.range and not _network(config.range, "ip-range").subnet_of(subnet):
        raise InvalidArgument(f"invalid ip-range {config.range}: parent subnet is {subnet} and it is not inside")
    if config.gateway and _address(config.gateway, "invalid gateway") not in subnet:
        raise InvalidArgument(f"invalid gateway {config.gateway}: parent subnet {subnet} doesn't contain it")
    return config


def _network(text: str, what: str) -> ipaddress.IPv4Network:
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidArgument(f"invalid {what} {text}: it should be an address and a prefix, as in 172.28.0.0/16") from None
    if not isinstance(found, ipaddress.IPv4Network):
        raise Unsupported("IPv6 in networks is not supported")
    if "/" not in text:
        raise InvalidArgument(f"invalid {what} {text}: it has no prefix")
    if str(found) != text:
        raise InvalidArgument(f"invalid {what} {text}: it should be {found}")
    return found


def _address(text: str, what: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        raise InvalidArgument(f"{what}: {text} is no IPv4 address") from None


def _boolean(name: str, value: str) -> bool:
    if value.lower() not in TRUE | FALSE:
        raise InvalidArgument(f"failed to parse {name} value: {value!r} is no boolean")
    return value.lower() in TRUE
