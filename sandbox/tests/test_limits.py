"""The arithmetic of limits: nothing but numbers, and times passed in."""

from __future__ import annotations

import pytest
from bitrix24_sandbox.limits import Bucket, Limiter, Load, UsageMeter, portion
from bitrix24_sandbox.settings import Settings


def pour(bucket: Bucket, times: int, now: float, rate: float = 2.0, burst: int = 50) -> tuple[Bucket, int]:
    """Pour many requests at one moment; return the bucket and how many fitted."""
    fitted = 0
    for _ in range(times):
        fuller = bucket.pour(now, rate, burst)
        fitted += fuller is not None
        bucket = fuller or bucket
    return bucket, fitted


@pytest.mark.parametrize("burst", [1, 50, 250])
def test_a_bucket_holds_its_burst(burst: int) -> None:
    assert pour(Bucket(), burst + 10, 1000.0, 2.0, burst)[1] == burst


def test_refused_requests_leave_no_trace() -> None:
    full, _ = pour(Bucket(), 50, 1000.0)
    assert full.pour(1000.4, 2.0, 50) is None
    assert full.at == 1000.0
    # A second after filling it, and whatever came in between, there is room for two.
    assert pour(full, 5, 1001.0)[1] == 2


@pytest.mark.parametrize(("after", "room"), [(0.0, 0), (0.49, 0), (0.5, 1), (10.0, 20), (25.0, 50), (9999.0, 50)])
def test_a_bucket_leaks(after: float, room: int) -> None:
    full, _ = pour(Bucket(), 50, 1000.0)
    assert pour(full, 60, 1000.0 + after)[1] == room


def test_steady_requests_at_the_rate_never_fill_it() -> None:
    bucket, now = Bucket(), 0.0
    for _ in range(1000):
        bucket, fitted = pour(bucket, 1, now, 5.0, 1)
        assert fitted
        now += 0.2 + 1e-9


def test_a_clock_that_goes_back_leaks_nothing() -> None:
    full, _ = pour(Bucket(), 50, 1000.0)
    assert full.pour(900.0, 2.0, 50) is None


def test_every_address_has_its_own_bucket() -> None:
    limiter = Limiter()
    assert [limiter.admit("127.0.0.1", 0.0, 0.0, 1) for _ in range(2)] == [True, False]
    assert limiter.admit("127.0.0.2", 0.0, 0.0, 1)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), None),
        (Settings(plan="standard"), (2.0, 50)),
        (Settings(plan="enterprise"), (5.0, 250)),
        (Settings(plan="enterprise", rate=0.0), (0.0, 250)),
        (Settings(plan="standard", burst=7), (2.0, 7)),
        (Settings(rate=9.0), (9.0, 50)),
        (Settings(burst=3), (2.0, 3)),
        (Settings(rate=1.0, burst=3), (1.0, 3)),
    ],
)
def test_numbers_of_the_bucket(settings: Settings, expected: object) -> None:
    assert settings.bucket == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), None),
        (Settings(plan="standard"), 480.0),
        (Settings(operating_limit_s=5.0), 5.0),
        (Settings(plan="standard", operating_limit_s=0.0), 0.0),
    ],
)
def test_operating_limit(settings: Settings, expected: float | None) -> None:
    assert settings.operating_limit == expected


def test_a_load_forgets_minute_by_minute() -> None:
    load = Load().book(600.0, 1.0).book(659.9, 2.0).book(660.0, 4.0).book(1140.0, 8.0)
    assert load.minutes == ((10, 3.0), (11, 4.0), (19, 8.0))
    assert load.reset_at == 1200
    assert [load.at(now).total for now in (1199.9, 1200.0, 1260.0, 1739.9, 1740.0)] == [15.0, 12.0, 8.0, 8.0, 0]
    assert load.at(1200.0).reset_at == 1260
    assert load.at(1740.0).reset_at is None


def test_ten_minutes_are_kept_at_most() -> None:
    load = Load()
    for minute in range(30):
        load = load.book(minute * 60.0, 1.0)
    assert (len(load.minutes), load.total) == (10, 10.0)


@pytest.mark.parametrize(
    ("before", "added", "booked"),
    [(0.0, 0.05, 0.0), (0.0, 0.1, 0.0), (0.0, 0.11, 0.11), (0.09, 0.02, 0.11), (0.2, 0.01, 0.01), (5.0, 0.0, 0.0)],
)
def test_short_times_leave_no_trace(before: float, added: float, booked: float) -> None:
    assert portion(before, added) == pytest.approx(booked)


def test_a_request_adds_up_by_method_and_person() -> None:
    limiter = Limiter()
    tab = UsageMeter(limiter, 1)
    for _ in range(3):
        tab.spend("profile", 0.0, 0.04)
    tab.spend("scope", 0.0, 0.04)
    assert tab.load("profile", 0.0).total == pytest.approx(0.12)
    assert tab.load("scope", 0.0).total == 0
    assert UsageMeter(limiter, 2).load("profile", 0.0).total == 0
    # The next request starts below the floor again.
    UsageMeter(limiter, 1).spend("profile", 0.0, 0.09)
    assert tab.load("profile", 0.0).total == pytest.approx(0.12)
