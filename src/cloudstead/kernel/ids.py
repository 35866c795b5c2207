"""Names that AWS makes up: request ids, resource ids, access keys, tokens. Unguessable; the same again when seeded.

Bytes come from the kernel's random device. A simulation replaces them for its duration by a seeded generator (`seeded`), so that a run can be
played again with the same names in it.

Forms: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids for the prefixes of IAM.
"""

from __future__ import annotations

import base64
import contextlib
import os
import random
from collections.abc import Callable, Iterator

USER, ROLE, GROUP = "AIDA", "AROA", "AGPA"
POLICY, INSTANCE_PROFILE = "ANPA", "AIPA"
ACCESS_KEY, TEMPORARY_ACCESS_KEY = "AKIA", "ASIA"

_BASE32 = bytes(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[byte & 31] for byte in range(256))
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}  # RFC 9562, section 4.1
_LOWER = "abcdefghijklmnopqrstuvwxyz0123456789"
_BLOCK = 256  # request ids made from one read of the random device: a read costs as much as ten ids

_draw: Callable[[int], bytes] = os.urandom
_request_ids: list[str] = []


def request_id() -> str:
    """A random UUID (version 4), as AWS identifies a call. May be called from any thread."""
    try:
        return _request_ids.pop()
    except IndexError:
        ids = _uuids(_draw(16 * _BLOCK).hex())
        last = ids.pop()
        _request_ids.extend(ids)
        return last


uuid4 = request_id  # for the resources that AWS names so


def _uuids(digits: str) -> list[str]:
    return [
        f"{digits[at : at + 8]}-{digits[at + 8 : at + 12]}-4{digits[at + 13 : at + 16]}-"
        f"{_VARIANT[digits[at + 16]]}{digits[at + 17 : at + 20]}-{digits[at + 20 : at + 32]}"
        for at in range(0, len(digits), 32)
    ]


def hex_digits(count: int) -> str:
    """So many random hexadecimal digits: 32 of them name an ECS task."""
    return _draw((count + 1) // 2).hex()[:count]


def hex_id(prefix: str, digits: int = 17) -> str:
    """`hex_id("i")` is like i-0123456789abcdef0. Older kinds of EC2 resources have 8 digits."""
    return f"{prefix}-{hex_digits(digits)}"


def lower_id(length: int = 10) -> str:
    """Small letters and digits, as API Gateway names an API: a1b2c3d4e5."""
    wanted = ""
    while len(wanted) < length:
        # 252 is the largest multiple of 36 in a byte; the rest is thrown away, so that every character is equally likely.
        wanted += "".join(_LOWER[byte % 36] for byte in _draw(length) if byte < 252)
    return wanted[:length]


def unique_id(prefix: str) -> str:
    """IAM's unique id of a user, role, group, policy or instance profile: the prefix and 17 characters of base32."""
    return prefix + _draw(17).translate(_BASE32).decode("ascii")


def access_key_id(account: str, *, temporary: bool = False) -> str:
    """An access key id of 20 characters that spells its account, as AWS's own do since 2019.

    Args:
        account: twelve digits.
    """
    # 80 bits after the prefix: a one, 40 of the account, 39 at random. The layout is AWS's, by observation:
    # https://hackingthe.cloud/aws/enumeration/get-account-id-from-keys/
    tail = int.from_bytes(_draw(5), "big") >> 1
    body = (1 << 79 | int(account) << 39 | tail).to_bytes(10, "big")
    return (TEMPORARY_ACCESS_KEY if temporary else ACCESS_KEY) + base64.b32encode(body).decode("ascii")


def account_of_access_key(key: str) -> str | None:
    """The account that an access key id spells; None when it is not of that form. Says nothing about whether such a key exists."""
    if len(key) != 20 or not key.startswith((ACCESS_KEY, TEMPORARY_ACCESS_KEY)):
        return None
    try:
        body = int.from_bytes(base64.b32decode(key[4:]), "big")
    except ValueError:
        return None
    account = body >> 39 & (1 << 40) - 1
    return f"{account:012d}" if body >> 79 and account < 10**12 else None


def secret_access_key() -> str:
    """40 characters of base64: 240 random bits."""
    return base64.b64encode(_draw(30)).decode("ascii")


def session_token() -> str:
    """An opaque token that begins as those of AWS STS do (the beginning reads "er/aws" when decoded)."""
    return base64.b64encode(b"\x17\n\x06er/aws\x10" + _draw(140)).decode("ascii")


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block every name follows from the seed. For simulations and tests; not while other threads make names."""
    global _draw, _request_ids
    before = _draw, _request_ids
    _draw, _request_ids = random.Random(seed).randbytes, []
    try:
        yield
    finally:
        _draw, _request_ids = before


def _forget_after_fork() -> None:
    _request_ids.clear()  # or parent and child would hand out the same ones


os.register_at_fork(after_in_child=_forget_after_fork)
