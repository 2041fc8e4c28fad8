"""Deferred waits on one connection: one poll for all, and everybody for themselves."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from airflow_provider_b24cal.triggers import shared_poll
from airflow_provider_b24cal.triggers.attendance import Bitrix24AttendanceTrigger
from airflow_provider_b24cal.waiting.conditions import AttendeesCondition, MeetingsCondition
from airflow_provider_b24cal.waiting.evaluate import Rule
from tests.deferred_waits import Waits
from tests.portal_data import CANARY, FOREIGN, MANY, SILENT, UNKNOWN
from tests.sync import Gate, await_until

GET = "calendar.meeting.status.get"


def _commands(portal: Portal) -> int:
    count: Any = portal.count()
    return int(count["commands"].get(GET, 0))


def _requests(portal: Portal) -> int:
    count: Any = portal.count()
    return int(count["requests"])


def _members() -> int:
    return shared_poll.shared_poll("bitrix24_default").members


def _answer(portal: Portal, event_ids: Sequence[int]) -> None:
    for event_id in event_ids:
        portal.answer(event_id, 1, "Y")


def test_a_hundred_waits_take_two_requests(connection: str, portal: Portal) -> None:
    waiting = list(MANY[:100])

    async def main() -> Any:
        # Long enough for everybody to be back before the next tick, also on a slow machine.
        waits = Waits(interval=5.0)
        for event_id in waiting:
            waits.join(event_id)
        await await_until(lambda: _commands(portal) >= 200)
        seen = _requests(portal), _commands(portal)
        _answer(portal, waiting)
        return seen, await waits.end()

    (requests, commands), ends = asyncio.run(main())
    assert requests * 50 == commands, "all requests are full"
    assert commands % 100 == 0, "everybody is asked equally often"
    assert ends == {
        event_id: {"ending": "arrived", "statuses": {str(event_id): "Y"}, "error": None} for event_id in waiting
    }


def test_different_waits_share_their_requests(connection: str, portal: Portal) -> None:
    async def main() -> Any:
        waits = Waits()
        waits.join("meetings", MeetingsCondition((1001, 1002), Rule()))
        waits.join("attendees", AttendeesCondition(1003, Rule()))
        waits.join(1002)
        return await waits.end()

    _answer(portal, [1001, 1002, 1003])
    ends = asyncio.run(main())
    count: Any = portal.count()
    assert count["commands"] == {GET: 2, "calendar.event.getbyid": 1}, "what two want to know is asked once"
    assert [ends[name]["statuses"] for name in ("meetings", "attendees", 1002)] == [
        {"1001": "Y", "1002": "Y"},
        {"1": "Y"},
        {"1002": "Y"},
    ]


def test_a_bad_event_fails_alone(connection: str, portal: Portal) -> None:
    async def main() -> Any:
        waits = Waits()
        for name in (SILENT, UNKNOWN, FOREIGN):
            waits.join(name)
        await await_until(lambda: len(waits.ends) == 2)
        left = set(waits.ends)
        _answer(portal, [SILENT])
        return left, await waits.end()

    left, ends = asyncio.run(main())
    assert left == {UNKNOWN, FOREIGN}
    assert {name: (end["error"] or {}).get("class") for name, end in ends.items()} == {
        SILENT: None,
        UNKNOWN: "NoSuchMeetingError",
        FOREIGN: "NotInvitedError",
    }


def test_trouble_of_one_command_holds_up_nobody_else(connection: str, portal: Portal) -> None:
    """One command is refused for ten minutes; the other members' answers do not wait for that."""
    portal.plan({"inner": GET, "times": 1, "error": "OPERATION_TIME_LIMIT"})
    _answer(portal, [1001, 1002, 1003])

    async def main() -> Any:
        waits = Waits()
        for name in (1001, 1002, 1003):
            waits.join(name, retry_timeout=900.0)
        await await_until(lambda: len(waits.ends) == 2)
        waiting = {1001, 1002, 1003} - set(waits.ends)
        await waits.leave(waiting.pop())
        return waits.ends

    ends = asyncio.run(main())
    assert {end["ending"] for end in ends.values()} == {"arrived"}


