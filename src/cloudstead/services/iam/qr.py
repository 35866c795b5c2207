"""QR codes of a text, as PNG: byte mode, error correction L, versions 1 to 10 (271 bytes).

ISO/IEC 18004. What is built: data and error-correcting words in blocks, laid in a zigzag around the fixed patterns, under the best of eight masks.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

Grid: TypeAlias = list[list[bool]]

# version: (error-correcting words of a block, [data words of each block]), for level L
_BLOCKS: Final[dict[int, tuple[int, list[int]]]] = {
    1: (7, [19]),
    2: (10, [34]),
    3: (15, [55]),
    4: (20, [80]),
    5: (26, [108]),
    6: (18, [68] * 2),
    7: (20, [78] * 2),
    8: (24, [97] * 2),
    9: (30, [116] * 2),
    10: (18, [68, 68, 69, 69]),
}
_ALIGNED: Final = {1: [], 2: [18], 3: [22], 4: [26], 5: [30], 6: [34], 7: [22, 38], 8: [24, 42], 9: [26, 46], 10: [28, 50]}
_MASKS: Final[tuple[Callable[[int, int], bool], ...]] = (
    lambda y, x: (y + x) % 2 == 0,
    lambda y, x: y % 2 == 0,
    lambda y, x: x % 3 == 0,
    lambda y, x: (y + x) % 3 == 0,
    lambda y, x: (y // 2 + x // 3) % 2 == 0,
    lambda y, x: y * x % 2 + y * x % 3 == 0,
    lambda y, x: (y * x % 2 + y * x % 3) % 2 == 0,
    lambda y, x: ((y + x) % 2 + y * x % 3) % 2 == 0,
)


def png(text: str, scale: int = 4) -> bytes:
    """The code as an image of `scale` pixels a module, with the quiet zone of four modules around it."""
    grid = modules(text)
    border = [[False] * (len(grid) + 8)] * 4
    padded = [*border, *([False] * 4 + row + [False] * 4 for row in grid), *border]
    size = len(padded) * scale
    lines = b"".join((b"\0" + _packed([dark for dark in row for _ in range(scale)])) * scale for row in padded)
    header = struct.pack(">IIBBBBB", size, size, 1, 0, 0, 0, 0)  # one bit of grey a pixel
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(data)) + name + data + _crc(name + data) for name, data in parts)


def _crc(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))


def _packed(dark: list[bool]) -> bytes:
    bits = "".join("0" if one else "1" for one in dark)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def modules(text: str) -> Grid:
    """The dark modules of the code of a text.

    Raises:
        ValueError: it is too long.
    """
    data = text.encode()
    for version, (_, blocks) in _BLOCKS.items():
        count_bits = 8 if version < 10 else 16
        if 4 + count_bits + 8 * len(data) <= 8 * sum(blocks):
            return _laid(version, _words(version, data, count_bits))
    raise ValueError(f"{len(data)} bytes are more than fit")


def _words(version: int, data: bytes, count_bits: int) -> bytes:
    """All words in the order of their laying: the blocks interleaved, data before correction."""
    each, blocks = _BLOCKS[version]
    room = sum(blocks)
    bits = "0100" + f"{len(data):0{count_bits}b}" + "".join(f"{byte:08b}" for byte in data)
    bits += "0" * min(4, 8 * room - len(bits))
    bits += "0" * (-len(bits) % 8)
    words = int(bits, 2).to_bytes(len(bits) // 8, "big")
    words += bytes((0xEC, 0x11)[index % 2] for index in range(room - len(words)))
    parts, at = [], 0
    for size in blocks:
        parts.append(words[at : at + size])
        at += size
    corrections = [_correction(part, each) for part in parts]
    longest = max(blocks)
    mixed = [part[index] for index in range(longest) for part in parts if index < len(part)]
    return bytes(mixed + [part[index] for index in range(each) for part in corrections])


# ---- Reed-Solomon over GF(256) with the polynomial 0x11D

_EXP: Final = [1] * 512
_LOG: Final = [0] * 256
for _power in range(1, 512):
    _next = _EXP[_power - 1] << 1
    _EXP[_power] = _next ^ 0x11D if _next & 0x100 else _next
for _power in range(255):
    _LOG[_EXP[_power]] = _power


def _times(a: int, b: int) -> int:
    return _EXP[_LOG[a] + _LOG[b]] if a and b else 0


def _correction(data: bytes, count: int) -> list[int]:
    generator = [1]
    for power in range(count):
        generator = [a ^ _times(b, _EXP[power]) for a, b in zip([*generator, 0], [0, *generator], strict=True)]
    rest = [*data] + [0] * count
    for index in range(len(data)):
        factor = rest[index]
        for offset, coefficient in enumerate(generator):
            rest[index + offset] ^= _times(coefficient, factor)
    return rest[len(data) :]


# ---- laying


def _laid(version: int, words: bytes) -> Grid:
    size = 17 + 4 * version
    grid: Grid = [[False] * size for _ in range(size)]
    fixed: Grid = [[False] * size for _ in range(size)]
    for y, x, dark in _patterns(version, size):
        grid[y][x], fixed[y][x] = dark, True
    for y, x in _format_places(size):
        fixed[y][x] = True
    bits = "".join(f"{word:08b}" for word in words)
    free = [(y, x) for y, x in _zigzag(size) if not fixed[y][x]]
    for index, (y, x) in enumerate(free):
        grid[y][x] = index < len(bits) and bits[index] == "1"
    return min((_masked(grid, free, mask) for mask in range(8)), key=_penalty)


def _masked(grid: Grid, free: list[tuple[int, int]], mask: int) -> Grid:
    masked = [row[:] for row in grid]
    for y, x in free:
        masked[y][x] ^= _MASKS[mask](y, x)
    bits = _format_bits(mask)
    for index, (y, x) in enumerate(_format_places(len(grid))):
        masked[y][x] = bool(bits >> (index % 15) & 1)
    masked[len(grid) - 8][8] = True
    return masked


def _format_bits(mask: int) -> int:
    data = 0b01 << 3 | mask  # 01 is level L
    rest = data << 10
    for shift in range(4, -1, -1):
        if rest >> (shift + 10) & 1:
            rest ^= 0b10100110111 << shift
    return (data << 10 | rest) ^ 0b101010000010010


def _format_places(size: int) -> list[tuple[int, int]]:
    """Where the 15 bits of the format stand, the lowest first, both copies; and the module that is always dark."""
    first = [(y, 8) for y in (0, 1, 2, 3, 4, 5, 7, 8)] + [(8, x) for x in (7, 5, 4, 3, 2, 1, 0)]
    second = [(8, size - 1 - index) for index in range(8)] + [(size - 7 + index, 8) for index in range(7)]
    return [*first, *second, (size - 8, 8)]


def _patterns(version: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """The modules that are the same in every code of a version."""
    for index in range(size):
        yield 6, index, index % 2 == 0
        yield index, 6, index % 2 == 0
    for top, left in ((0, 0), (0, size - 7), (size - 7, 0)):
        for y in range(top - 1, top + 8):
            for x in range(left - 1, left + 8):
                if 0 <= y < size and 0 <= x < size:
                    ring = max(abs(y - top - 3), abs(x - left - 3))
                    yield y, x, ring in (0, 1, 3)
    centres = [6, *_ALIGNED[version]] if version > 1 else []
    corners = {(6, 6), (6, size - 7), (size - 7, 6)}
    for cy in centres:
        for cx in centres:
            if (cy, cx) not in corners:
                for y in range(cy - 2, cy + 3):
                    for x in range(cx - 2, cx + 3):
                        yield y, x, max(abs(y - cy), abs(x - cx)) != 1
    if version >= 7:
        bits = _version_bits(version)
        for index in range(18):
            dark = bool(bits >> index & 1)
            yield size - 11 + index % 3, index // 3, dark
            yield index // 3, size - 11 + index % 3, dark


def _version_bits(version: int) -> int:
    rest = version << 12
    for shift in range(5, -1, -1):
        if rest >> (shift + 12) & 1:
            rest ^= 0b1111100100101 << shift
    return version << 12 | rest


def _zigzag(size: int) -> Iterator[tuple[int, int]]:
    upwards = True
    right = size - 1
    while right > 0:
        if right == 6:  # the column of the timing pattern
            right -= 1
        for step in range(size):
            y = size - 1 - step if upwards else step
            yield y, right
            yield y, right - 1
        upwards = not upwards
        right -= 2


def _penalty(grid: Grid) -> int:
    """How ill a code reads: the standard's four rules, runs, blocks, false finders and imbalance."""
    size, total = len(grid), 0
    for lines in (grid, [list(column) for column in zip(*grid, strict=True)]):
        for line in lines:
            text = "".join("1" if dark else "0" for dark in line)
            for run in text.replace("01", "0 1").replace("10", "1 0").split():
                total += len(run) - 2 if len(run) >= 5 else 0
            total += 40 * (_count(text, "10111010000") + _count(text, "00001011101"))
    for y in range(size - 1):
        for x in range(size - 1):
            if grid[y][x] == grid[y][x + 1] == grid[y + 1][x] == grid[y + 1][x + 1]:
                total += 3
    dark = sum(map(sum, grid))
    return total + 10 * (abs(20 * dark - 10 * size * size) // (size * size))


def _count(text: str, pattern: str) -> int:
    return sum(text.startswith(pattern, at) for at in range(len(text)))
