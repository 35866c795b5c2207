"""What every call begins with."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.shapes import Request, Struct
from cloudstead.services.ec2 import defaults
from cloudstead.services.ec2.failures import failure, unsupported


def begin(ctx: Context, request: Request, *acts: str) -> None:
    """End a dry run, refuse what the operation does not act on, and see to it that the region has its default VPC.

    Policies have been asked by now, which is what a dry run is for.

    Args:
        acts: the members that the operation acts on. Any other one must be absent, or say what holds without it (false, nothing).
    """
    if getattr(request, "dry_run", None):
        raise failure("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", status=412)
    for name in request.__struct_fields__:
        if name not in acts and not _nothing(getattr(request, name)):
            raise unsupported(f"The parameter {_wire_name(request, name)} is not supported by Cloudstead.")
    defaults.ensure(ctx)


def _nothing(value: object) -> bool:
    if isinstance(value, Struct):
        return all(_nothing(getattr(value, name)) for name in value.__struct_fields__)
    return value is None or value is False or value in (0, "", [])


def _wire_name(request: Request, name: str) -> str:
    at = request.__struct_fields__.index(name)
    wire = request.__struct_encode_fields__[at]
    return wire[:1].upper() + wire[1:]
