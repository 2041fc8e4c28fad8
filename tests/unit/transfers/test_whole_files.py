"""Files are replaced as a whole: a full disk and a killed run leave what was there before."""

from __future__ import annotations

import errno
import json
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from tests.calendar_data import ANNA, BUDGET
from tests.clock import Clock
from tests.transfer_runs import delete_event, files_in, store_files

ANSWERS = "attendance/day=2026-09-03/bitrix24.jsonl"
LIMIT = 50_000
"""Bytes that a file may have."""


CROWD: dict[str, Any] = {
    "people": [{"id": 1, "name": "Anna", "webhook": {"secret": "f1lesC0de0000000", "scopes": ["calendar"]}},
               *({"id": user_id, "name": f"Person {user_id}"} for user_id in range(2, 500))],
    "events": [{"id": 10, "name": "Town hall", "host": 1, "start": "2026-09-03T10:00", "end": "2026-09-03T11:00",
                "time_zone": "UTC", "attendees": [{"user": user_id} for user_id in range(2, 500)]}],
}  # fmt: skip


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    """A portal with one meeting, the answers to which do not fit."""
    with SandboxServer(Portal(parse(CROWD))) as running:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", running.connection_json(1))
        yield running.portal


@contextmanager
def full_disk() -> Iterator[None]:
    """Let the system refuse what exceeds the limit, in the middle of a write, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


KILLED = f"""
import resource, signal, sys
from pathlib import Path
from tests.transfer_runs import store_files

signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # The system then ends the process inside the write.
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {LIMIT}))
store_files(Path(sys.argv[1]), calendars="user")
"""


def test_a_full_disk_keeps_the_last_file_and_the_error_names_it(crowd: Portal, tmp_path: Path, clock: Clock) -> None:
    store_files(tmp_path, calendars="user")
    before = files_in(tmp_path)
    crowd.answer(10, 2, "N")
    with full_disk(), pytest.raises(OSError, match="the file was not replaced") as failed:
        store_files(tmp_path, calendars="user")
    assert failed.value.errno == errno.EFBIG
    assert failed.value.filename == str(tmp_path / ANSWERS)
    after = files_in(tmp_path)
    assert after.keys() == before.keys()
    assert after[ANSWERS] == before[ANSWERS]
    store_files(tmp_path, calendars="user")
    assert b'"status": "N"' in files_in(tmp_path)[ANSWERS]


def test_a_run_killed_in_a_write_keeps_the_last_file(crowd: Portal, tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "files"
    store_files(folder, calendars="user")
    before = files_in(folder)
    crowd.answer(10, 2, "N")
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGXFSZ, done.stderr
    assert {str(path.relative_to(folder)) for path in folder.glob("*/*/*.jsonl")} == before.keys()
    assert (folder / ANSWERS).read_bytes() == before[ANSWERS]
    assert [path for path in folder.rglob("*") if path.name.endswith(".tmp") and not path.name.startswith(".")] == []
    store_files(folder, calendars="user")
    assert b'"status": "N"' in (folder / ANSWERS).read_bytes()


def test_files_are_as_readable_as_others_of_the_user(connection: str, tmp_path: Path, clock: Clock) -> None:
    other = tmp_path / "other"
    other.touch()
    store_files(tmp_path / "files")
    assert (tmp_path / "files" / ANSWERS).stat().st_mode == other.stat().st_mode


def test_a_day_on_which_nothing_begins_is_known_to_be_read(
    connection: str, tmp_path: Path, portal: Portal, clock: Clock
) -> None:
    def days() -> dict[str, dict[str, object]]:
        found = files_in(tmp_path)
        return {name[9:19]: json.loads(text) for name, text in found.items() if name.startswith("days/")}

    store_files(tmp_path, calendars=[f"user:{ANNA}"])
    assert len(days()) == 30
    assert {name: days()["2026-09-03"][name] for name in ("occurrences", "answers", "complete")} == {
        "occurrences": 1, "answers": 3, "complete": True,
    }  # fmt: skip
    assert (days()["2026-09-02"]["occurrences"], days()["2026-09-02"]["answers"]) == (0, 0)
    delete_event(portal, BUDGET)
    store_files(tmp_path, calendars=[f"user:{ANNA}"], window_start="2026-09-03T00:00:00Z")
    assert ANSWERS not in files_in(tmp_path)
    assert days()["2026-09-03"]["occurrences"] == 0
    assert days()["2026-09-03"]["seen_at"] > days()["2026-09-02"]["seen_at"]
