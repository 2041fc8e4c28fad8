"""What must hold for any time in any zone, on days that have an hour too few or too many as well."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from airflow_provider_b24cal.bitrix24.calendar.accessibility import read_busy
from airflow_provider_b24cal.bitrix24.calendar.events import read_event
from airflow_provider_b24cal.bitrix24.calendar.fields import RowError
from airflow_provider_b24cal.bitrix24.calendar.listing import MAX_BUSY_SPAN
from airflow_provider_b24cal.bitrix24.calendar.window import Window, check_moment

DAY = timedelta(days=1)
# Clocks that are changed at night, at midnight, by half an hour, by a whole day, and never.
ZONES = st.sampled_from(
    ["Europe/Berlin", "America/Havana", "Africa/Cairo", "Asia/Beirut", "Australia/Lord_Howe", "Pacific/Apia",
     "America/St_Johns", "Asia/Kathmandu", "Pacific/Kiritimati", "Etc/GMT+12", "UTC"]
).map(ZoneInfo)  # fmt: skip
SLASHED = ["%m/%d/%Y %I:%M:%S %p", "%d/%m/%Y %H:%M"]
CULTURES = st.sampled_from(["%d.%m.%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%d-%m-%Y %H:%M:%S", *SLASHED])


@st.composite
def instants(draw: st.DrawFn, zone: ZoneInfo) -> datetime:
    """Any minute, and often one within two hours of a change of the clocks."""
    found = draw(st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1)))  # noqa: DTZ001
    instant = found.replace(second=0, microsecond=0, tzinfo=UTC)
    if draw(st.booleans()):
        for days in range(366):
            day = instant + timedelta(days=days)
            if day.astimezone(zone).utcoffset() != (day + DAY).astimezone(zone).utcoffset():
                shift = next(
                    day + timedelta(minutes=15 * number)
                    for number in range(1, 97)
                    if (day + timedelta(minutes=15 * number)).astimezone(zone).utcoffset()
                    != day.astimezone(zone).utcoffset()
                )
                return shift + timedelta(minutes=draw(st.integers(-120, 120)))
    return instant


def _row(start: datetime, end: datetime, zone: ZoneInfo, form: str) -> dict[str, Any]:
    written = {"FROM": start.astimezone(zone), "TO": end.astimezone(zone)}
    row: dict[str, Any] = {"ID": "5", "DT_SKIP_TIME": "N", "DATE_FROM_TS_UTC": str(int(start.timestamp()))}
    for side, wall in written.items():
        row |= {f"DATE_{side}": wall.strftime(form), f"TZ_{side}": zone.key,
                f"DATE_{side}_FORMATTED": wall.strftime("%a %b %d %Y %H:%M:%S")}  # fmt: skip
    return row


def _as_written(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return what can be known of an instant from its wall clock: of an hour that comes twice, the first."""
    return instant.astimezone(zone).replace(fold=0).astimezone(UTC)


@given(st.data(), ZONES, st.timedeltas(timedelta(), timedelta(days=10)), CULTURES)
@settings(max_examples=300)
def test_a_time_written_in_a_zone_is_read_as_the_same_instant(
    data: st.DataObject, zone: ZoneInfo, length: timedelta, form: str
) -> None:
    start = data.draw(instants(zone))
    end = (start + length).replace(second=0, microsecond=0)
    expected = _as_written(start, zone), max(_as_written(start, zone), _as_written(end, zone))
    row = _row(start, end, zone, form)
    event = read_event(row)
    assert (event.start, event.end) == expected
    asked = Window(start - MAX_BUSY_SPAN / 2, start + MAX_BUSY_SPAN / 2)
    first, last = (moment.astimezone(zone).replace(tzinfo=None) for moment in (start, end))
    try:
        busy = read_busy(row, asked)
    except RowError:
        # From 5 May to 6 May, or to 5 June: what can be read in two ways is an error and no guess.
        two_ways = first.day == first.month and last.day <= 12
        assert (two_ways and form in SLASHED) or last < first
    else:
        assert (busy.start, busy.end) == expected


@given(ZONES, st.dates(date(1990, 1, 1), date(2037, 1, 1)))
@example(ZoneInfo("America/Havana"), date(2026, 3, 8))
@settings(max_examples=300)
def test_a_whole_day_lies_in_the_window_of_that_day_and_in_no_other(zone: ZoneInfo, day: date) -> None:
    def midnight(moment: date) -> datetime:
        return datetime.combine(moment, time(), zone)

    def whole(moment: date) -> Any:
        text = moment.strftime("%a %b %d %Y")
        return read_event({"ID": "5", "DT_SKIP_TIME": "Y", "DATE_FROM_FORMATTED": text, "DATE_TO_FORMATTED": text})

    midnights = [midnight(day + number * DAY).astimezone(UTC) for number in (-1, 0, 1, 2)]
    # Apia had no 30 December 2011, and Kiritimati no 31 December 1994.
    assume(midnights == sorted(set(midnights)))
    window = Window(midnight(day), midnight(day + DAY))
    assert [window.touches(whole(day + number * DAY)) for number in (-1, 0, 1)] == [False, True, False]


@given(st.data(), ZONES, st.timedeltas(timedelta(minutes=1), timedelta(days=3)))
@settings(max_examples=300)
def test_windows_that_follow_each_other_have_every_instant_once(
    data: st.DataObject, zone: ZoneInfo, length: timedelta
) -> None:
    middle = data.draw(instants(zone))
    windows = (
        Window((middle - length).astimezone(zone), middle.astimezone(zone)),
        Window(middle.astimezone(zone), (middle + length).astimezone(zone)),
    )
    moment = middle + timedelta(seconds=data.draw(st.integers(-59, 59)))
    row = _row(moment, moment, ZoneInfo("UTC"), "%d.%m.%Y %H:%M:%S")
    assert [window.touches(read_event(row)) for window in windows] == [moment < middle, moment >= middle]


@given(st.data(), ZONES)
@settings(max_examples=300)
def test_a_moment_is_the_same_as_text(data: st.DataObject, zone: ZoneInfo) -> None:
    moment = data.draw(instants(zone)).astimezone(zone)
    assert check_moment(moment.isoformat(), "x").astimezone(UTC) == check_moment(moment, "x").astimezone(UTC)
