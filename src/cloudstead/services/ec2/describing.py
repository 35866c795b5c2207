"""What all Describe operations do: the resources of the ids that are given, or all; those that pass the filters; one page of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from cloudstead.kernel.context import Context
from cloudstead.kernel.pagination import page_of
from cloudstead.kernel.shapes import Request
from cloudstead.services.ec2 import api
from cloudstead.services.ec2.failures import failure
from cloudstead.services.ec2.filtering import Filters, chosen
from cloudstead.services.ec2.kinds import Kind
from cloudstead.services.ec2.model import Resource

T = TypeVar("T")
PAGE = 1000


def described(
    ctx: Context, request: Any, kind: Kind, ids: list[str] | None, filters: list[api.Filter] | None, known: Filters
) -> tuple[list[Any], str | None]:
    """One page of rows of a kind, and the token of the next."""
    rows = kind.require_all(ctx, ids) if ids else kind.all(ctx)
    return paged(ctx, request, passing(rows, filters, known), key=lambda row: row.id)


def passing(resources: Iterable[T], filters: list[api.Filter] | None, known: Filters) -> list[T]:
    passes = chosen(filters, {"owner-id": owner, **known})
    return [one for one in resources if passes(one)]


def paged(ctx: Context, request: Request, items: Iterable[T], *, key: Callable[[T], Any]) -> tuple[list[T], str | None]:
    limit, token = getattr(request, "max_results", None), getattr(request, "next_token", None)
    return page_of(ctx, items, key=key, request=request, token=token, limit=limit or PAGE, invalid=lambda: _bad(token))


def _bad(token: str | None) -> Exception:
    return failure("InvalidNextToken", f"The token '{token}' is invalid")


def owner(resource: Resource) -> str:
    return resource.account
