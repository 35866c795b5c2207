"""Build arguments: what ARG and `--build-arg` say, stage by stage.

A stage sees an argument from its ARG on. Without a value there, that of the same name before the first FROM counts (and those that tell the
platform); `--build-arg` goes before either; ENV of the same name goes before all. Proxies need no ARG, are seen by RUN alone, and change no key of
the cache.
"""

from __future__ import annotations

from collections.abc import Mapping

from cloudstead.engine.build import instructions as the
from cloudstead.engine.build.words import expand
from cloudstead.engine.images.api import Platform

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
PREDEFINED = frozenset((*_PROXIES, *map(str.lower, _PROXIES)))


def platform_arguments(target: Platform, own: Platform) -> dict[str, str]:
    """TARGETPLATFORM and its like."""
    found: dict[str, str] = {}
    for prefix, platform in (("TARGET", target), ("BUILD", own)):
        shown = "/".join(part for part in (platform.os, platform.architecture, platform.variant) if part)
        found |= {
            f"{prefix}PLATFORM": shown,
            f"{prefix}OS": platform.os,
            f"{prefix}ARCH": platform.architecture,
            f"{prefix}VARIANT": platform.variant,
        }
    return found


class Arguments:
    """Of one stage."""

    def __init__(self, given: Mapping[str, str], outer: Mapping[str, str], escape: str, used: set[str]) -> None:
        self._given = given
        self._outer = outer
        self._escape = escape
        self._used = used  # names that an ARG has asked for, of the whole build
        self.declared: dict[str, str | None] = {}

    def inherit(self, other: Arguments) -> None:
        """A stage that begins from another one sees its arguments."""
        self.declared |= other.declared

    def declare(self, command: the.Arg, env: Mapping[str, str]) -> str:
        """Take an ARG in. The text for the history."""
        shown: list[str] = []
        for name, default in command.pairs:
            value = self._value(name, default, env)
            self._used.add(name)
            self.declared[name] = value
            shown.append(name if default is None else f"{name}={value}")
        return "ARG " + " ".join(shown)

    def _value(self, name: str, default: str | None, env: Mapping[str, str]) -> str | None:
        if name in self._given:
            return self._given[name]
        if default is not None:
            return expand(default, self.visible(env), escape=self._escape)
        return self._outer.get(name)

    def visible(self, env: Mapping[str, str]) -> dict[str, str]:
        """What `$name` means."""
        return {**{name: value for name, value in self.declared.items() if value is not None}, **env}

    def of_run(self, env: Mapping[str, str]) -> dict[str, str]:
        """What a RUN gets beside the image's environment, and what its history tells."""
        return {name: value for name, value in self.declared.items() if value is not None and name not in env}

    def proxies(self) -> dict[str, str]:
        """Those that were given and that no ARG has declared."""
        return {name: value for name, value in self._given.items() if name in PREDEFINED and name not in self.declared}
