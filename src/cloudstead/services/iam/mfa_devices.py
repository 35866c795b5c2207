"""Virtual MFA devices: programs that show codes."""

from __future__ import annotations

import io
import zlib
from typing import Final
from urllib.parse import quote

from cloudstead.kernel import ids
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.errors import AccessDenied, ValidationFailed
from cloudstead.kernel.operations import operation
from cloudstead.services.iam import api, arns, rules, totp, users
from cloudstead.services.iam.model import MFA_DEVICES, MfaDevice, User, fold

_ISSUER: Final = "Amazon Web Services"


def find(ctx: Context, serial: str) -> MfaDevice | None:
    row: MfaDevice | None = ctx.table(MFA_DEVICES).get((ctx.account, serial))
    return row


def require(ctx: Context, serial: str) -> MfaDevice:
    """
    Raises:
        NoSuchEntityException
    """
    row = find(ctx, serial)
    if row is None:
        raise api.NoSuchEntityException(f"MFA Device with serial number {serial} does not exist.")
    return row


def _require_of(ctx: Context, user: User, serial: str) -> MfaDevice:
    """A device that is a user's.

    Raises:
        NoSuchEntityException
    """
    device = require(ctx, serial)
    if device.enabled is None or fold(device.user) != fold(user.name):
        raise api.NoSuchEntityException(f"MFA Device with serial number {serial} does not exist.")
    return device


def devices_of(ctx: Context, user: User) -> list[MfaDevice]:
    return ctx.table(MFA_DEVICES).scan((user.account, fold(user.name)), index="by_user")


def _invalid_code() -> Exception:
    return api.InvalidAuthenticationCodeException("Authentication code for device is not valid.")


@operation(resource=arns.new("mfa", "virtual_mfa_device_name"))
async def create_virtual_mfa_device(ctx: Context, request: api.CreateVirtualMFADeviceRequest) -> api.CreateVirtualMFADeviceResponse:
    """Make a device that is nobody's yet. Its seed is told this once."""
    name, path = request.virtual_mfa_device_name, request.path or "/"
    serial = arns.arn_of(ctx.account, "mfa", name, path)
    if len(name) > 226 or len(serial) > 256:
        raise ValidationFailed("The path and the name of the virtual MFA device are too long.")
    if find(ctx, serial) is not None:
        raise api.EntityAlreadyExistsException("MFA device already exists.")
    # 64 digits of base32 from 320 random bits; unique_id gives 85 of them.
    seed = "".join(ids.unique_id("") for _ in range(4))[:64]
    device = MfaDevice(account=ctx.account, serial=serial, seed=seed, created=ctx.now(), tags=rules.tags_from(request.tags, MFA_DEVICES))
    with ctx.transaction() as tx:
        tx.insert(MFA_DEVICES, device)
    label = quote(f"{_ISSUER}:{name}@{ctx.account}", safe="@:")
    answer = api.VirtualMFADevice(
        serial_number=serial,
        base32_string_seed=seed.encode(),
        qr_code_png=qr_code(f"otpauth://totp/{label}?secret={seed}&issuer={quote(_ISSUER)}"),
        tags=rules.tag_list(device.tags),
    )
    return api.CreateVirtualMFADeviceResponse(virtual_mfa_device=answer)


def qr_code(text: str) -> bytes:
    """A PNG with which an authenticator application takes the seed over."""
    import segno  # only whoever makes a device pays for it

    picture = io.BytesIO()
    segno.make_qr(text, error="l").save(picture, kind="png", scale=4)
    return picture.getvalue()


@operation(resource=arns.listed("mfa"))
async def list_virtual_mfa_devices(ctx: Context, request: api.ListVirtualMFADevicesRequest) -> api.ListVirtualMFADevicesResponse:
    """The devices, those of users, or those that are nobody's."""
    wanted = {"Assigned": (True,), "Unassigned": (False,)}.get(request.assignment_status or "Any", (True, False))
    there = [device for device in ctx.table(MFA_DEVICES).scan((ctx.account,)) if (device.enabled is not None) in wanted]
    # A serial number is too long for a marker.
    found, marker = rules.page_of(ctx, request, there, key=lambda device: (device.created, zlib.crc32(device.serial.encode())))
    answers = [_describe(ctx, device) for device in found]
    return api.ListVirtualMFADevicesResponse(virtual_mfa_devices=answers, is_truncated=marker is not None, marker=marker)


def _describe(ctx: Context, device: MfaDevice) -> api.VirtualMFADevice:
    user = users.find(ctx, device.user) if device.enabled is not None else None
    return api.VirtualMFADevice(
        serial_number=device.serial,
        user=None if user is None else users.describe(user, details=False),
        enable_date=device.enabled,
    )


