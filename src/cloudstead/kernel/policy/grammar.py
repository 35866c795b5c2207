"""What a policy document may and must contain, and what AWS says of one that does not.

`read` turns text into `Raw…` structures in which every single value has become a list. The kinds of policies differ in what they must and must
not have, and in whose words faults are told: IAM has two validators, an old one for trust policies (its words are also those of the services'
resource policies) and another for policies of identities. Within each the order of the checks is AWS's, for a document has often more than one fault.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, Literal, TypeAlias

import msgspec

from cloudstead.kernel.policy import conditions
from cloudstead.kernel.policy.principals import account_of

Need: TypeAlias = Literal["required", "forbidden", "optional"]

VERSION_2008: Final = "2008-10-17"
VERSION_2012: Final = "2012-10-17"
PARTITIONS: Final = frozenset(("aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-eusc"))

_POLICY_FIELDS: Final = frozenset(("Version", "Id", "Statement"))
_STATEMENT_FIELDS: Final = frozenset(
    ("Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition")
)
_PRINCIPAL_TYPES: Final = frozenset(("AWS", "Service", "Federated", "CanonicalUser"))
_UNIQUE_ID = re.compile(r"A[A-Z]{3}[A-Z0-9]{12,}(:.+)?")
_PRINCIPAL_ARN = re.compile(r"arn:[^:]+:(iam|sts|cloudfront)::(\d{12}|cloudfront):[^:]+.*", re.DOTALL)
_VENDOR = re.compile(r"[a-zA-Z0-9.*?-]+")


class MalformedPolicy(ValueError):
    """A document that is not a policy of its kind; the message is AWS's. Services raise it on as their MalformedPolicyDocument."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of policy must have."""

    principal: Need
    resource: Need
    words: Literal["identity", "resource"]  # whose sentences
    version_2012: bool = False
    vendor: str = ""  # the only service whose actions it may name


IDENTITY: Final = Kind(principal="forbidden", resource="required", words="identity")
"""A policy of a user, group or role, inline."""
MANAGED: Final = Kind(principal="forbidden", resource="required", words="identity", version_2012=True)
"""A managed policy: of an older version it is refused."""
SESSION: Final = IDENTITY
TRUST: Final = Kind(principal="required", resource="forbidden", words="resource", vendor="sts")
"""Who may assume a role."""
RESOURCE: Final = Kind(principal="required", resource="optional", words="resource")
"""The policy of a bucket, queue, function, repository, …"""
ANY: Final = Kind(principal="optional", resource="optional", words="identity")
"""Whatever can be evaluated."""


class RawStatement(msgspec.Struct, frozen=True, kw_only=True):
    sid: str
    allow: bool
    actions: list[str]
    not_actions: bool
    resources: list[str] | None
    not_resources: bool
    principal: str | dict[str, list[str]] | None
    not_principal: bool
    conditions: list[tuple[str, str, list[str]]]  # (operator, key, values)


