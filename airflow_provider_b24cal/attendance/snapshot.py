"""The rows of a snapshot by day, without a history, for files."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, get_type_hints

from airflow_provider_b24cal.attendance.models import (
    Attendance,
    Day,
    Meeting,
    Person,
    answers,
    best_views,
    is_host,
    meeting,
    row_ids,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_b24cal.attendance.models import Snapshot
    from airflow_provider_b24cal.bitrix24.calendar.window import Window

Record: TypeAlias = "dict[str, Any]"
"""A row by its columns."""
Kind: TypeAlias = "type[Meeting | Attendance | Person | Day]"
"""The class of rows of one kind."""

_HISTORY: Final = frozenset({
    "first_seen", "last_seen", "changed_at", "vanished_at", "vanished_reason", "moved_to", "created_at", "updated_at",
})  # fmt: skip


def columns(kind: Kind) -> dict[str, Any]:
    """Return the columns of a kind of rows, with the type of each."""
    kept = {name: hint for name, hint in get_type_hints(kind, {"datetime": datetime}).items() if name not in _HISTORY}
    return {"portal": str, **kept, "seen_at": datetime}


def _record(portal: str, row: Meeting | Attendance | Person | Day) -> Record:
    kept = {name: value for name, value in row._asdict().items() if name not in _HISTORY}
    return {"portal": portal, **kept, "seen_at": row.last_seen}


def by_day(snapshot: Snapshot, portal: str, people: Mapping[int, Person]) -> dict[date, dict[Kind, list[Record]]]:
    """Return the rows of each day by their kind, in order; of a day in UTC on which no event begins only its own.

    :param people: by user id; an attendee or organiser who is here has a row.
    """
    assert snapshot.window is not None
    now = snapshot.read_at
    days, incomplete = {day: _Rows([], [], set()) for day in days_of(snapshot.window)}, _incomplete_days(snapshot)
    for key, (calendar, event) in sorted(best_views(snapshot.seen).items()):
        day = days.get(event.start.astimezone(UTC).date())
        if day is None:  # it began before the window
            continue
        given, ids = answers(event) or {}, row_ids(event)
        day.meetings.append(_record(portal, meeting(event, calendar, now)))
        for user_id, status in sorted(given.items()):
            host = is_host(event, user_id, status)
            answer = Attendance(*key, user_id, status.value, host, now, now, event_id=ids[user_id])
            day.answers.append(_record(portal, answer))
        day.people.update(given, () if event.host_id is None else (event.host_id,))
    return {
        date_: {
            Meeting: day.meetings,
            Attendance: day.answers,
            Person: [
                _record(portal, people[one]._replace(last_seen=now)) for one in sorted(day.people & people.keys())
            ],
            Day: [_record(portal, Day(len(day.meetings), len(day.answers), date_ not in incomplete, now))],
        }
        for date_, day in days.items()
    }


def _incomplete_days(snapshot: Snapshot) -> frozenset[date]:
    """Return the days on which an unreadable row begins; all days if its start cannot be read."""
    assert snapshot.window is not None
    if any(row.span is None for _, row in snapshot.unreadable):
        return frozenset(days_of(snapshot.window))
    spans = (row.span for _, row in snapshot.unreadable)
    return frozenset(span.start.astimezone(UTC).date() for span in spans if span is not None)


class _Rows(NamedTuple):
    meetings: list[Record]
    answers: list[Record]
    people: set[int]


def days_of(window: Window) -> Iterator[date]:
    """Yield the days of a window of whole days."""
    day = window.start.astimezone(UTC)
    while day < window.end:
        yield day.date()
        day += timedelta(days=1)
