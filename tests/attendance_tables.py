"""Portals, snapshots and tables in memory, for tests of the attendance rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from hypothesis import strategies as st

from airflow_provider_b24cal.attendance.models import AttendanceChange, Snapshot, Stored, best_views
from airflow_provider_b24cal.attendance.reconcile import Diff, reconcile
from airflow_provider_b24cal.bitrix24.calendar.events import Attendee, CalendarEvent
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.calendar.window import Window

FIRST = datetime(2026, 9, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOST = 1
WINDOWS = [Window(FIRST + day * DAY, FIRST + (day + 2) * DAY) for day in (0, 2, 4)]
CALENDARS = ("company_calendar", "user:1", "user:2")

letters = st.sampled_from("YNQ").map(MeetingStatus)
answers = st.dictionaries(st.integers(2, 5), letters, max_size=3)


def make_event(
    parent: int, hour: int, given: dict[int, MeetingStatus] | None, *, series: bool, hosted: bool = True
) -> CalendarEvent:
    invited = [Attendee(user, status) for user, status in (given or {}).items()]
    host = [Attendee(HOST, MeetingStatus.ORGANISER)] if hosted else []
    attendees = None if given is None else (*host, *invited)
    start = FIRST + hour * HOUR
    return CalendarEvent(
        id=parent, parent_id=parent, name=f"Meeting {parent}", start=start, end=start + HOUR, zone="Europe/Berlin",
        all_day=False, calendar_type="user", owner_id=HOST, host_id=HOST, is_meeting=True, is_recurring=series,
        status=MeetingStatus.ORGANISER, attendees=attendees,
    )  # fmt: skip


def make_seven(given_answers: str | None, hour: int = 5, *, series: bool = False) -> CalendarEvent:
    """Return meeting 7 with the answers of users 2, 3 and so on; a blank for who is not invited."""
    if given_answers is None:
        return make_event(7, hour, None, series=series)
    given = {number: MeetingStatus(letter) for number, letter in enumerate(given_answers, 2) if letter != " "}
    return make_event(7, hour, given, series=series)


any_hour = st.integers(0, 143)


@st.composite
def portals(draw: st.DrawFn, parents: int = 6, hours: Any = any_hour) -> dict[str, list[CalendarEvent]]:
    """Return what each calendar shows: the same meetings, here and there masked or missing."""
    shown: dict[str, list[CalendarEvent]] = {name: [] for name in CALENDARS}
    for parent in draw(st.sets(st.integers(1, parents), max_size=4)):
        series = draw(st.booleans())
        given_answers = draw(answers)
        # Who calls a meeting of a group need not come to it.
        hosted = parent % 2 == 1
        for hour in draw(st.sets(hours, min_size=1, max_size=3 if series else 1)):
            for name in CALENDARS:
                view = draw(st.sampled_from(["open", "open", "masked", "missing"]))
                if view != "missing":
                    hidden = view == "masked"
                    visible = None if hidden else given_answers
                    shown[name].append(make_event(parent, hour, visible, series=series, hosted=hosted))
    return shown


class Tables:
    """The tables, in memory."""

    def __init__(self) -> None:
        self.stored = Stored({}, {})
        self.changes: dict[Any, AttendanceChange] = {}

    def write(self, difference: Diff) -> Diff:
        for row in difference.meetings:
            self.stored.meetings[row.key] = row  # type: ignore[index]
        for answer in difference.attendances:
            self.stored.attendances.setdefault((answer.parent_id, answer.occurrence_start), {})[answer.user_id] = answer  # type: ignore[attr-defined]
        for change in difference.changes:
            key = (*change[:3], change.old_seen_at)
            assert key not in self.changes, "no change is reported twice"
            self.changes[key] = change
        return difference

    def sync(self, snapshot: Snapshot) -> Diff:
        return self.write(reconcile(self.stored, snapshot))

    def truth(self) -> tuple[Any, Any, Any]:
        """Return the tables without the times of our readings, and which of many calendars was the last one read."""
        return (
            {
                key: (*row._replace(calendar="")[2:15], row.vanished_at is None, row.vanished_reason, row.moved_to)
                for key, row in self.stored.meetings.items()
            },
            {
                (key, user): (row.status, row.is_host, row.vanished_at is None)
                for key, rows in self.stored.attendances.items()
                for user, row in rows.items()
            },
            sorted((change[:5] for change in self.changes.values()), key=repr),
        )

    def now(self) -> dict[Any, dict[int, str] | None]:
        """Return the answers to what is there now; ``None`` where they are not shown."""
        return {
            key: None if row.total is None else {
                user: answer.status
                for user, answer in self.stored.attendances.get(key, {}).items()
                if answer.vanished_at is None
            }
            for key, row in self.stored.meetings.items()
            if row.vanished_at is None
        }  # fmt: skip


def shown_answers(events: Iterable[CalendarEvent]) -> dict[Any, dict[int, str] | None]:
    """Return the answers that calendars show of each occurrence; ``None`` where all of them are masked."""
    shown: dict[Any, dict[int, str] | None] = {}
    for event in events:
        key = event.parent_id, event.start
        if event.attendees is None:
            shown.setdefault(key, None)
        else:
            shown[key] = {one.user_id: one.status.value for one in event.attendees}
    return shown


class Clock:
    def __init__(self) -> None:
        self.ticks = count()

    def read(
        self, portal: dict[str, list[CalendarEvent]], window: Window, names: Iterable[str] = CALENDARS
    ) -> Snapshot:
        seen = tuple((name, event) for name in names for event in portal[name] if window.touches(event))
        return Snapshot(self.now(), seen, frozenset(names), window)

    def read_all(
        self, portal: dict[str, list[CalendarEvent]], window: Window, names: Iterable[str] = CALENDARS
    ) -> Snapshot:
        """Return a reading of calendars, completed by reading every meeting by its id."""
        shown = best_views((name, event) for name, events in portal.items() for event in events)
        in_order = sorted((event for _, event in shown.values()), key=lambda event: event.start, reverse=True)
        first_dates = {event.parent_id: event for event in in_order}
        cancelled = frozenset(range(1, 10)) - first_dates.keys()
        return replace(self.read(portal, window, names), by_id=tuple(first_dates.values()), cancelled=cancelled)

    def now(self) -> datetime:
        """Return the next time."""
        return FIRST + 365 * DAY + next(self.ticks) * timedelta(minutes=1)


def reported(tables: Tables) -> list[tuple[int, str | None, str | None]]:
    """Return the changes: user, old and new answer."""
    return sorted((change[2:5] for change in tables.changes.values()), key=repr)
