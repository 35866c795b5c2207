"""From the outcomes of checks to the state of a target. Pure.

                  first success                       `unhealthy` failures in a row
    initial ───────────────────────▶ healthy ────────────────────────────────▶ unhealthy
       │                                ▲                                          │  ▲
       │                                └──────────────────────────────────────────┘  │
       └─ `unhealthy` failures ──────────────  `healthy` successes in a row ──────────┘

Sentences: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/check-target-health.html
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from cloudstead.services.elbv2.model import HealthCheck


class Verdict(NamedTuple):
    """What DescribeTargetHealth tells."""

    state: Literal["initial", "healthy", "unhealthy", "unused", "draining"]
    reason: (
        Literal[
            "Elb.RegistrationInProgress",
            "Elb.InitialHealthChecking",
            "Target.ResponseCodeMismatch",
            "Target.Timeout",
            "Target.FailedHealthChecks",
            "Target.NotRegistered",
            "Target.NotInUse",
            "Target.DeregistrationInProgress",
        ]
        | None
    ) = None
    description: str | None = None


HEALTHY = Verdict("healthy")
REGISTERING = Verdict("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
INITIAL = Verdict("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")
NOT_REGISTERED = Verdict("unused", "Target.NotRegistered", "Target is not registered to the target group")
NOT_IN_USE = Verdict("unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer")
DRAINING = Verdict("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
TIMEOUT = Verdict("unhealthy", "Target.Timeout", "Request timed out")
FAILED = Verdict("unhealthy", "Target.FailedHealthChecks", "Health checks failed")


def mismatch(status: int) -> Verdict:
    return Verdict("unhealthy", "Target.ResponseCodeMismatch", f"Health checks failed with these codes: [{status}]")


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one target."""

    verdict: Verdict = REGISTERING
    successes: int = 0  # in a row
    failures: int = 0
    counted: float = 0.0  # when a failure last counted
    since: float = 0.0  # when it became healthy

    @property
    def state(self) -> str:
        return self.verdict.state


def after(before: Progress, outcome: Verdict, check: HealthCheck, now: float) -> Progress:
    """What is known after one more check, whose outcome is HEALTHY or the way in which it failed.

    While a target is new it is asked more often than the interval says, so that it is found as soon as it answers; failures count once an interval.
    """
    if outcome.state == "healthy":
        successes = before.successes + 1
        if before.state == "initial" or (before.state == "unhealthy" and successes >= check.healthy):
            return Progress(verdict=HEALTHY, successes=successes, since=now)
        return msgspec.structs.replace(before, successes=successes, failures=0)
    if before.state == "initial" and before.failures and now - before.counted < check.interval:
        return msgspec.structs.replace(before, verdict=INITIAL)
    failures = before.failures + 1
    if before.state == "unhealthy" or failures >= check.unhealthy:
        return Progress(verdict=outcome, failures=failures, counted=now)
    kept = INITIAL if before.state == "initial" else before.verdict
    return Progress(verdict=kept, failures=failures, counted=now, since=before.since)


def wait(progress: Progress, check: HealthCheck, chance: float) -> float:
    """Seconds until the next check: about the interval, not the same for all; while a target is new, one.

    Args:
        chance: a number from 0 to 1.
    """
    seconds = min(1.0, check.interval) if progress.state == "initial" else float(check.interval)
    return seconds * (0.95 + chance / 10)


def accepts(matcher: str, status: int) -> bool:
    """Whether a status is one of "200", "200-299", "200,301"."""
    for part in matcher.split(","):
        low, _, high = part.partition("-")
        if int(low) <= status <= int(high or low):
            return True
    return False
