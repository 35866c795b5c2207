"""Tars with seeded mutations: each is unpacked or refused with a sentence; never a traceback, a file outside or anything left."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

import pytest
import zstandard
from snapshot_support import (
    CHARACTER,
    FIFO,
    Ground,
    folder,
    ground_in,
    gzipped,
    hardlink,
    member,
    needs_host,
    symlink,
    tar,
)

from cloudstead.engine.errors import InvalidArgument, NoSpace, NotPermitted, Unsupported

pytestmark = needs_host
ROUNDS = 400
ALLOWED = (InvalidArgument, NotPermitted, Unsupported, NoSpace)


def seeds(outside: Path) -> list[list[bytes]]:
    """Members that have all that layers have, some of it pointing outside."""
    out = str(outside)
    return [
        [folder("a"), member("a/b", b"x" * 600), symlink("a/up", "../.."), member("a/up/c", b"y"), hardlink("a/d", "a/b")],
        [folder("etc"), member("etc/passwd", b"root", pax={b"mtime": b"1.5", b"SCHILY.xattr.user.k": b"v"}), member("etc/.wh.shadow")],
        [symlink("o", out), member("o/secret", b"evil"), member("o/.wh.secret"), member("o/.wh..wh..opq"), hardlink("s", "o/secret")],
        [member("././@LongLink", b"l" * 150 + b"\0", kind=b"L"), member("short", b"z"), member("n", kind=CHARACTER, device=(1, 3))],
        [member("p", kind=FIFO), folder("p"), member("p/q", b"1"), member("p", b"2"), symlink("p", "q"), folder("./", 0o700)],
    ]


def mutated(random_: random.Random, members: list[bytes]) -> bytes:
    members = members.copy()
    for _ in range(random_.randint(1, 4)):
        what = random_.randrange(6)
        place = random_.randrange(len(members))
        one = bytearray(members[place])
        if what == 0:  # any byte
            one[random_.randrange(len(one))] = random_.randrange(256)
        elif what == 1:  # a field of a header, with its checksum put right
            start, end = random_.choice([(0, 100), (100, 108), (124, 136), (136, 148), (156, 157), (157, 257), (345, 500), (257, 265)])
            pool = random_.choice([b"../", b"\0", b"7", b"\xff\x80", b"/.wh.", b"0123456", bytes(range(256))])
            one[start:end] = bytes(random_.choice(pool) for _ in range(end - start))
            one[148:156] = b" " * 8
            one[148:156] = b"%06o\0 " % sum(one[:512])
        elif what == 2:  # order
            random_.shuffle(members)
            continue
        elif what == 3:  # twice
            members.insert(random_.randrange(len(members) + 1), bytes(one))
            continue
        elif what == 4:  # cut, or with something in between
            cut = random_.randrange(len(one))
            one[cut : cut + random_.randrange(700)] = os.urandom(random_.choice([0, 0, 1, 512]))
        else:  # a piece of another
            other = random_.choice(members)
            at = random_.randrange(len(one))
            one[at : at + 50] = other[at : at + 50]
        members[place] = bytes(one) or b"\0"
    return tar(*members)


def unpacks(ground: Ground, data: bytes, parent: str = "") -> bool:
    """Whether it does; what else is raised than a refusal is a bug."""
    with contextlib.suppress(*ALLOWED):
        ground.run(ground.snapshots.remove_snapshot(ground.unpack(data, parent=parent).chain_id))
        return True
    return False


@pytest.mark.parametrize("seed", range(4))
def test_mutated_layers_do_no_harm(tmp_path: Path, seed: int) -> None:
    with ground_in(tmp_path, layer_bytes="5000000", layer_memory=str(256 << 20)) as ground:
        random_ = random.Random(seed)
        base = ground.unpack(tar(folder("etc"), member("etc/shadow", b"s"), member("below", b"b"))).chain_id
        fine = 0
        for _ in range(ROUNDS // 4):
            data = mutated(random_, random_.choice(seeds(ground.outside)))
            data = random_.choice([bytes, gzipped, zstandard.compress])(data)
            fine += unpacks(ground, data, parent=random_.choice(["", base]))
            ground.look()
        assert 0 < fine < ROUNDS // 4, "the mutations are too weak or too strong to say anything"
        assert ground.run(ground.snapshots.sweep()) == []


@pytest.mark.parametrize("compress", [gzipped, zstandard.compress], ids=["gzip", "zstd"])
def test_mutated_compressed_streams_do_no_harm(tmp_path: Path, compress: type) -> None:
    with ground_in(tmp_path, layer_bytes="5000000", layer_memory=str(256 << 20)) as ground:
        random_ = random.Random(7)
        whole = compress(tar(member("a", os.urandom(500) * 20), member("b", bytes(5000))))
        for _ in range(80):
            data = bytearray(whole)
            for _ in range(random_.randint(1, 8)):
                data[random_.randrange(len(data))] = random_.randrange(256)
            unpacks(ground, bytes(data[: random_.choice([len(data), random_.randrange(len(data))])]))
            ground.look()
