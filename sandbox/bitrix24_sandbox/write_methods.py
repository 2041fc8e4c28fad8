"""Methods that change the events of a personal calendar, by their owner."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from bitrix24_sandbox import participation, phpdate
from bitrix24_sandbox.calendar_methods import SCOPES, failed, own_calendar, own_section, required
from bitrix24_sandbox.models import FREQUENCIES, WEEKDAYS, Event, Repeat, Row
from bitrix24_sandbox.php import PhpArray, PhpValue, is_empty, text_or_empty, to_int, to_text
from bitrix24_sandbox.rest import Call, Method

if TYPE_CHECKING:
    from collections.abc import Iterator


def event_add(call: Call) -> int:
    """Answer ``calendar.event.add`` with the id of the new event; nobody is notified of it."""
    method, given, portal = "calendar.event.add", call.parameters, call.portal
    own_calendar(call, method)
    name = text_or_empty(required(call, method, "name"))
    starts, ends = (_wall_clock(call, method, limit) for limit in ("from", "to"))
    meeting = given.get("meeting")
    event = Event(
        id=portal.book.next_id(), calendar_type="user", owner_id=call.caller.id, host_id=call.caller.id, name=name,
        description=text_or_empty(given.get("description")), location=text_or_empty(given.get("location")),
        starts=starts, ends=ends, time_zone=text_or_empty(given.get("timezone_from")) or call.caller.time_zone,
        all_day=given.get("skip_time") == "Y", is_meeting=given.get("is_meeting") == "Y",
        notify=isinstance(meeting, dict) and not is_empty(meeting.get("notify")),
        private=given.get("private_event") == "Y", accessibility=text_or_empty(given.get("accessibility")) or "busy",
        importance=text_or_empty(given.get("importance")) or "normal", repeat=_repeat(given.get("rrule")), excluded=(),
        recurrence_id=None, version=1, changed=_now(call),
        section_id=own_section(call, given["section"]).id if "section" in given else None,
    )  # fmt: skip
    portal.book.add(event, _rows(event, _guests(given) if event.is_meeting else []))
    return event.id


def event_update(call: Call) -> int | dict[str, object]:
    """Answer ``calendar.event.update``: a new name, other attendees, or one date of a series as an event of its own."""
    method, given, book = "calendar.event.update", call.parameters, call.portal.book
    own_calendar(call, method)
    event = _own_event(call, method)
    if given.get("recurrence_mode") == "this" and event.repeat is not None:
        return _split(call, event)
    name = text_or_empty(given.get("name")) or event.name
    book.events[event.id] = replace(event, name=name, version=event.version + 1, changed=_now(call))
    if event.is_meeting and "attendees" in given:
        wanted = _guests(given)
        present = {row.owner_id for row in participation.children_of(book, event.id)}
        for user_id in present.difference(wanted):
            participation.remove(book, event.id, user_id)
        for user_id in wanted:
            if user_id not in present and user_id != event.owner_id:
                participation.invite(book, event.id, user_id)
    return event.id


def _split(call: Call, series: Event) -> dict[str, object]:
    book = call.portal.book
    moment = phpdate.moment(call.parameters.get("current_date_from"), call.portal.settings.server_zone)
    if moment is None:
        raise failed(call, "value", name="current_date_from")
    day, guests = moment.date(), [row.owner_id for row in participation.children_of(book, series.id)]
    starts = datetime.combine(day, series.starts.time())
    edited = replace(
        series, id=book.next_id(), name=text_or_empty(call.parameters.get("name")) or series.name, starts=starts,
        ends=starts + (series.ends - series.starts), repeat=None, excluded=(), recurrence_id=series.id, version=1,
        changed=_now(call),
    )  # fmt: skip
    book.events[series.id] = replace(series, excluded=(*series.excluded, day), version=series.version + 1)
    book.add(edited, _rows(edited, guests))
    return {"id": series.id, "recEventId": edited.id, "instanceTz": series.time_zone}


def event_delete(call: Call) -> bool:
    """Answer ``calendar.event.delete``: of a meeting as a whole, or as an attendee's refusal."""
    method, book = "calendar.event.delete", call.portal.book
    row = book.live_row(to_int(required(call, method, "id")))
    if row is None:
        raise failed(call, "access")
    event = book.events[row.parent_id]
    if call.caller.admin or call.caller.id == event.host_id:
        book.drop(event.id)
    elif row.calendar_type == "user" and row.owner_id == call.caller.id:
        participation.write_status(book, row.id, call.caller.id, "N", call.portal.settings.duplicate_row)
    else:
        raise failed(call, "access")
    return True


def _own_event(call: Call, method: str) -> Event:
    row = call.portal.book.live_row(to_int(required(call, method, "id")))
    event = None if row is None else call.portal.book.events[row.parent_id]
    if event is None or event.host_id != call.caller.id:
        raise failed(call, "access")
    return event


def _rows(event: Event, guests: list[int]) -> Iterator[Row]:
    yield Row(event.id, event.id, "user", event.owner_id, "H" if event.is_meeting else "", deleted=False)
    invited = [user_id for user_id in guests if user_id != event.owner_id]
    for row_id, user_id in enumerate(invited, start=event.id + 1):
        yield Row(row_id, event.id, "user", user_id, "Q", deleted=False)


def _guests(given: PhpArray) -> list[int]:
    attendees = given.get("attendees")
    return [to_int(user_id) for user_id in attendees.values()] if isinstance(attendees, dict) else []


def _wall_clock(call: Call, method: str, name: str) -> datetime:
    zone = ZoneInfo(call.portal.settings.server_zone)
    moment = phpdate.moment(required(call, method, name), zone.key)
    if moment is None:
        raise failed(call, "value", name=name)
    # What has an offset becomes the wall clock of the server, and is then read as that of the event's zone.
    return moment.astimezone(zone).replace(tzinfo=None)


def _repeat(rule: PhpValue) -> Repeat | None:
    if not isinstance(rule, dict) or rule.get("FREQ") not in FREQUENCIES:
        return None
    by_day = rule.get("BYDAY")
    days = [to_text(day) for day in by_day.values() if isinstance(day, str)] if isinstance(by_day, dict) else []
    count = to_int(rule.get("COUNT"))
    return Repeat(
        frequency=text_or_empty(rule["FREQ"]),
        interval=max(1, to_int(rule.get("INTERVAL"))),
        by_day=tuple(day for day in days if day in WEEKDAYS),
        count=count if count > 0 else None,
        until=None,
    )


def _now(call: Call) -> datetime:
    return datetime.fromtimestamp(call.portal.clock(), UTC).replace(tzinfo=None, microsecond=0)


METHODS = {
    "calendar.event.add": Method(SCOPES, event_add),
    "calendar.event.update": Method(SCOPES, event_update),
    "calendar.event.delete": Method(SCOPES, event_delete),
}
