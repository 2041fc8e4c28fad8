"""The tables of attendance, in SQLAlchemy Core."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Float, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.types import TypeDecorator

from airflow_provider_b24cal.bitrix24.calendar.details import CRM_TYPE_LENGTH, DETAIL_LENGTH
from airflow_provider_b24cal.bitrix24.calendar.fields import ZONE_LENGTH
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from airflow_provider_b24cal.bitrix24.validation import check_name, invalid

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

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
        # PostgreSQL takes any zone.
        return value if value is None or dialect.name == "postgresql" else _without_zone(value)

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
    :raises InvalidArgumentError: a name is not one of 1 to 63 characters without a dot, or two tables have the same.
    """

    schema: str | None = None
    meetings: str = "bitrix24_meetings"
    attendance: str = "bitrix24_attendance"
    changes: str = "bitrix24_attendance_changes"
    people: str = "bitrix24_people"
    crm_links: str = "bitrix24_crm_links"

    def __post_init__(self) -> None:
        named = {"meetings_table": self.meetings, "attendance_table": self.attendance, "changes_table": self.changes,
                 "people_table": self.people, "crm_links_table": self.crm_links}  # fmt: skip
        for argument, name in {**named, **({} if self.schema is None else {"schema": self.schema})}.items():
            expected = "a name of 1 to 63 characters"
            if len(check_name(name, argument, expected)) > 63 or not name.isprintable():
                raise invalid(argument, name, expected)
            if "." in name:
                raise invalid(argument, name, "a name without a dot; the schema is an argument of its own")
        if len(set(named.values())) != len(named):
            raise InvalidArgumentError(f"Invalid {', '.join(named)}: expected different names; two are the same.")


class Tables(NamedTuple):
    """The tables, in the order in which they are written."""

    meetings: Table
    attendance: Table
    changes: Table
    people: Table
    crm_links: Table


_OPTIONS: Final[dict[str, Any]] = {
    "mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mariadb_engine": "InnoDB", "mariadb_charset": "utf8mb4",
}  # fmt: skip

_SHARED: Final = {
    "portal": "Name of the portal, such as example.bitrix24.com",
    "parent_id": "Id of the meeting, the same in all calendars",
    "occurrence_start": "When it begins, in UTC, at midnight for all-day events",
    "user_id": "Id of the person",
    "first_seen": "When a sync first saw this",
    "last_seen": "When a sync last saw this",
    "vanished_at": "When a sync first saw that this is gone, null while it is there",
    "created_at": "When this row was first written, null if that was before this column",
    "updated_at": "When anything but last_seen last changed in this row, null if that was before this column",
}
COMMENTS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "meetings": (
        "Bitrix24 meetings, one row for each occurrence",
        {
            "name": "Name of the meeting, empty if names are not stored",
            "host_id": "Id of the organiser",
            "calendar": "Calendar in which it was last seen, such as user:7",
            "occurrence_end": "When it ends, in UTC",
            "zone": "Name of its time zone, null for all-day events",
            "all_day": "Whether it takes whole days",
            "is_recurring": "Whether it is a date of a series",
            "recurrence_id": "For an edited date of a series, the id of the series",
            "accepted": "How many have accepted, without the organiser, null if the portal hides the attendees",
            "declined": "How many have declined, without the organiser",
            "silent": "How many have not answered, without the organiser",
            "total": "How many are invited, without the organiser",
            "share": "accepted divided by total, null if nobody is invited",
            "vanished_reason": "moved, cancelled or not_visible, null while it is there",
            "moved_to": "The start at which it takes place, if it has moved",
            "location": "Where it takes place, or calendar_ and two numbers for a booked room",
            "recurrence_rule": "Rule of its series, as iCalendar writes it",
            "original_start": "For an edited date of a series, the start it had, in UTC",
            "portal_created": "When the meeting was created, in the time of the portal, without a zone",
            "portal_changed": "When the meeting was last changed, in the time of the portal, without a zone",
        },
    ),
    "attendance": (
        "Answers to Bitrix24 meetings, one row for each occurrence and person",
        {
            "status": "Y accepted, N declined, Q not answered, H organiser",
            "is_host": "Whether this is the organiser",
            "changed_at": "When a sync last saw another answer than before, null if none did",
            "event_id": "Id of the meeting in the calendar of this person, null if the portal has not shown it",
        },
    ),
    "changes": (
        "Changes of answers to Bitrix24 meetings, one row for each",
        {
            "old_status": "Answer before, null if the person was not invited",
            "new_status": "Answer after, null if the person is not invited any more",
            "old_seen_at": "The last sync that saw the old answer",
            "new_seen_at": "The first sync that saw the new answer",
        },
    ),
    "people": (
        "Names of the people in Bitrix24 meetings",
        {"name": "First and last name, may be empty", "email": "E-mail address, null if the portal hides it"},
    ),
    "crm_links": (
        "Links of Bitrix24 meetings to items of the CRM",
        {"crm_type": "deal, lead, contact, company, or the portal's prefix", "crm_id": "Id of the item"},
    ),
}
"""What a table and its columns mean, by the field of :class:`Tables`; columns of the same name mean the same.

No text has a semicolon: people split statements there.
"""


