"""The shared rate limiter: what it allows across threads and processes, and what it survives."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from airflow_provider_b24cal.bitrix24.protocol.limits import (
    HEADROOM,
    SHARE_GROWTH,
    SHARE_LEFT,
    SHARE_MARGIN,
    SHARE_MEMORY,
    Bucket,
    Plan,
)
from airflow_provider_b24cal.client.rate_limiter import LOCK_TIMEOUT, RateLimiter

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
    further = Bucket(PLAN, 1500.0)
    assert further.refused(1000.0).empty_at == 1000.0 + further.reserve(1000.0)[0], "reserved places are still used"


def test_the_share_is_what_this_sender_has_filled_of_the_bucket() -> None:
    bucket = Bucket(PLAN)
    for _ in range(25):
        _, bucket = bucket.reserve(1000.0)
    assert bucket.refused(1000.0).share == pytest.approx((25 - SHARE_MARGIN) / 50)
    assert Bucket(PLAN).refused(1000.0).share == pytest.approx((1 - SHARE_MARGIN) / 50)


def test_with_a_share_one_request_is_sent_in_each_interval() -> None:
    bucket, sent = Bucket(PLAN, 1000.0, 1000.0, 0.1, 1000.0), []
    for jitter in (0.0, 0.999, 0.0, 0.5):
        wait, bucket = bucket.reserve(1000.0, jitter)
        sent.append(wait)
    first, second = 5.0, 5.0 / SHARE_GROWTH
    assert sent[0] == 0.0
    assert first < sent[1] < first + second - 0.5
    assert sent[2] == pytest.approx(first + second)
    assert sent == sorted(sent)


def test_requests_that_are_refused_together_make_it_smaller_once() -> None:
    bucket = Bucket(PLAN).refused(1000.0)
    assert bucket.refused(1000.1).share == bucket.share
    later = 1000.0 + 0.5 / bucket.share
    assert bucket.refused(later).share == pytest.approx(SHARE_LEFT * bucket.share)


def test_the_share_grows_until_the_rate_is_whole_again() -> None:
    bucket, now, waits = Bucket(PLAN).refused(1000.0), 1000.0, []
    for _ in range(60):
        wait, bucket = bucket.reserve(now)
        waits.append(wait)
        now += wait
    assert bucket.share == 1.0
    assert waits[1:20] == sorted(waits[1:20], reverse=True)
    assert waits[-10:] == pytest.approx([0.5] * 10)


def test_others_are_forgotten_ten_minutes_after_the_last_refusal() -> None:
    bucket = Bucket(PLAN).refused(1000.0)
    assert bucket.reserve(1000.0 + SHARE_MEMORY - 1, 0.5)[0] > 10.0
    assert bucket.reserve(1000.0 + SHARE_MEMORY)[0] == 0.0


@pytest.mark.parametrize("empty_at", [1e12, float("inf"), float("nan")])
def test_a_clock_that_was_set_back_or_a_spoilt_state_costs_a_full_bucket_at_most(empty_at: float) -> None:
    assert Bucket(PLAN, empty_at).reserve(1000.0)[0] <= 1.0


@pytest.mark.parametrize("back", [1.0, 20.0, 120.0, 590.0, 1e6])
def test_a_clock_that_is_put_back_costs_no_more_than_was_to_be_waited_for(
    back: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_800_000_000.0
    monkeypatch.setattr("airflow_provider_b24cal.client.rate_limiter.time", lambda: now)
    pace = RateLimiter(ORIGIN, PLAN, tmp_path)
    last = max(pace.reserve() for _ in range(60))
    now -= back
    assert RateLimiter(ORIGIN, PLAN, tmp_path).reserve() == pytest.approx(last + 0.5)


def test_a_lock_that_is_not_given_back_is_not_waited_for(tmp_path: Path) -> None:
    RateLimiter(ORIGIN, PLAN, tmp_path).reserve()
    held = os.open(_state_in(tmp_path), os.O_RDWR)
    waits: list[float] = []
    thread = threading.Thread(target=lambda: waits.append(RateLimiter(ORIGIN, PLAN, tmp_path).reserve()))
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        began = time.monotonic()
        thread.start()
        thread.join(10 * LOCK_TIMEOUT)
        assert waits == [0.0]
        assert time.monotonic() - began >= LOCK_TIMEOUT
    finally:
        os.close(held)
        thread.join()


def test_threads_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_b24cal.client.rate_limiter.time", lambda: 1_800_000_000.0)
    waits: list[float] = []

    def take() -> None:
        pace = RateLimiter(ORIGIN, PLAN, tmp_path)
        waits.extend(pace.reserve() for _ in range(20))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(waits) == 160
    # The last of a hundred and sixty may be sent when a hundred and ten have leaked away.
    assert max(waits) == pytest.approx((160 - 50 + HEADROOM) / 2)


TAKE = """
import sys
from pathlib import Path
from airflow_provider_b24cal.bitrix24.protocol.limits import Plan
from airflow_provider_b24cal.client import rate_limiter as module
module.time = lambda: 1_800_000_000.0
pace = module.RateLimiter(sys.argv[1], Plan(2.0, 50.0), Path(sys.argv[2]))
print(max(pace.reserve() for _ in range(40)))
"""


def test_processes_share_it_and_portals_do_not(tmp_path: Path) -> None:
    def start(origin: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", TAKE, origin, str(tmp_path)], stdout=subprocess.PIPE, text=True)

    same, other = [start(ORIGIN) for _ in range(4)], start("https://other.bitrix24.com")
    longest = max(float(process.communicate()[0]) for process in same)
    assert longest == pytest.approx((160 - 50 + HEADROOM) / 2)
    assert float(other.communicate()[0]) == 0.0


def test_without_a_folder_each_process_keeps_the_pace_by_itself(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    pace = RateLimiter(ORIGIN, PLAN, tmp_path / "state")
    assert max(pace.reserve() for _ in range(60)) > 4.0


def test_without_a_folder_the_calls_of_a_process_keep_one_pace_by_portal(tmp_path: Path) -> None:
    """Each call of a hook makes a pace of its own."""
    (tmp_path / "state").touch()

    def take(origin: str) -> float:
        return RateLimiter(origin, PLAN, tmp_path / "state").reserve()

    assert max(take("https://one.example") for _ in range(60)) > 4.0
    assert take("https://two.example") == 0.0


def test_a_file_system_without_locks_does_not_stop_anybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    pace = RateLimiter(ORIGIN, PLAN, tmp_path)
    assert max(pace.reserve() for _ in range(60)) > 4.0
    pace.refused()


def test_the_state_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    RateLimiter(ORIGIN, PLAN, folder).reserve()
    (state,) = folder.iterdir()
    assert state.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def _link_the_file(folder: Path, precious: Path) -> None:
    state = _state_in(folder)
    state.unlink()
    state.symlink_to(precious / "file")


def _link_the_folder(folder: Path, precious: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(precious)


def _open_the_folder(folder: Path, precious: Path) -> None:
    # Whoever may write there can give the name of the state to any file of this user.
    state = _state_in(folder)
    state.unlink()
    state.hardlink_to(precious / "file")
    folder.chmod(0o777)


def _open_the_file(folder: Path, precious: Path) -> None:
    _state_in(folder).chmod(0o666)


def _give_the_folder_away(folder: Path, precious: Path) -> None:
    os.chown(folder, 12_345, -1)


def _state_in(folder: Path) -> Path:
    (state,) = folder.iterdir()
    return state


@pytest.mark.parametrize(
    "prepare",
    [
        _link_the_file,
        _link_the_folder,
        _open_the_folder,
        _open_the_file,
        pytest.param(
            _give_the_folder_away, marks=pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
        ),
    ],
)
def test_what_others_have_put_in_its_place_is_left_alone(prepare: Callable[[Path, Path], None], tmp_path: Path) -> None:
    folder, precious = tmp_path / "state", tmp_path / "precious"
    precious.mkdir()
    precious.joinpath("file").write_text("precious")
    RateLimiter(ORIGIN, PLAN, folder).reserve()
    prepare(folder, precious)
    before = _contents(tmp_path)
    pace = RateLimiter(ORIGIN, PLAN, folder)
    assert max(pace.reserve() for _ in range(60)) > 4.0, "the pace is kept without the file"
    assert _contents(tmp_path) == before


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _open_descriptors(folder: Path) -> int:
    """Return how many descriptors of this process lead into a folder; other threads have others."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found += link.readlink().is_relative_to(folder)
    return found


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    pace = RateLimiter(ORIGIN, PLAN, tmp_path)
    pace.reserve()
    for _ in range(20):
        pace.reserve()
    tmp_path.chmod(0o777)
    for _ in range(20):
        pace.reserve()
    tmp_path.chmod(0o700)
    _state_in(tmp_path).chmod(0o666)
    for _ in range(20):
        pace.reserve()
    assert _open_descriptors(tmp_path) == 0


def test_without_a_temporary_folder_the_pace_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("no usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    pace = RateLimiter(ORIGIN, PLAN)
    assert max(pace.reserve() for _ in range(60)) > 4.0
