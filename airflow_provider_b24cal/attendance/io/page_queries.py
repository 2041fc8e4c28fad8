"""Reads what the page in Airflow's web UI shows: filtered, page by page, on every database.

Every function takes a connection and the tables, and reads one portal. As in
:mod:`~airflow_provider_b24cal.attendance.io.queries`, meetings that have vanished do not count, nor does the
organiser's own answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import and_, case, func, not_, or_, select, tuple_

from airflow_provider_b24cal.attendance.io.queries import ComingMeeting, answers_to, live
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.validation import is_digits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.engine import Connection

    from airflow_provider_b24cal.attendance.io.queries import AnswerGroup, Days
    from airflow_provider_b24cal.attendance.io.tables import Tables
    from airflow_provider_b24cal.attendance.models import Key

_CALENDARS: Final = 200


@dataclass(frozen=True, slots=True)
class Filters:
    """Which rows to read; what is empty filters nothing.

    :param person: user id, or a part of a name if the table of people exists.
    :param calendar: the calendar in which a meeting was last seen, such as ``user:7``.
    :param text: a part of a meeting's name.
    :param event_ids: ids of meetings in anybody's calendar; of a series also its edited dates.
    :param start: with ``event_ids``, the start of the only date to show; used by the page of meetings.
    """

    person: str = ""
    calendar: str = ""
    text: str = ""
    event_ids: tuple[int, ...] = ()
    start: datetime | None = None


class Slice(NamedTuple):
    """A page of rows.

    :param limit: how many rows it has at most.
    :param offset: how many rows come before it.
    """

    limit: int
    offset: int = 0


class PersonResponse(NamedTuple):
    """The answers of one person to the meetings of some days.

    :param silent_since: when the oldest of the unanswered invitations was first seen; ``None`` if there are none.
    """

    user_id: int
    invited: int
    accepted: int
    declined: int
    silent: int
    silent_since: datetime | None


class KnownMeeting(NamedTuple):
    """What is known of a meeting by an id that it has in somebody's calendar."""

    parent_id: int
    name: str


class AnswerChange(NamedTuple):
    """A change of an answer; the fields are those of the table of changes, with the name of the meeting.

    :param name: ``None`` if the meeting is not in the tables any more.
    """

    parent_id: int
    occurrence_start: datetime
    user_id: int
    old_status: str | None
    new_status: str | None
    old_seen_at: datetime
    new_seen_at: datetime
    name: str | None
    all_day: bool | None


def meetings(
    connection: Connection, tables: Tables, portal: str, days: Days | None, filters: Filters, part: Slice
) -> tuple[ComingMeeting, ...]:
    """Return meetings: those that begin on some days in order, or of any day the latest first."""
    filters = _by_parents(connection, tables, portal, filters)
    columns = [tables.meetings.c[name] for name in ComingMeeting._fields]
    keys = (tables.meetings.c.occurrence_start, tables.meetings.c.parent_id)
    order = [column.asc() if days else column.desc() for column in keys]
    statement = select(*columns).where(_matching(tables, portal, days, filters)).order_by(*order)
    return tuple(ComingMeeting._make(row) for row in connection.execute(_cut(statement, part)))


def answers(
    connection: Connection, tables: Tables, portal: str, keys: Sequence[Key], limit: int
) -> dict[Key, tuple[AnswerGroup, ...]]:
    """Return the answers to meetings, the oldest first.

    :param limit: how many people of each group at most.
    """
    if not keys:
        return {}
    meeting = tables.meetings.c
    # The first condition is for the index, which not every database uses for pairs.
    shown = select(meeting.parent_id, meeting.occurrence_start, meeting.total).where(
        meeting.portal == portal,
        meeting.parent_id.in_({parent_id for parent_id, _ in keys}),
        meeting.occurrence_start.in_({start for _, start in keys}),
        tuple_(meeting.parent_id, meeting.occurrence_start).in_(keys),
    )
    return answers_to(connection, tables, portal, shown, limit)


def calendars(connection: Connection, tables: Tables, portal: str, days: Days) -> list[str]:
    """Return the first calendars that have meetings on some days, in order."""
    column = tables.meetings.c.calendar
    statement = select(column).where(live(tables.meetings, portal, days)).distinct().order_by(column)
    return list(connection.execute(statement.limit(_CALENDARS)).scalars())


def people(
    connection: Connection, tables: Tables, portal: str, days: Days, filters: Filters, part: Slice
) -> tuple[PersonResponse, ...]:
    """Return the answers of people to the meetings of some days, those with most unanswered invitations first."""
    meeting, row = tables.meetings.c, tables.attendance.c
    since = func.coalesce(row.changed_at, row.first_seen)
    accepted, declined, silent = (
        func.sum(case((row.status == status.value, 1), else_=0))
        for status in (MeetingStatus.ACCEPTED, MeetingStatus.DECLINED, MeetingStatus.NOT_ANSWERED)
    )
    first = func.min(case((row.status == MeetingStatus.NOT_ANSWERED.value, since)))
    same = (row[name] == meeting[name] for name in ("portal", "parent_id", "occurrence_start"))
    conditions = [_matching(tables, portal, days, Filters(calendar=filters.calendar, text=filters.text))]
    if filters.person:
        conditions.append(row.user_id.in_(_user_ids(tables.people, portal, filters.person)))
    statement = (
        select(row.user_id, func.count(), accepted, declined, silent, first)
        .select_from(tables.attendance)
        .join(tables.meetings, and_(*same))
        .where(*conditions, meeting.total.is_not(None), row.vanished_at.is_(None), not_(row.is_host))
        .group_by(row.user_id)
        .order_by(silent.desc(), declined.desc(), row.user_id)
    )
    return tuple(
        # Databases add up to numbers of other kinds.
        PersonResponse(user_id, int(invited), int(yes), int(no), int(open_), silent_since)
        for user_id, invited, yes, no, open_, silent_since in connection.execute(_cut(statement, part))
    )


