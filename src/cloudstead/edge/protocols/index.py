"""All services of AWS by what a request shows of them, from the small generated table `services/index.json`."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

TABLE = Path(__file__).resolve().parents[2] / "services" / "index.json"


class ServiceIndex:
    """Names in it are botocore's: "iam", "ecs", "elbv2", "lambda"."""

    def __init__(self, table: dict[str, Any]) -> None:
        self._services: dict[str, dict[str, Any]] = table["services"]
        self.by_signing_name: dict[str, list[str]] = table["signing_names"]  # the likeliest first
        self._targets: dict[str, list[str]] = table["targets"]

    @classmethod
    def load(cls) -> ServiceIndex:
        return cls(msgspec.json.decode(TABLE.read_bytes()))

    @cached_property
    def by_target(self) -> dict[str, str]:
        """The prefix of X-Amz-Target -> service."""
        return {prefix: names[0] for prefix, names in self._targets.items()}

    @cached_property
    def by_service_id(self) -> dict[str, str]:
        """What stands in /service/<…>/operation/ of rpc-v2-cbor -> service: SDKs write the target prefix or the service id without blanks."""
        found = dict(self.by_target)
        for name, service in self._services.items():
            found.setdefault(service["id"].replace(" ", ""), name)
        return found

    @cached_property
    def by_endpoint(self) -> dict[str, str]:
        """The first part of the host name -> service."""
        found: dict[str, str] = {}
        for name, service in self._services.items():
            prefix = service["endpoint"]
            if prefix not in found or name == prefix or found[prefix] != self._likeliest(service, found[prefix]):
                found[prefix] = self._likeliest(service, name)
        return found

    def _likeliest(self, service: dict[str, Any], otherwise: str) -> str:
        names = [name for name in self.by_signing_name[self._signing(service)] if self._services[name]["endpoint"] == service["endpoint"]]
        return names[0] if names else otherwise

    @cached_property
    def by_version(self) -> dict[str, list[str]]:
        """The API version of services that are called by forms -> services; a `Version` parameter says little else."""
        found: dict[str, list[str]] = {}
        for name, service in self._services.items():
            if "query" in self.protocols(name) or "ec2" in self.protocols(name):
                found.setdefault(service["version"], []).append(name)
        for names in found.values():
            names.sort(key=lambda name: self.siblings(name).index(name))
        return found

    def signed_as(self, signing_name: str) -> str:
        """The likeliest service that signs with this name; empty when there is none."""
        names = self.by_signing_name.get(signing_name)
        return names[0] if names else ""

    def of_version(self, version: str, service: str) -> str:
        """Among the services that sign as this one does, the one of this API version; of no service, the likeliest that has it."""
        candidates = self.by_version.get(version)
        if candidates is None or service in candidates:
            return service
        siblings = self.siblings(service) if service else candidates
        return next((name for name in candidates if name in siblings), service)

    @staticmethod
    def _signing(service: dict[str, Any]) -> str:
        return str(service.get("signing", service["endpoint"]))

    def __contains__(self, service: object) -> bool:
        return service in self._services

    def protocols(self, service: str) -> list[str]:
        """The protocols that a service speaks, its first choice first."""
        found = self._services.get(service)
        return found["protocols"] if found is not None else []

    def signing_name(self, service: str) -> str:
        """
        Raises:
            KeyError: AWS has no such service.
        """
        return self._signing(self._services[service])

    def siblings(self, service: str) -> list[str]:
        """All services that sign with the same name, this one among them."""
        return self.by_signing_name[self.signing_name(service)]
