"""Files of attendance in buckets of S3 and GCS, which Airflow's own providers reach; ``make buckets`` has all of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import pytest
import requests
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer
from sqlalchemy import create_engine

from airflow_provider_b24cal._airflow import ObjectStoragePath
from airflow_provider_b24cal.report import write_attendance_report
from airflow_provider_b24cal.transfers.attendance_to_object_storage import Bitrix24AttendanceToObjectStorageOperator
from tests.stored_tables import make_store

DATA: dict[str, Any] = {
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


class Cloud(Protocol):
    """Buckets as somebody else sees them; one, ``lake``, is there."""

    scheme: str
    connection: dict[str, Any]

    def buckets(self) -> list[str]: ...
    def keys(self) -> list[str]: ...
    def read(self, key: str) -> bytes: ...
    def empty(self) -> None: ...


class S3:
    """The one of Amazon, as moto plays it."""

    scheme = "s3"

    def __init__(self, url: str) -> None:
        import boto3

        access = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        self.client = boto3.client("s3", endpoint_url=url, **access)
        self.client.create_bucket(Bucket="lake")
        extra = {"endpoint_url": url, "region_name": "us-east-1"}
        self.connection = {"conn_type": "aws", "login": "key", "password": "secret", "extra": extra}

    def buckets(self) -> list[str]:
        return [one["Name"] for one in self.client.list_buckets()["Buckets"]]

    def keys(self) -> list[str]:
        return [one["Key"] for one in self.client.list_objects_v2(Bucket="lake").get("Contents", [])]

    def read(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket="lake", Key=key)["Body"].read()
        return content

    def empty(self) -> None:
        for key in self.keys():
            self.client.delete_object(Bucket="lake", Key=key)


class Gcs:
    """The one of Google, as its emulator plays it."""

    scheme = "gs"

    def __init__(self, url: str, storage: Any) -> None:
        self.url, self.storage = f"{url}/storage/v1/b", storage
        self.empty()
        extra = {"is_anonymous": True, "project": "b24cal", "gcs.endpoint": url}
        self.connection = {"conn_type": "google_cloud_platform", "extra": extra}

    def buckets(self) -> list[str]:
        return [one["name"] for one in requests.get(self.url, timeout=60).json()["items"]]

    def keys(self) -> list[str]:
        return sorted(one["name"] for one in requests.get(f"{self.url}/lake/o", timeout=60).json().get("items", []))

    def read(self, key: str) -> bytes:
        name = requests.utils.quote(key, safe="")
        return requests.get(f"{self.url}/lake/o/{name}?alt=media", timeout=60).content

    def empty(self) -> None:
        self.storage.wipe()
        requests.post(self.url, json={"name": "lake"}, timeout=60).raise_for_status()


@contextmanager
def _amazon() -> Iterator[Cloud]:
    pytest.importorskip("airflow.providers.amazon.aws.fs.s3", reason="Airflow's Amazon provider is not installed")
    server = pytest.importorskip("moto.server", reason="moto[server], which plays S3, is not installed")
    playing = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    playing.start()
    try:
        yield S3("http://{}:{}".format(*playing.get_host_and_port()))
    finally:
        playing.stop()


@contextmanager
def _google() -> Iterator[Cloud]:
    pytest.importorskip("airflow.providers.google.cloud.fs.gcs", reason="Airflow's Google provider is not installed")
    server = pytest.importorskip(
        "gcp_storage_emulator.server", reason="gcp-storage-emulator, which plays GCS, is not installed"
    )
    storage = server.Storage(use_memory_fs=True)
    playing = ThreadingHTTPServer(("127.0.0.1", 0), partial(server.RequestHandler, storage))
    thread = threading.Thread(target=playing.serve_forever)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as settings:
            # Else gcsfs asks Google itself, over gRPC, of what kind a bucket is.
            settings.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
            yield Gcs("http://{}:{}".format(*playing.server_address), storage)
    finally:
        playing.shutdown()
        playing.server_close()
        thread.join()


# One for all tests: Airflow keeps a connection to a cloud for as long as the process lives.
@pytest.fixture(scope="module", params=[_amazon, _google], ids=["s3", "gcs"])
def playing(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    with request.param() as cloud:
        yield cloud


@pytest.fixture
def cloud(playing: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """One empty bucket, behind the connection ``cloud-s3`` or ``cloud-gs``."""
    monkeypatch.setenv(f"AIRFLOW_CONN_CLOUD-{playing.scheme.upper()}", json.dumps(playing.connection))
    yield playing
    playing.empty()


@pytest.fixture(autouse=True)
def portal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    with SandboxServer(Portal(parse(DATA))) as running:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", running.connection_json(1))
        yield running.portal


def _store(cloud: Cloud, bucket: str) -> dict[str, int]:
    task = Bitrix24AttendanceToObjectStorageOperator(
        task_id="files",
        path=f"{cloud.scheme}://{bucket}/attendance",
        storage_conn_id=f"cloud-{cloud.scheme}",
        window_start="2026-09-01T00:00:00+00:00",
        window_end="2026-09-03T00:00:00+00:00",
    )
    return task.execute({})  # type: ignore[typeddict-item]


def test_days_come_and_go(cloud: Cloud, portal: Portal) -> None:
    assert _store(cloud, "lake")["files"] == 4
    keys = cloud.keys()
    assert keys == [
        f"attendance/{part}/day=2026-09-0{day}/bitrix24.jsonl"
        for part in ("attendance", "days", "meetings")
        for day in (1, 2)
    ]
    (row,) = map(json.loads, cloud.read(keys[4]).splitlines())
    assert (row["parent_id"], row["silent"]) == (10, 1)
    portal.answer(10, 2, "Y")
    with portal.locked() as book:
        book.put([replace(row, deleted=True) for row in book.rows_of(20)])
    counts = _store(cloud, "lake")
    assert (counts["files"], counts["removed"]) == (2, 2)
    (row,) = map(json.loads, cloud.read(keys[4]).splitlines())
    assert (row["accepted"], row["silent"]) == (1, 0)
    assert cloud.keys() == [keys[0], *keys[2:5]]


def test_no_bucket_is_made(cloud: Cloud) -> None:
    with pytest.raises(FileNotFoundError):
        _store(cloud, "no-such-bucket")
    assert cloud.buckets() == ["lake"]


def test_a_report_has_an_address_in_a_bucket(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("airflow.providers.sqlite")
    database = {"conn_type": "sqlite", "host": str(tmp_path / "attendance.db")}
    monkeypatch.setenv("AIRFLOW_CONN_TABLES", json.dumps(database))
    engine = create_engine(f"sqlite:///{tmp_path}/attendance.db")
    make_store(engine).prepare(create=True)
    engine.dispose()
    conn_id = f"cloud-{cloud.scheme}"
    for _ in range(2):
        address = write_attendance_report(f"{cloud.scheme}://lake/a/report.html", "tables", storage_conn_id=conn_id)
    assert address == f"{cloud.scheme}://{conn_id}@lake/a/report.html"
    assert cloud.keys() == ["a/report.html"]
    assert ObjectStoragePath(address).read_bytes() == cloud.read("a/report.html")
    assert b"The tables are empty" in cloud.read("a/report.html")
