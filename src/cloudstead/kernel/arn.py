"""Amazon Resource Names: `arn:partition:service:region:account:resource`.

To make one, write an f-string in the service's `arns.py`; to take one apart, `Arn.parse`.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
"""

from __future__ import annotations

import msgspec


class Arn(msgspec.Struct, frozen=True, order=True):
    """The parts of an ARN. `str(arn)` puts them together again."""

    partition: str
    service: str
    region: str  # empty for global services, such as iam
    account: str  # twelve digits; empty (s3 buckets), or a name of AWS's: "aws" for its managed policies
    resource: str  # all the rest, with its colons and slashes

    @classmethod
    def parse(cls, text: str) -> Arn:
        """Take an ARN apart.

        Raises:
            ValueError: it is not one; the message says which part is wrong.
        """
        parts = text.split(":", 5)
        if len(parts) != 6:
            raise ValueError(f"{text!r} is not an ARN: it has {len(parts)} of 6 parts separated by colons")
        scheme, partition, service, region, account, resource = parts
        if scheme != "arn":
            raise ValueError(f"{text!r} is not an ARN: it does not begin with 'arn:'")
        if not (partition and service and resource):
            missing = "partition" if not partition else "service" if not service else "resource"
            raise ValueError(f"{text!r} is not an ARN: its {missing} is empty")
        if account and not _is_account(account):
            raise ValueError(f"{text!r} is not an ARN: {account!r} is not an account of 12 digits")
        return cls(partition, service, region, account, resource)

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account}:{self.resource}"

    @property
    def kind(self) -> str:
        """What the resource begins with, up to the first colon or slash: "role", "function", "log-group". Empty when there is neither."""
        return self._split()[0]

    @property
    def name(self) -> str:
        """The resource without its kind, paths included: "service-role/Batch" of role/service-role/Batch."""
        return self._split()[1]

    def _split(self) -> tuple[str, str]:
        for at, character in enumerate(self.resource):
            if character in ":/":
                return self.resource[:at], self.resource[at + 1 :]
        return "", self.resource


def is_arn(text: str) -> bool:
    """Whether this is an ARN; for parameters that take a name or an ARN."""
    try:
        Arn.parse(text)
    except ValueError:
        return False
    return True


def _is_account(account: str) -> bool:
    if account.isascii() and account.isdigit():
        return len(account) == 12
    return account.isascii() and account.isalpha() and account.islower()  # "aws", "cloudfront"
