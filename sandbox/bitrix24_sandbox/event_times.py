"""The time fields of a calendar row, which are not what their names promise.

What is stored as UTC is the event's wall clock read in the *server's* zone, less the event's offset. Days
of a series share the stored start of the first day and the stored end of the last one.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from bitrix24_sandbox.recurrence import stored_last_day
from bitrix24_sandbox.settings import CULTURES

if TYPE_CHECKING:
    from bitrix24_sandbox.models import Event, Person
    from bitrix24_sandbox.settings import Settings

_DAY = timedelta(days=1)


def time_fields(event: Event, viewer: Person, settings: Settings, day: date | None = None) -> dict[str, object]:
    """Return the time fields of an event, or of one day of a series.

    :param viewer: the user in whose zone the event's distance is given.
    :param day: the day of the series.
    """
    starts, ends = on_day(event, event.starts.date() if day is None else day)
    occurrence = event.repeat is not None and day is not None
    form = "%a %b %d %Y" if event.all_day else "%a %b %d %Y %H:%M:%S"
    zone_from, zone_to = offset(event.starts, event.time_zone), offset(event.ends, event.time_zone)
    shift = 0 if event.all_day else zone_from - offset(event.starts, viewer.time_zone)
    zones: dict[str, object] = {
        "TZ_FROM": event.time_zone,
        "TZ_TO": event.time_zone,
        "TZ_OFFSET_FROM": str(zone_from),
        "TZ_OFFSET_TO": str(zone_to),
    }
    return {
        **_printed("", starts, ends, settings, short=occurrence and event.all_day),
        "DATE_FROM_FORMATTED": starts.strftime(form),
        "DATE_TO_FORMATTED": ends.strftime(form),
        **(_printed("~", event.starts, event.ends, settings, short=event.all_day) if occurrence else {}),
        "~USER_OFFSET_FROM": shift,
        "~USER_OFFSET_TO": shift,
        **_timestamps(event, settings),
        "DT_SKIP_TIME": "Y" if event.all_day else "N",
        "DT_LENGTH": int((event.ends - event.starts + (_DAY if event.all_day else timedelta())).total_seconds()),
        **({} if event.all_day else zones),
    }


def _printed(mark: str, starts: datetime, ends: datetime, settings: Settings, *, short: bool) -> dict[str, object]:
    """Return start and end in the portal's culture; occurrences of whole days have no time of day."""
    if short:
        return {f"{mark}DATE_FROM": date_only(starts, settings), f"{mark}DATE_TO": date_only(ends, settings)}
    return {f"{mark}DATE_FROM": date_time(starts, settings), f"{mark}DATE_TO": date_time(ends, settings)}


def _timestamps(event: Event, settings: Settings) -> dict[str, object]:
    if settings.timestamps == "nonsense":
        return {"DATE_FROM_TS_UTC": "-10799", "DATE_TO_TS_UTC": "2145992400"}
    starts, ends = stored(event.starts, event, settings), stored_end(event, settings)
    return {"DATE_FROM_TS_UTC": str(starts), "DATE_TO_TS_UTC": str(ends)}


def on_day(event: Event, day: date) -> tuple[datetime, datetime]:
    """Return start and end, wall clock in the event's zone, of one day of a series."""
    starts = datetime.combine(day, event.starts.time())
    return starts, starts + (event.ends - event.starts)


def stored(wall: datetime, event: Event, settings: Settings) -> int:
    """Return what the portal stores as UTC time of a wall clock time of an event."""
    shift = 0 if event.all_day else offset(wall, event.time_zone)
    return int(wall.replace(tzinfo=ZoneInfo(settings.server_zone)).timestamp()) - shift


def stored_end(event: Event, settings: Settings) -> int:
    """Return what the portal stores as UTC time of the end: that of the whole series."""
    return stored(on_day(event, stored_last_day(event))[1], event, settings)


def offset(wall: datetime, zone: str) -> int:
    """Return the seconds a zone is ahead of UTC."""
    ahead = wall.replace(tzinfo=ZoneInfo(zone)).utcoffset() or timedelta()
    return int(ahead.total_seconds())


def date_time(wall: datetime, settings: Settings) -> str:
    """Return a date and time as the portal's culture writes it."""
    return wall.strftime(CULTURES[settings.culture][1]).replace("AM", "am").replace("PM", "pm")


def date_only(day: date, settings: Settings) -> str:
    """Return a date as the portal's culture writes it."""
    return day.strftime(CULTURES[settings.culture][0])


def instants(event: Event, day: date, settings: Settings) -> tuple[datetime, datetime]:
    """Return when an event really starts and ends on a day; whole days are those of the server's zone."""
    starts, ends = on_day(event, day)
    zone = ZoneInfo(settings.server_zone if event.all_day else event.time_zone)
    return starts.replace(tzinfo=zone), (ends + (_DAY if event.all_day else timedelta())).replace(tzinfo=zone)
