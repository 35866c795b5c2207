"""Whose key it is, and which policies bind its owner: IAM's two answers to the edge.

`Keys` is the CredentialSource that signatures are checked against; `Policies` is the PolicySource that calls are judged by; `IamCredentials` is
both, for the daemon to wire. They only read rows (and write, now and then, that a key was used).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec.structs import replace

from cloudstead.kernel import identity as identities
from cloudstead.kernel import ids
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.identity import Credential, Identity
from cloudstead.kernel.policy import NO_POLICIES, Layer, MalformedPolicy, Policy, PolicySet, Source, parse
from cloudstead.kernel.sessions import Sessions
from cloudstead.kernel.store import Key, Store
from cloudstead.services.iam import aws_managed
from cloudstead.services.iam.model import (
    ACCESS_KEYS,
    GROUPS,
    POLICIES,
    ROLES,
    USERS,
    USES,
    AccessKey,
    Group,
    ManagedPolicy,
    Role,
    Use,
    User,
    fold,
)

USE_IS_WRITTEN_AFTER: Final = 900.0  # seconds: how much of a "last used" a crash may lose
TOLD_TO: Final = 1.0  # second: GetAccessKeyLastUsed tells no more
_REMEMBERED: Final = 4096  # callers whose policies are kept compiled


def register_root_key(store: Store, access_key_id: str, secret_access_key: str, *, now: float) -> None:
    """Make the key that the data directory holds (the one in the AWS profile that `cloudstead env` writes) the root user's."""
    if store.table(ACCESS_KEYS).find("by_id", (access_key_id,)) is None:
        account = identities.DEFAULT_ACCOUNT
        key = AccessKey(account=account, access_key_id=access_key_id, secret_access_key=secret_access_key, created=now)
        with store.transaction() as tx:
            tx.insert(ACCESS_KEYS, key)


def new_key(account: str, user: str, now: float) -> AccessKey:
    """A fresh key, not yet written."""
    return AccessKey(
        account=account,
        access_key_id=ids.access_key_id(account),
        secret_access_key=ids.secret_access_key(),
        created=now,
        user=user,
    )


