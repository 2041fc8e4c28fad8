"""What comes next, and choices by section; for this portal it is always 16 September 2026, 08:00 UTC."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from airflow_provider_b24cal.operators.events import Bitrix24ListEventsOperator
from tests.portal_data import CANARY

NOW = datetime(2026, 9, 16, 8, tzinfo=UTC)
NEAREST, BY_ID = "calendar.event.get.nearest", "calendar.event.getbyid"
ANNA, MARTIN, DORA = 1, 2, 5
UNDER_WAY, DECLINED, SERIES, OWN, DAYS, FAR, DORAS, GROUP, PRIVATE, PAST = range(10, 110, 10)
OWN_SECTION, INVITATIONS = 11, 12
"""Sections of Anna's calendar; of the sandbox, the owner's id and a digit."""


def _at(day: str, hour: int, zone: str = "Europe/Berlin") -> dict[str, str]:
    return {"start": f"{day}T{hour:02}:00", "end": f"{day}T{hour + 1:02}:00", "time_zone": zone}


def _invited(row_id: int, status: str = "Q") -> list[dict[str, object]]:
    return [{"user": ANNA, "id": row_id, "status": status}]


DATA: dict[str, Any] = {
    "people": [
        {"id": ANNA, "name": "Anna", "time_zone": "Asia/Almaty", "webhook": {"secret": CANARY}},
        {"id": MARTIN, "name": "Martin", "webhook": {"secret": "m4rt1nC0de000000"}},
        {"id": DORA, "name": "Dora", "webhook": {"secret": "d0raC0de00000000"}},
    ],
    "events": [
        {"id": UNDER_WAY, "name": "Under way", "host": MARTIN, "attendees": _invited(11), "time_zone": "Europe/Berlin",
         "start": "2026-09-16T09:30", "end": "2026-09-16T10:30"},
        {"id": DECLINED, "name": "Declined", "host": MARTIN, **_at("2026-09-17", 10), "attendees": _invited(21, "N")},
        {"id": SERIES, "name": "Daily", "host": MARTIN, **_at("2026-10-23", 22),
         "repeat": {"frequency": "DAILY", "count": 4}, "attendees": _invited(31, "Y")},
        {"id": OWN, "name": "Own", "host": ANNA, **_at("2026-09-18", 22, "America/New_York")},
        {"id": DAYS, "name": "Whole days", "host": ANNA, "all_day": True, "start": "2026-09-26", "end": "2026-09-27"},
        {"id": FAR, "name": "Far", "host": ANNA, **_at("2026-12-20", 10)},
        {"id": DORAS, "name": "Dora's", "host": DORA, **_at("2026-09-18", 10)},
        {"id": GROUP, "name": "Group", "host": MARTIN, "calendar": {"type": "group", "owner": 7},
         **_at("2026-09-25", 10), "attendees": _invited(81)},
        {"id": PRIVATE, "name": "Secret", "host": DORA, "private": True, **_at("2026-09-19", 10), "attendees": []},
        {"id": PAST, "name": "Past", "host": ANNA, **_at("2026-09-16", 7)},
        *({"id": 1000 + number, "name": "Company", "host": MARTIN, "calendar": {"type": "company_calendar"},
           **_at(f"2026-10-{1 + number // 10:02}", number % 10)} for number in range(80)),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def serving() -> Iterator[SandboxServer]:
    with SandboxServer(Portal(parse(DATA), clock=NOW.timestamp)) as running:
        yield running


@pytest.fixture
def server(serving: SandboxServer) -> SandboxServer:
    """A portal on a free port, as new, in place of the one that other tests use."""
    serving.renew()
    return serving


def _ids(events: list[CalendarEvent]) -> list[int]:
    return [event.id for event in events]


def _requests(portal: Portal) -> int:
    count: Any = portal.count()
    return int(count["requests"])


MINE = [11, OWN, 81, DAYS, 31, 31, 31, 31]


@pytest.mark.parametrize("culture", ["european", "american", "spanish"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Moscow", "America/Los_Angeles", "Pacific/Kiritimati"])
def test_it_says_the_same_as_the_list(zone: str, culture: str, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    """Times are moved to the acting user's zone in these rows, and their zones are taken away."""
    portal.configure({"server_zone": zone, "culture": culture})
    events = hook.nearest_events()
    assert _ids(events) == MINE
    listed = hook.list_events(Window(NOW, NOW + timedelta(60)), owner_id=ANNA)
    # Here a date such as 05/01/2026 may be one of two.
    dates = {"created": None, "changed": None}
    assert [replace(event, **dates) for event in events] == [
        replace(event, **dates) for event in listed if event.status != "N"
    ]
    assert [event.start.isoformat() for event in events[:2]] == [
        "2026-09-16T07:30:00+00:00", "2026-09-19T02:00:00+00:00",
    ]  # fmt: skip
    # The clocks are put back while the series lasts.
    assert [event.start.hour for event in events[4:]] == [20, 20, 21, 21]


