"""Writes of one run that undo one another: what is reported as verified is in place when the run ends."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

SERIES, DATE, OTHER_DATE = 301, 302, 303
SINGLE = range(1001, 1061)
DAY = {"start": "2026-09-16T10:00", "end": "2026-09-16T11:00"}


def _own(event_id: int) -> int:
    """The acting user's own id of a meeting."""
    return event_id + 1000


def _meeting(event_id: int, **more: object) -> dict[str, object]:
    return {
        "id": event_id, "name": f"Meeting {event_id}", "host": 2, **DAY, "notify": True,
        "attendees": [{"user": 1, "id": _own(event_id)}], **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def _serving() -> Iterator[SandboxServer]:
    people = [{"id": 1, "name": "Anna", "webhook": {"secret": "annasC0de0000000"}}, {"id": 2, "name": "Martin"}]
    events = [
        _meeting(SERIES, repeat={"frequency": "WEEKLY"}),
        _meeting(DATE, series=SERIES),
        _meeting(OTHER_DATE, series=SERIES),
        *map(_meeting, SINGLE),
    ]
    with SandboxServer(Portal(parse({"people": people, "events": events}))) as running:
        yield running


@pytest.fixture
def portal(_serving: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Portal:
    _serving.renew()
    monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", _serving.connection_json(1))
    return _serving.portal


@pytest.fixture
def hook(portal: Portal) -> Iterator[Bitrix24CalendarHook]:
    with Bitrix24CalendarHook() as hook:
        yield hook


def _reported_is_true(hook: Bitrix24CalendarHook, portal: Portal, wanted: dict[int, str]) -> list[int]:
    """Set statuses and check what is reported of them; return the ids with an error."""
    changes = hook.set_meeting_statuses(wanted)
    assert list(changes) == list(wanted)
    for event_id, change in changes.items():
        real = portal.status(event_id if event_id <= SINGLE[-1] else event_id - 1000, 1)
        assert change.current == real, change
        assert (change.error is None) == (real == wanted[event_id]), change
        assert change.error is None or isinstance(change.error, errors.StatusNotAppliedError)
    return [event_id for event_id, change in changes.items() if change.error]


def _count(portal: Portal) -> tuple[int, int]:
    counted: Any = portal.count()
    return counted["requests"], counted["methods"].get("calendar.meeting.status.set", 0)


@pytest.mark.parametrize("among", [0, len(SINGLE)], ids=["few", "many"])
@pytest.mark.parametrize("before", ["QQ", "NQ", "QN", "NN"])
@pytest.mark.parametrize("order", [*permutations([SERIES, DATE, OTHER_DATE])], ids=str)
def test_a_series_does_not_undo_its_dates(
    order: tuple[int, ...], before: str, among: int, hook: Bitrix24CalendarHook, portal: Portal
) -> None:
    for event_id, letter in zip((DATE, OTHER_DATE), before, strict=True):
        portal.answer(event_id, 1, letter)
    wanted = {SERIES: "Y", DATE: "N", OTHER_DATE: "Q"}
    others = dict.fromkeys(SINGLE[:among], "N")
    assert _reported_is_true(hook, portal, {**{key: wanted[key] for key in order}, **others}) == []


@pytest.mark.parametrize("among", [0, len(SINGLE)], ids=["few", "many"])
def test_a_date_that_accepts_its_series(among: int, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    portal.answer(OTHER_DATE, 1, "N")
    wanted = {OTHER_DATE: "N", DATE: "Y", **dict.fromkeys(SINGLE[:among], "Q")}
    assert _reported_is_true(hook, portal, wanted) == []


@pytest.mark.parametrize("among", [0, len(SINGLE)], ids=["few", "many"])
@pytest.mark.parametrize("letters", ["YN", "NY", "YQ", "QY", "NQ", "QN"])
@pytest.mark.parametrize("before", "YNQ")
def test_of_two_ids_of_one_meeting_one_is_reported(
    before: str, letters: str, among: int, hook: Bitrix24CalendarHook, portal: Portal
) -> None:
    meeting = SINGLE[0]
    portal.answer(meeting, 1, before)
    wanted = dict(zip((meeting, _own(meeting)), letters, strict=True)) | dict.fromkeys(SINGLE[1:among], "Y")
    failed = _reported_is_true(hook, portal, wanted)
    assert failed in ([meeting], [_own(meeting)])
    # The organiser is notified of each set.
    assert _count(portal)[1] <= len(SINGLE[1:among]) + 2


def test_what_one_answer_cannot_undo_costs_nothing_more(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    """Different statuses, so few that one request writes and reads them all."""
    assert _reported_is_true(hook, portal, {1001: "Y", 1002: "N", 1003: "Q", SERIES: "Q"}) == []
    assert _count(portal) == (2, 2)


def test_requests_of_many_with_different_statuses(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    half = len(SINGLE) // 2
    wanted = {event_id: "YN"[number % 2] for number, event_id in enumerate(SINGLE)}
    assert _reported_is_true(hook, portal, wanted) == []
    # Thirty of each: one request reads them, two write them and read them back; at last the first are read again.
    assert _count(portal) == (3 + 3 + 1, 2 * half)
    assert _reported_is_true(hook, portal, wanted) == []
    assert _count(portal) == (3 + 3 + 1 + 2, 2 * half)