class Keys:
    """Finds keys: those in IAM's rows, and temporary ones by their tokens."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._keys = cloud.store.table(ACCESS_KEYS)
        self._users = cloud.store.table(USERS)
        self._sessions = Sessions.of(cloud)
        self._known: dict[str, tuple[AccessKey, User | None, Credential]] = {}
        self._uses: dict[tuple[str, str, str], Use] = {}  # (account, subject, service)
        self._subjects: dict[str, Identity] = {}  # who showed a temporary key lately

    @classmethod
    def of(cls, cloud: Cloud) -> Keys:
        """The one of this cloud: all must share it, since it knows of uses that are not written yet."""
        known = cloud.parts.get("iam.keys")
        if known is None:
            known = cloud.parts["iam.keys"] = cls(cloud)
        assert isinstance(known, Keys)
        return known

    def find(self, access_key_id: str, session_token: str = "") -> Credential | None:
        if session_token:
            temporary = self._sessions.find(access_key_id, session_token)
            if temporary is not None:
                temporary = self._of_renamed(temporary)
                if len(self._subjects) >= _REMEMBERED:
                    self._subjects.clear()
                self._subjects[access_key_id] = temporary.identity
                return temporary
        key = self._keys.find("by_id", (access_key_id,))
        if key is None:
            self._known.pop(access_key_id, None)
            return None
        user = self._users.get((key.account, fold(key.user))) if key.user else None
        known = self._known.get(access_key_id)
        if known is not None and known[0] is key and known[1] is user:
            return known[2]
        credential = Credential(
            access_key_id=access_key_id,
            secret_access_key=key.secret_access_key,
            identity=_identity(key, user),
            active=key.status == "Active" and (user is not None or not key.user),
        )
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[access_key_id] = (key, user, credential)
        return credential

    def _of_renamed(self, temporary: Credential) -> Credential:
        """A user's session is the user's by its id: it goes on under the new ARN when the user gets another name or path."""
        identity = temporary.identity
        if identity.kind not in ("user", "federated-user"):
            return temporary
        user = self._users.find("by_id", (identity.account, identity.principal_id or identity.user_id))
        if user is None or user.arn == identity.principal_arn:
            return temporary
        arn = user.arn if identity.kind == "user" else identity.arn
        return replace(temporary, identity=replace(identity, arn=arn, principal_arn=user.arn))

    def used(self, access_key_id: str, service: str, region: str) -> None:
        """Note a use in memory; a row is written when the last one is old, so that a busy key costs a write a quarter of an hour."""
        key = self._keys.find("by_id", (access_key_id,))
        if key is not None:
            self._note(key.account, access_key_id, service, region)
            return
        session = self._subjects.get(access_key_id)
        if session is not None and session.principal_arn:
            self._note(session.account, session.principal_arn, service, region)

    def _note(self, account: str, subject: str, service: str, region: str) -> None:
        place, now = (account, subject, service), self._cloud.clock.time()
        known = self._uses.get(place)
        if known is not None and known.region == region and 0 <= now - known.at < TOLD_TO:
            return
        use = Use(account=account, subject=subject, service=service, region=region, at=now)
        written = self._cloud.store.table(USES).get(place)
        if written is None or use.at - written.at >= USE_IS_WRITTEN_AFTER:
            if not self._is_there(subject):
                return  # sessions outlive their roles, and are given for roles that never were where policies are not enforced
            with self._cloud.store.transaction() as tx:
                tx.put(USES, use)
        self._uses[place] = use

    def _is_there(self, subject: str) -> bool:
        """Whether nothing says that this user or role is gone."""
        return not subject.startswith("arn:") or subject.endswith(":root") or Policies.of(self._cloud).entity(subject) is not None

    def forget_use(self, place: Key) -> None:
        """Its row is deleted."""
        account, subject, service = place
        self._uses.pop((account, subject, service), None)

    def last_use(self, account: str, subject: str) -> Use | None:
        """The latest use, for any service, of a key or of a role's or user's temporary ones (by its ARN)."""
        uses = [self._uses.get((account, subject, row.service), row) for row in self._cloud.store.table(USES).scan((account, subject))]
        return max(uses, key=lambda use: use.at, default=None)


def _identity(key: AccessKey, user: User | None) -> Identity:
    if user is None:
        return identities.root(key.account, key.access_key_id)
    return Identity(
        account=key.account,
        arn=user.arn,
        user_id=user.user_id,
        kind="user",
        access_key_id=key.access_key_id,
        principal_arn=user.arn,
    )


class IamCredentials:
    """What the edge needs of IAM."""

    def __init__(self, cloud: Cloud) -> None:
        keys = Keys.of(cloud)
        policies = Policies.of(cloud)
        self.find = keys.find
        self.used = keys.used
        self.policies_of = policies.policies_of
        self.tags_of = policies.tags_of


class Gathered(msgspec.Struct, frozen=True):
    """What was found for a caller, and the rows that it was found in: as long as they are still the same objects, it holds."""

    policies: PolicySet
    tags: dict[str, str]
    owner: User | Role | None
    groups: tuple[Group | None, ...]
    managed: tuple[tuple[str, str, ManagedPolicy | None], ...]  # (account, ARN, row)


class Policies:
    """The policies that bind a caller, compiled and kept until one of their rows changes."""

    def __init__(self, store: Store) -> None:
        self._users = store.table(USERS)
        self._roles = store.table(ROLES)
        self._groups = store.table(GROUPS)
        self._managed = store.table(POLICIES)
        self._known: dict[str, Gathered] = {}
        self._sessions: dict[tuple[str, ...], Layer] = {}

    @classmethod
    def of(cls, cloud: Cloud) -> Policies:
        """The one of this cloud."""
        known = cloud.parts.get("iam.policies")
        if known is None:
            known = cloud.parts["iam.policies"] = cls(cloud.store)
        assert isinstance(known, Policies)
        return known

    def policies_of(self, identity: Identity) -> PolicySet:
        """All policies of a caller; the root user and services have none."""
        gathered = self._gathered(identity)
        if not identity.session_policies and identity.kind != "federated-user":  # who has no more than its session policies allow
            return gathered.policies
        own = gathered.policies
        return PolicySet(identity=own.identity, boundary=own.boundary, session=self._session(identity))

    def tags_of(self, identity: Identity) -> dict[str, str]:
        """The tags of the user or role, with those of the session laid over them: aws:PrincipalTag."""
        tags = self._gathered(identity).tags
        return {**tags, **dict(identity.session_tags)} if identity.session_tags else tags

    def entity(self, arn: str) -> User | Role | None:
        """The user or role of an ARN."""
        parts = arn.split(":", 5)
        if len(parts) != 6 or parts[2] != "iam":
            return None
        kind, _, path = parts[5].partition("/")
        key = (parts[4], fold(path.rpartition("/")[2]))
        row = self._users.get(key) if kind == "user" else self._roles.get(key) if kind == "role" else None
        return row if row is not None and row.arn == arn else None

    def document(self, account: str, arn: str) -> str | None:
        """The default version of a managed policy, the account's own or one of AWS's."""
        row = self._managed.find("by_arn", (account, arn))
        return row.document if row is not None else aws_managed.document(arn)

    def sources(self, owner: User | Role | Group) -> list[Source]:
        """A user's (without its groups'), role's or group's own policies."""
        kind = type(owner).__name__.lower()
        found = [Source(policy, name, kind) for name, text in owner.inline.items() if (policy := _readable(text)) is not None]
        for arn in owner.attached:
            source = self.managed(owner.account, arn)
            if source is not None:
                found.append(source)
        return found

    def managed(self, account: str, arn: str) -> Source | None:
        text = self.document(account, arn)
        policy = None if text is None else _readable(text)
        if policy is None:
            return None
        return Source(policy, arn.rpartition("/")[2], "aws-managed" if f"::{aws_managed.ACCOUNT}:" in arn else "user-managed")

    def _gathered(self, identity: Identity) -> Gathered:
        key = f"{identity.kind} {identity.principal_arn} {identity.principal_id or identity.user_id.partition(':')[0]}"
        known = self._known.get(key)
        if known is not None and self._holds(known, identity):
            return known
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        known = self._known[key] = self._gather(identity)
        return known

    def _holds(self, known: Gathered, identity: Identity) -> bool:
        if known.owner is not self.entity(identity.principal_arn):
            return False
        if known.owner is None:
            return True
        account = known.owner.account
        names = known.owner.groups if isinstance(known.owner, User) else ()
        if any(self._groups.get((account, fold(name))) is not row for name, row in zip(names, known.groups, strict=True)):
            return False
        find = self._managed.find
        return all(find("by_arn", (account, arn)) is row for account, arn, row in known.managed)

    def _gather(self, identity: Identity) -> Gathered:
        owner = self.entity(identity.principal_arn)
        if identity.kind == "federated-user" and owner is None and identity.principal_arn.endswith(":root"):
            return Gathered(PolicySet(identity=_EVERYTHING), {}, None, (), ())
        # A user or role made again under the name of a deleted one is another: sessions of the old one are worth nothing.
        if owner is None or not _is(owner, identity):
            return Gathered(NO_POLICIES, {}, owner, _groups_of(owner, self._groups.get), ())
        sources = self.sources(owner)
        groups = _groups_of(owner, self._groups.get)
        arns = list(owner.attached)
        for group in groups:
            if group is not None:
                sources += self.sources(group)
                arns += group.attached
        boundary = None
        if owner.boundary:
            limit = self.managed(owner.account, owner.boundary)
            boundary = Layer([limit] if limit is not None else [])  # a boundary that is gone allows nothing
            arns.append(owner.boundary)
        managed = tuple((owner.account, arn, self._managed.find("by_arn", (owner.account, arn))) for arn in arns)
        return Gathered(PolicySet(identity=Layer(sources), boundary=boundary), owner.tags, owner, groups, managed)

    def _session(self, identity: Identity) -> Layer:
        """Session policies are documents, or ARNs of managed policies; all together are one layer."""
        key = identity.session_policies
        known = self._sessions.get(key)
        if known is None:
            known = Layer(self._session_sources(identity.account, key))
            if not any(text.startswith("arn:") for text in key):  # a managed policy may change
                if len(self._sessions) >= _REMEMBERED:
                    self._sessions.clear()
                self._sessions[key] = known
        return known

    def _session_sources(self, account: str, policies: Iterable[str]) -> Iterable[Source]:
        for index, text in enumerate(policies, 1):
            if text.startswith("arn:"):
                source = self.managed(account, text)
                if source is not None:
                    yield source
            elif (policy := _readable(text)) is not None:
                yield Source(policy, f"SessionPolicy.{index}", "session")


def _readable(text: str) -> Policy | None:
    """A stored document; one that cannot be read (it was checked when it was put) grants nothing."""
    try:
        return parse(text)
    except MalformedPolicy:
        return None


def _is(owner: User | Role, identity: Identity) -> bool:
    if isinstance(owner, User):
        return (identity.principal_id or identity.user_id) == owner.user_id
    return identity.user_id.partition(":")[0] == owner.role_id


def _groups_of(owner: User | Role | None, get: Callable[[tuple[str, ...]], Group | None]) -> tuple[Group | None, ...]:
    return tuple(get((owner.account, fold(name))) for name in owner.groups) if isinstance(owner, User) else ()


_EVERYTHING: Final = Layer(
    [Source(parse('{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'), "root", "none")]
)
"""What a federated user of the root user has; its session policies limit it."""
