"""The tables of attendance, in SQLAlchemy Core."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Float, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.types import TypeDecorator

from airflow_provider_b24cal.bitrix24.calendar.fields import ZONE_LENGTH
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from airflow_provider_b24cal.bitrix24.validation import check_name, invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection, Dialect

    TimeType = TypeDecorator[datetime]
else:
    TimeType = TypeDecorator


_MOMENTS: Final = 4096
"""Size of the caches of converted times: the rows of a snapshot have few different ones."""


class _SqliteTime(sqlite.DATETIME):
    """SQLite's times, which are texts; each is converted once, not once a row."""

    def bind_processor(self, dialect: Dialect) -> Any:
        """Return the conversion from a time to a text."""
        write: Any = super().bind_processor(dialect)
        return lru_cache(_MOMENTS)(write)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Return the conversion from a text to a time."""
        read: Any = super().result_processor(dialect, coltype)
        return lru_cache(_MOMENTS)(read)


class UtcDateTime(TimeType):
    """An aware time in UTC; stored with its zone if the database has such a type."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Return the database's own type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        if dialect.name == "sqlite":
            return dialect.type_descriptor(_SqliteTime())  # type: ignore[no-untyped-call]  # the base has no types
        # The default type drops fractions of a second.
        return dialect.type_descriptor(mysql.DATETIME(fsp=6))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the value to write."""
        if value is None:
            return None
        return value.astimezone(UTC) if dialect.name == "postgresql" else _without_zone(value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the value that was read, with its zone."""
        return None if value is None else _in_utc(value)


@lru_cache(_MOMENTS)
def _without_zone(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(tzinfo=None)


@lru_cache(_MOMENTS)
def _in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TableNames:
    """The names of the tables.

    :param schema: ``None`` for the database's default.
    """

    schema: str | None = None
    meetings: str = "bitrix24_meetings"
    attendance: str = "bitrix24_attendance"
    changes: str = "bitrix24_attendance_changes"
    people: str = "bitrix24_people"

    def __post_init__(self) -> None:
        named = {"meetings_table": self.meetings, "attendance_table": self.attendance, "changes_table": self.changes,
                 "people_table": self.people}  # fmt: skip
        for argument, name in {**named, **({} if self.schema is None else {"schema": self.schema})}.items():
            expected = "a name of 1 to 63 characters"
            if len(check_name(name, argument, expected)) > 63 or not name.isprintable():
                raise invalid(argument, name, expected)
        if len(set(named.values())) != len(named):
            raise InvalidArgumentError(f"Invalid {', '.join(named)}: expected different names; two are the same.")


class Tables(NamedTuple):
    """The tables, in the order in which they are written."""

    meetings: Table
    attendance: Table
    changes: Table
    people: Table


_OPTIONS: Final[dict[str, Any]] = {
    "mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mariadb_engine": "InnoDB", "mariadb_charset": "utf8mb4",
}  # fmt: skip


def define(names: TableNames) -> Tables:
    """Return the tables; their columns are the portal and the fields of the rows."""
    metadata = MetaData(schema=names.schema, naming_convention={"ix": "ix_%(table_name)s_%(column_1_name)s"})

    def table(name: str, *columns: Column[Any] | Index) -> Table:
        return Table(name, metadata, _key("portal", String(255)), *columns, **_OPTIONS)

    return Tables(
        table(names.meetings, *_occurrence(), *_meeting()),
        table(names.attendance, *_occurrence(), *_answer()),
        table(names.changes, *_occurrence(), *_change()),
        table(
            names.people,
            _key("user_id", BigInteger), _required("name", Text), _required("last_seen", UtcDateTime),
        ),
    )  # fmt: skip


def _occurrence() -> tuple[Column[Any] | Index, ...]:
    index = Index(None, "portal", "occurrence_start")
    return _key("parent_id", BigInteger), _key("occurrence_start", UtcDateTime), index


def _meeting() -> tuple[Column[Any] | Index, ...]:
    return (
        _required("name", Text), Column("host_id", BigInteger), _required("calendar", String(64)),
        _required("occurrence_end", UtcDateTime), Column("zone", String(ZONE_LENGTH)), _required("all_day", Boolean),
        _required("is_recurring", Boolean), Column("recurrence_id", BigInteger), Column("accepted", Integer),
        Column("declined", Integer), Column("silent", Integer), Column("total", Integer), Column("share", Float(53)),
        _required("first_seen", UtcDateTime), _required("last_seen", UtcDateTime), Column("vanished_at", UtcDateTime),
        Column("vanished_reason", String(16)), Column("moved_to", UtcDateTime), Index(None, "portal", "occurrence_end"),
    )  # fmt: skip


def _answer() -> tuple[Column[Any], ...]:
    return (
        _key("user_id", BigInteger), _required("status", String(1)), _required("is_host", Boolean),
        _required("first_seen", UtcDateTime), _required("last_seen", UtcDateTime), Column("changed_at", UtcDateTime),
        Column("vanished_at", UtcDateTime),
    )  # fmt: skip


def _change() -> tuple[Column[Any], ...]:
    # An answer last seen at one time changes once, so no change can be stored twice.
    return (
        _key("user_id", BigInteger), Column("old_status", String(1)), Column("new_status", String(1)),
        _key("old_seen_at", UtcDateTime), _required("new_seen_at", UtcDateTime),
    )  # fmt: skip


def _key(name: str, kind: Any) -> Column[Any]:
    return Column(name, kind, primary_key=True, autoincrement=False)


def _required(name: str, kind: Any) -> Column[Any]:
    return Column(name, kind, nullable=False)


def ddl(tables: Sequence[Table], connection: Connection) -> str:
    """Return the statements that create tables, in the database's dialect."""
    statements: list[CreateTable | CreateIndex] = []
    for table in tables:
        statements += [CreateTable(table), *map(CreateIndex, sorted(table.indexes, key=lambda index: str(index.name)))]
    return "\n".join(f"{str(statement.compile(dialect=connection.dialect)).strip()};" for statement in statements)
