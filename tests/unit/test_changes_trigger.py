"""The watcher: one event for each change, none twice over a restart, and no way to make it spin or stop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.attendance.changes import state_from_json
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from airflow_provider_b24cal.triggers.attendance_changes import Bitrix24AttendanceChangesTrigger
from airflow_provider_b24cal.triggers.outbox import LONGEST_PAUSE
from airflow_provider_b24cal.triggers.shared_poll import shared_poll
from tests.clock import Clock
from tests.portal_data import CANARY, FOREIGN, HOSTED, NOTIFYING, SILENT

SEEN = "2026-09-16T10:00:00+00:00"


class Store:
    """What Airflow 3.3 keeps for an asset: JSON values by key."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def aget(self, key: str, default: Any = None) -> Any:
        return json.loads(self.kept[key]) if key in self.kept else default

    async def aset(self, key: str, value: Any) -> None:
        self.kept[key] = json.dumps(value)


@pytest.fixture
def clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock.now = datetime(2026, 9, 15, 12, tzinfo=UTC).timestamp()
    return clock


class Enough(BaseException):
    """The test has seen what it wants; no error that a watcher could take for its own."""


def _watch(clock: Clock, seconds: float, store: Store | None = None, **arguments: Any) -> list[dict[str, Any]]:
    """Run a watcher for so many seconds of the clock, and return what it reported."""
    trigger = Bitrix24AttendanceChangesTrigger(**arguments)
    trigger.asset_state_store = store  # type: ignore[assignment]
    reported: list[Any] = []

    def stop() -> None:
        raise Enough

    async def watch() -> None:
        async for event in trigger.run():
            reported.append(event.payload)  # noqa: PERF401 - what was reported before the end counts

    clock.later(seconds, stop)
    with pytest.raises(Enough):
        asyncio.run(watch())
    return reported


def _brief(reported: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(one["parent_id"], one["user_id"], one["old"], one["new"]) for one in reported]


def _answers(portal: Portal, *given: tuple[int, int, str]) -> Callable[[], None]:
    def answer() -> None:
        for event_id, user_id, letter in given:
            portal.answer(event_id, user_id, letter)

    return answer


def test_one_event_for_each_change(connection: str, portal: Portal, clock: Clock) -> None:
    clock.later(100, _answers(portal, (SILENT, 1, "Y"), (SILENT, 3, "N"), (HOSTED, 2, "Y")))
    clock.later(200, _answers(portal, (SILENT, 3, "Y")))
    reported = _watch(clock, 400)
    assert _brief(reported) == [
        (SILENT, 1, "Q", "Y"),
        (SILENT, 3, "Q", "N"),
        (HOSTED, 2, "Q", "Y"),
        (SILENT, 3, "N", "Y"),
    ]
    assert reported[0]["occurrence_start"] == SEEN
    assert len({one["change_id"] for one in reported}) == 4
    assert CANARY not in json.dumps(reported)


def test_only_what_is_asked_for(connection: str, portal: Portal, clock: Clock) -> None:
    clock.later(100, _answers(portal, (SILENT, 1, "Y"), (SILENT, 3, "N"), (HOSTED, 2, "Y"), (NOTIFYING, 1, "Y")))
    assert _brief(_watch(clock, 200, new_statuses=["y"], user_ids=["2", 3])) == [(HOSTED, 2, "Q", "Y")]


def test_single_meetings_one_masked_and_one_unknown(connection: str, portal: Portal, clock: Clock) -> None:
    clock.later(100, _answers(portal, (FOREIGN, 3, "Y"), (SILENT, 3, "Y"), (HOSTED, 2, "Y")))
    clock.later(200, lambda: portal.remove(SILENT, 3))
    clock.later(300, lambda: portal.invite(SILENT, 3))
    reported = _watch(clock, 400, event_ids=[FOREIGN, SILENT, 99_999])
    assert _brief(reported) == [(SILENT, 3, "Q", "Y"), (SILENT, 3, "Y", None), (SILENT, 3, None, "Q")]


def test_a_restart_goes_on_from_what_was_kept(connection: str, portal: Portal, clock: Clock) -> None:
    store = Store()
    clock.later(100, _answers(portal, (SILENT, 1, "Y")))
    first = _watch(clock, 200, store)
    portal.answer(SILENT, 1, "N")  # while nobody watches
    second = _watch(clock, 200, store)
    third = _watch(clock, 200, store)
    assert _brief(first) == [(SILENT, 1, "Q", "Y")]
    assert _brief(second) == [(SILENT, 1, "Y", "N")]
    assert third == []
    assert first[0]["change_id"] != second[0]["change_id"]
    assert len(store.kept) == 1
    assert _watch(clock, 200, store, days_ahead=5) == []
    assert len(store.kept) == 2, "a watcher of something else has its own"


