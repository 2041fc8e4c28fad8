"""Writes attendance to a database: one transaction for each snapshot, one run at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import and_, bindparam, not_, or_, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite

from airflow_provider_b24cal.attendance.io.queries import portals
from airflow_provider_b24cal.attendance.io.table_check import (
    as_text,
    check_database,
    check_rights,
    missing_parts,
    run,
)
from airflow_provider_b24cal.attendance.io.table_lock import LOCKS, lock_tables, reading, transaction
from airflow_provider_b24cal.attendance.io.tables import TableNames, define
from airflow_provider_b24cal.attendance.models import Attendance, CrmLink, Meeting, Stored
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.engine import Connection, Engine, Row

    from airflow_provider_b24cal.attendance.models import AttendanceChange, Key, Person, Snapshot
    from airflow_provider_b24cal.attendance.reconcile import Diff

R = TypeVar("R", "Meeting", "Attendance")

_SLICE: Final = 5000
_PARENTS: Final = 500
_SAMPLE: Final = 50
_DAY: Final = timedelta(days=1)


def unsupported_database(sql_conn_id: object, kind: object) -> InvalidArgumentError:
    """Return the error for a database that cannot have the tables.

    :param sql_conn_id: its connection, if it is known.
    :param kind: the name that Airflow or SQLAlchemy has for it.
    """
    named = "" if sql_conn_id is None else f" {sql_conn_id!r}"
    return InvalidArgumentError(
        f"Invalid sql_conn_id{named}: expected SQLite, PostgreSQL, MySQL or MariaDB; this database is {kind!r}. Load "
        "the rows with dlt: see the page attendance_destinations of the documentation."
    )


class AttendanceStore:
    """The tables in a database.

    :param engine: SQLite, PostgreSQL, MySQL or MariaDB.
    :param names: the names of the tables.
    :param portal: the portal of the rows, such as ``example.bitrix24.com``.
    :param meeting_names: whether to store the names of meetings.
    :param people_names: whether to store the names of people.
    :param crm_links: whether to store the links of meetings to items of the CRM.
    :raises InvalidArgumentError: the database is of another kind.
    """

    def __init__(
        self,
        engine: Engine,
        names: TableNames,
        portal: str,
        *,
        meeting_names: bool = True,
        people_names: bool = False,
        crm_links: bool = False,
    ) -> None:
        self.engine = engine
        self.meeting_names = meeting_names
        self.people_names = people_names
        self.portal = portal
        self.tables = define(names)
        self._crm_links = crm_links
        wanted = {"people": people_names, "crm_links": crm_links}
        self.needed = tuple(table for field, table in self.tables._asdict().items() if wanted.get(field, True))
        """The tables that are used."""
        dialect = engine.dialect.name
        if dialect not in LOCKS:
            raise unsupported_database(None, dialect)
        self._upsert = _UPSERTS[dialect]

    def lock(self) -> AbstractContextManager[Connection]:
        """Lock the tables during a ``with`` block, and yield the session to write with.

        :raises TimeoutError: another run holds the lock.
        :raises ConnectionError: the session was lost, and the lock with it.
        """
        return lock_tables(self.engine, self.tables.meetings)

    def prepare(self, *, create: bool) -> str:
        """Check the database and the tables, or create the tables, columns and indexes that are missing.

        :return: the statements run; an empty text if there was nothing to create.
        :raises InvalidArgumentError: a table or column is missing and must not be created; a table has another
            primary key; or the database, the user's rights or the connection do not suffice.
        """
        with self.lock() as session, transaction(session):
            check_database(session, self.needed)
            missing = missing_parts(session, self.needed, indexes=create)
            statements = [statement for some in missing.values() for statement in some]
            if create:
                run(session, statements)
            elif missing:
                raise InvalidArgumentError(
                    f"Missing in the database: {', '.join(missing)}. Set create_tables=True, or run:\n"
                    f"{as_text(statements, session.dialect)}"
                )
            check_rights(session, self.needed)
            return as_text(statements, session.dialect)

    def load(self, session: Connection, snapshot: Snapshot) -> Stored:
        """Return the rows that a snapshot can change.

        These are the occurrences that begin or end in its window, and those of its meetings at other times.

        :param session: has the lock of the tables, since before the snapshot was read.
        """
        attendances: dict[Key, dict[int, Attendance]] = {}
        with reading(session):
            begun = list(map(Meeting._make, self._begun_before(session, snapshot)))
            parents = _parents(snapshot).union(row.parent_id for row in begun)
            found = map(Meeting._make, self._rows(session, self.tables.meetings, Meeting._fields, snapshot, parents))
            meetings = {row.key: row for row in (*begun, *found)}
            for answer in map(
                Attendance._make, self._rows(session, self.tables.attendance, Attendance._fields, snapshot, parents)
            ):
                attendances.setdefault((answer.parent_id, answer.occurrence_start), {})[answer.user_id] = answer
            links = list(self._links(session, snapshot)) if self._crm_links else []
        return Stored(meetings, attendances, links)

    def write(
        self, session: Connection, stored: Stored, difference: Diff, now: datetime, people: Sequence[Person] = ()
    ) -> None:
        """Write what a snapshot changes.

        :param stored: the rows loaded for the snapshot.
        :param now: when the snapshot was read.
        :param people: names to write.
        """
        known = {key: (row,) for key, row in stored.meetings.items()}
        answers = {key: rows.values() for key, rows in stored.attendances.items()}
        with transaction(session):
            self._put(session, self.tables.meetings, *_seen_again(difference.meetings, known, now), now)
            self._put(session, self.tables.attendance, *_seen_again(difference.attendances, answers, now), now)
            self._upsert_all(session, self.tables.changes, difference.changes)
            self._upsert_all(session, self.tables.people, people)
            if self._crm_links:
                self._upsert_all(session, self.tables.crm_links, difference.crm_links)

    def portals_with(self, session: Connection, keys: Sequence[Key]) -> list[str]:
        """Return the other portals under whose name some of these occurrences are stored.

        :param keys: those that are new; the first fifty are looked for.
        """
        if not keys:
            return []
        columns = self.tables.meetings.c
        same = or_(
            *(and_(columns.parent_id == parent, columns.occurrence_start == start) for parent, start in keys[:_SAMPLE])
        )
        with reading(session):
            return [
                portal
                for portal in portals(session, self.tables)
                if portal != self.portal
                and session.execute(select(columns.portal).where(columns.portal == portal, same).limit(1)).first()
            ]

    def _begun_before(self, connection: Connection, snapshot: Snapshot) -> Iterable[Row[Any]]:
        """Return the rows of the occurrences that end in a snapshot's window and begin before it."""
        if (span := _span(snapshot)) is None:
            return ()
        columns = self.tables.meetings.c
        ending = and_(columns.occurrence_end > span[0], columns.occurrence_end < span[1])
        wanted = select(*(columns[name] for name in Meeting._fields))
        own = wanted.where(columns.portal == self.portal, ending, columns.occurrence_start < span[0])
        return connection.execute(own)

    def _rows(
        self,
        connection: Connection,
        table: Table,
        fields: Sequence[str],
        snapshot: Snapshot,
        parents: Collection[int],
    ) -> Iterator[Row[Any]]:
        """Yield the rows that begin in a snapshot's window, and those of some meetings at other times."""
        wanted = select(*(table.c[name] for name in fields))
        start, span = table.c.occurrence_start, _span(snapshot)
        conditions: list[ColumnElement[bool]] = []
        if span is not None:
            within = and_(start >= span[0], start < span[1])
            conditions.append(within)
        for some in _slices(sorted(parents), _PARENTS):
            named = table.c.parent_id.in_(some)
            conditions.append(named if span is None else and_(named, not_(within)))
        for condition in conditions:
            yield from connection.execute(wanted.where(and_(table.c.portal == self.portal, condition)))

    def _links(self, connection: Connection, snapshot: Snapshot) -> Iterator[CrmLink]:
        table = self.tables.crm_links
        wanted = select(*(table.c[name] for name in CrmLink._fields)).where(table.c.portal == self.portal)
        seen = {event.parent_id for _, event in snapshot.seen} | {event.parent_id for event in snapshot.by_id}
        for some in _slices(sorted(seen), _PARENTS):
            yield from map(CrmLink._make, connection.execute(wanted.where(table.c.parent_id.in_(some))))

    def _put(
        self,
        connection: Connection,
        table: Table,
        rows: Sequence[Meeting | Attendance],
        again: Sequence[Key],
        now: datetime,
    ) -> None:
        """Write rows; of unchanged occurrences only the time at which they were seen."""
        self._upsert_all(connection, table, rows)
        statement = (
            update(table)
            .where(table.c.portal == self.portal, table.c.vanished_at.is_(None))
            .where(table.c.parent_id == bindparam("parent"), table.c.occurrence_start == bindparam("start"))
            .values(last_seen=now)
        )
        for some in _slices(again, _SLICE):
            connection.execute(statement, [{"parent": parent, "start": start} for parent, start in some])

    def _upsert_all(
        self,
        connection: Connection,
        table: Table,
        rows: Sequence[Meeting | Attendance | AttendanceChange | Person | CrmLink],
    ) -> None:
        statement = self._upsert(table)
        for some in _slices(rows, _SLICE):
            connection.execute(statement, [{"portal": self.portal, **row._asdict()} for row in some])