def changes(
    connection: Connection, tables: Tables, portal: str, since: datetime, filters: Filters, part: Slice
) -> tuple[AnswerChange, ...]:
    """Return the changes of answers that syncs have seen since some time, the newest first."""
    filters = _by_parents(connection, tables, portal, filters)
    row, meeting = tables.changes.c, tables.meetings.c
    same = (row[name] == meeting[name] for name in ("portal", "parent_id", "occurrence_start"))
    own = [row[name] for name in AnswerChange._fields[:-2]]
    conditions: list[ColumnElement[bool]] = [row.portal == portal, row.new_seen_at >= since]
    if filters.person:
        conditions.append(row.user_id.in_(_user_ids(tables.people, portal, filters.person)))
    if filters.event_ids:
        conditions.append(row.parent_id.in_(filters.event_ids))
    if filters.calendar:
        conditions.append(meeting.calendar == filters.calendar)
    if filters.text:
        conditions.append(_holds(meeting.name, filters.text))
    statement = (
        select(*own, meeting.name, meeting.all_day)
        .select_from(tables.changes)
        .outerjoin(tables.meetings, and_(*same))
        .where(*conditions)
        .order_by(row.new_seen_at.desc(), row.parent_id, row.occurrence_start, row.user_id, row.old_seen_at)
    )
    return tuple(AnswerChange._make(found) for found in connection.execute(_cut(statement, part)))


def known_meetings(
    connection: Connection, tables: Tables, portal: str, event_ids: Sequence[int]
) -> dict[int, KnownMeeting]:
    """Return meetings by ids that they have in anybody's calendar; those that are not in the tables are left out.

    The name of one that has vanished is empty.
    """
    parents = _parents(connection, tables, portal, event_ids)
    meeting = tables.meetings.c
    statement = (
        select(meeting.parent_id, func.max(meeting.name))
        .where(meeting.portal == portal, meeting.parent_id.in_(parents.values()), meeting.vanished_at.is_(None))
        .group_by(meeting.parent_id)
    )
    names = dict(tuple(row) for row in connection.execute(statement))
    # The id of an attendee's calendar says which meeting it is even if that has vanished.
    return {
        event_id: KnownMeeting(parent, names.get(parent, ""))
        for event_id, parent in parents.items()
        if parent in names or parent != event_id
    }


def _by_parents(connection: Connection, tables: Tables, portal: str, filters: Filters) -> Filters:
    """Return filters with the ids of meetings in place of those in attendees' calendars."""
    parents = _parents(connection, tables, portal, filters.event_ids)
    return replace(filters, event_ids=tuple(dict.fromkeys(parents.values())))


def _parents(connection: Connection, tables: Tables, portal: str, event_ids: Sequence[int]) -> dict[int, int]:
    """Return the id of the meeting for each id that it has in somebody's calendar; for an unknown one itself."""
    row, known = tables.attendance.c, dict.fromkeys(event_ids)
    if not known:
        return {}
    # Also of people who are no longer invited: their tasks still have this id.
    statement = select(row.event_id, row.parent_id).distinct().where(row.portal == portal, row.event_id.in_(known))
    found = dict(tuple(pair) for pair in connection.execute(statement))
    return {event_id: found.get(event_id, event_id) for event_id in known}


def _matching(tables: Tables, portal: str, days: Days | None, filters: Filters) -> ColumnElement[bool]:
    """Return the condition for meetings."""
    meeting, row = tables.meetings.c, tables.attendance.c
    there = and_(meeting.portal == portal, meeting.vanished_at.is_(None))
    conditions = [there if days is None else live(tables.meetings, portal, days)]
    if filters.event_ids:
        own = meeting.parent_id.in_(filters.event_ids)
        conditions.append(
            and_(own, meeting.occurrence_start == filters.start)
            if filters.start
            else or_(own, meeting.recurrence_id.in_(filters.event_ids))
        )
    if filters.calendar:
        conditions.append(meeting.calendar == filters.calendar)
    if filters.text:
        conditions.append(_holds(meeting.name, filters.text))
    if filters.person:
        invited = select(row.user_id).where(
            row.portal == portal, row.parent_id == meeting.parent_id, row.vanished_at.is_(None),
            row.occurrence_start == meeting.occurrence_start,
            row.user_id.in_(_user_ids(tables.people, portal, filters.person)),
        )  # fmt: skip
        conditions.append(invited.correlate(tables.meetings).exists())
    return and_(*conditions)


def _user_ids(named: Table, portal: str, person: str) -> Any:
    """Return the people whom a text means: an id, or a part of names."""
    if is_digits(person):
        return [int(person)]
    return select(named.c.user_id).where(named.c.portal == portal, _holds(named.c.name, person))


def _holds(column: Any, text: str) -> ColumnElement[bool]:
    """Return the condition that a column holds a text, in any case; SQLite knows the case of ASCII only."""
    lowered = func.lower(column).contains(text.lower(), autoescape=True)
    return or_(lowered, column.contains(text, autoescape=True))


def _cut(statement: Any, part: Slice) -> Any:
    return statement.limit(part.limit).offset(part.offset)
