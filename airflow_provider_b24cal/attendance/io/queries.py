"""Reads the figures of a report from the tables of attendance: frozen rows, bounded in number, on every database.

Every function takes a connection and the tables, and reads one portal. Meetings that have vanished do not count, nor
does the organiser's own answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import and_, case, func, not_, or_, select

from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol.exchange import in_chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.engine import Connection

    from airflow_provider_b24cal.attendance.io.tables import Tables
    from airflow_provider_b24cal.attendance.models import Key

_IDS: Final = 500


@dataclass(frozen=True, slots=True)
class Days:
    """Days of a calendar.

    :param end: the day after the last one.
    :param zone: the time zone in which they begin and end; an all-day meeting has its dates in every zone.
    """

    first: date
    end: date
    zone: tzinfo


class ComingMeeting(NamedTuple):
    """A meeting to come; the fields are those of :class:`~airflow_provider_b24cal.attendance.models.Meeting`."""

    parent_id: int
    occurrence_start: datetime
    occurrence_end: datetime
    all_day: bool
    name: str
    host_id: int | None
    accepted: int | None
    declined: int | None
    silent: int | None
    total: int | None

    @property
    def key(self) -> Key:
        """The key of the occurrence."""
        return self.parent_id, self.occurrence_start


class Answer(NamedTuple):
    """The answer of one person to one meeting.

    :param since: when the answer was first seen.
    :param observed: whether ``since`` is when a change to it was seen; otherwise it is at least as old.
    """

    user_id: int
    status: MeetingStatus
    since: datetime
    observed: bool


class AnswerGroup(NamedTuple):
    """The people who have given one answer to one meeting.

    :param size: how many they are, also those who are left out of ``answers``.
    """

    status: MeetingStatus
    size: int
    answers: tuple[Answer, ...]


class Totals(NamedTuple):
    """Sums of the meetings of some days.

    :param hidden: how many meetings the portal shows without their attendees; they add to no other sum.
    :param invited: invitations; a person who is invited twice counts twice.
    :param silent_people: different people with an invitation that is not answered.
    """

    meetings: int
    hidden: int
    invited: int
    answered: int
    silent_people: int


class SilentPerson(NamedTuple):
    """Somebody who has not answered.

    :param meetings: how many invitations are not answered.
    :param since: when the first of them was first seen not to be answered.
    """

    user_id: int
    meetings: int
    since: datetime


class WeekResponse(NamedTuple):
    """The answers to the meetings of a week whose attendees the portal shows; weeks without invitations have no row.

    :param monday: the first day of the week.
    """

    monday: date
    meetings: int
    accepted: int
    declined: int
    invited: int

    @property
    def silent(self) -> int:
        """Invitations that are neither accepted nor declined."""
        return self.invited - self.accepted - self.declined


def portals(connection: Connection, tables: Tables) -> list[str]:
    """Return the portals that have rows, in order."""
    column, found = tables.meetings.c.portal, list[str]()
    # One look into the index for each; DISTINCT would read all rows.
    first = select(func.min(column))
    portal = connection.execute(first).scalar()
    while portal is not None:
        found.append(portal)
        portal = connection.execute(first.where(column > portal)).scalar()
    return found


def last_sync(connection: Connection, tables: Tables, portal: str) -> datetime | None:
    """Return when a meeting was last seen, or seen to be gone; ``None`` if none ever was."""
    rows = tables.meetings.c
    latest = select(func.max(rows.last_seen), func.max(rows.vanished_at)).where(rows.portal == portal)
    return max((moment for moment in connection.execute(latest).one() if moment is not None), default=None)


def coming_meetings(
    connection: Connection, tables: Tables, portal: str, days: Days, limit: int
) -> tuple[ComingMeeting, ...]:
    """Return the first meetings that begin on some days.

    :param limit: how many at most.
    """
    columns = [tables.meetings.c[name] for name in ComingMeeting._fields]
    rows = connection.execute(_first(select(*columns), tables, portal, days, limit))
    return tuple(ComingMeeting._make(row) for row in rows)


def answers(
    connection: Connection, tables: Tables, portal: str, days: Days, limit: int
) -> dict[Key, tuple[AnswerGroup, ...]]:
    """Return the answers to the meetings of :func:`coming_meetings`, the oldest first.

    :param limit: how many meetings at most, and how many people of each group.
    """
    meeting = tables.meetings.c
    shown = select(meeting.parent_id, meeting.occurrence_start, meeting.total)
    return answers_to(connection, tables, portal, _first(shown, tables, portal, days, limit), limit)


def answers_to(
    connection: Connection, tables: Tables, portal: str, shown: Any, limit: int
) -> dict[Key, tuple[AnswerGroup, ...]]:
    """Return the answers to some meetings, the oldest first.

    :param shown: the statement that selects ``parent_id``, ``occurrence_start`` and ``total`` of the meetings.
    :param limit: how many people of each group at most.
    """
    row, meetings = tables.attendance.c, shown.subquery()
    same = (row[name] == meetings.c[name] for name in ("parent_id", "occurrence_start"))
    since = func.coalesce(row.changed_at, row.first_seen)
    group = (row.parent_id, row.occurrence_start, row.status)
    ranked = (
        select(
            *group, row.user_id, since.label("since"), row.changed_at,
            func.count().over(partition_by=group).label("size"),
            func.row_number().over(partition_by=group, order_by=(since, row.user_id)).label("number"),
        )
        .select_from(tables.attendance)
        .join(meetings, and_(*same))
        .where(meetings.c.total.is_not(None), row.portal == portal, row.vanished_at.is_(None), not_(row.is_host))
        .subquery()
    )  # fmt: skip
    found: dict[Key, dict[str, AnswerGroup]] = {}
    rows = select(ranked).where(ranked.c.number <= limit).order_by(ranked.c.number)
    for parent_id, start, status, user_id, given, changed_at, size, _ in connection.execute(rows):
        groups, letter = found.setdefault((parent_id, start), {}), MeetingStatus(status)
        known = groups.get(letter, AnswerGroup(letter, size, ()))
        answer = Answer(user_id, letter, given, changed_at is not None)
        groups[letter] = known._replace(answers=(*known.answers, answer))
    return {key: tuple(sorted(groups.values(), key=_group_order)) for key, groups in found.items()}


def totals(connection: Connection, tables: Tables, portal: str, days: Days) -> Totals:
    """Return the sums of the meetings that begin on some days."""
    meeting, row = tables.meetings.c, tables.attendance.c
    sums = select(
        func.count(), func.count(meeting.total), func.sum(meeting.total), func.sum(meeting.accepted + meeting.declined)
    )
    count, shown, invited, answered = connection.execute(sums.where(live(tables.meetings, portal, days))).one()
    people = _silent(select(func.count(row.user_id.distinct())), tables, portal, days)
    silent_people = connection.execute(people).scalar_one()
    return Totals(count, count - shown, int(invited or 0), int(answered or 0), silent_people)


def silent_people(
    connection: Connection, tables: Tables, portal: str, days: Days, limit: int
) -> tuple[SilentPerson, ...]:
    """Return those who have not answered meetings that begin on some days, the longest silent first.

    :param limit: how many at most.
    """
    row = tables.attendance.c
    since = func.min(func.coalesce(row.changed_at, row.first_seen))
    people = _silent(select(row.user_id, func.count(), since.label("since")), tables, portal, days)
    ranked = people.group_by(row.user_id).order_by(since, row.user_id).limit(limit)
    return tuple(SilentPerson._make(row) for row in connection.execute(ranked))


def weekly_responses(
    connection: Connection, tables: Tables, portal: str, mondays: Sequence[date], zone: tzinfo
) -> tuple[WeekResponse, ...]:
    """Return the answers to the meetings of weeks, in order.

    :param mondays: the first days of weeks that follow each other, and the day after the last week.
    """
    meeting = tables.meetings.c
    week = case(*((_begins_before(tables.meetings, end, zone), number) for number, end in enumerate(mondays[1:])))
    weeks = (
        select(week.label("week"), meeting.accepted, meeting.declined, meeting.total)
        .where(live(tables.meetings, portal, Days(mondays[0], mondays[-1], zone)), meeting.total > 0)
        .subquery()
    )
    sums = select(
        weeks.c.week, func.count(), func.sum(weeks.c.accepted), func.sum(weeks.c.declined), func.sum(weeks.c.total)
    )
    rows = connection.execute(sums.group_by(weeks.c.week).order_by(weeks.c.week))
    return tuple(WeekResponse(mondays[number], *map(int, counts)) for number, *counts in rows)


def people_names(connection: Connection, people: Table, portal: str, user_ids: Sequence[int]) -> dict[int, str]:
    """Return the names of people by user id; those without a name are left out."""
    found: dict[int, str] = {}
    named = select(people.c.user_id, people.c.name).where(people.c.portal == portal, people.c.name != "")
    for some in in_chunks(user_ids, _IDS):
        found.update(tuple(row) for row in connection.execute(named.where(people.c.user_id.in_(some))))
    return found


def _begins_before(meetings: Table, day: date, zone: tzinfo) -> ColumnElement[bool]:
    start, all_day = meetings.c.occurrence_start, meetings.c.all_day
    in_utc, local = (datetime.combine(day, time(), one) for one in (UTC, zone))
    return or_(and_(all_day, start < in_utc), and_(not_(all_day), start < local))


def live(meetings: Table, portal: str, days: Days) -> ColumnElement[bool]:
    """Return the condition for meetings that are there and begin on some days."""
    start = meetings.c.occurrence_start
    first, end = ([datetime.combine(day, time(), one) for one in (UTC, days.zone)] for day in (days.first, days.end))
    return and_(
        meetings.c.portal == portal,
        meetings.c.vanished_at.is_(None),
        # Plain bounds, for the index.
        start >= min(first),
        start < max(end),
        not_(_begins_before(meetings, days.first, days.zone)),
        _begins_before(meetings, days.end, days.zone),
    )


def _first(statement: Any, tables: Tables, portal: str, days: Days, limit: int) -> Any:
    meeting = tables.meetings.c
    within = statement.where(live(tables.meetings, portal, days))
    return within.order_by(meeting.occurrence_start, meeting.parent_id).limit(limit)


def _silent(statement: Any, tables: Tables, portal: str, days: Days) -> Any:
    """Add to a statement on answers that they are none, to meetings that begin on some days."""
    meetings, attendance = tables.meetings, tables.attendance
    same = (attendance.c[name] == meetings.c[name] for name in ("portal", "parent_id", "occurrence_start"))
    return (
        statement.select_from(attendance)
        .join(meetings, and_(*same))
        .where(
            live(meetings, portal, days),
            meetings.c.total.is_not(None),
            attendance.c.status == MeetingStatus.NOT_ANSWERED.value,
            attendance.c.vanished_at.is_(None),
            not_(attendance.c.is_host),
        )
    )


_ORDER: Final = (MeetingStatus.ACCEPTED, MeetingStatus.DECLINED, MeetingStatus.NOT_ANSWERED)


def _group_order(group: AnswerGroup) -> tuple[int, str]:
    return (_ORDER.index(group.status) if group.status in _ORDER else len(_ORDER)), group.status
