"""How a calendar row is printed, by id and in lists.

Ids and offsets are numeric strings, flags come in several spellings, and empty fields take whatever form
the portal's version gives them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bitrix24_sandbox.event_times import date_only, date_time, time_fields
from bitrix24_sandbox.i18n import say
from bitrix24_sandbox.recurrence import last_day

if TYPE_CHECKING:
    from datetime import date

    from bitrix24_sandbox.models import CalendarStore, Event, Person, Repeat, Row
    from bitrix24_sandbox.settings import Settings

_FORMS: dict[str, object] = {"blank": "", "false": False, "list": [], "null": None}
# For each field its usual empty form, then every form seen on some portal.
_EMPTY: dict[str, tuple[str, ...]] = {
    "RRULE": ("blank", "blank", "null"),
    "MEETING": ("list", "list", "null"),
    "RELATIONS": ("blank", "blank", "false", "list", "null"),
    "OPTIONS": ("null", "blank", "false", "list", "null"),
    "UF_CRM_CAL_EVENT": ("false", "blank", "false", "list", "null"),
    "UF_WEBDAV_CAL_EVENT": ("false", "blank", "false", "list", "null"),
}
_HIDDEN = ("DESCRIPTION", "LOCATION", "REMIND", "ATTENDEE_LIST", "ATTENDEES_CODES", "attendeesEntityList")


def event_record(
    book: CalendarStore, row: Row, viewer: Person, settings: Settings, day: date | None = None
) -> dict[str, object] | None:
    """Return the record of a row as one person sees it, or ``None`` when it is invisible to them.

    :param day: of a series.
    """
    event = book.events[row.parent_id]
    view = view_of(book, row, viewer)
    if view == "none":
        return None
    record = {
        **_identity(event, row, settings),
        **time_fields(event, viewer, settings, day),
        **_content(event, row, settings),
        **_attendees(book, event),
    }
    return record if view == "full" else _restricted(record, event, settings)


def view_of(book: CalendarStore, row: Row, viewer: Person) -> str:
    """Return how much of a row a person sees: ``full``, ``time`` or ``none``."""
    event = book.events[row.parent_id]
    if row.calendar_type != "user" or row.owner_id == viewer.id:
        return "full"
    # A private event is masked in a foreign calendar for everybody, administrators included.
    if event.private:
        return "time"
    if viewer.admin or viewer.id in (other.owner_id for other in _live_rows(book, event)):
        return "full"
    return book.people[row.owner_id].shares


def _restricted(record: dict[str, object], event: Event, settings: Settings) -> dict[str, object]:
    kept = {name: value for name, value in record.items() if name not in _HIDDEN and not name.startswith("UF_")}
    return {**kept, "NAME": masked_name(event, settings), "IS_ACCESSIBLE_TO_USER": False}


def masked_name(event: Event, settings: Settings) -> str:
    """Return the label shown in place of a name."""
    return f"[{say(event.accessibility, settings.language)}]"


def section_id(row: Row) -> int:
    """Return the section a row lies in: invitations have one of their own in their owner's calendar."""
    if row.calendar_type == "user":
        return row.owner_id * 10 + (1 if row.is_parent else 2)
    return row.owner_id * 10 + (3 if row.calendar_type == "group" else 4)


def _identity(event: Event, row: Row, settings: Settings) -> dict[str, object]:
    return {
        "ID": str(row.id),
        "PARENT_ID": str(row.parent_id),
        "DELETED": "N",
        "CAL_TYPE": row.calendar_type,
        "OWNER_ID": str(row.owner_id),
        "NAME": event.name,
        "CREATED_BY": str(event.host_id),
        "SECTION_ID": str(section_id(row)),
        "SECT_ID": str(section_id(row)),
        "VERSION": str(event.version),
        "DATE_CREATE": date_time(event.changed, settings),
        "TIMESTAMP_X": date_time(event.changed, settings),
        "DAV_XML_ID": f"sandbox-{event.id}@bitrix24",
    }


def _content(event: Event, row: Row, settings: Settings) -> dict[str, object]:
    return {
        "DESCRIPTION": event.description,
        "LOCATION": event.location,
        "PRIVATE_EVENT": "1" if event.private else "",
        "ACCESSIBILITY": event.accessibility,
        "IMPORTANCE": event.importance,
        "COLOR": "",
        "EVENT_TYPE": None,
        "REMIND": [{"type": "min", "count": 15}],
        "IS_MEETING": event.is_meeting,
        "MEETING_STATUS": row.shown_status or None,
        "MEETING_HOST": str(event.host_id),
        "MEETING": _meeting(event) or _empty("MEETING", settings),
        "RRULE": _rule(event, settings) or _empty("RRULE", settings),
        "EXDATE": ";".join(date_only(day, settings) for day in event.excluded),
        "RECURRENCE_ID": event.recurrence_id,
        **{name: _empty(name, settings) for name in _EMPTY if name not in ("MEETING", "RRULE")},
    }


def _empty(field: str, settings: Settings) -> object:
    usual, *known = _EMPTY[field]
    return _FORMS[settings.empty_fields if settings.empty_fields in known else usual]


def _meeting(event: Event) -> dict[str, object]:
    if not event.is_meeting:
        return {}
    return {
        "HOST_NAME": str(event.host_id),
        "NOTIFY": event.notify,
        "REINVITE": False,
        "ALLOW_INVITE": False,
        "HIDE_GUESTS": False,
        "MEETING_CREATOR": str(event.host_id),
        "LANGUAGE_ID": "en",
        "MAIL_FROM": False,
    }


def _rule(event: Event, settings: Settings) -> dict[str, object]:
    repeat: Repeat | None = event.repeat
    if repeat is None:
        return {}
    end = last_day(event)
    rule: dict[str, object] = {"FREQ": repeat.frequency, "INTERVAL": repeat.interval}
    if repeat.count is not None:
        rule["COUNT"] = repeat.count
    if repeat.by_day:
        rule["BYDAY"] = {name: name for name in repeat.by_day}
    shown = date_only(end, settings)
    return {
        **rule,
        "UNTIL": shown,
        "~UNTIL": shown,
        "UNTIL_TS": int(datetime.combine(end, datetime.min.time(), UTC).timestamp()),
    }


def _live_rows(book: CalendarStore, event: Event) -> list[Row]:
    return [row for row in book.rows_of(event.id) if not row.deleted and row.calendar_type == "user"]


def _attendees(book: CalendarStore, event: Event) -> dict[str, object]:
    live = _live_rows(book, event)
    return {
        "ATTENDEES_CODES": [f"U{row.owner_id}" for row in live],
        "attendeesEntityList": [{"entityId": "user", "id": row.owner_id} for row in live],
        "ATTENDEE_LIST": [
            {"id": row.owner_id, "entryId": str(row.id), "status": row.shown_status or "H"} for row in live
        ],
    }
