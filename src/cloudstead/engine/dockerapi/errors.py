"""From what went wrong to the status and the body that Docker answers: `{"message": "…"}`."""

from __future__ import annotations

from cloudstead.engine.errors import EngineError
from cloudstead.kernel.errors import CommonError

STATUS = {
    "InvalidArgument": 400,
    "NotFound": 404,
    "Conflict": 409,
    "NotPermitted": 403,
    "Unsupported": 501,
    "NoSpace": 500,
    "Unauthorized": 401,
    "Unavailable": 503,
    "Failed": 500,
}


class DockerError(Exception):
    """An answer that is no success, where the engine's errors do not say enough."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class NotModified(DockerError):
    """It is so already: to start what runs, to stop what does not."""

    def __init__(self) -> None:
        super().__init__(304)


def status_of(error: EngineError | CommonError | DockerError) -> int:
    if isinstance(error, EngineError):
        return STATUS.get(error.code, 500)
    return error.status
