"""The rows that builds keep.

build/results/<key>           what an instruction made of what was there before               Result
build/layers/<chain id>       the blob of a chain's top layer, once it was made               LayerBlob
build/mounts/<key>            the folder of a RUN --mount=type=cache                           CacheMount

The key of a result says everything that went into it (`keys.py`), so a row is never wrong, at worst of no use: when its snapshot is gone it is
forgotten.
"""

from __future__ import annotations

from cloudstead.engine.images.api import Descriptor
from cloudstead.kernel.store import Row, Table


class Result(Row, frozen=True, kw_only=True):
    """Of an instruction that writes files, the layer; of another one only when it was first done, so that the same build gives the same image."""

    key: str
    created: str  # RFC 3339; what the image's history says
    description: str  # the line in the history
    chain: str = ""  # its top layer is the result; empty: the files stayed as they were
    parent: str = ""  # the chain below
    diff_id: str = ""
    size: int = 0
    layer: bool = False
    made: float = 0.0
    last_used: float = 0.0
    used: int = 0


class LayerBlob(Row, frozen=True, kw_only=True):
    chain: str
    descriptor: Descriptor


class CacheMount(Row, frozen=True, kw_only=True):
    key: str  # names the writable that holds it
    id: str
    number: int = 0  # of those with this id: sharing=private makes more
    created: float = 0.0
    last_used: float = 0.0
    used: int = 0


RESULTS = Table("build.results", Result, key=lambda r: (r.key,), indexes={"by_chain": lambda r: (r.chain, r.key) if r.chain else None})
LAYERS = Table("build.layers", LayerBlob, key=lambda b: (b.chain,))
MOUNTS = Table("build.mounts", CacheMount, key=lambda m: (m.key,))
