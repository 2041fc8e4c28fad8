"""How much of a calendar row a person sees, and how the row is printed for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitrix24_sandbox.event_fields import attendees, content, identity, live_rows
from bitrix24_sandbox.event_times import time_fields
from bitrix24_sandbox.i18n import say
from bitrix24_sandbox.row_forms import printed

if TYPE_CHECKING:
    from datetime import date

    from bitrix24_sandbox.models import CalendarStore, Event, Person, Row
    from bitrix24_sandbox.settings import Settings

_HIDDEN = ("DESCRIPTION", "~DESCRIPTION", "LOCATION", "REMIND", "ATTENDEE_LIST", "ATTENDEES_CODES")


def event_record(book: CalendarStore, row: Row, viewer: Person, settings: Settings) -> dict[str, object] | None:
    """Return a row as ``calendar.event.getbyid`` prints it, or ``None`` when it is invisible to the viewer."""
    description = book.events[row.parent_id].description
    more: dict[str, object] = {"~DESCRIPTION": description} if description else {}
    return _record(book, row, viewer, settings, more)


def list_record(
    book: CalendarStore, row: Row, viewer: Person, settings: Settings, day: date, number: int | None
) -> dict[str, object] | None:
    """Return a row as lists print it, or ``None`` when it is invisible to the viewer.

    :param day: when it takes place.
    :param number: of the day in a list of a series; ``None`` for what is no series.
    """
    more: dict[str, object] = {"ACTIVE": "Y", "DT_FROM": None, "DT_TO": None, "TEXT_COLOR": ""}
    return _record(book, row, viewer, settings, {**more, **({} if number is None else {"RINDEX": number})}, day)


def _record(
    book: CalendarStore, row: Row, viewer: Person, settings: Settings, more: dict[str, object], day: date | None = None
) -> dict[str, object] | None:
    event = book.events[row.parent_id]
    view = view_of(book, row, viewer)
    if view == "none":
        return None
    record = {
        **identity(book, event, row, settings),
        **time_fields(event, viewer, settings, day),
        **content(book, event, row, settings),
        **attendees(book, event, row, settings),
        **more,
    }
    return printed(record if view == "full" else _restricted(record, event, settings, view), settings)


def view_of(book: CalendarStore, row: Row, viewer: Person) -> str:
    """Return how much of a row a person sees: ``full``, ``title``, ``time`` or ``none``."""
    event = book.events[row.parent_id]
    if row.calendar_type != "user" or row.owner_id == viewer.id:
        return "full"
    # A private event is masked in a foreign calendar for everybody, administrators included.
    if event.private:
        return "time"
    if viewer.admin or viewer.id in (other.owner_id for other in live_rows(book, event)):
        return "full"
    return book.people[row.owner_id].shares


def _restricted(record: dict[str, object], event: Event, settings: Settings, view: str) -> dict[str, object]:
    kept = {name: value for name, value in record.items() if name not in _HIDDEN and not name.startswith("UF_")}
    label = masked_name(event, settings)
    if view == "title":
        return {**kept, "NAME": f"{record['NAME']} {label}"}
    return {**kept, "NAME": label, "IS_ACCESSIBLE_TO_USER": False}


def masked_name(event: Event, settings: Settings) -> str:
    """Return the label shown in place of a name."""
    return f"[{say(event.accessibility, settings.language)}]"
