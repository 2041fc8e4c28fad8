"""Who takes part: reading and writing the answer of one person, with the portal's side effects.

These are the rules behind ``calendar.meeting.status.get`` and ``.set``. Neither checks access rights,
and a write does not say whether it changed a row.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from bitrix24_sandbox.models import ROOMS, CalendarStore, Event, Row


class NoMeeting(Enum):
    """Marks an id that is unknown, deleted, or no meeting; ``None`` means "not invited" instead."""

    NO_MEETING = "no meeting"


NO_MEETING = NoMeeting.NO_MEETING


def addressed_row(book: CalendarStore, row_id: int) -> Row | None:
    """Return the live row of a meeting that an id points to."""
    row = book.live_row(row_id)
    if row is None or row.calendar_type == ROOMS or not book.events[row.parent_id].is_meeting:
        return None
    return row


def _row_of_person(book: CalendarStore, parent_id: int, user_id: int, duplicate_row: str) -> Row | None:
    """Find a person's row as the portal's unordered query does.

    The query ignores the deleted flag and takes one row of possibly two (a removed and a re-invited one).
    """
    rows = book.rows_owned(parent_id, user_id)
    if not rows:
        return None
    return rows[0 if duplicate_row == "oldest" else -1]


def read_status(book: CalendarStore, row_id: int, user_id: int, duplicate_row: str) -> str | NoMeeting | None:
    """Return the answer a person has given to a meeting.

    :param row_id: any row of the meeting.
    :param user_id: whose answer.
    :param duplicate_row: which of two rows of the same person is found: ``oldest`` or ``newest``.
    :return: the letter, ``None`` when not invited, or :data:`NO_MEETING`.
    """
    row = addressed_row(book, row_id)
    if row is None:
        return NO_MEETING
    # The owner is compared without the calendar's type: a group with the number of the user passes too.
    if row.owner_id == user_id:
        return row.shown_status
    found = _row_of_person(book, row.parent_id, user_id, duplicate_row)
    return None if found is None else found.status


def write_status(book: CalendarStore, row_id: int, user_id: int, status: str, duplicate_row: str) -> Event | None:
    """Store the answer of a person, as one direct write that leaves the event's change mark alone.

    :param row_id: any row of the meeting.
    :param status: ``Y``, ``N`` or ``Q``.
    :param duplicate_row: see :func:`read_status`.
    :return: the meeting that was addressed, whether or not the person has a row in it.
    """
    row = addressed_row(book, row_id)
    if row is None:
        return None
    event = book.events[row.parent_id]
    _overwrite(book, event.id, user_id, status)
    if status != "Y":
        return event
    if event.repeat is not None and row.shown_status in ("N", "Q", "H"):
        _accept_occurrences(book, event.id, user_id)
    elif event.recurrence_id is not None:
        series = read_status(book, event.recurrence_id, user_id, duplicate_row)
        if series is not NO_MEETING and series != "Y":
            _overwrite(book, event.recurrence_id, user_id, "Y")
            _accept_occurrences(book, event.recurrence_id, user_id)
    return event


def _accept_occurrences(book: CalendarStore, series_id: int, user_id: int) -> None:
    for occurrence in book.occurrences(series_id):
        _overwrite(book, occurrence.id, user_id, "Y")


def _overwrite(book: CalendarStore, parent_id: int, user_id: int, status: str) -> None:
    book.put(replace(row, status=status) for row in book.rows_owned(parent_id, user_id) if row.calendar_type == "user")


def invite(book: CalendarStore, event_id: int, user_id: int) -> Row:
    """Add a person to a meeting; whoever was removed before gets a second row."""
    row = Row(
        id=book.next_id(),
        parent_id=event_id,
        calendar_type="user",
        owner_id=user_id,
        status="Q",
        deleted=False,
    )
    book.put([row])
    return row


def remove(book: CalendarStore, event_id: int, user_id: int) -> None:
    """Remove a person from a meeting: the child row is marked deleted and keeps its answer."""
    book.put(replace(row, deleted=True) for row in children_of(book, event_id) if row.owner_id == user_id)


def children_of(book: CalendarStore, event_id: int) -> list[Row]:
    """Return the live child rows of a meeting."""
    rows = book.rows_of(event_id)
    return [row for row in rows if row.calendar_type == "user" and not row.is_parent and not row.deleted]
