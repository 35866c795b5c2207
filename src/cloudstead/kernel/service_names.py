"""What a service is called, and where it stands.

A service has one name here, botocore's: "ecr-public", "lambda", "logs". The call log and the coverage tables show it, and policies' actions begin with it
unless `action_prefix` knows better.
Python cannot say all of them, so the package that holds a service is called after it by the rule below, and nothing but imports and files goes by that.
"""

from __future__ import annotations

import keyword

_ACTION_PREFIXES = {"elb": "elasticloadbalancing", "elbv2": "elasticloadbalancing"}


def package_of(service: str) -> str:
    """The package below `services/`: "ecr_public", "lambda_", "logs"."""
    name = service.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


def service_of(package: str) -> str:
    """The service that a package holds."""
    return package.removesuffix("_").replace("_", "-")


def action_prefix(service: str) -> str:
    """What the actions of a service begin with in policies."""
    return _ACTION_PREFIXES.get(service, service)