@operation(resource=arns.mfa_device, resource_tags=arns.mfa_device_tags)
async def delete_virtual_mfa_device(ctx: Context, request: api.DeleteVirtualMFADeviceRequest) -> api.DeleteVirtualMFADeviceResponse:
    device = require(ctx, request.serial_number)
    if device.enabled is not None:
        raise api.DeleteConflictException("MFA VirtualDevice in use. Must deactivate first.")
    with ctx.transaction() as tx:
        tx.delete(MFA_DEVICES, MFA_DEVICES.key(device))
    return api.DeleteVirtualMFADeviceResponse()


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def enable_mfa_device(ctx: Context, request: api.EnableMFADeviceRequest) -> api.EnableMFADeviceResponse:
    """Make a device a user's, which shows by two consecutive codes that it has the seed."""
    user = users.require(ctx, request.user_name)
    device = require(ctx, request.serial_number)
    if device.enabled is not None:
        raise api.EntityAlreadyExistsException("MFA Device is already in use.")
    rules.within_quota(ctx, "mfa_devices_per_user", len(devices_of(ctx, user)))
    step = _step(ctx, device, request.authentication_code1, request.authentication_code2, totp.NEAR)
    with ctx.transaction() as tx:
        tx.update(MFA_DEVICES, device, user=user.name, enabled=ctx.now(), last_step=step, skew=totp.skew(step, ctx.now()))
    return api.EnableMFADeviceResponse()


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def resync_mfa_device(ctx: Context, request: api.ResyncMFADeviceRequest) -> api.ResyncMFADeviceResponse:
    """Learn from two consecutive codes how far the device's clock is off."""
    device = _require_of(ctx, users.require(ctx, request.user_name), request.serial_number)
    step = _step(ctx, device, request.authentication_code1, request.authentication_code2, totp.FAR)
    with ctx.transaction() as tx:
        tx.update(MFA_DEVICES, device, last_step=step, skew=totp.skew(step, ctx.now()))
    return api.ResyncMFADeviceResponse()


def _step(ctx: Context, device: MfaDevice, first: str, second: str, within: int) -> int:
    step = totp.of_two(device.seed, first, second, ctx.now(), within)
    if step is None:
        raise _invalid_code()
    return step


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def deactivate_mfa_device(ctx: Context, request: api.DeactivateMFADeviceRequest) -> api.DeactivateMFADeviceResponse:
    """Make a device nobody's again."""
    device = _require_of(ctx, users.user_or_caller(ctx, request.user_name), request.serial_number)
    with ctx.transaction() as tx:
        tx.update(MFA_DEVICES, device, user="", enabled=None, last_step=0, skew=0)
    return api.DeactivateMFADeviceResponse()


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def list_mfa_devices(ctx: Context, request: api.ListMFADevicesRequest) -> api.ListMFADevicesResponse:
    """A user's devices; the root user has none here."""
    user = users.named_or_caller(ctx, request.user_name)
    there = [] if user is None else devices_of(ctx, user)
    found, marker = rules.page_of(ctx, request, there, key=lambda device: (device.enabled, zlib.crc32(device.serial.encode())))
    answers = [api.MFADevice(user_name=device.user, serial_number=device.serial, enable_date=device.enabled or 0.0) for device in found]
    return api.ListMFADevicesResponse(mfa_devices=answers, is_truncated=marker is not None, marker=marker)


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def get_mfa_device(ctx: Context, request: api.GetMFADeviceRequest) -> api.GetMFADeviceResponse:
    """A device, of a user or of nobody."""
    if request.user_name is not None:
        device = _require_of(ctx, users.require(ctx, request.user_name), request.serial_number)
    else:
        device = require(ctx, request.serial_number)
    return api.GetMFADeviceResponse(user_name=device.user or None, serial_number=device.serial, enable_date=device.enabled)


class SecondFactors:
    """IAM's part in the cloud: STS asks it whether a caller's code is right."""

    def take(self, ctx: Context, serial: str, code: str) -> None:
        """Take the code that the calling user's device shows now; each counts once.

        Raises:
            AccessDenied
        """
        user = users.find(ctx, ctx.identity.arn.rpartition("/")[2]) if ctx.identity.kind == "user" else None
        device = find(ctx, serial)
        if user is None or device is None or device.enabled is None or fold(device.user) != fold(user.name):
            raise AccessDenied(
                "MultiFactorAuthentication failed, unable to validate MFA code. Please verify your MFA serial number is valid and associated with this user."
            )
        step = totp.of_one(device.seed, code, ctx.now(), skew=device.skew, after=device.last_step)
        if step is None:
            raise AccessDenied("MultiFactorAuthentication failed with invalid MFA one time pass code.")
        with ctx.transaction() as tx:
            tx.update(MFA_DEVICES, device, last_step=step)

    async def stop(self) -> None:
        """There is nothing to stop."""


async def start(cloud: Cloud) -> SecondFactors:
    return SecondFactors()
