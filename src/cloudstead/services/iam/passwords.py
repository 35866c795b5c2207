"""Passwords of the console: kept as scrypt hashes, checked against the account's password policy."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from base64 import b64decode, b64encode
from typing import Final

from cloudstead.services.iam import api
from cloudstead.services.iam.model import PasswordPolicy

SYMBOLS: Final = frozenset("!@#$%^&*()_+-=[]{}|'")  # what counts as one
_COST: Final = {"n": 2**14, "r": 8, "p": 1, "maxmem": 2**26}  # 16 MB and some 50 ms a password


async def hashed(password: str) -> str:
    """ "salt$hash", both in base64. In a thread, for it is meant to take long."""
    salt = os.urandom(16)
    return await asyncio.to_thread(_hash, password, salt)


async def is_one_of(password: str, hashes: tuple[str, ...]) -> bool:
    return await asyncio.to_thread(_is_one_of, password, hashes)


def _hash(password: str, salt: bytes) -> str:
    digest = hashlib.scrypt(password.encode(), salt=salt, **_COST)
    return f"{b64encode(salt).decode()}${b64encode(digest).decode()}"


def _is_one_of(password: str, hashes: tuple[str, ...]) -> bool:
    return any(hmac.compare_digest(_hash(password, b64decode(one.partition("$")[0])), one) for one in hashes)


def digest(generated: str) -> str:
    """Of a password that was made here: 240 random bits need no slow hash."""
    return hashlib.sha256(generated.encode()).hexdigest()


def check(password: str, policy: PasswordPolicy | None, account_name: str) -> None:
    """Refuse a password that the policy does not allow; without a policy of the account AWS's default one counts.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_passwords_account-policy.html

    Raises:
        PasswordPolicyViolationException
    """
    has = {
        "one uppercase letter": any(one.isupper() for one in password),
        "one lowercase letter": any(one.islower() for one in password),
        "one number": any(one.isdigit() for one in password),
        "one symbol": any(one in SYMBOLS for one in password),
    }
    if policy is None:
        if len(password) < 8 or sum(has.values()) < 3 or password == account_name:
            raise api.PasswordPolicyViolationException("Password does not conform to the account password policy.")
        return
    if len(password) < policy.minimum_password_length:
        raise api.PasswordPolicyViolationException(f"Password should have a minimum length of {policy.minimum_password_length}")
    wanted = {
        "one uppercase letter": policy.require_uppercase_characters,
        "one lowercase letter": policy.require_lowercase_characters,
        "one number": policy.require_numbers,
        "one symbol": policy.require_symbols,
    }
    for what, required in wanted.items():
        if required and not has[what]:
            raise api.PasswordPolicyViolationException(f"Password should have at least {what}")
