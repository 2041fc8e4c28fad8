"""The method ``calendar.accessibility.get``: when people are busy, or absent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from bitrix24_sandbox import phpdate
from bitrix24_sandbox.calendar_methods import SCOPES, refuse_external, required
from bitrix24_sandbox.event_list import Entry, Window, days_window, overlapping
from bitrix24_sandbox.event_times import date_only, date_time, time_fields
from bitrix24_sandbox.event_view import masked_name, view_of
from bitrix24_sandbox.php import PhpArray, array, to_int
from bitrix24_sandbox.rest import Call, Method

if TYPE_CHECKING:
    from bitrix24_sandbox.models import Absence
    from bitrix24_sandbox.settings import Settings

_TIMES = (
    "DATE_FROM", "DATE_TO", "DATE_FROM_TS_UTC", "DATE_TO_TS_UTC", "~USER_OFFSET_FROM", "~USER_OFFSET_TO",
    "DT_SKIP_TIME", "TZ_FROM", "TZ_TO",
)  # fmt: skip


def accessibility_get(call: Call) -> PhpArray:
    """Answer ``calendar.accessibility.get``: when people are busy, by their ids."""
    refuse_external(call)
    *limits, users = (required(call, "calendar.accessibility.get", name) for name in ("from", "to", "users"))
    if not isinstance(users, dict):
        return {}
    zone = call.portal.settings.server_zone
    # What PHP cannot read as a date is the start of its time.
    start, end = (phpdate.moment(limit, zone) or datetime(1970, 1, 1, tzinfo=UTC) for limit in limits)
    window = days_window(start, end, zone)
    wanted = (user_id for user_id in map(to_int, users.values()) if user_id > 0)
    return {user_id: dict(enumerate(_of_user(call, user_id, window))) for user_id in wanted}


def _of_user(call: Call, user_id: int, window: Window) -> list[PhpArray]:
    book, settings = call.portal.book, call.portal.settings
    entries = overlapping(book, book.calendar("user", user_id), window, settings)
    busy = [_busy(call, entry) for entry in entries if _takes_time(entry)]
    return busy + [_absent(one, settings) for one in _absences(call, user_id, window)]


def _takes_time(entry: Entry) -> bool:
    return entry.event.accessibility != "free" and entry.row.shown_status != "N"


def _busy(call: Call, entry: Entry) -> PhpArray:
    settings, event = call.portal.settings, entry.event
    times = time_fields(event, call.caller, settings, entry.day)
    # The portal compares the owner's id with text, so private events are masked for their owner too.
    seen = not event.private and view_of(call.portal.book, entry.row, call.caller) in ("full", "title")
    return {
        "ID": str(entry.row.id),
        "NAME": event.name if seen else masked_name(event, settings),
        **{name: array(times.get(name)) for name in _TIMES},
        "ACCESSIBILITY": event.accessibility,
        "IMPORTANCE": event.importance,
        "EVENT_TYPE": None,
    }


def _absences(call: Call, user_id: int, window: Window) -> list[Absence]:
    zone = ZoneInfo(call.portal.settings.server_zone)
    return [
        absence
        for absence in call.portal.book.absences
        if absence.user_id == user_id
        and absence.starts.replace(tzinfo=zone).timestamp() <= window.upper
        and absence.ends.replace(tzinfo=zone).timestamp() >= window.lower
    ]


def _absent(absence: Absence, settings: Settings) -> PhpArray:
    """Return an absence of the personnel department, whose rows have fields of their own."""
    return {
        "FROM_HR": True,
        "ID": str(absence.id),
        "DT_FROM": _moment(absence.starts, settings),
        "DT_TO": _moment(absence.ends, settings),
        "ACCESSIBILITY": "absent",
        "IMPORTANCE": "normal",
        "FROM": _timestamp(absence.starts, settings),
        "TO": _timestamp(absence.ends, settings),
    }


def _moment(wall: datetime, settings: Settings) -> str:
    midnight = wall.time() == datetime.min.time()
    return date_only(wall, settings) if midnight else date_time(wall, settings)


def _timestamp(wall: datetime, settings: Settings) -> int:
    return int(wall.replace(tzinfo=ZoneInfo(settings.server_zone)).timestamp())


METHODS = {"calendar.accessibility.get": Method(SCOPES, accessibility_get)}