def test_two_requests_are_enough(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    hook.nearest_events()
    assert _requests(portal) == 2
    count: Any = portal.count()
    assert count["methods"][BY_ID] == 4, "each id once, and none for what has no zone"


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({"days": 0}, [11]),
        ({"days": 1}, [11]),
        ({"days": 2}, [11]),
        ({"days": 3}, [11, OWN]),
        ({"days": 1461}, [*MINE, FAR]),
        ({"most": 1}, [11]),
        ({"most": 3}, [11, OWN, 81]),
        ({"calendar_type": "group"}, [GROUP]),
        ({"calendar_type": "company_calendar", "most": 2}, [1000, 1001]),
    ],
)
def test_a_choice(choice: Any, wanted: list[int], hook: Bitrix24CalendarHook) -> None:
    assert _ids(hook.nearest_events(**choice)) == wanted


def test_all_of_a_type_that_may_be_seen(hook: Bitrix24CalendarHook) -> None:
    """The one way in which the portal leaves the acting user's calendar: then it is everybody's."""
    events = hook.nearest_events(calendar_type="user", days=7)
    assert {11, UNDER_WAY, OWN, DORAS, PRIVATE, DECLINED} == set(_ids(events))
    masked = next(event for event in events if event.id == PRIVATE)
    assert (masked.name, masked.attendees) == ("[Busy]", None)
    assert masked.start == datetime(2026, 9, 19, 8, tzinfo=UTC)


