"""A caller's second factor. IAM has the devices; its part in the cloud says whether a code is right."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed


async def shown(ctx: Context, serial: str | None, code: str | None) -> bool:
    """Whether the call shows a second factor; one that is wrong is refused.

    Raises:
        AccessDenied
        ValidationFailed: a device without a code, or a code without a device.
    """
    if serial is None and code is None:
        return False
    if serial is None or code is None:
        raise ValidationFailed("Both the serial number of an MFA device and its code must be given.")
    await ctx.cloud.ready("iam")
    ctx.cloud.parts["iam"].take(ctx, serial, code)
    return True
