"""Why an event could not be delivered, in the words in which dead-letter queues are told.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
"""

from __future__ import annotations

import logging

from cloudstead.kernel.errors import AccessDenied, NotImplementedHere, ServiceError

log = logging.getLogger(__name__)

_GONE = ("NotFound", "NonExistent", "NoSuch", "DoesNotExist")
_BUSY = ("Throttl", "TooManyRequests", "LimitExceeded", "ProvisionedThroughput", "ConcurrentModification", "OperationAborted")


class Undelivered(Exception):
    """An attempt failed.

    Args:
        code: as AWS's ERROR_CODE.
        again: whether another attempt may succeed without anybody changing anything.
        after: seconds to wait at least.
    """

    def __init__(self, code: str, message: str, *, again: bool, after: float = 0.0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.again = again
        self.after = after


def understood(error: Exception) -> Undelivered:
    """What any exception of an attempt means."""
    if isinstance(error, Undelivered):
        return error
    if isinstance(error, AccessDenied) or (isinstance(error, ServiceError) and "AccessDenied" in error.code):
        return Undelivered("NO_PERMISSIONS", str(error), again=False)
    if isinstance(error, NotImplementedHere):
        return Undelivered("SDK_CLIENT_ERROR", str(error), again=False)
    if isinstance(error, ServiceError):
        sentence = f"{error.code}: {error.message}"
        if any(word in error.code for word in _BUSY):
            return Undelivered("THROTTLING", sentence, again=True)
        if error.status >= 500:
            return Undelivered("ERROR_FROM_TARGET", sentence, again=True)
        if any(word in error.code for word in _GONE):
            return Undelivered("NO_RESOURCE", sentence, again=False)
        return Undelivered("SDK_CLIENT_ERROR", sentence, again=False)
    if isinstance(error, TimeoutError):
        return Undelivered("TIMEOUT", "The target did not answer in time.", again=True)
    if isinstance(error, OSError):
        return Undelivered("CONNECTION_FAILURE", str(error) or type(error).__name__, again=True)
    log.error("a target failed", exc_info=error)
    return Undelivered("UNKNOWN", f"{type(error).__name__}: {error}", again=True)
