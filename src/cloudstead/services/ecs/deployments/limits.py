"""How many tasks a service has at least and at most, and after how many failures a deployment has failed.

AWS rounds the minimum up and the maximum down, so that neither is crossed by a fraction of a task; and the threshold up.
"""

from __future__ import annotations

from cloudstead.services.ecs.deployments.model import Threshold

LEAST_THRESHOLD, MOST_THRESHOLD = 3, 200


def minimum_healthy(desired: int, percent: int) -> int:
    """Never more than are desired, or nothing could ever be replaced."""
    return min(desired, -(-desired * percent // 100))


def maximum(desired: int, percent: int) -> int:
    return desired * percent // 100


def threshold(desired: int, configured: Threshold) -> int:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html"""
    if configured.type == "COUNT":
        return max(1, configured.value)
    share = -(-desired * configured.value // 100)
    if configured.type == "UNBOUNDED_PERCENT":
        return max(1, share)
    return min(MOST_THRESHOLD, max(LEAST_THRESHOLD, share))