def test_seventy_five_are_the_most(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    events = hook.nearest_events(calendar_type="company_calendar")
    assert len(events) == 75
    assert [event.start for event in events] == sorted(event.start for event in events)
    assert _requests(portal) == 3, "the list, and the zones of seventy-five in two"


def test_none_at_most_are_none_and_nothing_is_asked(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    assert hook.nearest_events(most=0) == []
    assert _requests(portal) == 0


@pytest.mark.parametrize("result", ["[]", "{}"])
def test_nothing_comes(result: str, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    _answer(portal, NEAREST, result)
    assert hook.nearest_events() == []
    assert _requests(portal) == 1


def _answer(portal: Portal, method: str, result: str) -> None:
    portal.plan({"method": method, "times": 1, "http_status": 200, "body": f'{{"result":{result}}}',
                 "content_type": "application/json"})  # fmt: skip


def test_a_list_whose_keys_were_kept(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    row = '{"ID":"50","DT_SKIP_TIME":"Y","DATE_FROM_FORMATTED":"Sat Sep 26 2026","DATE_TO_FORMATTED":"Sun Sep 27 2026"}'
    _answer(portal, NEAREST, f'{{"3":{row}}}')
    (event,) = hook.nearest_events()
    assert (event.id, event.start, event.end) == (
        DAYS, datetime(2026, 9, 26, tzinfo=UTC), datetime(2026, 9, 28, tzinfo=UTC),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("null", "Expected a list of events; got NoneType None."),
        ("[1]", "Expected a list of events; got list "),
        ('[{"ID":"x' + CANARY + '"}]', "Expected a whole number as ID of a row"),
        ("[{}]", "Expected a positive whole number as ID of a row"),
        ('[{"ID":"40"}]', "Expected a time such as Mon Feb 10 2025 00:45:00 as DATE_FROM_FORMATTED of a row"),
    ],
)
def test_what_cannot_be_read(result: str, message: str, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    _answer(portal, NEAREST, result)
    with pytest.raises(errors.UnexpectedReplyError) as caught:
        hook.nearest_events()
    assert message in str(caught.value)
    assert caught.value.method == NEAREST
    assert CANARY not in str(caught.value)


def test_one_row_hides_no_other(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    days = '"DT_SKIP_TIME":"Y","DATE_FROM_FORMATTED":"Sat Sep 26 2026","DATE_TO_FORMATTED":"Sun Sep 27 2026"'
    _answer(portal, NEAREST, f'[{{"ID":"50",{days}}},{{"ID":"40"}},{{"ID":"x"}},{{"ID":"x",{days}}},{{}},7]')
    assert _ids(hook.nearest_events()) == [DAYS]


def test_the_acting_user_s_clock_is_not_taken_for_the_event_s(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    _answer(portal, NEAREST, '[{"ID":"40","DATE_FROM":"18.09.2026 10:00:00","DATE_TO":"18.09.2026 11:00:00"}]')
    with pytest.raises(errors.UnexpectedReplyError, match="DATE_FROM_FORMATTED"):
        hook.nearest_events()


def test_an_event_that_is_gone_meanwhile(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    _answer(portal, NEAREST, '[{"ID":"999","DATE_FROM_FORMATTED":"Sat Sep 26 2026 10:00:00"}]')
    with pytest.raises(errors.NoSuchEventError) as caught:
        hook.nearest_events()
    assert (caught.value.event_id, caught.value.method) == (999, BY_ID)


def test_a_zone_that_cannot_be_had(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    portal.plan({"inner": BY_ID, "times": 1, "error": "user_access_error"})
    with pytest.raises(errors.AccessError):
        hook.nearest_events()


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"days": -1}, "Invalid days -1: expected a whole number from 0 to 1,461"),
        ({"days": 1462}, "Invalid days 1462"),
        ({"days": True}, "Invalid days True"),
        ({"days": 1.5}, "Invalid days 1.5"),
        ({"most": -1}, "Invalid most -1: expected a whole number from 0 to 75"),
        ({"most": 76}, "Invalid most 76"),
        ({"most": "5"}, "Invalid most '5'"),
        ({"calendar_type": "users"}, "Invalid calendar_type 'users'"),
    ],
)
def test_what_is_refused(choice: Any, message: str, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=message):
        hook.nearest_events(**choice)
    assert _requests(portal) == 0


def test_the_asynchronous_twins(hook: Bitrix24CalendarHook, connection: str) -> None:
    window = Window(NOW, NOW + timedelta(20))

    async def run_call() -> Any:
        twin = Bitrix24CalendarHook(connection)
        try:
            return await twin.anearest_events(days=3), await twin.alist_events(window, sections=[OWN_SECTION])
        finally:
            await twin.aclose()

    assert asyncio.run(run_call()) == (hook.nearest_events(days=3), hook.list_events(window, sections=[OWN_SECTION]))


SEPTEMBER = Window(datetime(2026, 9, 10, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({"sections": [OWN_SECTION]}, [PAST, OWN, DAYS]),
        ({"sections": (str(INVITATIONS),)}, [11, 21, 81]),
        ({"sections": {OWN_SECTION, INVITATIONS}}, [PAST, 11, 21, OWN, 81, DAYS]),
        ({"sections": [OWN_SECTION, 999]}, [PAST, OWN, DAYS]),
        # Of nobody, of somebody else's calendar, and of another type: nothing, and no error.
        ({"sections": [999]}, []),
        ({"sections": [DORA * 10 + 1]}, []),
        ({"sections": [OWN_SECTION], "calendar_type": "group", "owner_id": 7}, []),
        ({"sections": [73], "calendar_type": "group", "owner_id": 7}, [GROUP]),
        ({"sections": [OWN_SECTION], "only_meetings": True}, []),
    ],
)
def test_sections(choice: Any, wanted: list[int], hook: Bitrix24CalendarHook) -> None:
    assert _ids(hook.list_events(SEPTEMBER, **choice)) == wanted


@pytest.mark.parametrize("sections", [[], "11", 11, [0], [None], {11: 1}])
@pytest.mark.parametrize("by", ["hook", "operator"])
def test_sections_that_are_refused(by: str, sections: Any, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    run_call: dict[str, Callable[[], Any]] = {
        "hook": lambda: hook.list_events(SEPTEMBER, sections=sections),
        "operator": lambda: _operate(sections),
    }
    with pytest.raises(errors.InvalidArgumentError, match="sections"):
        run_call[by]()
    assert _requests(portal) == 0


def _operate(sections: Any) -> Any:
    operator: Any = Bitrix24ListEventsOperator(
        task_id="list", window_start=SEPTEMBER.start, window_end=SEPTEMBER.end, sections=sections
    )
    return operator.execute({"ti": SimpleNamespace(xcom_push=lambda **_: None)})


def test_the_operator_takes_sections(connection: str) -> None:
    assert [row["event_id"] for row in _operate([INVITATIONS])] == [11, 21, 81]
    assert "sections" in Bitrix24ListEventsOperator.template_fields
