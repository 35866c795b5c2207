"""A disk that takes nothing more: calls that would write are refused and undone, all others are answered, and it goes on when there is room again."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cloudstead.kernel.store import WriteFailed
from cloudstead.kernel.store.sqlite import SqliteBackend
from support import CloudThread


class Disk:
    """Refuses writes while it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        write = SqliteBackend.write

        def limited(backend: SqliteBackend, batch: Any) -> None:
            if self.full:
                time.sleep(0.2)  # while it tries, others come
                raise WriteFailed("OperationalError: database or disk is full")
            write(backend, batch)

        monkeypatch.setattr(SqliteBackend, "write", limited)


def refusal(call: Any, **parameters: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return caught.value.response["ResponseMetadata"]["HTTPStatusCode"], caught.value.response["Error"]["Code"]


def test_a_full_disk_refuses_writes_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    with CloudThread(tmp_path / "data") as cloud:
        iam, logs = cloud.client("iam"), cloud.client("logs")
        iam.create_user(UserName="before")
        disk.full = True
        assert refusal(iam.create_user, UserName="during") == (503, "ServiceUnavailable")
        assert refusal(iam.delete_user, UserName="before") == (503, "ServiceUnavailable")
        assert refusal(logs.create_log_group, logGroupName="during") == (503, "ServiceUnavailableException")
        assert [user["UserName"] for user in iam.list_users()["Users"]] == ["before"]
        assert logs.describe_log_groups()["logGroups"] == []
        assert refusal(iam.get_user, UserName="during") == (404, "NoSuchEntity")
        disk.full = False
        iam.create_user(UserName="during")
        logs.create_log_group(logGroupName="after")
    with CloudThread(tmp_path / "data") as cloud:
        assert [user["UserName"] for user in cloud.client("iam").list_users()["Users"]] == ["before", "during"]
        assert [group["logGroupName"] for group in cloud.client("logs").describe_log_groups()["logGroups"]] == ["after"]


def test_an_error_is_not_told_before_what_it_rests_on_is_certain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That a name is taken by something that is then undone must not be heard by anybody."""
    disk = Disk(monkeypatch)
    with CloudThread(tmp_path / "data") as cloud:
        iam = cloud.client("iam")
        iam.list_users()
        disk.full = True

        with ThreadPoolExecutor(8) as pool:
            answers = set(pool.map(lambda _: refusal(iam.create_user, UserName="same"), range(8)))
        assert answers == {(503, "ServiceUnavailable")}
