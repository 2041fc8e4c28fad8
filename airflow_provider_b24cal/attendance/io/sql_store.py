"""Writes attendance to a database: one transaction for each snapshot, one writer at a time."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import and_, bindparam, delete, func, inspect, not_, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite

from airflow_provider_b24cal.attendance.io.tables import TableNames, ddl, define
from airflow_provider_b24cal.attendance.models import Attendance, CompletedRead, Meeting
from airflow_provider_b24cal.attendance.read_log import MAX_CLOCK_SKEW, RETENTION
from airflow_provider_b24cal.attendance.reconcile import Stored, reconcile, without_names
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.engine import Connection, Engine, Row

    from airflow_provider_b24cal.attendance.models import AttendanceChange, Key, Person, Snapshot
    from airflow_provider_b24cal.attendance.reconcile import Diff

R = TypeVar("R", "Meeting", "Attendance")

_ISOLATION: Final = "READ COMMITTED"
"""After waiting for the lock, a run has to see what was committed meanwhile."""
LOCK_SECONDS: Final = 600
"""Seconds that a run waits for another one that is writing."""
_SLICE: Final = 5000
_PARENTS: Final = 500
_DAY: Final = timedelta(days=1)


class AttendanceStore:
    """The tables in a database.

    :param engine: SQLite, PostgreSQL, MySQL or MariaDB.
    :param names: the names of the tables.
    :param portal: the portal of the rows, such as ``example.bitrix24.com``.
    :param meeting_names: whether to store the names of meetings.
    :param people_names: whether to store the names of people.
    :param now: returns the time; reads of other runs that are later are ignored.
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
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.engine = engine
        self.meeting_names = meeting_names
        self.portal = portal
        self._now = now
        self.tables = define(names)
        self._needed = self.tables.needed(people_names=people_names)
        dialect = engine.dialect.name
        if dialect not in _TRANSACTIONS:
            raise InvalidArgumentError(
                f"Invalid sql_conn_id: expected a database of {', '.join(_TRANSACTIONS)}; this one is {dialect}."
            )
        self._transaction = _TRANSACTIONS[dialect]
        self._upsert = _UPSERTS[dialect]
        self._lock = ".".join(["b24cal", *([names.schema] if names.schema else []), names.meetings])

    def prepare(self, *, create: bool) -> str:
        """Check that the tables exist, or create those that are missing.

        :return: the statements run; an empty text if there was nothing to create.
        :raises InvalidArgumentError: a table is missing and must not be created.
        """
        with self._transaction(self.engine, self._lock) as connection:
            known = inspect(connection)
            missing = [table for table in self._needed if not known.has_table(table.name, schema=table.schema)]
            if not missing:
                return ""
            statements = ddl(missing, connection)
            if create:
                self.tables.meetings.metadata.create_all(connection, tables=missing)
                return statements
        raise InvalidArgumentError(
            f"Missing tables: {', '.join(str(table) for table in missing)}. Set create_tables=True, or create them "
            f"with:\n{statements}"
        )

    def write(self, snapshot: Snapshot, *, whole: bool = False) -> Diff:
        """Write a snapshot, in one transaction.

        :param whole: write nothing if a part of the snapshot is outdated.
        """
        if not self.meeting_names:
            snapshot = without_names(snapshot)
        with self._transaction(self.engine, self._lock) as connection:
            stored = self._load(connection, snapshot)
            difference = reconcile(stored, snapshot)
            if whole and difference.counts["outdated"]:
                return difference
            now, known = snapshot.ended, {key: (row,) for key, row in stored.meetings.items()}
            self._put(connection, self.tables.meetings, *_seen_again(difference.meetings, known, now), now)
            answers = {key: rows.values() for key, rows in stored.attendances.items()}
            self._put(connection, self.tables.attendance, *_seen_again(difference.attendances, answers, now), now)
            self._upsert_all(connection, self.tables.changes, difference.changes)
            reads = self.tables.reads
            self._upsert_all(connection, reads, difference.reads)
            connection.execute(delete(reads).where(reads.c.portal == self.portal, reads.c.read_at < now - RETENTION))
        return difference

    def write_people(self, people: Sequence[Person]) -> None:
        """Store names of people, unless later ones are stored."""
        table = self.tables.people
        wanted = select(table.c.user_id, table.c.last_seen).where(table.c.portal == self.portal)
        with self._transaction(self.engine, self._lock) as connection:
            for some in _slices(people, _PARENTS):
                these = table.c.user_id.in_([one.user_id for one in some])
                stored = {row.user_id: row.last_seen for row in connection.execute(wanted.where(these))}
                newer = [one for one in some if one.user_id not in stored or one.last_seen > stored[one.user_id]]
                self._upsert_all(connection, table, newer)

    def _load(self, connection: Connection, snapshot: Snapshot) -> Stored:
        """Return the rows that a snapshot can change: those in its window, and those of meetings that have moved."""
        meetings: dict[Key, Meeting] = {}
        attendances: dict[Key, dict[int, Attendance]] = {}
        for row in self._rows(connection, self.tables.meetings, Meeting._fields, snapshot):
            meeting = Meeting._make(row)
            meetings[meeting.key] = meeting
        for row in self._rows(connection, self.tables.attendance, Attendance._fields, snapshot):
            answer = Attendance._make(row)
            attendances.setdefault((answer.parent_id, answer.occurrence_start), {})[answer.user_id] = answer
        return Stored(meetings, attendances, self._reads(connection, snapshot.started, self._now() + MAX_CLOCK_SKEW))

    def _reads(self, connection: Connection, since: datetime, until: datetime) -> list[CompletedRead]:
        reads = self.tables.reads
        wanted = select(*(reads.c[name] for name in CompletedRead._fields)).where(reads.c.portal == self.portal)
        found = connection.execute(wanted.where(reads.c.read_at.between(since, until)))
        return [CompletedRead._make(row) for row in found]

    def _rows(
        self, connection: Connection, table: Table, fields: Sequence[str], snapshot: Snapshot
    ) -> Iterator[Row[Any]]:
        wanted = select(*(table.c[name] for name in fields))
        start, span = table.c.occurrence_start, _span(snapshot)
        conditions: list[ColumnElement[bool]] = []
        if span is not None:
            within = and_(start >= span[0], start < span[1])
            conditions.append(within)
        elsewhere = snapshot.gone | {
            event.parent_id
            for _, event in snapshot.seen
            if not event.is_recurring or span is None or not span[0] <= event.start < span[1]
        }
        for parents in _slices(sorted(elsewhere), _PARENTS):
            named = table.c.parent_id.in_(parents)
            conditions.append(named if span is None else and_(named, not_(within)))
        if span is not None and "is_recurring" in table.c:
            # A series may have become a single meeting at another start.
            series = {event.parent_id for _, event in snapshot.seen if event.is_recurring} - elsewhere
            single = and_(not_(table.c.is_recurring), not_(within))
            conditions += [and_(table.c.parent_id.in_(some), single) for some in _slices(sorted(series), _PARENTS)]
        for condition in conditions:
            yield from connection.execute(wanted.where(and_(table.c.portal == self.portal, condition)))

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
        rows: Sequence[Meeting | Attendance | AttendanceChange | CompletedRead | Person],
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


