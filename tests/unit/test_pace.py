"""The shared bucket: what it allows, across threads and processes, and what it survives."""

from __future__ import annotations

import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from airflow_provider_b24cal.bitrix24.limits import HEADROOM, Bucket, Plan
from airflow_provider_b24cal.transport.pace import Pace

PLAN = Plan(2.0, 50.0)
ORIGIN = "https://example.bitrix24.com"


def test_a_burst_and_then_the_rate() -> None:
    bucket, waits = Bucket(PLAN), []
    for _ in range(60):
        wait, bucket = bucket.reserve(1000.0)
        waits.append(wait)
    assert waits[:49] == [0.0] * 49
    assert waits[49] == pytest.approx(HEADROOM / 2)
    assert [later - sooner for sooner, later in pairwise(waits[49:])] == pytest.approx([0.5] * 10)


def test_it_leaks() -> None:
    bucket = Bucket(PLAN)
    for _ in range(50):
        _, bucket = bucket.reserve(1000.0)
    assert bucket.reserve(1000.0)[0] > 0.5
    assert bucket.reserve(1001.0)[0] == 0.0


def test_a_refusal_is_learnt_from() -> None:
    bucket = Bucket(PLAN).refused(1000.0)
    assert bucket.reserve(1000.0)[0] == pytest.approx((1 + HEADROOM) / 2)
    further = Bucket(PLAN, 2000.0 - 1500.0 + 1000.0)
    assert further.refused(1000.0).empty_at == further.empty_at, "what is known already is not forgotten"


@pytest.mark.parametrize("empty_at", [1e12, float("inf"), float("nan")])
def test_a_clock_that_was_set_back_or_a_spoilt_state_costs_a_full_bucket_at_most(empty_at: float) -> None:
    assert Bucket(PLAN, empty_at).reserve(1000.0)[0] <= 1.0


def test_threads_share_it(tmp_path: Path) -> None:
    waits: list[float] = []

    def take() -> None:
        pace = Pace(ORIGIN, PLAN, tmp_path)
        waits.extend(pace.reserve() for _ in range(20))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(waits) == 160
    # The last of a hundred and sixty may be sent when a hundred and ten have leaked away.
    assert max(waits) == pytest.approx((160 - 50 + HEADROOM) / 2, abs=1.0)


TAKE = """
import sys
from pathlib import Path
from airflow_provider_b24cal.bitrix24.limits import Plan
from airflow_provider_b24cal.transport.pace import Pace
pace = Pace(sys.argv[1], Plan(2.0, 50.0), Path(sys.argv[2]))
print(max(pace.reserve() for _ in range(40)))
"""


def test_processes_share_it_and_portals_do_not(tmp_path: Path) -> None:
    def start(origin: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", TAKE, origin, str(tmp_path)], stdout=subprocess.PIPE, text=True)

    same, other = [start(ORIGIN) for _ in range(4)], start("https://other.bitrix24.com")
    longest = max(float(process.communicate()[0]) for process in same)
    assert longest == pytest.approx((160 - 50 + HEADROOM) / 2, abs=2.0)
    assert float(other.communicate()[0]) == 0.0


def test_without_a_plan_there_is_no_wait_and_no_file(tmp_path: Path) -> None:
    pace = Pace(ORIGIN, None, tmp_path / "state")
    pace.refused()
    assert [pace.reserve() for _ in range(500)] == [0.0] * 500
    assert not (tmp_path / "state").exists()


def test_without_a_folder_each_process_keeps_the_pace_by_itself(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    pace = Pace(ORIGIN, PLAN, tmp_path / "state")
    assert max(pace.reserve() for _ in range(60)) > 4.0


def test_a_file_system_without_locks_does_not_stop_anybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    pace = Pace(ORIGIN, PLAN, tmp_path)
    assert max(pace.reserve() for _ in range(60)) > 4.0
    pace.refused()


def test_the_state_is_private_and_no_link_is_followed(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    Pace(ORIGIN, PLAN, folder).reserve()
    (state,) = folder.iterdir()
    assert state.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    target = tmp_path / "precious"
    target.write_text("precious")
    state.unlink()
    state.symlink_to(target)
    pace = Pace(ORIGIN, PLAN, folder)
    assert max(pace.reserve() for _ in range(60)) > 4.0
    assert target.read_text() == "precious"