class RawPolicy(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    id: str
    statements: list[RawStatement]


def read(text: str, kind: Kind) -> RawPolicy:
    """Read and check a document.

    Raises:
        MalformedPolicy
    """
    return _Reader(kind).read(text)


class _Duplicate(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; the grammar allows no key twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Duplicate
    return found


def _constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are not JSON


class _Reader:
    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.of_identity = kind.words == "identity"

    def fail(self, otherwise: str) -> MalformedPolicy:
        """The identity validator says of every fault of syntax the same; the other one says what it is."""
        return MalformedPolicy("Syntax errors in policy." if self.of_identity else otherwise)

    def read(self, text: str) -> RawPolicy:
        document = self._json(text)
        version = document.get("Version", VERSION_2008)
        if version not in (VERSION_2008, VERSION_2012):
            raise self.fail("The policy must contain a valid version string")
        identifier = document.get("Id", "")
        if not isinstance(identifier, str):
            raise self.fail("Invalid Id")
        entries = self._statements(document)
        for entry in entries:
            self._syntax(entry)
        if self.kind.version_2012 and version != VERSION_2012:
            raise MalformedPolicy("Policy document must be version 2012-10-17 or greater.")
        statements = [self._statement(entry) for entry in entries]
        self._check(statements)
        return RawPolicy(version=version, id=identifier, statements=statements)

    def _json(self, text: str) -> dict[str, Any]:
        try:
            document = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
            if "\\u" in text:
                json.dumps(document, ensure_ascii=False).encode()  # half of a surrogate pair is no character, and no answer could repeat it
        except (ValueError, RecursionError):
            raise self.fail("This policy contains invalid Json") from None
        if not isinstance(document, dict):
            raise self.fail("This policy contains invalid Json")
        for field in document:
            if field not in _POLICY_FIELDS:
                raise self.fail(f"Unknown field {field}")
        return document

    def _statements(self, document: dict[str, Any]) -> list[dict[str, Any]]:
        entries = document.get("Statement")
        if isinstance(entries, dict):
            entries = [entries]
        if not isinstance(entries, list) or not entries:
            raise self.fail("Could not parse the policy: Statement is empty!")
        if not all(isinstance(entry, dict) for entry in entries):
            raise self.fail("Could not parse the policy: Statement is not an object!")
        return entries

    def _syntax(self, entry: dict[str, Any]) -> None:
        """Fields, their types, and those that exclude each other."""
        for field in entry:
            if field not in _STATEMENT_FIELDS:
                raise self.fail(f"Unknown field {field}")
        for field in ("Action", "Resource", "Principal"):
            if field in entry and f"Not{field}" in entry:
                raise self.fail(f"Statement contains both {field} and Not{field}")
        for field in ("Action", "NotAction", "Resource", "NotResource"):
            if field in entry and not _is_texts(entry[field]):
                raise self.fail(f"Invalid {field}")
        if not isinstance(entry.get("Sid", ""), str):
            raise self.fail("Invalid Sid")
        if "Effect" not in entry:
            raise self.fail("Missing required field Effect")
        effect = entry["Effect"]
        if not isinstance(effect, str) or effect.lower() not in ("allow", "deny"):
            raise self.fail(f"Invalid effect: {effect}")
        self._condition_syntax(entry.get("Condition", {}))

    def _condition_syntax(self, blocks: Any) -> None:
        if not isinstance(blocks, dict):
            raise self.fail("Invalid Condition")
        for name, block in blocks.items():
            if not isinstance(block, dict):
                raise self.fail("Invalid Condition")
            if block:
                try:
                    conditions.split(name)
                except conditions.UnknownOperator:
                    raise self.fail(f"Invalid Condition type : {name}") from None
            for values in block.values():
                if not all(isinstance(value, (str, bool, int, float)) for value in _listed(values)):
                    raise self.fail("Invalid Condition")

    def _statement(self, entry: dict[str, Any]) -> RawStatement:
        if entry["Effect"] not in ("Allow", "Deny"):
            raise MalformedPolicy("The policy failed legacy parsing" if self.of_identity else f"Invalid effect: {entry['Effect']}")
        tests = [
            (name, key, [_text(value) for value in _listed(values)])
            for name, block in entry.get("Condition", {}).items()
            for key, values in block.items()
        ]
        if any(conditions.instant(value) is None for name, _, values in tests if "Date" in name for value in values):
            raise MalformedPolicy("The policy failed legacy parsing")
        return RawStatement(
            sid=entry.get("Sid", ""),
            allow=entry["Effect"] == "Allow",
            actions=self._required(entry, "Action", "Policy statement must contain actions."),
            not_actions="NotAction" in entry,
            resources=self._resources(entry),
            not_resources="NotResource" in entry,
            principal=self._principal(entry),
            not_principal="NotPrincipal" in entry,
            conditions=tests,
        )

    def _required(self, entry: dict[str, Any], field: str, sentence: str) -> list[str]:
        values = _listed(entry.get(field, entry.get(f"Not{field}", [])))
        if not values:
            raise MalformedPolicy(sentence if self.of_identity else f"Missing required field {field}")
        return values

    def _resources(self, entry: dict[str, Any]) -> list[str] | None:
        present = "Resource" in entry or "NotResource" in entry
        if self.kind.resource == "forbidden" and present:
            raise MalformedPolicy("Has prohibited field Resource")
        if self.kind.resource == "required" or present:
            return self._required(entry, "Resource", "Policy statement must contain resources.")
        return None

    def _principal(self, entry: dict[str, Any]) -> str | dict[str, list[str]] | None:
        value = entry.get("Principal", entry.get("NotPrincipal"))
        if value is None and "Principal" not in entry and "NotPrincipal" not in entry:
            if self.kind.principal == "required":
                raise MalformedPolicy("Missing required field Principal")
            return None
        if self.kind.principal == "forbidden":
            raise MalformedPolicy("Policy document should not specify a principal.")
        if value == "*":
            return "*"
        if not isinstance(value, dict) or not value:
            raise MalformedPolicy("Invalid principal in policy")
        named: dict[str, list[str]] = {}
        for kind, names in value.items():
            if kind not in _PRINCIPAL_TYPES or not _is_texts(names) or not _listed(names):
                raise MalformedPolicy(f'Invalid principal in policy: "{kind}"')
            named[kind] = _listed(names)
            for name in named[kind]:
                if kind == "AWS" and not _is_principal(name):
                    raise MalformedPolicy(f'Invalid principal in policy: "AWS":"{name}"')
        return named

    def _check(self, statements: list[RawStatement]) -> None:
        """What concerns the sense of the document rather than its form."""
        sids = [statement.sid for statement in statements if statement.sid]
        if self.of_identity and self.kind is not ANY and any(not re.fullmatch("[0-9A-Za-z]*", sid) for sid in sids):
            raise MalformedPolicy(
                "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"
            )
        if len(set(sids)) != len(sids):
            raise MalformedPolicy("Statement IDs (SID) in a single policy must be unique.")
        if self.kind is ANY:
            return
        for statement in statements:
            for action in statement.actions:
                self._action(action)
            if self.of_identity:
                for resource in statement.resources or ():
                    _check_resource(resource)

    def _action(self, action: str) -> None:
        vendor, colon, rest = action.partition(":")
        if self.kind.vendor and vendor != self.kind.vendor:
            raise MalformedPolicy("AssumeRole policy may only specify STS AssumeRole actions.")
        if not colon:
            if action != "*":
                raise MalformedPolicy("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
            return
        if ":" in rest:
            raise MalformedPolicy("Actions/Condition can contain only one colon.")
        if not _VENDOR.fullmatch(vendor):
            raise MalformedPolicy(f"Vendor {vendor} is not valid")


def _check_resource(resource: str) -> None:
    """The form of an ARN pattern in a policy of an identity."""
    if resource == "*":
        return
    parts = resource.split(":", 5)
    if len(parts) == 1:
        raise MalformedPolicy(f'Resource {resource} must be in ARN format or "*".')
    partition = parts[1]
    if partition != "*" and partition not in PARTITIONS:
        shown = ":".join((parts[2:] + ["*"] * 4)[:4])
        raise MalformedPolicy(f'Partition "{partition}" is not valid for resource "arn:{partition}:{shown}".')
    if len(parts) == 2:
        raise MalformedPolicy("Resource vendor must be fully qualified and cannot contain regexes.")
    if not parts[2] or (len(parts) < 6 and "::" in resource):
        raise MalformedPolicy("The policy failed legacy parsing")
    if parts[2] == "iam" and len(parts) > 3 and parts[3]:
        raise MalformedPolicy(f"IAM resource {resource} cannot contain region information.")
    if parts[2] == "s3" and len(parts) == 6 and parts[3] and not parts[5].startswith("accesspoint/"):
        raise MalformedPolicy(f"Resource {resource} can not contain region information.")


def _is_principal(name: str) -> bool:
    return name == "*" or bool(account_of(name) or _PRINCIPAL_ARN.fullmatch(name) or _UNIQUE_ID.fullmatch(name))


def _is_texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: str | bool | int | float) -> str:
    return value if isinstance(value, str) else json.dumps(value)
