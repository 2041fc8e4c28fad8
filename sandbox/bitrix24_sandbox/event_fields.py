"""The fields of a calendar row other than its times.

Ids and offsets are numeric strings, flags come in several spellings, and empty fields take whatever form
the portal's version gives them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bitrix24_sandbox.event_times import date_only, date_time
from bitrix24_sandbox.i18n import say
from bitrix24_sandbox.models import ROOMS
from bitrix24_sandbox.recurrence import LAST_DAY, stored_last_day
from bitrix24_sandbox.row_forms import EMPTY, empty

if TYPE_CHECKING:
    from bitrix24_sandbox.models import CalendarStore, Event, Repeat, Row
    from bitrix24_sandbox.settings import Settings


def section_id(event: Event, row: Row) -> int:
    """Return the section a row lies in: invitations have one of their own in their owner's calendar."""
    if row.calendar_type == ROOMS:
        return event.room or 0
    if row.is_parent and event.section_id is not None:
        return event.section_id
    if row.calendar_type == "user":
        return row.owner_id * 10 + (1 if row.is_parent else 2)
    return row.owner_id * 10 + (3 if row.calendar_type == "group" else 4)


def live_rows(book: CalendarStore, event: Event) -> list[Row]:
    """Return the rows of an event in calendars of people who take part in it."""
    return [row for row in book.rows_of(event.id) if not row.deleted and row.calendar_type == "user"]


def identity(book: CalendarStore, event: Event, row: Row, settings: Settings) -> dict[str, object]:
    """Return what identifies a row."""
    section = str(section_id(event, row))
    return {
        "ID": str(row.id),
        "PARENT_ID": str(row.parent_id),
        "DELETED": "N",
        "CAL_TYPE": row.calendar_type,
        "OWNER_ID": str(row.owner_id),
        # A booked room shows who has booked it.
        "NAME": book.people[event.host_id].full_name if row.calendar_type == ROOMS else event.name,
        "CREATED_BY": str(event.host_id),
        "SECTION_ID": section,
        "SECT_ID": section,
        "SECTION_DAV_XML_ID": None,
        "VERSION": str(event.version),
        "DATE_CREATE": date_time(event.changed, settings),
        "TIMESTAMP_X": date_time(event.changed, settings),
        "DAV_XML_ID": f"sandbox-{event.id}@bitrix24",
        **dict.fromkeys(("G_EVENT_ID", "DAV_EXCH_LABEL", "CAL_DAV_LABEL"), ""),
        **dict.fromkeys(("SYNC_STATUS", "COLLAB_ID", "EVENT_TYPE")),
    }


def content(book: CalendarStore, event: Event, row: Row, settings: Settings) -> dict[str, object]:
    """Return what an event is about."""
    room = row.calendar_type == ROOMS
    return {
        "DESCRIPTION": "" if room else event.description,
        "LOCATION": "" if room else _location(book, event),
        "PRIVATE_EVENT": "1" if event.private and not room else "",
        "ACCESSIBILITY": "busy" if room else event.accessibility,
        "IMPORTANCE": event.importance,
        "COLOR": "",
        "REMIND": _remind(event) if _is_meeting(event, row) else [],
        "IS_DAYLIGHT_SAVING_TZ": "N",
        "MEETING": _meeting(book, event, row, settings) or empty("MEETING", settings),
        **_repetition(event, settings),
        **{name: empty(name, settings) for name in EMPTY if name not in ("MEETING", "RRULE")},
        **({"UF_CRM_CAL_EVENT": list(event.crm_links)} if event.crm_links and not room else {}),
        **_origin(book, event, settings),
    }


def _is_meeting(event: Event, row: Row) -> bool:
    return event.is_meeting and row.calendar_type != ROOMS


def _location(book: CalendarStore, event: Event) -> str:
    booked = [row.id for row in book.rows_of(event.id) if row.calendar_type == ROOMS]
    return f"calendar_{event.room}_{booked[0]}" if booked else event.location


def _remind(event: Event) -> list[dict[str, object]]:
    if event.all_day or event.calendar_type == "company_calendar":
        return [{"type": "daybefore", "before": 1, "time": 540}]
    return [{"type": "min", "count": 15}]


