"""Attendance in a database: one transaction for each reading, one writer at a time."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import and_, bindparam, delete, func, inspect, not_, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite

from airflow_provider_b24cal.attendance.io.tables import TableNames, ddl, define
from airflow_provider_b24cal.attendance.looks import MEMORY, SKEW
from airflow_provider_b24cal.attendance.models import Attendance, Look, Meeting
from airflow_provider_b24cal.attendance.reconcile import Stored, reconcile, without_names
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.engine import Connection, Engine, Row

    from airflow_provider_b24cal.attendance.models import AttendanceChange, Key, Person
    from airflow_provider_b24cal.attendance.reconcile import Diff, Snapshot

R = TypeVar("R", "Meeting", "Attendance")

_ISOLATION: Final = "READ COMMITTED"
"""Whoever has waited for the lock has to see what was committed meanwhile."""
LOCK_SECONDS: Final = 600
"""How long a run waits for another one that is writing."""
_SLICE: Final = 5000
_PARENTS: Final = 500
_DAY: Final = timedelta(days=1)


class AttendanceStore:
    """The tables in a database.

    :param engine: SQLite, PostgreSQL, MySQL or MariaDB.
    :param names: what the tables are called.
    :param portal: which portal the rows belong to, such as ``example.bitrix24.com``.
    :param meeting_names: whether to store what meetings are called.
    :param people_names: whether there is a table of what people are called.
    :param now: the clock by which others' looks are known to be from the future.
    :raises InvalidArgumentError: the database is another one.
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
                f"sql_conn_id leads to a database of the kind {dialect}; accepted are {', '.join(_TRANSACTIONS)}."
            )
        self._transaction = _TRANSACTIONS[dialect]
        self._upsert = _UPSERTS[dialect]
        self._lock = ".".join(["b24cal", *([names.schema] if names.schema else []), names.meetings])

    def prepare(self, *, create: bool) -> str:
        """Find the tables, or create those that are missing.

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
            f"{', '.join(str(table) for table in missing)} is not in the database; create_tables=True creates it, or "
            f"have it created with:\n{statements}"
        )

    def write(self, reading: Snapshot, *, whole: bool = False) -> Diff:
        """Bring the tables to what a reading has shown, in one transaction.

        :param whole: write nothing if a part of it is outdated.
        """
        if not self.meeting_names:
            reading = without_names(reading)
        with self._transaction(self.engine, self._lock) as connection:
            stored = self._load(connection, reading)
            difference = reconcile(stored, reading)
            if whole and difference.counts["outdated"]:
                return difference
            now, known = reading.ended, {key: (row,) for key, row in stored.meetings.items()}
            self._put(connection, self.tables.meetings, *_seen_again(difference.meetings, known, now), now)
            answers = {key: rows.values() for key, rows in stored.attendances.items()}
            self._put(connection, self.tables.attendance, *_seen_again(difference.attendances, answers, now), now)
            self._upsert_all(connection, self.tables.changes, difference.changes)
            looks = self.tables.looks
            self._upsert_all(connection, looks, difference.looks)
            connection.execute(delete(looks).where(looks.c.portal == self.portal, looks.c.read_at < now - MEMORY))
        return difference

    def write_people(self, people: Sequence[Person]) -> None:
        """Store what people are called, unless later names are stored."""
        table = self.tables.people
        wanted = select(table.c.user_id, table.c.last_seen).where(table.c.portal == self.portal)
        with self._transaction(self.engine, self._lock) as connection:
            for some in _slices(people, _PARENTS):
                these = table.c.user_id.in_([one.user_id for one in some])
                stored = {row.user_id: row.last_seen for row in connection.execute(wanted.where(these))}
                newer = [one for one in some if one.user_id not in stored or one.last_seen > stored[one.user_id]]
                self._upsert_all(connection, table, newer)

    def _load(self, connection: Connection, reading: Snapshot) -> Stored:
        """Return the rows that a reading can concern: of its window, of what it saw, and of what has moved."""
        meetings: dict[Key, Meeting] = {}
        attendances: dict[Key, dict[int, Attendance]] = {}
        for row in self._rows(connection, self.tables.meetings, Meeting._fields, reading):
            meeting = Meeting._make(row)
            meetings[meeting.key] = meeting
        for row in self._rows(connection, self.tables.attendance, Attendance._fields, reading):
            answer = Attendance._make(row)
            attendances.setdefault((answer.parent_id, answer.occurrence_start), {})[answer.user_id] = answer
        return Stored(meetings, attendances, self._looks(connection, reading.started, self._now() + SKEW))

    def _looks(self, connection: Connection, since: datetime, until: datetime) -> list[Look]:
        looks = self.tables.looks
        wanted = select(*(looks.c[name] for name in Look._fields)).where(looks.c.portal == self.portal)
        found = connection.execute(wanted.where(looks.c.read_at.between(since, until)))
        return [Look._make(row) for row in found]

    def _rows(
        self, connection: Connection, table: Table, fields: Sequence[str], reading: Snapshot
    ) -> Iterator[Row[Any]]:
        wanted = select(*(table.c[name] for name in fields))
        start, span = table.c.occurrence_start, _span(reading)
        conditions: list[ColumnElement[bool]] = []
        if span is not None:
            within = and_(start >= span[0], start < span[1])
            conditions.append(within)
        elsewhere = reading.gone | {
            event.parent_id
            for _, event in reading.seen
            if not event.is_recurring or span is None or not span[0] <= event.start < span[1]
        }
        for parents in _slices(sorted(elsewhere), _PARENTS):
            named = table.c.parent_id.in_(parents)
            conditions.append(named if span is None else and_(named, not_(within)))
        if span is not None and "is_recurring" in table.c:
            # A series may have become a single meeting, elsewhere.
            series = {event.parent_id for _, event in reading.seen if event.is_recurring} - elsewhere
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
        """Write rows, and of occurrences that are as they were, when they were seen."""
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
        rows: Sequence[Meeting | Attendance | AttendanceChange | Look | Person],
    ) -> None:
        statement = self._upsert(table)
        for some in _slices(rows, _SLICE):
            connection.execute(statement, [{"portal": self.portal, **row._asdict()} for row in some])


def _seen_again(rows: Sequence[R], stored: Mapping[Key, Collection[R]], now: datetime) -> tuple[list[R], list[Key]]:
    """Part rows into those to write, and occurrences of which nothing is new but that they were seen again."""
    found: dict[Key, list[R]] = {}
    for row in rows:
        found.setdefault((row.parent_id, row.occurrence_start), []).append(row)
    again = {
        key: None
        for key, some in found.items()
        if set(some) == {row._replace(last_seen=now) for row in stored.get(key, ()) if row.vanished_at is None}
    }
    return [row for key, some in found.items() if key not in again for row in some], list(again)


def _span(reading: Snapshot) -> tuple[datetime, datetime] | None:
    """Return bounds of a reading's window wide enough for all-day events, whose days are those of its zone."""
    if reading.window is None:
        return None
    return reading.window.start.astimezone(UTC) - _DAY, reading.window.end.astimezone(UTC) + _DAY


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
        # Taken at once: a transaction that begins by reading cannot become a writing one beside another.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


@contextmanager
def _postgresql(engine: Engine, lock: str) -> Iterator[Connection]:
    with engine.connect().execution_options(isolation_level=_ISOLATION) as connection, connection.begin():
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_SECONDS * 1000}")
        number = int.from_bytes(sha256(lock.encode()).digest()[:8], "big", signed=True)
        # Ends with the transaction, whatever becomes of this process.
        connection.execute(select(func.pg_advisory_xact_lock(number)))
        yield connection


@contextmanager
def _mysql(engine: Engine, lock: str) -> Iterator[Connection]:
    # Such locks belong to a session and to the whole server; a session that ends gives them back.
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
