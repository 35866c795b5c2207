"""Reading tar, as fast as Python can: one pass over the pieces of a stream, nothing kept.

`TarReader` asks for pieces and is used where blocking is allowed. `parse` and `Preceding` are what a header means without saying where its bytes
come from; the archive of `docker load`, which comes over the network, is read by them in the event loop (images/tar_reader.py).

Understood are V7, ustar, GNU (long names, numbers in base 256) and pax. What no layer needs and what readers disagree about is refused instead of
guessed: sparse files, several volumes, records that contradict. Global pax records are read over, as Docker does. Names stay bytes.

POSIX.1-2024, pax; GNU tar's manual, "Basic Tar Format".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

from cloudstead.engine.errors import EngineError, InvalidArgument, NotPermitted, Unsupported

BLOCK = 512
LONGEST_HEADER = 1 << 20  # of a long name or of pax records; Go's reader has the same limit
LARGEST = 1 << 62
LARGEST_ID = (1 << 32) - 2
FILE, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_fields = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x")
ZERO = bytes(BLOCK)
PRECEDING = b"LKxX"  # kinds of headers that say something of the next member
PASSED_OVER = b"gV"  # global pax records, a volume's name
_MEMBERS = b"0125346"
_UNSUPPORTED = {b"S": "sparse files", b"M": "archives of several volumes", b"D": "GNU's incremental archives", b"N": "GNU's old long names"}
_XATTR = b"SCHILY.xattr."


class Entry:
    """One member. `size` is that of its data, which follow in the stream."""

    __slots__ = ("gid", "kind", "link", "major", "minor", "mode", "mtime_ns", "name", "size", "uid", "xattrs")

    name: bytes
    kind: bytes
    link: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    major: int
    minor: int
    xattrs: dict[bytes, bytes] | None


class Preceding:
    """What headers say of the member that follows them: GNU's long names, pax records. Made anew for each member."""

    __slots__ = ("_link", "_name", "_records", "any")

    def __init__(self) -> None:
        self.any = False
        self._name: bytes | None = None
        self._link: bytes | None = None
        self._records: dict[bytes, bytes] | None = None

    def add(self, kind: bytes, data: bytes) -> None:
        """One of `PRECEDING`, with its data."""
        self.any = True
        if kind == b"L":
            self._name = data.split(b"\0", 1)[0]
        elif kind == b"K":
            self._link = data.split(b"\0", 1)[0]
        else:
            self._records = (self._records or {}) | _records(data)

    def complete(self, entry: Entry) -> None:
        """Tell the member what was said of it.

        Raises:
            Unsupported: it is of a kind that is not read.
        """
        if entry.kind not in _MEMBERS:
            raise Unsupported(f"the tar has {_UNSUPPORTED.get(entry.kind, f'a member of type {entry.kind!r}')}, which are not supported")
        if self._name is not None:
            entry.name = self._name
        if self._link is not None:
            entry.link = self._link
        if self._records:
            _apply(entry, self._records)
        if entry.kind != FILE:
            entry.size = 0  # what links and folders claim: nothing follows them


class TarReader:
    """Members one after the other. The data of one are read before the next is asked for, or skipped.

    Raises:
        InvalidArgument: it is no tar, or is cut off.
        NotPermitted: it is made to do harm.
        Unsupported: see above.
    """

    def __init__(self, next_piece: Callable[[], bytes]) -> None:
        self._next_piece = next_piece
        self._piece = b""
        self._at = 0
        self._left = 0  # of the data of the member
        self._padding = 0

    def next(self) -> Entry | None:
        """The next member; None at the end."""
        before = Preceding()
        while True:
            if self._left or self._padding:
                self._skip(self._left + self._padding)
                self._left = self._padding = 0
            header = self._take(BLOCK, at_end=not before.any)
            if not header or header == ZERO:
                if before.any:
                    raise InvalidArgument("the tar ends after a header that announces another one")
                return None
            entry = parse(header)
            if entry.kind in PRECEDING:
                before.add(entry.kind, self._header_data(entry))
            elif entry.kind in PASSED_OVER:
                self._expect(entry.size)
            else:
                break
        before.complete(entry)
        self._expect(entry.size)
        return entry

    def whole(self) -> memoryview | None:
        """The data, when they lie in one piece; else `pieces` gives them."""
        end = self._at + self._left
        if end > len(self._piece):
            return None
        data = memoryview(self._piece)[self._at : end]
        self._at = end
        self._left = 0
        return data

    def pieces(self) -> Iterator[memoryview]:
        """The data of the member."""
        while self._left:
            here = min(len(self._piece) - self._at, self._left)
            if here:
                yield memoryview(self._piece)[self._at : self._at + here]
                self._at += here
                self._left -= here
            else:
                self._more()

    def _expect(self, size: int) -> None:
        self._left = size
        self._padding = -size % BLOCK

    def _header_data(self, entry: Entry) -> bytes:
        if entry.size > LONGEST_HEADER:
            raise NotPermitted(f"a header of the tar has {entry.size} bytes; {LONGEST_HEADER} are allowed")
        data = self._take(entry.size)
        self._padding = -entry.size % BLOCK
        return data

    def _take(self, size: int, at_end: bool = False) -> bytes:
        """So many bytes; none at the end of the stream if that is allowed here."""
        at, piece = self._at, self._piece
        end = at + size
        if end <= len(piece):
            self._at = end
            return piece[at:end]
        taken = [piece[at:]]
        missing = size - len(taken[0])
        self._at = len(piece)
        while missing:
            if not self._more(at_end and missing == size):
                return b""
            part = self._piece[:missing]
            self._at = len(part)
            missing -= len(part)
            taken.append(part)
        return b"".join(taken)

    def _skip(self, size: int) -> None:
        while size:
            here = min(len(self._piece) - self._at, size)
            self._at += here
            size -= here
            if size:
                self._more()

    def _more(self, at_end: bool = False) -> bool:
        self._piece, self._at = self._next_piece(), 0
        if not self._piece and not at_end:
            raise InvalidArgument("the tar is cut off")
        return bool(self._piece)


