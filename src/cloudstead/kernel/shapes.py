"""The few types that the generated `api.py` files are written in. Data only: nothing here reads or writes bytes.

A generated module holds, for one service:

    SERVICE                     its name, which is botocore's
    class Tag(Struct)           a structure; a field is snake_case in Python and has the wire's name in JSON
    class CreateUserRequest     one for each operation, also when the model gives it no input
    class CreateUserResponse    one for each operation, also when the model gives it no output
    class NoSuchEntity(ServiceError)

A member that may be left out has the type `T | None` and the default None; None is never written to the wire.
Scalars carry the model's constraints in `msgspec.Meta`. Everything about the wire (locations, XML names, …) stands in the `wire.json` beside it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, ClassVar, TypeAlias

import msgspec

Timestamp: TypeAlias = Annotated[float, msgspec.Meta(ge=-62135596800.0, lt=253402300800.0)]  # the years 1 to 9999
"""Seconds since 1970-01-01T00:00:00Z. The protocols turn it into and out of each wire format."""

Int32: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

ByteStream: TypeAlias = AsyncIterator[bytes]
"""A body too long to hold: what a `streaming` blob is in a request and a response."""


class Struct(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A structure of a service's model."""


class Request(Struct):
    """The input of one operation."""

    operation: ClassVar[str] = ""  # "iam:CreateUser": the service's name and AWS's name of the operation


class Response(Struct):
    """The output of one operation."""
