"""Transactions of nftables, by libnftables in this process: 0.2 ms where the `nft` program takes 2 to 5.

All that one buffer says happens or nothing of it (nft(8), "-f"). A context belongs to the namespace that it was made in, and is kept: when the
kernel sees its socket go, it waits until everything that was deleted is forgotten by all processors, which takes 10 ms and more.
What a context remembers of the kernel's tables it checks by their generation each time.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os

from cloudstead.engine.errors import Failed, Unsupported
from cloudstead.engine.network import host_namespaces


class NftRefused(Failed):
    """What the kernel or the library says of a transaction."""


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError:
        raise Unsupported("nftables is not installed on this machine; `cloudstead doctor` says how to get it") from None
    context = ctypes.c_void_p
    library.nft_ctx_new.restype = context
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
        getattr(library, name).argtypes = [context]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [context]
        getattr(library, name).restype = ctypes.c_char_p
    library.nft_run_cmd_from_buffer.argtypes = [context, ctypes.c_char_p]
    return library


class Nftables:
    """Of the namespace that the process is in when it is made; no context is opened before it is used."""

    def __init__(self) -> None:
        self._namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._context: int | None = None

    def close(self) -> None:
        self._forget()
        os.close(self._namespace)

    def run(self, commands: str) -> str:
        """What it prints.

        Raises:
            NftRefused: nothing was done.
            Unsupported: there is no libnftables.
        """
        library = _library()
        with host_namespaces.inside(self._namespace):
            context = self._open(library)
            status = library.nft_run_cmd_from_buffer(context, commands.encode())
            printed = library.nft_ctx_get_output_buffer(context) or b""  # reading empties them for the next time
            said = (library.nft_ctx_get_error_buffer(context) or b"").decode(errors="replace").strip()
        if status != 0:
            self._forget()
            raise NftRefused(f"nftables: {said or 'refused'}")
        return bytes(printed).decode(errors="replace")

    def run_if_there(self, commands: str) -> bool:
        """For what may be gone already; False when the kernel knows no such thing."""
        try:
            self.run(commands)
        except NftRefused as error:
            if os.strerror(errno.ENOENT) in error.message:
                return False
            raise
        return True

    def _open(self, library: ctypes.CDLL) -> int:
        if self._context is None:
            self._context = library.nft_ctx_new(0)
            if not self._context:
                raise Failed("nftables cannot be used here")
            library.nft_ctx_buffer_output(self._context)
            library.nft_ctx_buffer_error(self._context)
        return self._context

    def _forget(self) -> None:
        if self._context is not None:
            _library().nft_ctx_free(self._context)
            self._context = None