def parse(header: bytes) -> Entry:
    """One header of 512 bytes."""
    name, mode, uid, gid, size, mtime, checksum, kind, link, magic, _, _, _, major, minor, prefix = _fields.unpack(header)
    # Adler-32 begun at 0 has the sum of the bytes in its lower half, modulo 65521; in C, unlike a sum over 512 numbers.
    try:
        claimed = _number(checksum, "checksum")
    except EngineError:
        claimed = -1
    if claimed < 0 or ((zlib.adler32(header, 0) - zlib.adler32(checksum, 0) + 256 - claimed) & 0xFFFF and not _sums_up(header, claimed)):
        raise InvalidArgument("this is no tar, or a damaged one: a header's checksum is wrong")
    entry = Entry()
    name = name.partition(b"\0")[0]
    if magic == b"ustar\0" and prefix[0]:
        name = prefix.partition(b"\0")[0] + b"/" + name
    if kind in b"\0" + b"7":
        kind = FOLDER if kind == b"\0" and name.endswith(b"/") else FILE
    entry.name, entry.kind = name, kind
    entry.link = link.partition(b"\0")[0] if link[0] else b""
    entry.mode = _number(mode, "mode")
    entry.uid, entry.gid = _number(uid, "uid", most=LARGEST_ID), _number(gid, "gid", most=LARGEST_ID)
    entry.size = _number(size, "size")
    entry.mtime_ns = _number(mtime, "mtime", negative=True) * 1_000_000_000
    if kind in b"34":
        entry.major, entry.minor = _number(major, "device number", most=0xFFF), _number(minor, "device number", most=0xFFFFF)
    entry.xattrs = None
    return entry


def _sums_up(header: bytes, claimed: int) -> bool:
    """The sum exactly; old tars took the bytes as signed."""
    rest = header[:148] + b" " * 8 + header[156:]
    return claimed in (sum(rest), sum(byte - 256 if byte > 127 else byte for byte in rest))


def _number(field: bytes, what: str, *, negative: bool = False, most: int = LARGEST) -> int:
    """Octal digits, or a number in base 256 where the first bit is set."""
    if field[0] & 0x80:
        value = (
            int.from_bytes(field, "big", signed=True) if field[0] == 0xFF else int.from_bytes(field, "big") ^ (0x80 << 8 * (len(field) - 1))
        )
    else:
        digits = field.strip(b" \0")
        if not digits:
            return 0
        digits = digits.partition(b"\0")[0].rstrip(b" ")
        if not digits.isdigit():
            raise InvalidArgument(f"the tar has a {what} that is no number")
        try:
            value = int(digits, 8)
        except ValueError:
            raise InvalidArgument(f"the tar has a {what} that is no octal number") from None
    return _in_range(value, what, most, negative)


def _in_range(value: int, what: str, most: int = LARGEST, negative: bool = False) -> int:
    if (value < 0 and not negative) or abs(value) > most:
        raise NotPermitted(f"the tar has a {what} of {value}")
    return value


def _records(data: bytes) -> dict[bytes, bytes]:
    """pax: "length keyword=value\\n", the length counting all of it."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        digits = data[at:space] if space > 0 else b""
        if not digits.isdigit():
            if not data[at:].strip(b"\0"):
                break
            raise InvalidArgument("the tar has pax records that cannot be read")
        end = at + int(digits)
        keyword, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end > len(data) or end <= space + 1 or not equals or not keyword or data[end - 1 : end] != b"\n":
            raise InvalidArgument("the tar has pax records that cannot be read")
        found[keyword] = value
        at = end
    return found


def _apply(entry: Entry, records: dict[bytes, bytes]) -> None:
    for keyword, value in records.items():
        if keyword.startswith(_XATTR):
            if entry.xattrs is None:
                entry.xattrs = {}
            entry.xattrs[keyword[len(_XATTR) :]] = value
        elif keyword.startswith(b"GNU.sparse."):
            raise Unsupported("the tar has sparse files, which are not supported")
        elif not value:
            continue  # takes back what a global record said
        elif keyword == b"path":
            entry.name = value
        elif keyword == b"linkpath":
            entry.link = value
        elif keyword == b"size":
            entry.size = _decimal(value, "size")
        elif keyword == b"uid":
            entry.uid = _decimal(value, "uid", LARGEST_ID)
        elif keyword == b"gid":
            entry.gid = _decimal(value, "gid", LARGEST_ID)
        elif keyword == b"mtime":
            entry.mtime_ns = _nanoseconds(value)


def _decimal(value: bytes, what: str, most: int = LARGEST) -> int:
    if not value.isdigit() or len(value) > 20:
        raise NotPermitted(f"the tar has a {what} of {value[:40].decode(errors='replace')!r}")
    return _in_range(int(value), what, most)


def _nanoseconds(value: bytes) -> int:
    whole, _, fraction = value.partition(b".")
    negative = whole.startswith(b"-")
    seconds = _decimal(whole.removeprefix(b"-") or b"0", "mtime")
    nanoseconds = _decimal(fraction[:9].ljust(9, b"0"), "mtime") if fraction else 0
    total = seconds * 1_000_000_000 + nanoseconds
    return -total if negative else total
