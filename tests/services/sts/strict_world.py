"""A strict Cloudstead and the people in it."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from cloudstead import datadir
from cloudstead.kernel.store import Store, Table
from cloudstead.services.iam.credentials import new_key
from cloudstead.services.iam.model import (
    ACCESS_KEYS,
    OIDC_PROVIDERS,
    POLICIES,
    ROLES,
    USERS,
    ManagedPolicy,
    OpenIDConnectProvider,
    PolicyVersion,
    Role,
    User,
)
from support import CloudThread

HOME, OTHER = "000000000000", "111122223333"


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any = "*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def trust(principal: Any, action: Any = "sts:AssumeRole", **more: Any) -> str:
    return document({"Effect": "Allow", "Principal": principal, "Action": action, **more})


class World:
    """Puts people, roles and providers into IAM's rows, and gives clients with their keys."""

    def __init__(self, running: CloudThread) -> None:
        self.running = running
        self.cloud = running.running.cloud
        self.root = datadir.root_key(self.cloud.data)

    @property
    def store(self) -> Store:
        return self.cloud.store

    def put(self, table: Table[Any], row: Any) -> Any:
        async def write() -> Any:
            with self.store.transaction() as tx:
                return tx.put(table, row)

        return self.running.do(write)

    def user(self, name: str, *statements: dict[str, Any], account: str = HOME, **about: Any) -> Any:
        """A user with these rights, and an STS client of theirs."""
        arn = f"arn:aws:iam::{account}:user/{name}"
        inline = {"own": document(*statements)} if statements else {}
        self.put(USERS, User(account=account, name=name, user_id=f"AIDA{name.upper()}", arn=arn, created=0, inline=inline, **about))
        key = self.put(ACCESS_KEYS, new_key(account, name, 0))
        return self.client(key=key.access_key_id, secret=key.secret_access_key)

    def role(self, name: str, trust_policy: str, *statements: dict[str, Any], account: str = HOME, **about: Any) -> str:
        """A role; returns its ARN."""
        arn = f"arn:aws:iam::{account}:role/{name}"
        inline = {"own": document(*statements)} if statements else {}
        row = Role(
            account=account, name=name, role_id=f"AROA{name.upper()}", arn=arn, created=0, trust_policy=trust_policy, inline=inline, **about
        )
        self.put(ROLES, row)
        return arn

    def managed(self, name: str, *statements: dict[str, Any]) -> str:
        arn = f"arn:aws:iam::{HOME}:policy/{name}"
        versions = (PolicyVersion(version_id="v1", document=document(*statements), created=0),)
        row = ManagedPolicy(
            account=HOME, name=name, policy_id="ANPA", arn=arn, created=0, updated=0, versions=versions, default_version="v1"
        )
        self.put(POLICIES, row)
        return arn

    def provider(self, url: str, *client_ids: str, keys: list[dict[str, Any]]) -> str:
        """An OpenID Connect provider whose keys are given as a file."""
        arn = f"arn:aws:iam::{HOME}:oidc-provider/{url}"
        self.put(OIDC_PROVIDERS, OpenIDConnectProvider(account=HOME, url=url, arn=arn, created=0, client_ids=client_ids))
        file = self.cloud.data / "sts" / "keys" / f"{url.replace('/', '_')}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"keys": keys}))
        return arn

    def client(self, credentials: dict[str, Any] | None = None, service: str = "sts", **about: Any) -> Any:
        """A client with the keys that STS has given, or with others."""
        if credentials is not None:
            about |= {
                "key": credentials["AccessKeyId"],
                "secret": credentials["SecretAccessKey"],
                "token": credentials["SessionToken"],
            }
        elif not about:
            about = {"key": self.root.access_key_id, "secret": self.root.secret_access_key}
        return self.running.client(service, **about)


class Issuer:
    """Signs tokens as an identity provider does."""

    def __init__(self, algorithm: str = "RS256", key_id: str = "k1") -> None:
        self.algorithm, self.key_id = algorithm, key_id
        self.key: Any = rsa.generate_private_key(65537, 2048) if algorithm == "RS256" else ec.generate_private_key(ec.SECP256R1())

    @property
    def public(self) -> dict[str, Any]:
        """The JSON Web Key."""
        numbers = self.key.public_key().public_numbers()
        if self.algorithm == "RS256":
            return {"kty": "RSA", "kid": self.key_id, "use": "sig", "n": number(numbers.n, 256), "e": number(numbers.e, 3)}
        return {"kty": "EC", "crv": "P-256", "kid": self.key_id, "x": number(numbers.x, 32), "y": number(numbers.y, 32)}

    def token(self, url: str, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        now = int(time.time())
        body = {"iss": f"https://{url}", "aud": "app", "sub": "subject-1", "iat": now, "exp": now + 600, **claims}
        parts = [{"alg": self.algorithm, "kid": self.key_id, **(header or {})}, {k: v for k, v in body.items() if v is not None}]
        signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{encoded(self._sign(signed.encode()))}"

    def _sign(self, data: bytes) -> bytes:
        if self.algorithm == "RS256":
            return bytes(self.key.sign(data, padding.PKCS1v15(), hashes.SHA256()))
        r, s = decode_dss_signature(self.key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int) -> str:
    return encoded(value.to_bytes(size, "big"))
