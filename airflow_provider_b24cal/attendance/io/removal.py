"""Removes rows from the tables: of people who are left out, and what is too old to be kept.

Each slice is one transaction, while the tables are locked.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, bindparam, delete, inspect, not_, or_, select, update

from airflow_provider_b24cal import clock
from airflow_provider_b24cal.attendance.exclusion import UNNAMED, calendars_of, check_excluded, without_answers
from airflow_provider_b24cal.attendance.io.table_lock import transaction
from airflow_provider_b24cal.attendance.models import Attendance, Meeting
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from airflow_provider_b24cal.bitrix24.validation import check_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.engine import Connection

    from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
    from airflow_provider_b24cal.attendance.models import Key
    from airflow_provider_b24cal.bitrix24.calendar.window import Window

_SLICE: Final = 1000
_DAY: Final = timedelta(days=1)
_MOST_DAYS: Final = 36_500
_COUNTS: Final = ("removed_occurrences", "removed_answers", "removed_changes", "removed_people")
_KEY: Final = ("parent_id", "occurrence_start")


@dataclass(frozen=True, slots=True)
class Removal:
    """What to remove; made by :func:`check_removal`.

    :param user_ids: people who are left out.
    :param before: occurrences that ended before are too old; ``None`` if none is.
    """

    user_ids: frozenset[int]
    before: datetime | None

    @property
    def rights(self) -> tuple[str, ...]:
        """The rights on the tables that a run needs."""
        removes = self.user_ids or self.before is not None
        return ("SELECT", "INSERT", "UPDATE", *(("DELETE",) if removes else ()))

    def remove_users(self, store: AttendanceStore) -> Counter[str]:
        """Remove the people who are left out, and return counts.

        Their answers, changes and names are deleted. Their meetings stay, without an organiser, and counts of meetings
        leave their answers out.
        """
        removed = self._counts()
        complete = not self.user_ids
        while not complete:
            with store.lock() as session, transaction(session):
                complete = _remove_users(session, store, self.user_ids, removed)
        return removed

    def remove_older(self, store: AttendanceStore) -> Counter[str]:
        """Remove what is too old, with the names of people who have no other row, and return counts."""
        removed = self._counts()
        complete = self.before is None
        while not complete:
            assert self.before is not None
            with store.lock() as session, transaction(session):
                complete = _remove_older(session, store, self.before, removed)
        return removed

    def _counts(self) -> Counter[str]:
        return Counter(dict.fromkeys(_COUNTS, 0) if self.user_ids or self.before is not None else {})


def check_removal(keep_days: object, exclude_users: object, window: Window | None) -> Removal:
    """Return what to remove.

    :param keep_days: days after the end of an occurrence for which it is kept; ``None`` for ever.
    :param exclude_users: people to leave out; ``None`` for nobody.
    :param window: what will be read.
    :raises InvalidArgumentError: an argument is invalid, or the window begins before what is kept.
    """
    user_ids = check_excluded(exclude_users)
    if keep_days is None:
        return Removal(user_ids, None)
    days = timedelta(days=check_number(keep_days, "keep_days", 1, _MOST_DAYS, whole=True))
    now = datetime.fromtimestamp(clock.time(), UTC)
    if window is not None and window.start < now - days:
        raise InvalidArgumentError(
            f"Invalid keep_days {keep_days}: expected at least {(now - window.start) // _DAY + 1}, because the window "
            f"begins at {window.start.isoformat()}. A run would write again what the run before has removed."
        )
    return Removal(user_ids, now - days)


def _remove_users(session: Connection, store: AttendanceStore, user_ids: frozenset[int], removed: Counter[str]) -> bool:
    """Remove a slice of the answers of people; with the last one all else, and return true."""
    meetings, table = store.tables.meetings, store.tables.attendance
    theirs = and_(table.c.portal == store.portal, table.c.user_id.in_(user_ids))
    rows = session.execute(_select(table, Attendance._fields).where(theirs).limit(_SLICE))
    answers: dict[Key, list[Attendance]] = {}
    for row in map(Attendance._make, rows):
        answers.setdefault((row.parent_id, row.occurrence_start), []).append(row)
    _correct_counts(session, store, answers)
    found = [(*key, row.user_id) for key, some in answers.items() for row in some]
    removed["removed_answers"] += _delete(session, store, table, found, (*_KEY, "user_id"))
    if len(found) == _SLICE:
        return False
    changes = store.tables.changes
    theirs = and_(changes.c.portal == store.portal, changes.c.user_id.in_(user_ids))
    removed["removed_changes"] += session.execute(delete(changes).where(theirs)).rowcount
    for column, theirs, value in (
        (meetings.c.host_id, meetings.c.host_id.in_(user_ids), None),
        (meetings.c.calendar, meetings.c.calendar.in_(calendars_of(user_ids)), UNNAMED),
    ):
        own = update(meetings).where(meetings.c.portal == store.portal, theirs)
        session.execute(own.values({column: value, meetings.c.updated_at: datetime.now(UTC)}))
    people = store.tables.people
    removed["removed_people"] += _delete_optional(session, store, people, people.c.user_id.in_(user_ids))
    return True


def _correct_counts(session: Connection, store: AttendanceStore, answers: dict[Key, list[Attendance]]) -> None:
    """Take answers out of the counts of their meetings."""
    table, counts = store.tables.meetings, ("accepted", "declined", "silent", "total", "share")
    own = and_(table.c.portal == store.portal, table.c.parent_id.in_({parent_id for parent_id, _ in answers}))
    meetings = map(Meeting._make, session.execute(_select(table, Meeting._fields).where(own)))
    corrected = [without_answers(row, answers[row.key]) for row in meetings if row.key in answers]
    if corrected:
        session.execute(
            _at_keys(update(table), store, table, _KEY).values(
                {name: bindparam(f"new_{name}") for name in counts} | {"updated_at": datetime.now(UTC)}
            ),
            [_bound(row.key, _KEY) | {f"new_{name}": getattr(row, name) for name in counts} for row in corrected],
        )


def _remove_older(session: Connection, store: AttendanceStore, before: datetime, removed: Counter[str]) -> bool:
    """Remove a slice of what has ended; return whether it was the last one."""
    meetings, attendance, changes = store.tables.meetings, store.tables.attendance, store.tables.changes
    keys: dict[Key, None] = {}
    for old in (
        _keys(store, meetings).where(_ended(meetings, before)),
        # Answers and changes may be left where somebody has emptied the table of meetings.
        *(_keys(store, table).where(table.c.occurrence_start < before, _orphaned(table, meetings))
          for table in (attendance, changes)),
    ):  # fmt: skip
        if len(keys) < _SLICE:
            keys.update((tuple(row), None) for row in session.execute(old.limit(_SLICE - len(keys))))
    for table, count in zip((attendance, changes, meetings), ("answers", "changes", "occurrences"), strict=True):
        removed[f"removed_{count}"] += _delete(session, store, table, list(keys), _KEY)
    if len(keys) == _SLICE:
        return False
    links = store.tables.crm_links
    kept = select(meetings.c.parent_id).where(meetings.c.portal == store.portal)
    _delete_optional(session, store, links, links.c.parent_id.not_in(kept))
    removed["removed_people"] += _delete_optional(session, store, store.tables.people, _unnamed(store))
    return True


def _unnamed(store: AttendanceStore) -> ColumnElement[bool]:
    """Return the condition for people who are in no other row."""
    tables = store.tables
    # One list for each table: MySQL would read a union again for each person.
    lists = (
        select(column).where(table.c.portal == store.portal, column.is_not(None))
        for table, column in (
            (tables.meetings, tables.meetings.c.host_id), (tables.attendance, tables.attendance.c.user_id),
            (tables.changes, tables.changes.c.user_id),
        )
    )  # fmt: skip
    return and_(*(tables.people.c.user_id.not_in(some) for some in lists))


def _ended(meetings: Table, before: datetime) -> ColumnElement[bool]:
    end = meetings.c.occurrence_end
    # The days of an all-day event are those of any zone, so it may end later than in UTC.
    return and_(end < before, or_(not_(meetings.c.all_day), end < before - _DAY))


def _orphaned(table: Table, meetings: Table) -> ColumnElement[bool]:
    same = (table.c[name] == meetings.c[name] for name in ("portal", *_KEY))
    return not_(select(meetings.c.parent_id).where(*same).correlate(table).exists())


def _select(table: Table, fields: Sequence[str]) -> Any:
    return select(*(table.c[name] for name in fields))


def _keys(store: AttendanceStore, table: Table) -> Any:
    return _select(table, _KEY).distinct().where(table.c.portal == store.portal)


def _at_keys(statement: Any, store: AttendanceStore, table: Table, fields: Sequence[str]) -> Any:
    """Add to a statement that it is about the row with a key; it runs for many keys."""
    own = statement.where(table.c.portal == store.portal)
    return own.where(*(table.c[name] == bindparam(f"the_{name}") for name in fields))


def _bound(key: Sequence[Any], fields: Sequence[str]) -> dict[str, Any]:
    return {f"the_{name}": value for name, value in zip(fields, key, strict=True)}


def _delete(
    session: Connection, store: AttendanceStore, table: Table, keys: Sequence[Sequence[Any]], fields: Sequence[str]
) -> int:
    """Delete the rows with some keys; return how many there were."""
    # One at a time, each by the primary key.
    statement = _at_keys(delete(table), store, table, fields)
    return session.execute(statement, [_bound(key, fields) for key in keys]).rowcount if keys else 0


def _delete_optional(session: Connection, store: AttendanceStore, table: Table, condition: ColumnElement[bool]) -> int:
    """Delete rows of a table, if there is one, which other tasks may keep; return how many there were."""
    if not inspect(session).has_table(table.name, schema=table.schema):
        return 0
    key = [column.name for column in table.primary_key.columns if column.name != "portal"]
    # MariaDB reads the lists of a condition once for a SELECT, and for a DELETE again for each row.
    found = session.execute(_select(table, key).where(table.c.portal == store.portal, condition)).all()
    return _delete(session, store, table, found, key)
