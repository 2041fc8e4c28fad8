"""Writes attendance to a database: one transaction for each snapshot, one run at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, not_, or_, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite

from airflow_provider_b24cal.attendance.io.answer_texts import answer_text, select_texts
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
from airflow_provider_b24cal.attendance.models import Attendance, CrmLink, Meeting, Stored, best_views
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
    from contextlib import AbstractContextManager

    from sqlalchemy import ColumnElement, Select, Table
    from sqlalchemy.engine import Connection, Engine, Row

    from airflow_provider_b24cal.attendance.models import AttendanceChange, Key, Person, Snapshot
    from airflow_provider_b24cal.attendance.reconcile import Diff

_SLICE: Final = 5000
_PARENTS: Final = 500
_SAMPLE: Final = 50
_LEFT_OUT: Final = 50
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

    def prepare(self, *, create: bool, rights: Iterable[str] = ("SELECT", "INSERT", "UPDATE")) -> str:
        """Check the database and the tables, or create the tables, columns and indexes that are missing.

        :param rights: what the user has to be allowed on the tables, besides creating them.
        :return: the statements run; an empty text if there was nothing to create.
        :raises InvalidArgumentError: a table or column is missing and must not be created; a table has another
            primary key; or the database, the user's rights or the connection do not suffice.
        """
        with self.lock() as session, transaction(session):
            check_database(session, {field: one for field, one in self.tables._asdict().items() if one in self.needed})
            missing = missing_parts(session, self.needed, indexes=create)
            statements = [statement for some in missing.values() for statement in some]
            if create:
                run(session, statements)
            elif missing:
                raise InvalidArgumentError(
                    f"Missing in the database: {', '.join(missing)}. Set create_tables=True, or run:\n"
                    f"{as_text(statements, session.dialect)}"
                )
            check_rights(session, self.needed, rights)
            return as_text(statements, session.dialect)

    def load(self, session: Connection, snapshot: Snapshot) -> Stored:
        """Return the rows that a snapshot can change.

        These are the occurrences that begin or end in its window, and those of its meetings at other times.

        :param session: has the lock of the tables, since before the snapshot was read.
        """
        attendances: dict[Key, dict[int, Attendance]] = {}
        columns, answer_columns = self.tables.meetings.c, self.tables.attendance.c
        with reading(session):
            begun = list(map(Meeting._make, self._begun_before(session, snapshot)))
            parents = _parents(snapshot).union(row.parent_id for row in begun)
            wanted = select(*(columns[name] for name in Meeting._fields))
            found = map(Meeting._make, self._rows(session, wanted, columns, snapshot, parents))
            meetings = {row.key: row for row in (*begun, *found)}
            live = {key for key, row in meetings.items() if row.vanished_at is None}
            same, others = self._same_answers(session, snapshot, parents, live)
            wanted = select(*(answer_columns[name] for name in Attendance._fields))
            for condition in _conditions(answer_columns, others):
                rows = session.execute(wanted.where(answer_columns.portal == self.portal, condition)).all()
                for answer in map(Attendance._make, rows):
                    attendances.setdefault((answer.parent_id, answer.occurrence_start), {})[answer.user_id] = answer
            links = list(self._links(session, snapshot)) if self._crm_links else []
        return Stored(meetings, attendances, links, same, _span(snapshot))

    def write(
        self, session: Connection, stored: Stored, difference: Diff, now: datetime, people: Sequence[Person] = ()
    ) -> None:
        """Write what a snapshot changes.

        :param stored: the rows loaded for the snapshot.
        :param now: when the snapshot was read.
        :param people: names to write.
        """
        known = {key: row._replace(last_seen=now) for key, row in stored.meetings.items() if row.vanished_at is None}
        again = {row.key for row in difference.meetings if row == known.get(row.key)}
        with transaction(session):
            changed = [row for row in difference.meetings if row.key not in again]
            self._upsert_all(session, self.tables.meetings, changed)
            self._see_again(session, self.tables.meetings, again, known.keys() - again, stored.span, now)
            self._upsert_all(session, self.tables.attendance, difference.attendances)
            others = (stored.same_answers | stored.attendances.keys()) - difference.seen_again.keys()
            self._see_again(session, self.tables.attendance, difference.seen_again.keys(), others, stored.span, now)
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

    def _same_answers(
        self, connection: Connection, snapshot: Snapshot, parents: Collection[int], live: Set[Key]
    ) -> tuple[frozenset[Key], frozenset[Key]]:
        """Return the live occurrences whose stored answers a snapshot shows, and the other ones that are stored.

        Of an occurrence that had vanished, answers that had vanished with it come back.
        """
        shown = {key: answer_text(event) for key, (_, event) in best_views(snapshot.seen).items()}
        table = self.tables.attendance
        texts = self._rows(connection, select_texts(table, self.engine.dialect.name), table.c, snapshot, parents)
        found = {(parent, start): text or "" for parent, start, text in map(tuple, texts)}
        same = frozenset(key for key, text in found.items() if key in live and text == shown.get(key))
        return same, frozenset(found) - same

    def _rows(
        self,
        connection: Connection,
        wanted: Select[Any],
        columns: Any,
        snapshot: Snapshot,
        parents: Collection[int],
    ) -> Iterator[Row[Any]]:
        """Yield what is wanted of the rows that begin in a snapshot's window, and of some meetings at other times."""
        start, span = columns.occurrence_start, _span(snapshot)
        conditions: list[ColumnElement[bool]] = []
        if span is not None:
            within = and_(start >= span[0], start < span[1])
            conditions.append(within)
        for some in _slices(sorted(parents), _PARENTS):
            named = columns.parent_id.in_(some)
            conditions.append(named if span is None else and_(named, not_(within)))
        for condition in conditions:
            yield from connection.execute(wanted.where(and_(columns.portal == self.portal, condition))).all()

    def _links(self, connection: Connection, snapshot: Snapshot) -> Iterator[CrmLink]:
        table = self.tables.crm_links
        wanted = select(*(table.c[name] for name in CrmLink._fields)).where(table.c.portal == self.portal)
        seen = {event.parent_id for _, event in snapshot.seen} | {event.parent_id for event in snapshot.by_id}
        for some in _slices(sorted(seen), _PARENTS):
            yield from map(CrmLink._make, connection.execute(wanted.where(table.c.parent_id.in_(some))))

    def _see_again(
        self,
        connection: Connection,
        table: Table,
        keys: Set[Key],
        others: Set[Key],
        span: tuple[datetime, datetime] | None,
        now: datetime,
    ) -> None:
        """Write, of rows that are as they were, when they were seen.

        :param others: the other occurrences that are stored in the span.
        """
        own = update(table).where(table.c.portal == self.portal, table.c.vanished_at.is_(None)).values(last_seen=now)
        within = {key for key in keys if span is not None and span[0] <= key[1] < span[1]}
        if within:
            # Mostly nothing has changed, and one statement for a range of starts will do.
            first, last = min(key[1] for key in within), max(key[1] for key in within)
            left_out = [key for key in others if first <= key[1] <= last]
            if len(left_out) <= _LEFT_OUT:
                start = table.c.occurrence_start
                different = (not_(and_(table.c.parent_id == key[0], start == key[1])) for key in left_out)
                connection.execute(own.where(start.between(first, last), *different))
                keys = keys - within
        for condition in _conditions(table.c, keys):
            connection.execute(own.where(condition))

    def _upsert_all(
        self,
        connection: Connection,
        table: Table,
        rows: Sequence[Meeting | Attendance | AttendanceChange | Person | CrmLink],
    ) -> None:
        statement = self._upsert(table)
        for some in _slices(rows, _SLICE):
            connection.execute(statement, [{"portal": self.portal, **row._asdict()} for row in some])


def _conditions(columns: Any, keys: Iterable[Key]) -> Iterator[ColumnElement[bool]]:
    """Yield conditions for occurrences that an index finds: by meeting, or by start if there are fewer starts."""
    by_parent: dict[Any, list[Any]] = {}
    by_start: dict[Any, list[Any]] = {}
    for parent, start in sorted(keys):
        by_parent.setdefault(parent, []).append(start)
        by_start.setdefault(start, []).append(parent)
    groups, one, many = by_parent, columns.parent_id, columns.occurrence_start
    if len(by_start) < len(by_parent):
        groups, one, many = by_start, many, one
    for value, others in groups.items():
        for some in _slices(others, _PARENTS):
            yield and_(one == value, many.in_(some))


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
