"""The methods that list events: ``calendar.event.get`` and ``.get.nearest``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from bitrix24_sandbox import phpdate
from bitrix24_sandbox.calendar_methods import SCOPES, failed, refuse_external, required
from bitrix24_sandbox.event_fields import section_id
from bitrix24_sandbox.event_list import Entry, asked_window, days_window, overlapping
from bitrix24_sandbox.event_times import date_only, date_time, instants
from bitrix24_sandbox.event_view import list_record
from bitrix24_sandbox.models import CALENDAR_TYPES, ROOMS
from bitrix24_sandbox.php import PhpValue, is_empty, to_int, to_text
from bitrix24_sandbox.rest import Call, Method

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bitrix24_sandbox.models import Row

NEAREST_DAYS = 60
NEAREST_MOST = 75


def event_get(call: Call) -> list[dict[str, object]]:
    """Answer ``calendar.event.get``: everything at once, series day by day."""
    refuse_external(call)
    kind = _text(required(call, "calendar.event.get", "type"))
    portal, given = call.portal, call.parameters
    owner_id = to_int(given.get("ownerId"))
    start, end = (phpdate.moment(given.get(name), portal.settings.server_zone) for name in ("from", "to"))
    rows: Iterable[Row] = portal.book.calendar(kind, owner_id)
    wanted = given.get("section")
    if not is_empty(wanted):
        shown = _sections(wanted) if _lets_see_sections(call, kind, owner_id) else set()
        rows = [row for row in rows if section_id(portal.book.events[row.parent_id], row) in shown]
    window = asked_window(start, end, _now(call))
    records = (_record(call, entry) for entry in overlapping(portal.book, rows, window, portal.settings))
    return [record for record in records if record is not None]


def _record(call: Call, entry: Entry) -> dict[str, object] | None:
    portal = call.portal
    return list_record(portal.book, entry.row, call.caller, portal.settings, entry.day, entry.number)


def _sections(wanted: PhpValue) -> set[int]:
    return {to_int(item) for item in (wanted.values() if isinstance(wanted, dict) else [wanted])}


def _lets_see_sections(call: Call, kind: str, owner_id: int) -> bool:
    owner = call.portal.book.people.get(owner_id)
    if kind != "user" or owner is None:
        return True
    return owner.shares != "none" or call.caller.admin or call.caller.id == owner_id


def event_get_nearest(call: Call) -> list[dict[str, object]]:
    """Answer ``calendar.event.get.nearest``: what comes next, at most seventy-five entries."""
    given, portal = call.parameters, call.portal
    kind, rows = "user", portal.book.calendar("user", call.caller.id)
    asked = all(given.get(name) is not None for name in ("type", "ownerId", "forCurrentUser"))
    if asked and is_empty(given["forCurrentUser"]):
        # The owner asked for makes no difference here: the whole type is searched.
        kind = _text(given["type"])
        rows = [row for row in portal.book.rows.values() if row.calendar_type == kind]
    if kind not in (*CALENDAR_TYPES, ROOMS):
        raise failed(call, "access")
    most = NEAREST_MOST if given.get("maxEventsCount") is None else to_int(given["maxEventsCount"])
    entries = _nearest(call, rows, NEAREST_DAYS if given.get("days") is None else to_int(given["days"]))
    records = ((entry, _record(call, entry)) for entry in entries)
    shown = (_for_caller(call, entry, record) for entry, record in records if record is not None)
    return list(islice(shown, max(0, min(most, NEAREST_MOST))))


def _nearest(call: Call, rows: Iterable[Row], days: int) -> list[Entry]:
    """Return what is not over and begins within so many days, today included, in order of the start."""
    portal, now = call.portal, _now(call)
    # More than a calendar can count is as good as for ever.
    last = now + timedelta(days=max(0, min(days, 36_500)))
    window = days_window(now, last, portal.settings.server_zone)
    found = []
    for entry in overlapping(portal.book, rows, window, portal.settings, slack=0):
        starts, ends = instants(entry.event, entry.day, portal.settings)
        if ends >= now and entry.row.shown_status != "N":
            found.append((starts, entry.row.id, entry))
    return [entry for _, _, entry in sorted(found, key=lambda item: item[:2])]


def _for_caller(call: Call, entry: Entry, record: dict[str, object]) -> dict[str, object]:
    """Move a record to the caller's zone, as this one list does."""
    settings = call.portal.settings
    starts, ends = instants(entry.event, entry.day, settings)
    if entry.event.all_day:
        ends -= timedelta(days=1)
    else:
        starts, ends = (moment.astimezone(ZoneInfo(call.caller.time_zone)) for moment in (starts, ends))
    kept = {name: value for name, value in record.items() if not name.startswith("TZ_")}
    server = ZoneInfo(settings.server_zone)
    moved: dict[str, object] = {
        "DATE_FROM": date_time(starts, settings),
        "DATE_TO": date_time(ends, settings),
        # The caller's wall clock read in the server's zone: not a true time.
        "DT_FROM_TS": int(starts.replace(tzinfo=server).timestamp()),
        "DT_TO_TS": int(ends.replace(tzinfo=server).timestamp()),
        "~URL": _link(_USER_PATH, call, entry, date_only(starts, settings)),
        "~WEEK_DAY": f"{starts:%a}",
        "~FROM_TO_HTML": f"{date_time(starts, settings)} &mdash; {date_time(ends, settings)}",
    }
    if not is_empty(call.parameters.get("detailUrl")):
        path = _text(call.parameters["detailUrl"]).lower().partition("?")[0]
        moved["~detailUrl"] = _link(path, call, entry, date_time(starts, settings))
    return {**kept, **moved}


# The user's own calendar, whatever calendar an event lies in.
_USER_PATH = "/company/personal/user/#user_id#/calendar/"


def _link(path: str, call: Call, entry: Entry, date: str) -> str:
    """Return the address of an event; the date is not encoded."""
    return f"{path.replace('#user_id#', str(call.caller.id))}?EVENT_ID={entry.row.id}&EVENT_DATE={date}"


def _now(call: Call) -> datetime:
    return datetime.fromtimestamp(call.portal.clock(), UTC)


def _text(value: PhpValue) -> str:
    # PHP prints an array as this word.
    return "Array" if isinstance(value, dict) else to_text(value)


METHODS = {
    "calendar.event.get": Method(SCOPES, event_get),
    "calendar.event.get.nearest": Method(SCOPES, event_get_nearest),
}
