"""Reading of calendars over sockets: windows, series, cultures and servers in any zone, what is not shown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.calendar.accessibility import BusyPeriod
from airflow_provider_b24cal.bitrix24.calendar.events import Attendee, CalendarEvent
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.validation import check_letters
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from airflow_provider_b24cal.operators.events import Bitrix24ListEventsOperator
from tests.clock import Clock
from tests.portal_data import CANARY

SINGLE, DECLINED, DAILY, MOVED, OWN, PRIVATE, DAYS, GROUP, COMPANY, ACROSS, NIGHT = range(10, 120, 10)
ANNA, MARTIN, DORA = 1, 2, 5
BERLIN = ZoneInfo("Europe/Berlin")


def _at(day: str, hour: int, zone: str = "Europe/Berlin") -> dict[str, str]:
    return {"start": f"{day}T{hour:02}:00", "end": f"{day}T{hour + 1:02}:00", "time_zone": zone}


def _invited(row_id: int, status: str = "Q") -> list[dict[str, object]]:
    return [{"user": ANNA, "id": row_id, "status": status}]


DATA: dict[str, Any] = {
    "people": [
        {"id": ANNA, "name": "Anna", "time_zone": "Asia/Almaty", "webhook": {"secret": CANARY}},
        {"id": MARTIN, "name": "Martin", "webhook": {"secret": "m4rt1nC0de000000"}},
        {"id": 4, "name": "Guest", "external": True, "webhook": {"secret": "gu3stC0de0000000"}},
        {"id": DORA, "name": "Dora", "webhook": {"secret": "d0raC0de00000000"}},
    ],
    "events": [
        {"id": SINGLE, "name": "Single", "host": MARTIN, **_at("2026-09-20", 10), "attendees": _invited(11)},
        {"id": DECLINED, "name": "Declined", "host": MARTIN, **_at("2026-09-21", 10), "attendees": _invited(21, "N")},
        {"id": DAILY, "name": "Daily", "host": MARTIN, **_at("2026-10-22", 22), "except": ["2026-10-24"],
         "repeat": {"frequency": "DAILY", "count": 6}, "attendees": _invited(31, "Y")},
        {"id": MOVED, "name": "Moved", "host": MARTIN, "series": DAILY, **_at("2026-10-24", 9),
         "attendees": _invited(41)},
        {"id": OWN, "name": "Own", "host": ANNA, **_at("2026-09-22", 10)},
        {"id": PRIVATE, "name": "Secret", "host": DORA, "private": True, **_at("2026-09-23", 10),
         "attendees": [{"user": MARTIN}]},
        {"id": DAYS, "name": "Whole days", "host": ANNA, "all_day": True, "start": "2026-09-26", "end": "2026-09-27"},
        {"id": GROUP, "name": "Group", "host": MARTIN, "calendar": {"type": "group", "owner": 7},
         **_at("2026-09-25", 10), "attendees": _invited(81)},
        {"id": COMPANY, "name": "Company", "host": MARTIN, "calendar": {"type": "company_calendar"},
         **_at("2026-09-28", 10), "attendees": _invited(91, "Y")},
        {"id": ACROSS, "name": "Across", "host": ANNA, "start": "2026-12-30T10:00", "end": "2027-02-03T10:00",
         "attendees": []},
        {"id": NIGHT, "name": "Night", "host": ANNA, "start": "2026-03-04T23:30", "end": "2026-03-05T00:30",
         "time_zone": "America/New_York"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def serving() -> Iterator[SandboxServer]:
    with SandboxServer(Portal(parse(DATA))) as running:
        yield running


@pytest.fixture
def server(serving: SandboxServer) -> SandboxServer:
    """A portal on a free port, as new, in place of the one that other tests use."""
    serving.renew()
    return serving


SERVER_ZONES = ("UTC", "Europe/Moscow", "America/Los_Angeles", "Pacific/Kiritimati", "Etc/GMT+12")


def _window(start: str, end: str, zone: str = "UTC") -> Window:
    return Window(*(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)) for text in (start, end)))


SEPTEMBER = _window("2026-09-01", "2026-10-01")


def _ids(events: list[CalendarEvent]) -> list[int]:
    return [event.id for event in events]


def _count(portal: Portal) -> Any:
    return portal.count()


def test_a_month_of_the_acting_user(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    events = hook.list_events(SEPTEMBER)
    assert _ids(events) == [11, 21, OWN, 81, DAYS, 91]
    assert [event.status for event in events] == ["Q", "N", None, "Q", None, "Y"]
    single = events[0]
    assert single == CalendarEvent(
        id=11, parent_id=SINGLE, name="Single", zone="Europe/Berlin", all_day=False, calendar_type="user",
        start=datetime(2026, 9, 20, 8, tzinfo=UTC), end=datetime(2026, 9, 20, 9, tzinfo=UTC),
        owner_id=ANNA, host_id=MARTIN, is_meeting=True, is_recurring=False, status="Q",
        attendees=(Attendee(MARTIN, "H", SINGLE), Attendee(ANNA, "Q", 11)), created="2026-09-06T10:00:00",
        changed="2026-09-06T10:00:00", crm_links=(),
    )  # fmt: skip
    assert (events[4].start, events[4].end) == (datetime(2026, 9, 26, tzinfo=UTC), datetime(2026, 9, 28, tzinfo=UTC))
    assert _count(portal)["requests"] == 2, "who I am, and the list"


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({"only_meetings": True}, [11, 21, 81, 91]),
        ({"statuses": ["q"]}, [11, 81]),
        ({"statuses": {"N", "Y"}}, [21, 91]),
        ({"statuses": ("H",)}, []),
        ({"owner_id": str(MARTIN), "statuses": ["H"]}, [SINGLE, DECLINED]),
        ({"owner_id": 999}, []),
        ({"calendar_type": "group", "owner_id": 7}, [GROUP]),
        ({"calendar_type": "company_calendar"}, [COMPANY]),
    ],
)
def test_a_choice_of_events(choice: dict[str, Any], wanted: list[int], hook: Bitrix24CalendarHook) -> None:
    assert _ids(hook.list_events(SEPTEMBER, **choice)) == wanted


@pytest.mark.parametrize("zone", SERVER_ZONES)
@pytest.mark.parametrize("culture", ["european", "american", "spanish"])
def test_times_are_true_whatever_the_server_stores(
    zone: str, culture: str, hook: Bitrix24CalendarHook, portal: Portal
) -> None:
    portal.configure({"server_zone": zone, "culture": culture})
    # One minute before the end of each, and the minute after: found by the first window only.
    for event_id, end in (
        (11, datetime(2026, 9, 20, 9, tzinfo=UTC)),
        (NIGHT, datetime(2026, 3, 5, 5, 30, tzinfo=UTC)),
    ):
        minute = timedelta(minutes=1)
        assert _ids(hook.list_events(Window(end - minute, end), owner_id=ANNA)) == [event_id]
        assert hook.list_events(Window(end, end + minute), owner_id=ANNA) == []
        start = end - timedelta(hours=1)
        assert _ids(hook.list_events(Window(start, start + minute), owner_id=ANNA)) == [event_id]
        assert hook.list_events(Window(start - minute, start), owner_id=ANNA) == []


@pytest.mark.parametrize("zone", SERVER_ZONES)
@pytest.mark.parametrize("own", ["UTC", "Pacific/Kiritimati", "Etc/GMT+12"])
def test_days_are_those_of_whoever_asks(zone: str, own: str, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    portal.configure({"server_zone": zone})
    for start, end, found in (
        ("2026-09-25T23:00", "2026-09-26", []),
        ("2026-09-26", "2026-09-26T00:01", [DAYS]),
        ("2026-09-27T23:59", "2026-09-28", [DAYS]),
        ("2026-09-28", "2026-09-28T01:00", []),
    ):
        assert _ids(hook.list_events(_window(start, end, own), owner_id=ANNA)) == found


def test_a_series_day_by_day_without_what_was_taken_out(hook: Bitrix24CalendarHook) -> None:
    events = hook.list_events(_window("2026-10-01", "2026-11-15", "Europe/Berlin"))
    shown = [(event.id, event.start.astimezone(BERLIN).isoformat()) for event in events]
    assert shown == [
        (31, "2026-10-22T22:00:00+02:00"),
        (31, "2026-10-23T22:00:00+02:00"),
        (41, "2026-10-24T09:00:00+02:00"),
        (31, "2026-10-25T22:00:00+01:00"),  # the clocks were put back
        (31, "2026-10-26T22:00:00+01:00"),
        (31, "2026-10-27T22:00:00+01:00"),
    ]
    assert [event.is_recurring for event in events] == [True, True, False, True, True, True]
    assert events[2].recurrence_id == DAILY


def test_one_day_of_a_series(hook: Bitrix24CalendarHook) -> None:
    """A portal answers with the days before and after; they are not in the window."""
    events = hook.list_events(_window("2026-10-26", "2026-10-27", "Europe/Berlin"))
    assert [event.start for event in events] == [datetime(2026, 10, 26, 21, tzinfo=UTC)]


def test_four_years_in_one_request(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    window = Window(datetime(2025, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC))
    events = hook.list_events(window, owner_id=ANNA)
    assert _ids(events) == [NIGHT, 11, 21, OWN, 81, DAYS, 91, 31, 31, 41, 31, 31, 31, ACROSS]
    assert [(event.start, event.id) for event in events] == sorted((event.start, event.id) for event in events)
    assert _count(portal)["requests"] == 1


def test_what_reaches_over_months_is_listed_once(hook: Bitrix24CalendarHook) -> None:
    assert _ids(hook.list_events(_window("2026-12-01", "2027-03-01"))) == [ACROSS]
    assert _ids(hook.list_events(_window("2027-01-10", "2027-01-11"))) == [ACROSS]


def test_who_is_invited_to_a_private_event_is_unknown(hook: Bitrix24CalendarHook) -> None:
    (event,) = hook.list_events(SEPTEMBER, owner_id=DORA)
    assert (event.id, event.name, event.attendees) == (PRIVATE, "[Busy]", None)


@pytest.mark.parametrize("form", ["blank", "false", "list", "null"])
def test_empty_fields_in_any_form(form: str, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    usual = hook.list_events(SEPTEMBER)
    portal.configure({"empty_fields": form})
    assert hook.list_events(SEPTEMBER) == usual


def test_one_event(hook: Bitrix24CalendarHook) -> None:
    event = hook.get_event("11")
    assert event == hook.list_events(SEPTEMBER)[0]
    assert hook.get_event(SINGLE).status == "H", "of the row's owner"
    assert hook.get_event(DAILY).start == datetime(2026, 10, 22, 20, tzinfo=UTC)


@pytest.mark.parametrize("result", [None, "null", "[]", "{}"])
def test_no_event(result: str | None, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    if result is not None:
        _answer(portal, "calendar.event.getbyid", result)
    with pytest.raises(errors.NoSuchEventError, match="has no such event") as caught:
        hook.get_event(99_999)
    assert (caught.value.event_id, caught.value.method) == (99_999, "calendar.event.getbyid")


def _answer(portal: Portal, method: str, result: str) -> None:
    portal.plan({"method": method, "times": 1, "http_status": 200, "body": f'{{"result":{result}}}',
                 "content_type": "application/json"})  # fmt: skip


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ('[{"ID":"x' + CANARY + '"}]', "Expected a time such as Mon Feb 10 2025 00:45:00 as DATE_FROM_FORMATTED"),
        ("null", "Expected a list of events; got NoneType None."),
        ('"no"', "Expected a list of events; got str 'no'."),
        ("[1]", "Expected a list of events; got list "),
    ],
)
def test_a_list_that_cannot_be_read(result: str, message: str, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    _answer(portal, "calendar.event.get", result)
    with pytest.raises(errors.UnexpectedReplyError) as caught:
        hook.list_events(_window("2026-09-01", "2026-09-10"), owner_id=ANNA)
    assert message in str(caught.value)
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_list_with_a_gap_is_no_list(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    portal.plan({"inner": "calendar.event.get", "times": 1, "error": "user_access_error"})
    with pytest.raises(errors.AccessError):
        hook.list_events(SEPTEMBER, owner_id=ANNA)


def test_a_part_that_failed_in_passing_is_asked_again(hook: Bitrix24CalendarHook, portal: Portal, clock: Clock) -> None:
    portal.plan({"inner": "calendar.event.get", "times": 1, "error": "QUERY_LIMIT_EXCEEDED"})
    assert len(hook.list_events(SEPTEMBER, owner_id=ANNA)) == 6
    assert _count(portal)["requests"] == 2


def test_external_users_get_the_reason(server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GUEST", server.connection_json(4))
    with Bitrix24CalendarHook("guest") as hook:
        for run_call in (
            lambda: hook.list_events(SEPTEMBER),
            lambda: hook.get_event(SINGLE),
            lambda: hook.get_accessibility([ANNA], SEPTEMBER),
        ):
            with pytest.raises(errors.PortalError, match="external"):
                run_call()


def test_an_inactive_acting_user_has_no_calendar(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    _answer(portal, "profile", "[]")
    with pytest.raises(errors.CredentialsError, match="no active user"):
        hook.list_events(SEPTEMBER)


NOON = datetime(2026, 9, 16, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": (NOON, NOON)}, "Invalid window .*: expected a Window"),
        ({"calendar_type": "users"}, "Invalid calendar_type 'users': expected \"user\""),
        ({"calendar_type": ["user"]}, "Invalid calendar_type .*: expected"),
        ({"owner_id": 0}, "Invalid owner_id 0: expected a positive whole number"),
        ({"owner_id": True}, "Invalid owner_id True: expected a positive whole number"),
        ({"calendar_type": "group"}, "Invalid owner_id None: expected a positive whole number"),
        (
            {"calendar_type": "company_calendar", "owner_id": 1},
            "Invalid owner_id 1: expected None or 0 with calendar_type",
        ),
        ({"calendar_type": "company_calendar", "owner_id": False}, "Invalid owner_id False: expected None or 0"),
        ({"only_meetings": "False"}, "only_meetings 'False': expected True or False"),
        ({"statuses": "Y"}, "statuses 'Y': expected a list of one or more"),
        ({"statuses": []}, "Invalid statuses .*: expected a list of one or more"),
        ({"statuses": ["M"]}, "Invalid statuses .*: expected a list of one or more"),
        ({"statuses": [None]}, "Invalid statuses .*: expected a list of one or more"),
        ({"statuses": {"Y": 1}}, "Invalid statuses .*: expected a list of one or more"),
        ({"statuses": iter(())}, "Invalid statuses .*: expected a list of one or more"),
        ({"owner_id": 651.0}, "Invalid owner_id 651.0: expected a positive whole number"),
        ({"owner_id": 2.0**53}, "Invalid owner_id 9007199254740992.0: expected a positive whole number"),
    ],
)
def test_what_is_refused(arguments: Any, message: str, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=message):
        hook.list_events(**{"window": SEPTEMBER, **arguments})
    assert _count(portal)["requests"] == 0


@pytest.mark.parametrize(
    "statuses", [["N"], ("n",), {"N"}, {"N": 1}.keys(), iter("N")], ids=lambda value: type(value).__name__
)
def test_statuses_of_any_kind_of_list(statuses: Any) -> None:
    assert check_letters(statuses) == {MeetingStatus.DECLINED}


@pytest.mark.parametrize("users", ["1", 1, None, [0], ["x"], [True], {1: "x"}, [651.0]])
def test_users_that_are_refused(users: Any, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=r"users[= ]"):
        hook.get_accessibility(users, SEPTEMBER)
    with pytest.raises(errors.InvalidArgumentError, match="Invalid window None"):
        hook.get_accessibility([1], None)  # type: ignore[arg-type]
    assert _count(portal)["requests"] == 0


@pytest.mark.parametrize("zone", SERVER_ZONES)
@pytest.mark.parametrize("culture", ["european", "american", "spanish"])
def test_busy(zone: str, culture: str, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    portal.configure({"server_zone": zone, "culture": culture})
    found = hook.get_accessibility([DORA, "1", 1], SEPTEMBER)
    assert list(found) == [DORA, ANNA]
    ten = datetime(2026, 9, 23, 8, tzinfo=UTC)
    assert found[DORA] == [
        BusyPeriod(PRIVATE, ten, ten + timedelta(hours=1), all_day=False, kind="busy", name="[Busy]")
    ]
    assert [busy.event_id for busy in found[ANNA]] == [11, OWN, 81, DAYS, 91], "without what was declined"
    assert found[ANNA][3].end == datetime(2026, 9, 28, tzinfo=UTC)
    assert _count(portal)["requests"] == 1


@pytest.mark.parametrize("culture", ["european", "american", "spanish"])
def test_busy_on_days_of_a_series_and_at_dates_of_two_readings(
    culture: str, hook: Bitrix24CalendarHook, portal: Portal
) -> None:
    portal.configure({"culture": culture})
    year = _window("2026-01-01", "2027-01-01")
    times = [(busy.event_id, busy.start) for busy in hook.get_accessibility([ANNA], year)[ANNA]]
    listed = [(event.id, event.start) for event in hook.list_events(year) if event.status != "N"]
    assert times == listed
    assert (NIGHT, datetime(2026, 3, 5, 4, 30, tzinfo=UTC)) in times


def test_busy_in_one_hour(hook: Bitrix24CalendarHook) -> None:
    """The portal goes by days; what lies on the same day outside of the window is left out."""
    for start, end, found in (
        ("2026-09-20T07:00", "2026-09-20T08:00", []),
        ("2026-09-20T08:59", "2026-09-20T12:00", [11]),
        ("2026-09-20T09:00", "2026-09-20T12:00", []),
    ):
        busy = hook.get_accessibility([ANNA], _window(start, end))[ANNA]
        assert [item.event_id for item in busy] == found


def test_nobody_is_busy(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    assert hook.get_accessibility([], SEPTEMBER) == {}
    assert _count(portal)["requests"] == 0
    assert hook.get_accessibility([4], SEPTEMBER) == {4: []}


@pytest.mark.parametrize("lists", ["[]", '{"1":[]}'])
def test_who_is_not_in_the_answer_is_not_free(lists: str, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    day = _window("2026-09-16", "2026-09-17")
    _answer(portal, "calendar.accessibility.get", lists)
    with pytest.raises(errors.UnexpectedReplyError, match="a list for each user; got none for"):
        hook.get_accessibility([ANNA, DORA], day)


def test_the_asynchronous_twins_say_the_same(hook: Bitrix24CalendarHook, connection: str) -> None:
    async def run_call() -> tuple[Any, ...]:
        twin = Bitrix24CalendarHook(connection)
        try:
            return (
                await twin.aget_event(11),
                await twin.alist_events(SEPTEMBER, only_meetings=True),
                await twin.aget_accessibility([ANNA], SEPTEMBER),
            )
        finally:
            await twin.aclose()

    event, events, busy = asyncio.run(run_call())
    assert event == hook.get_event(11)
    assert events == hook.list_events(SEPTEMBER, only_meetings=True)
    assert busy == hook.get_accessibility([ANNA], SEPTEMBER)


def _run(**arguments: Any) -> Any:
    operator: Any = Bitrix24ListEventsOperator(task_id="list", **arguments)
    return operator.execute({"ti": SimpleNamespace(xcom_push=lambda **_: None)})


@pytest.mark.parametrize("as_text", [False, True])
def test_the_operator(as_text: bool, connection: str) -> None:
    bounds: list[Any] = [SEPTEMBER.start, SEPTEMBER.end]
    if as_text:
        bounds = [str(bounds[0]), bounds[1].isoformat().replace("+00:00", "Z")]
    rows = _run(window_start=bounds[0], window_end=bounds[1])
    assert [row["event_id"] for row in rows] == [11, 21, 81, 91], "meetings only"
    assert rows[0] == {
        "event_id": 11, "parent_id": SINGLE, "name": "Single", "status": "Q", "all_day": False,
        "start": "2026-09-20T08:00:00+00:00", "end": "2026-09-20T09:00:00+00:00",
        "accepted": 0, "declined": 0, "silent": 1,
    }  # fmt: skip
    assert type(rows[0]["status"]) is str


def test_the_operator_says_when_xcom_has_too_much(
    connection: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    """A list with gaps would be taken for whole, so that all of it is returned."""
    window = {"window_start": SEPTEMBER.start, "window_end": SEPTEMBER.end}
    rows = _run(**window)
    assert "which is meant for less" not in caplog.text + capsys.readouterr().out
    monkeypatch.setattr("airflow_provider_b24cal.bitrix24.serialization.XCOM_LIMIT", 500)
    assert _run(**window) == rows
    assert "which is meant for less" in caplog.text + capsys.readouterr().out


def test_the_operator_does_not_count_whom_it_cannot_see(connection: str) -> None:
    (row,) = _run(window_start=SEPTEMBER.start, window_end=SEPTEMBER.end, owner_id=DORA)
    assert (row["accepted"], row["declined"], row["silent"]) == (None, None, None)
    assert [row["status"] for row in _run(window_start=SEPTEMBER.start, window_end=SEPTEMBER.end, only_meetings=False)
            if row["event_id"] == OWN] == [None]  # fmt: skip


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("2026-09-16", NOON, "Invalid window_start '2026-09-16': expected a datetime with a time zone"),
        (datetime(2026, 9, 16), NOON, "Invalid window_start '2026-09-16T00:00:00': expected a datetime"),  # noqa: DTZ001
        (NOON, "tomorrow", "Invalid window_end 'tomorrow': expected a datetime with a time zone"),
        (NOON, None, "Invalid window_end None"),
        (1_789_545_600, NOON, "Invalid window_start 1789545600"),
        ("0001-01-01T00:00Z", NOON, "Invalid window_start .*: expected .* from 1970 to 2100"),
        (NOON, NOON, "Invalid window end .*: expected a time after the start .*, at most 1461 days later"),
        (NOON, NOON - timedelta(1), "Invalid window end "),
        (NOON, NOON + timedelta(1462), "Invalid window end "),
    ],
)
def test_a_window_that_is_refused(start: Any, end: Any, message: str, connection: str, portal: Portal) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=message):
        _run(window_start=start, window_end=end)
    assert _count(portal)["requests"] == 0