@contextmanager
def _sqlite(engine: Engine, _: str) -> Iterator[Connection]:
    with engine.connect() as connection, connection.begin():
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000}")
        # The write lock at once: a transaction that begins with a read cannot take it while another one writes.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


@contextmanager
def _postgresql(engine: Engine, lock: str) -> Iterator[Connection]:
    with engine.connect().execution_options(isolation_level=_ISOLATION) as connection, connection.begin():
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_SECONDS * 1000}")
        number = int.from_bytes(sha256(lock.encode()).digest()[:8], "big", signed=True)
        # It ends with the transaction, also if this process is killed.
        connection.execute(select(func.pg_advisory_xact_lock(number)))
        yield connection


@contextmanager
def _mysql(engine: Engine, lock: str) -> Iterator[Connection]:
    # The lock belongs to the session and is valid for the whole server; it ends with the session.
    name = sha256(f"{engine.url.database}.{lock}".encode()).hexdigest()[:60]
    with engine.connect().execution_options(isolation_level=_ISOLATION) as connection:
        with connection.begin():
            if connection.execute(select(func.get_lock(name, LOCK_SECONDS))).scalar() != 1:
                raise TimeoutError(f"Another run has been writing these tables for {LOCK_SECONDS} s.")
        try:
            with connection.begin():
                yield connection
        finally:
            with connection.begin():
                connection.execute(select(func.release_lock(name)))


_TRANSACTIONS: Final[dict[str, Callable[[Engine, str], AbstractContextManager[Connection]]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "mysql": _mysql,
    "mariadb": _mysql,
}
_UPSERTS: Final[dict[str, Callable[[Table], Any]]] = {
    "sqlite": _conflict_upsert(sqlite.insert),
    "postgresql": _conflict_upsert(postgresql.insert),
    "mysql": _mysql_upsert,
    "mariadb": _mysql_upsert,
}
