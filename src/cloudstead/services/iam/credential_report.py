"""The credential report: one line about the password, keys and devices of each user, the root user first.

https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_getting-report.html
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.iam import access_keys, account, api, arns, login_profiles, mfa_devices, signing_certificates
from cloudstead.services.iam.credentials import Keys
from cloudstead.services.iam.model import CREDENTIAL_REPORTS, USERS, AccessKey, CredentialReport, User

FRESH: Final = 4 * 3600.0  # seconds for which a report stands before another is made
_NOT_APPLICABLE: Final = "N/A"
_COLUMNS: Final = (
    "user", "arn", "user_creation_time", "password_enabled", "password_last_used", "password_last_changed", "password_next_rotation", "mfa_active",
    "access_key_1_active", "access_key_1_last_rotated", "access_key_1_last_used_date", "access_key_1_last_used_region",
    "access_key_1_last_used_service", "access_key_2_active", "access_key_2_last_rotated", "access_key_2_last_used_date",
    "access_key_2_last_used_region", "access_key_2_last_used_service", "cert_1_active", "cert_1_last_rotated", "cert_2_active",
    "cert_2_last_rotated",
)  # fmt: skip


@operation(resource="*")
async def generate_credential_report(ctx: Context, request: api.GenerateCredentialReportRequest) -> api.GenerateCredentialReportResponse:
    """Make a report unless one of the last four hours stands. It is there at once; the state is told as AWS tells it."""
    report = _report(ctx)
    if report is not None and ctx.now() - report.generated < FRESH:
        return api.GenerateCredentialReportResponse(state="COMPLETE")
    with ctx.transaction() as tx:
        tx.put(CREDENTIAL_REPORTS, CredentialReport(account=ctx.account, generated=ctx.now(), content=_content(ctx)))
    return api.GenerateCredentialReportResponse(
        state="STARTED", description="No report exists. Starting a new report generation task" if report is None else None
    )


@operation(resource="*")
async def get_credential_report(ctx: Context, request: api.GetCredentialReportRequest) -> api.GetCredentialReportResponse:
    report = _report(ctx)
    if report is None:
        raise api.CredentialReportNotPresentException("No report is present. Use GenerateCredentialReport to make one.")
    if ctx.now() - report.generated >= FRESH:
        raise api.CredentialReportExpiredException("The report has expired. Use GenerateCredentialReport to make another.")
    return api.GetCredentialReportResponse(content=report.content.encode(), report_format="text/csv", generated_time=report.generated)


def _report(ctx: Context) -> CredentialReport | None:
    row: CredentialReport | None = ctx.table(CREDENTIAL_REPORTS).get((ctx.account,))
    return row


def _content(ctx: Context) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerow(_root(ctx))
    writer.writerows(_user(ctx, user) for user in ctx.table(USERS).scan((ctx.account,)))
    return text.getvalue().rstrip("\n")


def _root(ctx: Context) -> list[str]:
    keys = access_keys.keys_of(ctx, "")
    created = _time(min((key.created for key in keys), default=None))
    password = ["not_supported", "no_information", "not_supported", "not_supported", "false"]
    return ["<root_account>", arns.account_arn(ctx.account), created, *password, *_keys(ctx, keys), *_certificates([])]


def _user(ctx: Context, user: User) -> list[str]:
    keys = access_keys.keys_of(ctx, user.name)
    certificates = [(one.status, one.uploaded) for one in signing_certificates.certificates_of(ctx, user.name)]
    mfa = _flag(bool(mfa_devices.devices_of(ctx, user)))
    return [user.name, user.arn, _time(user.created), *_password(ctx, user), mfa, *_keys(ctx, keys), *_certificates(certificates)]


def _password(ctx: Context, user: User) -> list[str]:
    profile = login_profiles.find(ctx, user.name)
    if profile is None:
        return ["false", _NOT_APPLICABLE, _NOT_APPLICABLE, _NOT_APPLICABLE]
    used = "no_information" if user.password_last_used is None else _time(user.password_last_used)
    policy = account.settings(ctx).password_policy
    days = 0 if policy is None else policy.max_password_age
    return ["true", used, _time(profile.changed), _time(profile.changed + days * 86_400.0) if days else _NOT_APPLICABLE]


def _keys(ctx: Context, keys: list[AccessKey]) -> list[str]:
    cells = []
    for key in keys[:2]:
        use = Keys.of(ctx.cloud).last_use(key.account, key.access_key_id)
        used = [_NOT_APPLICABLE] * 3 if use is None else [_time(use.at), use.region, use.service]
        cells += [_flag(key.status == "Active"), _time(key.created), *used]
    return cells + ["false", *[_NOT_APPLICABLE] * 4] * (2 - len(keys[:2]))


def _certificates(certificates: Sequence[tuple[str, float]]) -> list[str]:
    cells = [cell for status, uploaded in certificates[:2] for cell in (_flag(status == "Active"), _time(uploaded))]
    return cells + ["false", _NOT_APPLICABLE] * (2 - len(certificates[:2]))


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _time(seconds: float | None) -> str:
    return _NOT_APPLICABLE if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
