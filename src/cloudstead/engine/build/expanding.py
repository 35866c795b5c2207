"""Variables put into instructions: which parts of which, and with what quotes. RUN, CMD and ENTRYPOINT are left to their shell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from cloudstead.engine.build import instructions as the
from cloudstead.engine.build.words import expand, split


def expanded(command: the.Command, variables: Mapping[str, str], escape: str) -> the.Command:
    """The instruction as it is meant.

    Raises:
        InvalidArgument: a quote or brace is left open, or a variable that must be set is not.
    """

    def word(text: str) -> str:
        return expand(text, variables, escape=escape)

    match command:
        case the.Env() | the.Label() if not getattr(command, "literal", False):
            return replace(command, pairs=tuple((word(name), word(value)) for name, value in command.pairs))
        case the.Copy():
            return _copy(command, variables, word)
        case the.Workdir():
            return replace(command, path=word(command.path))
        case the.User():
            return replace(command, user=word(command.user))
        case the.Expose():
            return replace(command, ports=tuple(one for port in command.ports for one in split(port, variables, escape=escape)))
        case the.Volume():
            return replace(command, paths=tuple(map(word, command.paths)))
        case the.Stopsignal():
            return replace(command, signal=word(command.signal))
    return command


def _copy(command: the.Copy, variables: Mapping[str, str], word: Any) -> the.Copy:
    files = [
        replace(file, content=expand(file.text, variables, quotes=False), chomp=False) if file.expand else file for file in command.files
    ]
    return replace(
        command,
        sources=tuple(map(word, command.sources)),
        dest=word(command.dest),
        chown=word(command.chown),
        chmod=word(command.chmod),
        checksum=word(command.checksum),
        excludes=tuple(map(word, command.excludes)),
        files=tuple(files),
    )