def _seen_again(rows: Sequence[R], stored: Mapping[Key, Collection[R]], now: datetime) -> tuple[list[R], list[Key]]:
    """Split rows into those to write, and the keys of occurrences that are unchanged."""
    found: dict[Key, list[R]] = {}
    for row in rows:
        found.setdefault((row.parent_id, row.occurrence_start), []).append(row)
    again = {
        key: None
        for key, some in found.items()
        if set(some) == {row._replace(last_seen=now) for row in stored.get(key, ()) if row.vanished_at is None}
    }
    return [row for key, some in found.items() if key not in again for row in some], list(again)


def _parents(snapshot: Snapshot) -> frozenset[int]:
    """Return the meetings of a snapshot that may be stored at other times than those of its window."""
    span = _span(snapshot)
    return snapshot.ids_read() | {
        event.parent_id
        for _, event in snapshot.seen
        if not event.is_recurring or span is None or not span[0] <= event.start < span[1]
    }


def _span(snapshot: Snapshot) -> tuple[datetime, datetime] | None:
    """Return the bounds of a snapshot's window, widened for all-day events, whose days are those of its zone."""
    if snapshot.window is None:
        return None
    return snapshot.window.start.astimezone(UTC) - _DAY, snapshot.window.end.astimezone(UTC) + _DAY


def _slices(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _conflict_upsert(insert: Callable[[Table], Any]) -> Callable[[Table], Any]:
    def upsert(table: Table) -> Any:
        statement = insert(table)
        others = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
        return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=others)

    return upsert


def _mysql_upsert(table: Table) -> Any:
    statement = mysql.insert(table)
    return statement.on_duplicate_key_update(
        {column.name: statement.inserted[column.name] for column in table.c if not column.primary_key}
    )


_UPSERTS: Final[dict[str, Callable[[Table], Any]]] = {
    "sqlite": _conflict_upsert(sqlite.insert),
    "postgresql": _conflict_upsert(postgresql.insert),
    "mysql": _mysql_upsert,
    "mariadb": _mysql_upsert,
}