def define(names: TableNames) -> Tables:
    """Return the tables; their columns are the portal and the fields of the rows."""
    metadata = MetaData(schema=names.schema, naming_convention={"ix": "ix_%(table_name)s_%(column_1_name)s"})

    def table(field: str, *columns: Column[Any] | Index) -> Table:
        comment, own = COMMENTS[field]
        made = Table(
            getattr(names, field), metadata, _key("portal", String(255)), *columns, comment=comment, **_OPTIONS
        )
        for column in made.columns:
            column.comment = own.get(column.name) or _SHARED[column.name]
        return made

    return Tables(
        table("meetings", *_occurrence(), *_meeting()),
        table("attendance", *_occurrence(), *_answer()),
        table("changes", *_occurrence(), *_change()),
        table(
            "people", _key("user_id", BigInteger), _required("name", Text), _required("last_seen", UtcDateTime),
            Column("email", Text),
        ),
        table(
            "crm_links", _key("parent_id", BigInteger), _key("crm_type", String(CRM_TYPE_LENGTH)),
            _key("crm_id", BigInteger), _required("first_seen", UtcDateTime), _required("last_seen", UtcDateTime),
            Column("vanished_at", UtcDateTime),
        ),
    )  # fmt: skip


def _occurrence() -> tuple[Column[Any] | Index, ...]:
    return _key("parent_id", BigInteger), _key("occurrence_start", UtcDateTime), _index("occurrence_start")


# What was added later is at the end and optional, as it is in tables that have got it later.
def _meeting() -> tuple[Column[Any] | Index, ...]:
    return (
        _required("name", Text), Column("host_id", BigInteger), _required("calendar", String(64)),
        _required("occurrence_end", UtcDateTime), Column("zone", String(ZONE_LENGTH)), _required("all_day", Boolean),
        _required("is_recurring", Boolean), Column("recurrence_id", BigInteger), Column("accepted", Integer),
        Column("declined", Integer), Column("silent", Integer), Column("total", Integer), Column("share", Float(53)),
        _required("first_seen", UtcDateTime), _required("last_seen", UtcDateTime), Column("vanished_at", UtcDateTime),
        Column("vanished_reason", String(16)), Column("moved_to", UtcDateTime), _index("occurrence_end"),
        Column("location", String(DETAIL_LENGTH)), Column("recurrence_rule", String(DETAIL_LENGTH)),
        Column("original_start", UtcDateTime), Column("portal_created", String(19)),
        Column("portal_changed", String(19)), *_row_times(),
    )  # fmt: skip


def _answer() -> tuple[Column[Any] | Index, ...]:
    return (
        _key("user_id", BigInteger), _required("status", String(1)), _required("is_host", Boolean),
        _required("first_seen", UtcDateTime), _required("last_seen", UtcDateTime), Column("changed_at", UtcDateTime),
        Column("vanished_at", UtcDateTime), *_row_times(), _index("user_id"), Column("event_id", BigInteger),
        _index("event_id"),
    )  # fmt: skip


def _change() -> tuple[Column[Any] | Index, ...]:
    # An answer last seen at one time changes once, so no change can be stored twice.
    return (
        _key("user_id", BigInteger), Column("old_status", String(1)), Column("new_status", String(1)),
        _key("old_seen_at", UtcDateTime), _required("new_seen_at", UtcDateTime), _index("new_seen_at"),
    )  # fmt: skip


def _row_times() -> tuple[Column[Any] | Index, ...]:
    return Column("created_at", UtcDateTime), Column("updated_at", UtcDateTime), _index("updated_at")


def _index(column: str) -> Index:
    return Index(None, "portal", column)


def _key(name: str, kind: Any) -> Column[Any]:
    return Column(name, kind, primary_key=True, autoincrement=False)


def _required(name: str, kind: Any) -> Column[Any]:
    return Column(name, kind, nullable=False)
