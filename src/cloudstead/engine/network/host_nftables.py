"""Transactions of nftables, by libnftables in this process: 0.2 ms where the `nft` program takes 2 to 5.

A context is a netlink socket and a cache; it is made anew in the namespace that it is for, so nothing old is remembered. All that one buffer
says happens or nothing of it (nft(8), "-f").
"""

from __future__ import annotations

import ctypes
import errno
import functools

from cloudstead.engine.errors import Failed, Unsupported


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


def run(commands: str) -> str:
    """Carry out in the namespace that the process is in; what it prints.

    Raises:
        NftRefused: nothing was done.
        Unsupported: there is no libnftables.
    """
    library = _library()
    context = library.nft_ctx_new(0)
    if not context:
        raise Failed("nftables cannot be used here")
    try:
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        if library.nft_run_cmd_from_buffer(context, commands.encode()) != 0:
            said = (library.nft_ctx_get_error_buffer(context) or b"").decode(errors="replace").strip()
            raise NftRefused(f"nftables: {said or 'refused'}")
        return (library.nft_ctx_get_output_buffer(context) or b"").decode(errors="replace")
    finally:
        library.nft_ctx_free(context)


def run_if_there(commands: str) -> bool:
    """For what may be gone already; False when the kernel knows no such thing."""
    try:
        run(commands)
    except NftRefused as error:
        if "No such file or directory" in error.message or errno.errorcode[errno.ENOENT] in error.message:
            return False
        raise
    return True
