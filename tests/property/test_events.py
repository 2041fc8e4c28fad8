"""What must hold for any window and for any row."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_b24cal.bitrix24.auth.credentials import Endpoint, Secret, Webhook
from airflow_provider_b24cal.bitrix24.calendar.accessibility import BusyPeriod, read_busy
from airflow_provider_b24cal.bitrix24.calendar.event_methods import get_busy, get_event, get_events
from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent, read_event
from airflow_provider_b24cal.bitrix24.calendar.fields import RowError
from airflow_provider_b24cal.bitrix24.calendar.window import MARGIN, MAX_WINDOW, Window, check_moment
from airflow_provider_b24cal.bitrix24.protocol.call import Call
from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error, InvalidArgumentError
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply, read
from tests.portal_data import CANARY

ENDPOINT = Endpoint("https://example.bitrix24.com", Webhook("1", Secret(CANARY)))
ZONES = st.sampled_from([UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Pacific/Kiritimati"), ZoneInfo("Etc/GMT+12")])
moments = st.datetimes(datetime(1971, 1, 1), datetime(2096, 1, 1), timezones=ZONES)  # noqa: DTZ001
windows = st.builds(
    lambda start, length: Window(start, (start.astimezone(UTC) + length).astimezone(start.tzinfo)),
    moments,
    st.timedeltas(timedelta(seconds=1), MAX_WINDOW),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(CANARY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
two = st.integers(0, 99).map("{:02}".format)
formatted = st.builds(
    "{} {} {} {:04} {}:{}:{}".format,
    st.sampled_from(["Mon", "Xyz"]), st.sampled_from(["Jan", "Feb", "Dec", "Xxx"]), two, st.integers(0, 9999),
    two, two, two,
)  # fmt: skip
cultured = st.builds("{}{}{}{}{:04} {}:{}:{}".format, two, st.sampled_from("./-"), two, st.sampled_from("./-"),
                     st.integers(0, 9999), two, two, two)  # fmt: skip
zones = st.sampled_from(["Europe/Minsk", "", "Europe", "Nowhere/Land", "../x", "\0", "\ud800", CANARY])
rows = st.fixed_dictionaries(
    {"ID": st.integers(1, 99).map(str) | anything, "DATE_FROM_FORMATTED": formatted | anything,
     "DATE_TO_FORMATTED": formatted | anything, "TZ_FROM": zones | anything},
    optional={
        "TZ_TO": zones, "TZ_OFFSET_FROM": anything | st.integers().map(str), "TZ_OFFSET_TO": anything,
        "DATE_FROM": cultured | anything, "DATE_TO": cultured | anything, "DATE_FROM_TS_UTC": anything,
        "DT_SKIP_TIME": st.sampled_from(["Y", "N"]) | anything, "MEETING_STATUS": anything, "IS_MEETING": anything,
        "ATTENDEE_LIST": anything | st.lists(st.fixed_dictionaries({"id": anything, "status": anything}), max_size=2),
        "NAME": anything, "PARENT_ID": anything, "RRULE": anything, "FROM_HR": st.booleans(), "DT_FROM": cultured,
        "DT_TO": cultured,
    },
)  # fmt: skip


@given(windows, st.timedeltas(timedelta(days=1), timedelta(days=40)))
def test_parts_touch_cover_and_never_overlap(window: Window, longest: timedelta) -> None:
    parts = list(window.chunks(longest))
    assert parts[0].start == window.start.astimezone(UTC) - MARGIN
    assert parts[-1].end == window.end.astimezone(UTC) + MARGIN
    assert all(part.end == following.start for part, following in pairwise(parts))
    assert all(timedelta() < part.end - part.start <= longest for part in parts)


def test_the_longest_window_is_one_request() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert len(list(Window(start, start + MAX_WINDOW).chunks(timedelta(days=31)))) <= 50


@pytest.mark.parametrize(("start", "end"), [("1970-01-01", "1970-01-02"), ("2100-12-30", "2100-12-31")])
def test_the_ends_of_time(start: str, end: str) -> None:
    parts = list(Window(*(check_moment(f"{day}T00:00Z", "x") for day in (start, end))).chunks(timedelta(days=31)))
    assert len(parts) == 1


@given(anything | st.text("0123456789-:TZ+. ") | moments.map(datetime.isoformat))
def test_a_moment_is_aware_or_refused(value: Any) -> None:
    try:
        found = check_moment(value, "window_start")
    except InvalidArgumentError:
        return
    assert found.utcoffset() is not None


@given(rows | st.dictionaries(st.text(), anything), windows)
@settings(max_examples=1000)
def test_any_row_is_a_value_or_says_which_field_is_not(row: dict[str, Any], window: Window) -> None:
    for reader in (read_event, lambda given: read_busy(given, window)):
        try:
            found: CalendarEvent | BusyPeriod = reader(row)
        except RowError as error:
            assert error.field
        else:
            assert found.start <= found.end
            assert found.start.utcoffset() == timedelta()
            assert window.touches(found) in (True, False)
            hash(found)


@given(st.data(), windows)
@settings(max_examples=600)
def test_any_reply_is_a_value_or_an_error_without_the_secret(data: st.DataObject, window: Window) -> None:
    call: Call[Any] = data.draw(
        st.sampled_from([get_events("user", 1, window), get_event(1), get_busy([1, 2], window)])
    )
    result = data.draw(
        anything
        | rows
        | st.lists(rows, max_size=2)
        | st.fixed_dictionaries({"1": st.lists(rows, max_size=2), "2": rows})
    )
    try:
        read(call, Reply(200, json.dumps({"result": result}).encode()), ENDPOINT.scrub)
    except Bitrix24Error as error:
        assert CANARY not in f"{error} {error.to_dict()}"
        str(error).encode()
        assert error.__context__ is None


def test_times_of_airflow_are_times() -> None:
    start = pendulum.datetime(2026, 10, 25, 2, 30, tz="Europe/Berlin")
    window = Window(start, start.add(days=40))
    assert [type(bound) for bound in (window.start, window.end)] == [datetime, datetime]
    assert (window.start, window.start.utcoffset()) == (start, start.utcoffset())
    assert len(list(window.chunks(timedelta(days=31)))) == 2
    assert check_moment(start, "x").fold == start.fold
