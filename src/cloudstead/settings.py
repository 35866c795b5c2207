"""How one Cloudstead is to run: what `cloudstead up` decides and `cloudstead.daemon:run` obeys."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

IamMode: TypeAlias = Literal["off", "warn", "enforce"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
EngineMode: TypeAlias = Literal["auto", "off"]

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 4566
"""The port that LocalStack made the habit of this field; clients that are set up for it need no change."""


def default_data() -> Path:
    """$CLOUDSTEAD_DATA, else `cloudstead` in the user's data folder (XDG base directories)."""
    chosen = os.environ.get("CLOUDSTEAD_DATA")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "cloudstead"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address. A name other than localhost counts as reachable: better too strict."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the daemon is told. `strict` and `iam` are final here: `settings_for` has applied the rules that tie them to `host`."""

    data: Path = field(default_factory=default_data)
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT  # 0: any free one; the run file tells which
    strict: bool = False  # every call must carry a signature that verifies
    iam: IamMode = "off"  # whether policies are judged: not at all, only reported in the log, or enforced
    tls: bool = False  # HTTPS instead of HTTP, with a certificate from a certificate authority of our own
    log_level: LogLevel = "info"
    engine: EngineMode = "auto"  # whether containers are run: when something needs one, or never
    runtime: str = "runc"  # the OCI runtime of containers that name none
    engine_host: Path | None = None  # the socket of an engine host that root started; None: the daemon, being root, starts its own
    registries: tuple[str, ...] = ()  # that are spoken to without TLS, as "host:port"; those of this machine are anyway

    @property
    def endpoint(self) -> str:
        """The URL that clients on this machine use."""
        return endpoint_of(self.host, self.port, self.tls)


def settings_for(
    *,
    data: Path | None = None,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    strict: bool = False,
    iam: IamMode | None = None,
    tls: bool = False,
    log_level: LogLevel = "info",
    engine: EngineMode = "auto",
    runtime: str = "runc",
    engine_host: Path | None = None,
    registries: tuple[str, ...] = (),
) -> Settings:
    """The settings with the rules applied: who can be reached from elsewhere is strict, and who is strict enforces unless told otherwise."""
    strict = strict or not is_loopback(host)
    return Settings(
        data=data or default_data(),
        host=host,
        port=port,
        strict=strict,
        iam=iam or ("enforce" if strict else "off"),
        tls=tls,
        log_level=log_level,
        engine=engine,
        runtime=runtime,
        engine_host=engine_host,
        registries=registries,
    )


def endpoint_of(host: str, port: int, tls: bool) -> str:
    """A URL for clients here: an address of this machine where the server listens on all of them."""
    if host in ("", "0.0.0.0", "::"):
        host = "127.0.0.1"
    if ":" in host:
        host = f"[{host}]"
    return f"{'https' if tls else 'http'}://{host}:{port}"
