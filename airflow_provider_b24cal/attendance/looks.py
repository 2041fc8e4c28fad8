"""Where readings have looked, also where nothing was: without it, nobody could tell a late reading from a new event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.attendance.models import Look

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_b24cal.attendance.reconcile import Snapshot
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent

MEMORY: Final = timedelta(days=1)
"""How long looks are kept; a reading as old as that has to be made again before it is written."""
SKEW: Final = timedelta(minutes=10)
"""Looks that are further in the future are those of a clock that is wrong, and count for nothing."""
_ALWAYS: Final = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class Looks:
    """Looks that are stored.

    :param looks: those that ended after a reading began.
    """

    def __init__(self, looks: Iterable[Look]) -> None:
        self._by_calendar: dict[str, list[Look]] = {}
        for look in looks:
            self._by_calendar.setdefault(look.calendar, []).append(look)

    def at(self, calendar: str, event: CalendarEvent) -> datetime | None:
        """Return when anybody may last have looked where an event is shown."""
        if not self._by_calendar:  # as nearly always
            return None
        # In which zone days were meant is not kept, so those of all zones count.
        around = timedelta(days=event.all_day)
        looked = (
            look.read_at
            for name in (calendar, _by_id(event.parent_id))
            for look in self._by_calendar.get(name, ())
            if look.window_start - around <= event.start < look.window_end + around
        )
        return max(looked, default=None)

    def newer(self, looks: Iterable[Look]) -> list[Look]:
        """Return those of which no newer one is known."""
        return [
            look
            for look in looks
            if not any(one[:3] == look[:3] and one.read_at > look.read_at for one in self._by_calendar.get(look[0], ()))
        ]


def looks_of(reading: Snapshot) -> Iterator[Look]:
    """Yield where a reading has looked."""
    if reading.window is not None:
        bounds = reading.window.start.astimezone(UTC), reading.window.end.astimezone(UTC)
        for calendar in sorted(reading.whole_calendars()):
            yield Look(calendar, *bounds, reading.ended)
    for parent_id in sorted(reading.gone):
        yield Look(_by_id(parent_id), *_ALWAYS, reading.ended)


def _by_id(parent_id: int) -> str:
    return f"event:{parent_id}"