def test_what_was_reported_but_not_noted_comes_again_with_the_same_id(
    connection: str, portal: Portal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, reported = Store(), []
    _watch(clock, 100, store)
    portal.answer(SILENT, 1, "Y")
    portal.answer(HOSTED, 2, "N")

    async def die_after_the_first() -> None:
        trigger = Bitrix24AttendanceChangesTrigger()
        trigger.asset_state_store = store  # type: ignore[assignment]
        async for event in trigger.run():
            reported.append(event.payload)
            return

    asyncio.run(die_after_the_first())
    again = _watch(clock, 100, store)
    assert again[0] == reported[0]
    assert _brief(again) == [(SILENT, 1, "Q", "Y"), (HOSTED, 2, "Q", "N")]
    assert _watch(clock, 100, store) == []


def test_an_event_that_airflow_may_have_lost_comes_again(connection: str, portal: Portal, clock: Clock) -> None:
    """Airflow's triggerer hands events on once a second, and not any more when it was reported to stop."""
    store = Store()
    clock.later(100, _answers(portal, (SILENT, 1, "Y")))
    first = _watch(clock, 122, store)
    assert _brief(first) == [(SILENT, 1, "Q", "Y")]
    portal.answer(SILENT, 1, "Q")  # while nobody watches
    again = _watch(clock, 100, store)
    assert again[0] == first[0]
    assert _brief(again[1:]) == [(SILENT, 1, "Y", "Q")]
    assert _watch(clock, 100, store) == []


def test_a_quick_watcher_notes_as_late_as_a_slow_one(connection: str, portal: Portal, clock: Clock) -> None:
    store = Store()
    clock.later(10, _answers(portal, (SILENT, 1, "Y")))
    first = _watch(clock, 14, store, poke_interval=1)
    again = _watch(clock, 10, store, poke_interval=1)
    assert first == again
    assert _brief(first) == [(SILENT, 1, "Q", "Y")]
    assert _watch(clock, 10, store, poke_interval=30) == [], "another pace is no other watcher"


def test_a_store_that_cannot_be_written_to_holds_nothing_up(connection: str, portal: Portal, clock: Clock) -> None:
    class Full(Store):
        tries, full = 0, True

        async def aset(self, key: str, value: Any) -> None:
            self.tries += 1
            if self.full:
                raise RuntimeError("no space")
            await super().aset(key, value)

    store = Full()
    clock.later(100, _answers(portal, (SILENT, 1, "Y")))
    clock.later(700, _answers(portal, (SILENT, 1, "N")))
    assert _brief(_watch(clock, 1500, store)) == [(SILENT, 1, "Q", "Y"), (SILENT, 1, "Y", "N")]
    assert store.tries < 10
    store.full = False
    clock.later(100, _answers(portal, (SILENT, 1, "Y")))
    assert _brief(_watch(clock, 200, store)) == [(SILENT, 1, "N", "Y")]
    assert _watch(clock, 100, store) == []


def test_nothing_is_reported_before_it_is_known_what_was(connection: str, portal: Portal, clock: Clock) -> None:
    class Silent(Store):
        silent = True

        async def aget(self, key: str, default: Any = None) -> Any:
            if self.silent:
                raise RuntimeError("no answer")
            return await super().aget(key, default)

    store = Silent()
    store.silent = False
    _watch(clock, 100, store)
    portal.answer(SILENT, 1, "Y")
    store.silent = True
    slept = len(clock.slept)
    clock.later(3600, lambda: setattr(store, "silent", False))
    assert _brief(_watch(clock, 2 * 3600, store, poke_interval=600)) == [(SILENT, 1, "Q", "Y")]
    assert len(clock.slept) - slept < 20


def test_a_poll_of_the_own_calendar_is_one_request(connection: str, portal: Portal, clock: Clock) -> None:
    trigger = Bitrix24AttendanceChangesTrigger(days_ahead=366)

    async def requests() -> list[Any]:
        counted: list[Any] = []
        for _ in range(3):
            await trigger.read(shared_poll(connection))
            counted.append(portal.count()["requests"])
        return counted

    assert asyncio.run(requests()) == [2, 3, 4], "at first it has to ask whose calendar it is"
    count: Any = portal.count()
    assert count["methods"]["calendar.event.get"] == 3 * 12, "a month to a call"


def test_a_connection_that_becomes_another_person_s(
    connection: str, server: SandboxServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = Bitrix24AttendanceChangesTrigger()

    async def owners() -> list[set[int]]:
        found = []
        for user_id in (1, 1, 2):
            monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", server.connection_json(user_id))
            found.append({event.owner_id for event in await trigger.read(shared_poll(connection))})
        return found

    assert asyncio.run(owners()) == [{1}, {1}, {2}]


def test_without_a_memory_a_restart_tells_nothing(connection: str, portal: Portal, clock: Clock) -> None:
    assert _watch(clock, 100) == []
    portal.answer(SILENT, 1, "Y")
    assert _watch(clock, 100) == []


def test_a_store_of_several_assets_is_none(connection: str, portal: Portal, clock: Clock) -> None:
    class Ambiguous(Store):
        async def aget(self, key: str, default: Any = None) -> Any:
            raise ValueError("Task has 2 concrete inlets and outlets")

    clock.later(100, _answers(portal, (SILENT, 1, "Y")))
    assert _brief(_watch(clock, 200, Ambiguous())) == [(SILENT, 1, "Q", "Y")]


@pytest.mark.parametrize("kept", [None, [], {}, {"answers": {"x": {}}}, {"since": 1, "reported": "x", "answers": {}}])
def test_a_memory_of_another_kind_is_none(kept: Any) -> None:
    assert state_from_json(kept) is None


def test_trouble_is_waited_out_and_hides_no_change(connection: str, portal: Portal, clock: Clock) -> None:
    clock.later(90, lambda: portal.plan({"method": "*", "times": 4, "error": "QUERY_LIMIT_EXCEEDED"}))
    clock.later(90, _answers(portal, (SILENT, 1, "Y")))
    assert _brief(_watch(clock, 2000)) == [(SILENT, 1, "Q", "Y")]
    pauses = clock.slept
    assert max(pauses) <= LONGEST_PAUSE
    assert sorted(pause for pause in pauses if pause > 61) == [120, 240, 480, 900]


def test_a_connection_that_is_of_no_use_does_not_make_it_spin(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", '{"conn_type": "bitrix24", "host": "x.bitrix24.com"}')
    assert _watch(clock, 24 * 3600) == []
    assert len(clock.slept) < 110


def test_watchers_poll_together(connection: str, portal: Portal, clock: Clock) -> None:
    triggers = [Bitrix24AttendanceChangesTrigger(user_ids=[user], poke_interval=user) for user in (1, 2, 3)]

    async def together() -> list[Any]:
        poll = shared_poll(connection)
        return await asyncio.gather(*(trigger.read(poll) for trigger in triggers))

    one, *others = asyncio.run(together())
    assert one
    assert all(other == one for other in others)
    count: Any = portal.count()
    assert count["methods"] == {"profile": 1, "calendar.event.get": 1}


def test_arguments_survive_the_database() -> None:
    path, arguments = Bitrix24AttendanceChangesTrigger(
        calendar="group:7", user_ids=("3",), new_statuses={"y", "N"}, days_behind=2, poke_interval=30
    ).serialize()
    again = Bitrix24AttendanceChangesTrigger(**json.loads(json.dumps(arguments)))
    assert again.serialize() == (path, arguments)
    assert arguments["new_statuses"] == ["N", "Y"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"calendar": "room:1"}, "calendar"),
        ({"calendar": ["user:1", "user:2"]}, "calendar"),
        ({"calendar": "user", "event_ids": [1]}, "event_ids"),
        ({"event_ids": ["651abc"]}, "event_ids"),
        ({"days_ahead": -1}, "days_ahead"),
        ({"days_ahead": 0}, "Invalid days_ahead 0"),
        ({"days_behind": "2"}, "days_behind"),
        ({"poke_interval": 0.5}, "poke_interval"),
        ({"user_ids": "12"}, "user_ids"),
        (
            {"event_ids": range(1, 2500), "user_ids": [1, 2]},
            "or user_ids: expected at most 2500 .*; got 2501",
        ),
        ({"new_statuses": []}, "new_statuses"),
    ],
)
def test_a_mistake_breaks_the_dag_file(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        Bitrix24AttendanceChangesTrigger(**arguments)
