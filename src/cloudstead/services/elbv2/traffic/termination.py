"""Where TLS ends: contexts for listeners, with certificates of this installation's own authority for whatever name a client asks for.

This module is imported only where a listener needs it: `cryptography` is slow to import.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from cloudstead.http.tls import Authority, Certificates
from cloudstead.services.elbv2.policies import POLICIES

_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


class _Terminating(Certificates):
    """Certificates under a security policy. Versions before 1.2 are not spoken, whatever the policy says: OpenSSL has them no more."""

    def __init__(self, authority: Authority, names: tuple[str, ...], policy: str) -> None:
        super().__init__(authority, names, suffixes=("elb.localhost",))
        self._policy = POLICIES[policy]
        self._domains = names

    def for_name(self, name: str) -> ssl.SSLContext:
        name = name.lower().rstrip(".")
        wild = "*." + name.partition(".")[2]
        for each in (name, wild):
            if each in self._domains:
                return self._certified((each,))
        return super().for_name(name)

    def _certified(self, names: tuple[str, ...]) -> ssl.SSLContext:
        context = super()._certified(names)
        spoken = [_VERSIONS[each] for each in self._policy.protocols if each in _VERSIONS]
        context.minimum_version, context.maximum_version = min(spoken), max(spoken)
        older = [each for each in self._policy.ciphers if not each.startswith("TLS_")]
        if older:
            context.set_ciphers(":".join(older))
        return context


def context(data: Path, names: tuple[str, ...], policy: str) -> ssl.SSLContext:
    """
    Args:
        data: the data directory, in which the authority is.
        names: of the certificate that clients get who ask for no name, and what else is certified.
    """
    return _Terminating(Authority.open(data / "tls"), names, policy).server_context()
