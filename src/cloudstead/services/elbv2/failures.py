"""AWS's sentences for what several operations refuse."""

from __future__ import annotations

from typing import NoReturn

from cloudstead.kernel.errors import ValidationFailed
from cloudstead.services.elbv2 import api


def invalid(sentence: str) -> NoReturn:
    """Raises ValidationError."""
    raise ValidationFailed(sentence)


def misconfigured(sentence: str) -> NoReturn:
    raise api.InvalidConfigurationRequestException(sentence)


def unsupported(what: str) -> NoReturn:
    """What AWS has and is not done here."""
    raise api.InvalidConfigurationRequestException(f"{what} is not supported by Cloudstead")


def bad_token() -> Exception:
    return ValidationFailed("Invalid marker")
