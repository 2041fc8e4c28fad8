"""Files of attendance in a bucket of S3, which Airflow's Amazon provider reaches; where these are installed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("airflow.providers.amazon.aws.fs.s3", reason="Airflow's Amazon provider with s3fs is not installed")
server = pytest.importorskip("moto.server", reason="moto[server], which plays S3, is not installed")

from airflow_provider_b24cal.sandbox.datafile import parse
from airflow_provider_b24cal.sandbox.portal import Portal
from airflow_provider_b24cal.sandbox.server import SandboxServer
from airflow_provider_b24cal.transfers.attendance_to_object_storage import Bitrix24AttendanceToObjectStorageOperator

OFFICE: dict[str, Any] = {
    "people": [
        {"id": 1, "name": "Anna", "webhook": {"secret": "b0cketC0de000000", "scopes": ["calendar"]}},
        {"id": 2, "name": "Martin"},
    ],
    "events": [
        {"id": 10 * day, "name": "Sync", "host": 1, "start": f"2026-09-0{day}T10:00", "end": f"2026-09-0{day}T11:00",
         "time_zone": "UTC", "attendees": [{"user": 2}]}
        for day in (1, 2)
    ],
}  # fmt: skip


# One for all: Airflow keeps a connection to a cloud for as long as the process lives.
@pytest.fixture(scope="module")
def cloud() -> Iterator[str]:
    """An S3 of one's own."""
    playing = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    playing.start()
    try:
        yield "http://{}:{}".format(*playing.get_host_and_port())
    finally:
        playing.stop()


@pytest.fixture
def s3(cloud: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of it, with one empty bucket, behind the connection ``cloud``."""
    import boto3

    access = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=cloud, **access)
    client.create_bucket(Bucket="lake")
    extra = {"endpoint_url": cloud, "region_name": "us-east-1"}
    stored = {"conn_type": "aws", "login": "key", "password": "secret", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_CLOUD", json.dumps(stored))
    yield client
    for one in client.list_objects_v2(Bucket="lake").get("Contents", []):
        client.delete_object(Bucket="lake", Key=one["Key"])


@pytest.fixture(autouse=True)
def portal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    with SandboxServer(Portal(parse(OFFICE))) as running:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", running.connection_json(1))
        yield running.portal


def _store(path: str, **more: Any) -> dict[str, int]:
    window = {"window_start": "2026-09-01T00:00:00+00:00", "window_end": "2026-09-03T00:00:00+00:00"}
    task = Bitrix24AttendanceToObjectStorageOperator(
        task_id="files", path=path, storage_conn_id="cloud", **{**window, **more}
    )
    return task.execute({})  # type: ignore[typeddict-item]


def test_days_come_and_go(s3: Any, portal: Portal) -> None:
    assert _store("s3://lake/attendance")["files"] == 4
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket="lake")["Contents"]]
    assert keys == [
        f"attendance/{part}/day=2026-09-0{day}/bitrix24.jsonl" for part in ("attendance", "meetings") for day in (1, 2)
    ]
    (row,) = map(json.loads, s3.get_object(Bucket="lake", Key=keys[2])["Body"].read().splitlines())
    assert (row["parent_id"], row["silent"]) == (10, 1)
    portal.answer(10, 2, "Y")
    with portal.locked() as book:
        book.put([replace(row, deleted=True) for row in book.rows_of(20)])
    counts = _store("s3://lake/attendance")
    assert (counts["files"], counts["removed"]) == (2, 2)
    (row,) = map(json.loads, s3.get_object(Bucket="lake", Key=keys[2])["Body"].read().splitlines())
    assert (row["accepted"], row["silent"]) == (1, 0)
    assert [one["Key"] for one in s3.list_objects_v2(Bucket="lake")["Contents"]] == keys[::2]


def test_no_bucket_is_made(s3: Any) -> None:
    with pytest.raises(FileNotFoundError):
        _store("s3://no-such-bucket/attendance")
    assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == ["lake"]
