"""What daemon and host say to each other. Commands themselves are declared by the rooms, each in its `commands.py`.

daemon ─▶ host    Call(id, command)            a Command, by its tag
                  Cancel(id)                   the caller has gone: undo what you can, and answer all the same
host ─▶ daemon    Answer(id, value)            with descriptors, if the command gives any
                  Refusal(id, code, message)   an EngineError
                  Told(event)                  an Event, by its tag; not an answer to anything
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Generic, TypeAlias, TypeVar

import msgspec

R = TypeVar("R")

Name: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")]
"""A name that is safe as one component of a path. Commands name things by these; the host knows where they lie."""
Digest: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
HexId: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8,64}\Z")]
Port: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class Command(msgspec.Struct, Generic[R], frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """One thing that the host can be asked to do. `answers` is the type of what it answers: R, for msgspec.

    Types and constraints of the fields are the validation: a command that does not fit is refused before any handler sees it.
    """

    answers: ClassVar[Any] = None


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something that happened on the host."""


class Call(msgspec.Struct, frozen=True, tag="call", array_like=True):
    id: int
    command: msgspec.Raw


class Cancel(msgspec.Struct, frozen=True, tag="cancel", array_like=True):
    id: int


class Answer(msgspec.Struct, frozen=True, tag="answer", array_like=True):
    id: int
    value: msgspec.Raw


class Refusal(msgspec.Struct, frozen=True, tag="refusal", array_like=True):
    id: int
    code: str
    message: str


class Told(msgspec.Struct, frozen=True, tag="told", array_like=True):
    event: msgspec.Raw


ToHost: TypeAlias = Call | Cancel
FromHost: TypeAlias = Answer | Refusal | Told
