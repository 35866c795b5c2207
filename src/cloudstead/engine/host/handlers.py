"""The commands that the host carries out, by their type; and what a handler is given.

    @handles(commands.MountRootfs)
    async def mount_rootfs(host: Host, command: commands.MountRootfs, descriptors: list[int]) -> str: ...

A handler may block the loop only for what takes a few milliseconds (a mount, a cgroup, a netlink message). Programs run by `host.run`, long work
(unpacking, archiving) in a child by `host.fork`. Descriptors that came with the command are closed after the handler returns, unless it
takes them out of the list. To give descriptors back, return `With(value, [fd, …])`: they are closed after they were sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cloudstead.engine.host.messages import Command, R

if TYPE_CHECKING:
    from cloudstead.engine.host.server import Host

C = TypeVar("C", bound=Command[Any])
Handler = Callable[["Host", Any, list[int]], Awaitable[Any]]

HANDLERS: dict[type[Command[Any]], Handler] = {}


class With(Generic[R]):
    """An answer that brings descriptors."""

    __slots__ = ("descriptors", "value")

    def __init__(self, value: R, descriptors: list[int]) -> None:
        self.value = value
        self.descriptors = descriptors


def handles(kind: type[C]) -> Callable[[Callable[[Host, C, list[int]], Awaitable[Any]]], Callable[[Host, C, list[int]], Awaitable[Any]]]:
    """Declares the handler of a command. There is one for each."""

    def declare(handler: Callable[[Host, C, list[int]], Awaitable[Any]]) -> Callable[[Host, C, list[int]], Awaitable[Any]]:
        if kind in HANDLERS:
            raise TypeError(f"{kind.__name__} has a handler already")
        HANDLERS[kind] = handler
        return handler

    return declare
