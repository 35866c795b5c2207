"""Services that are not written here, answered by moto in a process of its own.

    proxy.py     CompanionProxy: passes a request on and its answer back; inner calls of native services
    process.py   starts the process at the first call, once; watches it; starts it again when it has died
    actions.py   what policies call the operation of a request, without a model of the service
    s3.py        the same for S3, with its resources
    needs.py     one such question

State lives in the companion's memory: it is gone when the daemon stops or the companion dies.
"""

from __future__ import annotations

from cloudstead.edge.companion.proxy import CompanionProxy

__all__ = ["CompanionProxy"]
