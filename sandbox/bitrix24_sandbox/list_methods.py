"""The methods that list events: ``calendar.event.get``, ``.get.nearest``, ``calendar.accessibility.get``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote
from zoneinfo import ZoneInfo

from bitrix24_sandbox import phpdate
from bitrix24_sandbox.calendar_methods import SCOPES, failed, refuse_external, required
from bitrix24_sandbox.event_list import (
    Entry,
    asked_window,
    days_window,
    list_record,
    overlapping,
    really_overlapping,
)
from bitrix24_sandbox.event_times import date_only, date_time, instants, time_fields
from bitrix24_sandbox.event_view import masked_name, section_id, view_of
from bitrix24_sandbox.models import CALENDAR_TYPES
from bitrix24_sandbox.php import PhpArray, PhpValue, array, is_empty, to_int, to_text
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
        rows = [row for row in rows if section_id(row) in shown]
    window = asked_window(start, end, _now(call))
    records = (
        list_record(portal.book, entry, call.caller, portal.settings)
        for entry in overlapping(portal.book, rows, window, portal.settings)
    )
    return [record for record in records if record is not None]


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
    if kind not in CALENDAR_TYPES:
        raise failed(call, "access")
    days = NEAREST_DAYS if given.get("days") is None else to_int(given["days"])
    now = _now(call)
    # More than a calendar can count is as good as for ever.
    window = days_window(now, now + timedelta(days=max(0, min(days, 36_500))), portal.settings.server_zone)
    most = NEAREST_MOST if given.get("maxEventsCount") is None else to_int(given["maxEventsCount"])
    if most <= 0:
        return []
    most = min(most, NEAREST_MOST)
    records: list[dict[str, object]] = []
    for entry in really_overlapping(portal.book, rows, window, portal.settings):
        record = list_record(portal.book, entry, call.caller, portal.settings)
        if record is not None and record["MEETING_STATUS"] != "N":
            records.append(_for_caller(call, entry, record))
        if len(records) == most:
            break
    return records


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
        "~URL": _link(_PATHS[entry.row.calendar_type], call, entry),
        "~WEEK_DAY": f"{starts:%a}",
        "~FROM_TO_HTML": f"{date_time(starts, settings)} &mdash; {date_time(ends, settings)}",
    }
    if not is_empty(call.parameters.get("detailUrl")):
        moved["~detailUrl"] = _link(_text(call.parameters["detailUrl"]), call, entry)
    return {**kept, **moved}


_PATHS = {
    "user": "/company/personal/user/#user_id#/calendar/",
    "group": "/workgroups/group/#group_id#/calendar/",
    "company_calendar": "/calendar/",
}


def _link(path: str, call: Call, entry: Entry) -> str:
    path = path.replace("#user_id#", str(call.caller.id)).replace("#group_id#", str(entry.row.owner_id))
    day = quote(date_only(entry.day, call.portal.settings))
    return f"{path}{'&' if '?' in path else '?'}EVENT_ID={entry.row.id}&EVENT_DATE={day}"


def accessibility_get(call: Call) -> PhpArray:
    """Answer ``calendar.accessibility.get``: when people are busy, by their ids."""
    refuse_external(call)
    users, *limits = (required(call, "calendar.accessibility.get", name) for name in ("users", "from", "to"))
    if not isinstance(users, dict):
        return {}
    zone = ZoneInfo(call.portal.settings.server_zone)
    # What PHP cannot read as a date is the start of its time.
    moments = [phpdate.moment(limit, zone.key) or datetime(1970, 1, 1, tzinfo=UTC) for limit in limits]
    start, end = (datetime.combine(moment.astimezone(zone).date(), datetime.min.time(), zone) for moment in moments)
    window = days_window(start, end, zone.key)
    book, settings = call.portal.book, call.portal.settings
    busy: PhpArray = {}
    for user_id in map(to_int, users.values()):
        if user_id > 0:
            entries = really_overlapping(book, book.calendar("user", user_id), window, settings)
            items = [_busy(call, entry) for entry in entries if _takes_time(entry)]
            busy[user_id] = dict(enumerate(items))
    return busy


def _takes_time(entry: Entry) -> bool:
    return entry.event.accessibility != "free" and entry.row.shown_status != "N"


_BUSY_TIMES = (
    "DATE_FROM", "DATE_TO", "DATE_FROM_TS_UTC", "DATE_TO_TS_UTC", "~USER_OFFSET_FROM", "~USER_OFFSET_TO",
    "DT_SKIP_TIME", "TZ_FROM", "TZ_TO",
)  # fmt: skip


def _busy(call: Call, entry: Entry) -> PhpArray:
    settings, event = call.portal.settings, entry.event
    times = time_fields(event, call.caller, settings, entry.day)
    seen = view_of(call.portal.book, entry.row, call.caller) == "full"
    return {
        "ID": str(entry.row.id),
        "NAME": event.name if seen else masked_name(event, settings),
        **{name: array(times[name]) for name in _BUSY_TIMES if name in times},
        "ACCESSIBILITY": event.accessibility,
        "IMPORTANCE": event.importance,
        "EVENT_TYPE": None,
    }


def _now(call: Call) -> datetime:
    return datetime.fromtimestamp(call.portal.clock(), UTC)


def _text(value: PhpValue) -> str:
    # PHP prints an array as this word.
    return "Array" if isinstance(value, dict) else to_text(value)


METHODS = {
    "calendar.event.get": Method(SCOPES, event_get),
    "calendar.event.get.nearest": Method(SCOPES, event_get_nearest),
    "calendar.accessibility.get": Method(SCOPES, accessibility_get),
}
