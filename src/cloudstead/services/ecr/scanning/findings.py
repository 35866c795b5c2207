"""Findings as they are kept with a scan: in order, packed.

A registry may hold thousands of images with hundreds of findings each, mostly the same ones; as structs they would fill the memory, packed
a hundred take about three kilobytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
import zstandard

from cloudstead.services.ecr.model import Finding

SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNDEFINED")  # the worst first
LARGEST = 256 << 20  # bytes, unpacked

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Finding])


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first, then by name and package."""
    return sorted(findings, key=lambda each: (SEVERITIES.index(each.severity), each.name, each.attributes))


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """Of each severity that there is."""
    found = Counter(each.severity for each in findings)
    return {severity: found[severity] for severity in SEVERITIES if found[severity]}


def pack(findings: list[Finding]) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(_encoder.encode(findings)) if findings else b""


def unpack(packed: bytes) -> list[Finding]:
    return _decoder.decode(zstandard.ZstdDecompressor().decompress(packed, max_output_size=LARGEST)) if packed else []
