"""Setting attributes: what is unknown, impossible or not done here is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from cloudstead.services.elbv2.attributes import Attribute
from cloudstead.services.elbv2.failures import invalid, unsupported


class KeyValue(Protocol):
    @property
    def key(self) -> str | None: ...
    @property
    def value(self) -> str | None: ...


def changed(known: Mapping[str, Attribute], kept: Mapping[str, str], wanted: Iterable[KeyValue], whose: str) -> dict[str, str]:
    """What is kept after a change.

    Raises:
        ValidationFailed, InvalidConfigurationRequestException
    """
    kept = dict(kept)
    for each in wanted:
        key, value = each.key or "", each.value or ""
        attribute = known.get(key)
        if attribute is None:
            invalid(f"{whose} attribute key '{key}' is not recognized")
        if not attribute.valid(value):
            invalid(f"{whose} attribute '{key}' has invalid value '{value}'")
        if not attribute.here(value):
            unsupported(f"{whose} attribute '{key}' with the value '{value}'")
        kept[key] = value
    return kept
