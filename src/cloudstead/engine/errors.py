"""What goes wrong in the engine, in words that the Docker API and AWS's services translate into their own.

    EngineError
    ├── InvalidArgument      the request makes no sense: a bad name, a limit below zero                 Docker 400
    ├── NotFound             no such container, image, network, path                                    Docker 404
    ├── Conflict             the name or port is taken, or it is not in the state that this needs       Docker 409
    ├── NotPermitted         the content is hostile, or the configuration forbids it                    Docker 403
    ├── Unsupported          this host cannot do it; the message says what it lacks                     Docker 501
    ├── NoSpace              the disk, the address range or the quota is used up                        Docker 507 (sent as 500)
    ├── Unauthorized         a registry wants other credentials                                         Docker 401/500
    ├── Unavailable          the engine host or a registry cannot be reached; trying again may help     Docker 503
    └── Failed               it was tried and did not work; the message is what the kernel or program said   Docker 500

They cross the socket between daemon and host by `code` and message.
"""

from __future__ import annotations

from typing import ClassVar


class EngineError(Exception):
    """Something that the caller is meant to see."""

    code: ClassVar[str] = "Failed"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidArgument(EngineError):
    code = "InvalidArgument"


class NotFound(EngineError):
    code = "NotFound"


class Conflict(EngineError):
    code = "Conflict"


class NotPermitted(EngineError):
    code = "NotPermitted"


class Unsupported(EngineError):
    code = "Unsupported"


class NoSpace(EngineError):
    code = "NoSpace"


class Unauthorized(EngineError):
    code = "Unauthorized"


class Unavailable(EngineError):
    code = "Unavailable"


class Failed(EngineError):
    code = "Failed"


BY_CODE: dict[str, type[EngineError]] = {
    kind.code: kind for kind in (InvalidArgument, NotFound, Conflict, NotPermitted, Unsupported, NoSpace, Unauthorized, Unavailable, Failed)
}
