"""The portal's state as JSON data, for the page and for tools."""

from __future__ import annotations

from datetime import date, datetime, time
from itertools import islice
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from bitrix24_sandbox.recurrence import next_day

# A page draws no more, and a browser asks every second.
MOST_MEETINGS = 1000

if TYPE_CHECKING:
    from bitrix24_sandbox.models import CalendarStore, Event


def snapshot(book: CalendarStore, now: datetime) -> dict[str, object]:
    """Return people and meetings with everybody's answers; of a very large seed data the first meetings.

    :param now: an aware time; series are shown at their next day from then on.
    """
    return {
        "now": now.isoformat(timespec="seconds"),
        "people": [
            {
                "id": person.id,
                "name": person.full_name,
                "time_zone": person.time_zone,
                "active": person.active,
            }
            for person in book.people.values()
        ],
        "meetings": [_meeting(book, event, now.date()) for event in islice(book.events.values(), MOST_MEETINGS)],
        "meetings_in_all": len(book.events),
    }


def _meeting(book: CalendarStore, event: Event, today: date) -> dict[str, object]:
    day = next_day(event, today)
    starts = datetime.combine(day, event.starts.time())
    ends = starts + (event.ends - event.starts)
    return {
        "id": event.id,
        "name": event.name,
        "calendar_type": event.calendar_type,
        "owner_id": event.owner_id,
        "is_meeting": event.is_meeting,
        "host_id": event.host_id,
        "start": _instant(starts, event),
        "end": _instant(ends, event),
        "all_day": event.all_day,
        "time_zone": event.time_zone,
        "repeats": None if event.repeat is None else event.repeat.frequency.lower(),
        "edited_from": event.recurrence_id,
        "private": event.private,
        "location": event.location,
        "attendees": [
            {
                "user_id": row.owner_id,
                "row_id": row.id,
                "status": row.shown_status,
                "removed": row.deleted,
            }
            for row in book.rows_of(event.id)
            if row.calendar_type == "user"
        ],
    }


def _instant(wall: datetime, event: Event) -> str:
    if event.all_day:
        return wall.date().isoformat()
    return datetime.combine(wall.date(), time(wall.hour, wall.minute), ZoneInfo(event.time_zone)).isoformat()
