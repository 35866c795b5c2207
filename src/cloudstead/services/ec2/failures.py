"""The errors of EC2. Its model names none, so each is made here of AWS's code and sentence.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from functools import cache

from cloudstead.kernel.errors import ServiceError


class Ec2Error(ServiceError):
    """One of EC2's own errors."""


@cache
def _kind(code: str, status: int) -> type[Ec2Error]:
    return type("Ec2Error", (Ec2Error,), {"code": code, "status": status, "__module__": __name__})


def failure(code: str, message: str, *, status: int = 400) -> Ec2Error:
    """An error to raise."""
    return _kind(code, status)(message)


def invalid(message: str) -> Ec2Error:
    return failure("InvalidParameterValue", message)


def missing(parameter: str) -> Ec2Error:
    return failure("MissingParameter", f"The request must contain the parameter {parameter}")


def combination(message: str) -> Ec2Error:
    return failure("InvalidParameterCombination", message)


def in_use(message: str) -> Ec2Error:
    return failure("DependencyViolation", message)


def unsupported(message: str) -> Ec2Error:
    return failure("UnsupportedOperation", message)