@pytest.fixture
def gathering(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """No round is sent before the gate is opened, and then as always."""
    gate, gather = Gate(), shared_poll._PollBatch.gather

    async def held(joined: shared_poll._PollBatch) -> None:
        await gate.sleep(0)
        await gather(joined)

    monkeypatch.setattr(shared_poll._PollBatch, "gather", held)
    return gate


def test_who_leaves_is_not_asked_for(connection: str, portal: Portal, gathering: Gate) -> None:
    async def main() -> Any:
        waits = Waits()
        for name in (1001, 1002, 1003):
            waits.join(name)
        await await_until(lambda: _members() == 3)
        await waits.leave(1002)
        gathering.open()
        return await waits.end()

    _answer(portal, [1001, 1003])
    ends = asyncio.run(main())
    assert _commands(portal) == 2
    assert set(ends) == {1001, 1003}


def test_who_leaves_while_asked_does_not_take_the_answer_along(gated: tuple[Portal, Gate]) -> None:
    portal, gate = gated
    portal.plan({"method": "batch", "times": 1, "delay": 600})
    _answer(portal, [1001])

    async def main() -> Any:
        waits = Waits()
        waits.join("one", MeetingsCondition((1001,), Rule()))
        waits.join("two", MeetingsCondition((1001,), Rule()))
        waits.join(1002)
        await await_until(lambda: gate.held)
        await waits.leave("one")
        gate.open()
        await await_until(lambda: "two" in waits.ends)
        await waits.leave(1002)
        return waits.ends

    ends = asyncio.run(main())
    assert set(ends) == {"two"}
    assert ends["two"]["ending"] == "arrived"


def test_when_all_have_left_nothing_is_asked_and_nothing_is_left_behind(
    connection: str, portal: Portal, gathering: Gate
) -> None:
    async def main() -> Any:
        waits = Waits()
        waits.join(1001)
        await await_until(lambda: _members() == 1)
        given_up = shared_poll.shared_poll("bitrix24_default")._joinable
        await waits.leave(1001)
        assert given_up is not None
        assert given_up.task is not None
        with pytest.raises(asyncio.CancelledError):
            await given_up.task
        del given_up
        gathering.open()
        # At once somebody comes, while the round of before is being given up.
        waits.join(1002)
        _answer(portal, [1002])
        ends = await waits.end()
        waits._tasks.clear()  # a cancelled task remembers its frames
        polls = shared_poll._POLLS[asyncio.get_running_loop()]
        await await_until(lambda: gc.collect() >= 0 and not polls)
        await await_until(lambda: len(asyncio.all_tasks()) == 1)
        return ends

    ends = asyncio.run(main())
    assert set(ends) == {1002}
    assert _requests(portal) == 1


def test_an_unusable_connection_fails_whoever_uses_it(
    connection: str, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BAD", '{"conn_type": "bitrix24", "host": "x.bitrix24.com"}')

    async def main() -> Any:
        bad, unknown, good = Waits(conn_id="bad"), Waits(conn_id="there_is_none"), Waits()
        for name in (1001, 1002):
            bad.join(name)
        unknown.join(1001)
        good.join(1001)
        _answer(portal, [1001])
        ends = await bad.end(), await good.end()
        results = await asyncio.gather(*unknown._tasks.values(), return_exceptions=True)
        return ends, [type(result).__name__ for result in results]

    (bad, good), unknown = asyncio.run(main())
    assert [end["error"]["class"] for end in bad.values()] == ["InvalidConnectionError"] * 2
    assert good[1001]["ending"] == "arrived"
    assert unknown == ["AirflowNotFoundException"]


def test_dead_credentials_are_found_out_by_few_requests(connection: str, portal: Portal) -> None:
    portal.plan({"method": "batch", "times": 999, "error": "INVALID_CREDENTIALS"})

    async def main() -> Any:
        waits = Waits()
        for name in range(1, 1001):
            waits.join(name)
        return await waits.end()

    ends = asyncio.run(main())
    assert {end["error"]["class"] for end in ends.values()} == {"CredentialsError"}
    assert len(ends) == 1000
    assert _requests(portal) <= 12


def test_a_refusal_is_waited_out_together(connection: str, portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    # Time enough for a busy machine to wake a hundred; one by one they would still take a hundred requests.
    monkeypatch.setattr(shared_poll, "_GATHERING", 1.0)
    portal.plan({"method": "batch", "times": 2, "error": "QUERY_LIMIT_EXCEEDED"})
    _answer(portal, MANY[:100])

    async def main() -> Any:
        waits = Waits()
        for name in MANY[:100]:
            waits.join(name)
        return await waits.end()

    ends = asyncio.run(main())
    assert {end["ending"] for end in ends.values()} == {"arrived"}
    assert _requests(portal) <= 6, "those who were refused come back together, and not one by one"


def test_two_triggerers(connection: str, server: SandboxServer, portal: Portal) -> None:
    """Each polls its own waits; together they keep within the portal's bucket."""
    portal.configure({"rate": 5, "burst": 3})
    ends: dict[Any, Any] = {}

    def triggerer(event_ids: Sequence[int]) -> None:
        async def main() -> Any:
            waits = Waits()
            for event_id in event_ids:
                waits.join(event_id)
            await await_until(lambda: _commands(portal) >= 240)
            _answer(portal, event_ids)
            return await waits.end()

        ends.update(asyncio.run(main()))

    threads = [threading.Thread(target=triggerer, args=(part,)) for part in (MANY[:60], MANY[60:])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 120
    assert {end["ending"] for end in ends.values()} == {"arrived"}


def test_a_restart_forms_the_group_anew(connection: str, portal: Portal) -> None:
    async def first() -> None:
        waits = Waits(interval=600.0)
        for name in MANY[:50]:
            waits.join(name)
        await await_until(lambda: _commands(portal) >= 50)
        for name in MANY[:50]:
            await waits.leave(name)
        assert not waits.ends

    async def second() -> Any:
        waits = Waits(interval=600.0)
        for name in MANY[:50]:
            waits.join(name)
        return await waits.end()

    asyncio.run(first())
    _answer(portal, MANY[:50])
    ends = asyncio.run(second())
    assert len(ends) == 50
    assert {end["ending"] for end in ends.values()} == {"arrived"}
    assert (_requests(portal), _commands(portal)) == (2, 100)


def test_each_logs_its_own_changes_and_nobody_the_secret(
    connection: str, portal: Portal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def main() -> Any:
        waits = Waits()
        waits.join("both", MeetingsCondition((1001, 1002), Rule()))
        await await_until(lambda: "Waiting for events 1001, 1002: 0 of 2" in caplog.text)
        portal.answer(1001, 1, "N")
        await await_until(lambda: "Event 1001: not answered -> declined" in caplog.text)
        _answer(portal, [1001, 1002])
        return await waits.end()

    asyncio.run(main())
    assert "Waiting for events 1001, 1002: 0 of 2 accepted, 2 not answered (events 1001, 1002); next" in caplog.text
    assert "Accepted: events 1001, 1002: 2 of 2 accepted" in caplog.text
    assert CANARY not in caplog.text


def test_nothing_blocks_the_loop(gated: tuple[Portal, Gate]) -> None:
    """The portal answers a hundred and twenty waits only once the loop has gone on meanwhile.

    Whatever held up the loop until the answers come would wait for itself, and the answers would not come in time.
    """
    portal, gate = gated
    portal.plan({"method": "batch", "times": 99, "delay": 600})
    _answer(portal, MANY)

    async def main() -> Any:
        waits = Waits(interval=600.0)
        for name in MANY:
            waits.join(name)
        await await_until(lambda: gate.held)
        for _ in range(100):
            await asyncio.sleep(0)
        gate.open()
        return await waits.end()

    assert len(asyncio.run(main())) == 120
    assert _requests(portal) == 3, "no answer came too late"


def test_arguments_are_json_and_hold_no_secret(connection: str) -> None:
    trigger = Bitrix24AttendanceTrigger(
        bitrix24_conn_id="bitrix24_default",
        wait=AttendeesCondition(SILENT, Rule(), (1, 3), 60.0).to_dict(),
        seen="1Q",
        poke_interval=60.0,
        deferred_at=0.0,
        deadline=1.0,
        retry_timeout=1.0,
    )
    path, arguments = trigger.serialize()
    text = json.dumps(arguments)
    assert CANARY not in text
    assert "127.0.0.1" not in text
    assert Bitrix24AttendanceTrigger(**json.loads(text)).serialize() == (path, arguments)


def test_a_finished_round_closes_all_of_its_connections(
    connection: str, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever leaves with the answer does not disturb the closing, however long that takes."""
    _answer(portal, MANY)
    close, closed, left = Bitrix24CalendarHook.aclose, [], Gate()

    async def close_slowly(hook: Bitrix24CalendarHook) -> None:
        await left.sleep(0)
        await close(hook)
        closed.append(hook)

    monkeypatch.setattr(Bitrix24CalendarHook, "aclose", close_slowly)

    async def main() -> None:
        before: Any = portal.count()
        waits = Waits()
        waits.join("all", MeetingsCondition(tuple(MANY), Rule()))
        ends = await waits.end()
        assert ends["all"]["ending"] == "arrived"
        assert not closed
        left.open()
        # The loop lives on, as a triggerer's does: nothing else will ever close what is left open.
        await await_until(lambda: closed and _open(portal) <= before["connections"]["open"])

    asyncio.run(main())


def _open(portal: Portal) -> int:
    count: Any = portal.count()
    return int(count["connections"]["open"])


def test_a_round_that_dies_is_no_cancellation(connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's own deadlock error is no ``Exception``; its members must not take it for their own end."""

    class Deadlock(BaseException):
        pass

    async def deadlock(conn_id: str) -> None:
        raise Deadlock

    monkeypatch.setattr("airflow_provider_b24cal.client.client.get_async_connection", deadlock)

    async def main() -> Any:
        waits = Waits()
        waits.join("two", MeetingsCondition((1001, 1002), Rule()))
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # it is the task's own end
        return await asyncio.gather(*waits._tasks.values(), return_exceptions=True)

    (result,) = asyncio.run(main())
    assert isinstance(result, RuntimeError)
    assert "ended without an outcome" in str(result)


def test_nothing_to_ask_is_no_request(connection: str, portal: Portal) -> None:
    async def main() -> Any:
        return await shared_poll.shared_poll("bitrix24_default").call_many([])

    assert asyncio.run(main()) == []
    assert _requests(portal) == 0


def test_a_round_is_not_sent_while_somebody_still_adds(
    connection: str, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_poll, "_GATHERING", 0.0)
    monkeypatch.setattr(shared_poll, "_LONGEST_GATHERING", 2)
    monkeypatch.setattr(shared_poll, "_SLICE", 1)
    _answer(portal, MANY)

    async def main() -> Any:
        waits = Waits()
        waits.join("all", MeetingsCondition(tuple(MANY), Rule()))
        return await waits.end()

    assert asyncio.run(main())["all"]["ending"] == "arrived"
    assert _commands(portal) == len(MANY)


def test_requests_for_many_are_in_nobodys_task_log(
    connection: str, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow tells task logs apart by context variables; a round must not inherit the first member's."""
    whose: ContextVar[str] = ContextVar("whose", default="nobody's")
    call_many, seen = Bitrix24CalendarHook.acall_many_iter, []

    def noting(hook: Bitrix24CalendarHook, calls: Any) -> Any:
        seen.append(whose.get())
        return call_many(hook, calls)

    monkeypatch.setattr(Bitrix24CalendarHook, "acall_many_iter", noting)
    _answer(portal, [1001])

    async def main() -> Any:
        whose.set("a task's")
        waits = Waits()
        waits.join(1001)
        return await waits.end()

    assert asyncio.run(main())[1001]["ending"] == "arrived"
    assert seen == ["nobody's"]
