"""The log of reads, also of those that found nothing: it distinguishes an event that a late read saw from a new one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.attendance.models import CompletedRead

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_b24cal.attendance.models import Snapshot
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent

RETENTION: Final = timedelta(days=1)
"""How long reads are kept; a snapshot that is older has to be read again before it is written."""
MAX_CLOCK_SKEW: Final = timedelta(minutes=10)
"""Reads further in the future are those of a wrong clock, and are ignored."""
_ALWAYS: Final = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class ReadLog:
    """Stored reads.

    :param reads: those that ended after a snapshot began.
    """

    def __init__(self, reads: Iterable[CompletedRead]) -> None:
        self._by_calendar: dict[str, list[CompletedRead]] = {}
        for read in reads:
            self._by_calendar.setdefault(read.calendar, []).append(read)

    def at(self, calendar: str, event: CalendarEvent) -> datetime | None:
        """Return when the place of an event may last have been read."""
        if not self._by_calendar:  # as nearly always
            return None
        # The zone of the days is not stored, so those of all zones count.
        around = timedelta(days=event.all_day)
        read_times = (
            read.read_at
            for name in (calendar, _by_id(event.parent_id))
            for read in self._by_calendar.get(name, ())
            if read.window_start - around <= event.start < read.window_end + around
        )
        return max(read_times, default=None)

    def newer(self, reads: Iterable[CompletedRead]) -> list[CompletedRead]:
        """Return the reads of which no newer one is stored."""
        return [
            read
            for read in reads
            if not any(one[:3] == read[:3] and one.read_at > read.read_at for one in self._by_calendar.get(read[0], ()))
        ]


def reads_of(snapshot: Snapshot) -> Iterator[CompletedRead]:
    """Yield the reads of a snapshot."""
    if snapshot.window is not None:
        bounds = snapshot.window.start.astimezone(UTC), snapshot.window.end.astimezone(UTC)
        for calendar in sorted(snapshot.whole_calendars()):
            yield CompletedRead(calendar, *bounds, snapshot.ended)
    for parent_id in sorted(snapshot.gone):
        yield CompletedRead(_by_id(parent_id), *_ALWAYS, snapshot.ended)


def _by_id(parent_id: int) -> str:
    return f"event:{parent_id}"
