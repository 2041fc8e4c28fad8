"""Progress lines: on long runs only, and not too many of them."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import aclosing

import pytest

from airflow_provider_b24cal.bitrix24.calendar import methods
from airflow_provider_b24cal.client.progress import Progress
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.clock import Clock
from tests.portal_data import MANY


def _reported(clock: Clock, total: int, steps: list[tuple[float, int]]) -> list[str]:
    """Return the lines of a run that gets so many more done after so many seconds each."""
    lines: list[str] = []
    progress = Progress(total, lambda line, *values: lines.append(line % values), clock.time)
    for seconds, count in steps:
        clock.now += seconds
        progress.add(count)
    return lines


@pytest.mark.parametrize(
    ("total", "steps", "lines"),
    [
        (100, [(1.0, 25)] * 4, []),
        (100, [(4.9, 50), (9.0, 50)], []),
        (100, [(60.0, 100)], []),
        (100, [(5.0, 50), (5.0, 50)], ["50 of 100 done, 10.0 per second, expected end 08:00:10 UTC"]),
        # The burst is over sooner than the rest.
        (5000, [(0.5, 2500), (6.0, 600), (4.9, 490), (0.1, 10)], [
            "3100 of 5000 done, 476.9 per second, expected end 08:00:10 UTC",
            "3600 of 5000 done, 100.0 per second, expected end 08:00:25 UTC",
        ]),
        # A clock that is set back, and one that stands still.
        (100, [(-3600.0, 10), (0.0, 10), (5.0, 10)], ["30 of 100 done, 4.0 per second, expected end 07:00:22 UTC"]),
    ],
)  # fmt: skip
def test_lines(total: int, steps: list[tuple[float, int]], lines: list[str], clock: Clock) -> None:
    assert _reported(clock, total, steps) == lines


def _set(hook: Bitrix24CalendarHook) -> None:
    hook.set_meeting_statuses(dict.fromkeys(MANY, "Y"))


def _aget(hook: Bitrix24CalendarHook) -> None:
    async def run_call() -> None:
        await hook.aget_meeting_statuses(MANY)
        await hook.aclose()

    asyncio.run(run_call())


def _in_parts(hook: Bitrix24CalendarHook) -> None:
    async def run_call() -> None:
        async with aclosing(hook.acall_many_iter([methods.get_status(number) for number in MANY])) as parts:
            async for _ in parts:
                pass
        await hook.aclose()

    asyncio.run(run_call())


@pytest.mark.parametrize(
    "run",
    [
        lambda hook: hook.get_meeting_statuses(MANY),
        lambda hook: hook.batch([("scope", None)] * len(MANY)),
        _set,
        _aget,
        _in_parts,
    ],
    ids=["get", "batch", "set", "aget", "in parts"],
)
def test_every_way_of_asking_many_tells(
    run: Callable[[Bitrix24CalendarHook], object],
    hook: Bitrix24CalendarHook,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hook.scopes()
    caplog.set_level(logging.INFO)

    def lines() -> list[str]:
        # Airflow's newer versions print; older ones use the logging of Python, and some of them print it as well.
        reported = [re.findall(r"[0-9]+ of [0-9]+ done", logged) for logged in (caplog.text, capsys.readouterr().out)]
        caplog.clear()
        return reported[0] or reported[1]

    run(hook)
    assert lines() == [], "a short run"

    def hasten() -> float:
        clock.now += 6.0
        return clock.now

    # Every look at the clock finds it six seconds later.
    monkeypatch.setattr("airflow_provider_b24cal.clock.time", hasten)
    run(hook)
    assert lines() == ["50 of 120 done", "100 of 120 done"]