def _meeting(book: CalendarStore, event: Event, row: Row, settings: Settings) -> dict[str, object]:
    if not _is_meeting(event, row) and (settings.plain_entries != "host" or row.calendar_type == ROOMS):
        return {}
    return {
        "HOST_NAME": book.people[event.host_id].full_name,
        "NOTIFY": event.notify,
        "REINVITE": False,
        "ALLOW_INVITE": False,
        # Guests are listed all the same.
        "HIDE_GUESTS": True,
        "MEETING_CREATOR": event.host_id,
        "LANGUAGE_ID": settings.language,
        "MAIL_FROM": False,
        "CHAT_ID": 0,
    }


def _repetition(event: Event, settings: Settings) -> dict[str, object]:
    if event.repeat is None:
        return {"RRULE": empty("RRULE", settings), "EXDATE": ""}
    rule = event.repeat.frequency
    words = say("repeats", settings.language, rule=rule, start=date_only(event.starts, settings))
    return {
        "RRULE": _rule(event, event.repeat, settings),
        "EXDATE": ";".join(date_only(day, settings) for day in event.excluded),
        "~RRULE_DESCRIPTION": words,
    }


def _rule(event: Event, repeat: Repeat, settings: Settings) -> dict[str, object]:
    rule: dict[str, object] = {"FREQ": repeat.frequency, "INTERVAL": repeat.interval}
    if repeat.count is not None:
        rule["COUNT"] = repeat.count
    if repeat.by_day:
        rule["BYDAY"] = {name: name for name in repeat.by_day}
    end = stored_last_day(event)
    shown = date_only(end, settings)
    return {
        **rule,
        "UNTIL": shown,
        "~UNTIL": "" if end == LAST_DAY else shown,
        "UNTIL_TS": int(datetime.combine(end, datetime.min.time(), UTC).timestamp()),
    }


def _origin(book: CalendarStore, event: Event, settings: Settings) -> dict[str, object]:
    """Return what an edited occurrence says of the series; that it was moved to another day is not known here."""
    series = None if event.recurrence_id is None else book.events[event.recurrence_id]
    origin: dict[str, object] = {"RECURRENCE_ID": event.recurrence_id, "ORIGINAL_DATE_FROM": None}
    if series is None or event.starts.date() not in series.excluded:
        return origin
    day = event.starts.date()
    return {
        **origin,
        "ORIGINAL_DATE_FROM": date_time(datetime.combine(day, series.starts.time()), settings),
        "RELATIONS": {"COMMENT_XML_ID": f"EVENT_{series.id}_{date_only(day, settings)}"},
    }


def attendees(book: CalendarStore, event: Event, row: Row, settings: Settings) -> dict[str, object]:
    """Return who takes part, and how the owner of the row has answered."""
    if not _is_meeting(event, row):
        return _plain(row, settings)
    live = live_rows(book, event)
    people = [row.owner_id for row in live]
    return {
        "IS_MEETING": True,
        "MEETING_STATUS": row.shown_status,
        "MEETING_HOST": str(event.host_id),
        "ATTENDEE_LIST": [{"id": one.owner_id, "entryId": str(one.id), "status": one.shown_status} for one in live],
        **_codes([event.host_id] if event.calendar_type == "company_calendar" else people, event.calendar_type),
    }


def _codes(people: list[int], calendar_type: str) -> dict[str, object]:
    """Return who was invited; the company's calendar invites everybody."""
    everybody = calendar_type == "company_calendar"
    entities: list[dict[str, object]] = [{"entityId": "user", "id": user_id} for user_id in people]
    return {
        "ATTENDEES_CODES": [*(f"U{user_id}" for user_id in people), *(["UA"] if everybody else [])],
        "attendeesEntityList": [*entities, *([{"entityId": "meta-user", "id": "all-users"}] if everybody else [])],
    }


def _plain(row: Row, settings: Settings) -> dict[str, object]:
    """Return the same of a row that is no meeting: it names a host, and that host as the only attendee."""
    kind = settings.plain_entries
    owned = kind in ("owner", "host") and row.calendar_type == "user"
    host = None if kind == "null" else row.owner_id if owned else 0
    status = "H" if owned else "Y"
    codes = _codes([row.owner_id], row.calendar_type) if owned and kind == "host" else {"ATTENDEES_CODES": None}
    return {
        "IS_MEETING": False,
        "MEETING_STATUS": status,
        "MEETING_HOST": None if host is None else str(host),
        "ATTENDEE_LIST": [] if kind == "nobody" else [{"id": host, "entryId": str(row.id), "status": status}],
        **codes,
    }
