"""Attendance as it is now, by day: rows without a history, for files that are written anew."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_b24cal.attendance.reconcile import best_views
from airflow_provider_b24cal.attendance.rows import answers, is_host, meeting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_b24cal.attendance.reconcile import Reading
    from airflow_provider_b24cal.bitrix24.window import Window


class MeetingNow(NamedTuple):
    """One occurrence as it was seen; see :class:`~airflow_provider_b24cal.attendance.rows.Meeting`."""

    portal: str
    parent_id: int
    occurrence_start: datetime
    name: str
    host_id: int | None
    calendar: str
    occurrence_end: datetime
    zone: str | None
    all_day: bool
    is_recurring: bool
    recurrence_id: int | None
    accepted: int | None
    declined: int | None
    silent: int | None
    total: int | None
    share: float | None
    seen_at: datetime


class AnswerNow(NamedTuple):
    """Somebody's answer as it was seen."""

    portal: str
    parent_id: int
    occurrence_start: datetime
    user_id: int
    status: str
    is_host: bool
    seen_at: datetime


def by_day(reading: Reading, portal: str) -> dict[date, tuple[list[MeetingNow], list[AnswerNow]]]:
    """Return the rows of each day, in order; a day in UTC on which nothing begins has none."""
    assert reading.window is not None
    days: dict[date, tuple[list[MeetingNow], list[AnswerNow]]] = {day: ([], []) for day in days_of(reading.window)}
    for (parent_id, start), (calendar, event) in sorted(best_views(reading.seen).items()):
        rows = days.get(start.astimezone(UTC).date())
        if rows is None:  # reaches into the window, and belongs to the day on which it began
            continue
        row = meeting(event, calendar, reading.ended, reading.ended)
        rows[0].append(MeetingNow(portal, *row[:-3], seen_at=reading.ended))
        for user_id, status in sorted((answers(event) or {}).items()):
            host = is_host(event, user_id, status)
            rows[1].append(AnswerNow(portal, parent_id, start, user_id, status.value, host, reading.ended))
    return days


def days_of(window: Window) -> Iterator[date]:
    """Yield the days of a window of whole days."""
    day = window.start.astimezone(UTC)
    while day < window.end:
        yield day.date()
        day += timedelta(days=1)
