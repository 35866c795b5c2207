"""What a service is called, and where it stands.

A service has one name here, botocore's: "ecr-public", "lambda", "logs". Policies' actions begin with it, the call log and the coverage tables show it.
Python cannot say all of them, so the package that holds a service is called after it by the rule below, and nothing but imports and files goes by that.
"""

from __future__ import annotations

import keyword


def package_of(service: str) -> str:
    """The package below `services/`: "ecr_public", "lambda_", "logs"."""
    name = service.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


def service_of(package: str) -> str:
    """The service that a package holds."""
    return package.removesuffix("_").replace("_", "-")
