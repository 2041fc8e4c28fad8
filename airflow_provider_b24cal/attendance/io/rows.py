"""Rows of attendance as plain dicts, for databases of other kinds: who reads the rows stores them."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar, get_type_hints

from sqlalchemy import Boolean, Float, Integer, String

from airflow_provider_b24cal.attendance.calendars import check_portal
from airflow_provider_b24cal.attendance.exclusion import check_excluded, without_answers
from airflow_provider_b24cal.attendance.io.reader import portal_name
from airflow_provider_b24cal.attendance.io.source import check_source
from airflow_provider_b24cal.attendance.io.sync import Sync
from airflow_provider_b24cal.attendance.io.tables import TableNames, UtcDateTime, define
from airflow_provider_b24cal.attendance.models import Attendance, Meeting, Stored
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from airflow_provider_b24cal.bitrix24.validation import invalid

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from airflow_provider_b24cal.attendance.io.source import Source
    from airflow_provider_b24cal.attendance.models import AttendanceChange, Key, Person, Snapshot
    from airflow_provider_b24cal.attendance.reconcile import Diff
    from airflow_provider_b24cal.bitrix24.calendar.window import Window
    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

Row: TypeAlias = "dict[str, Any]"
"""A row by its columns; times are aware datetimes in UTC."""

R = TypeVar("R", "Meeting", "Attendance")


class Rows(NamedTuple):
    """The rows of one part of a window, to be inserted, or to replace those with the same primary key.

    :param meetings: one for each occurrence.
    :param attendance: one for each occurrence and attendee.
    :param changes: one for each observed change of an answer.
    """

    meetings: list[Row]
    attendance: list[Row]
    changes: list[Row]


_DATA_TYPES: Final = {
    UtcDateTime: "timestamp", Boolean: "bool", Float: "double", Integer: "bigint", String: "text",
}  # fmt: skip


def schema() -> dict[str, dict[str, dict[str, Any]]]:
    """Return the columns of each field of :class:`Rows`, in order.

    They are the columns of the tables that
    :class:`~airflow_provider_b24cal.transfers.attendance_to_sql.Bitrix24AttendanceToSqlOperator` keeps. A column is
    described as dlt does it, such as ``{"data_type": "bigint", "nullable": False, "primary_key": True}``. Data types
    are ``bigint``, ``bool``, ``double``, ``text`` and ``timestamp``.
    """
    tables = define(TableNames())
    return {
        field: {
            column.name: {
                "data_type": next(name for kind, name in _DATA_TYPES.items() if isinstance(column.type, kind)),
                "nullable": bool(column.nullable),
                "primary_key": column.primary_key,
            }
            for column in getattr(tables, field).columns
        }
        for field in Rows._fields
    }


def read_rows(
    hook: Bitrix24CalendarHook,
    window: Window,
    calendars: Sequence[str] | str = "user",
    *,
    stored_meetings: Iterable[Mapping[str, Any]] = (),
    stored_attendance: Iterable[Mapping[str, Any]] = (),
    portal: str | None = None,
    exclude_users: Collection[int] | None = None,
) -> Iterator[Rows]:
    """Read calendars, and yield for each part of a window, 25 days, the rows to store.

    Give it the rows that earlier runs have stored. Then the rows have the history that
    :class:`~airflow_provider_b24cal.transfers.attendance_to_sql.Bitrix24AttendanceToSqlOperator` keeps: changes of
    answers, ``first_seen``, ``vanished_at`` with its reason. Without them every row is new, and a cancelled meeting is
    not noticed.

    The log has the same warnings as that of the operator.

    .. seealso:: `calendar.event.get
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-event-get.html>`__

    :param hook: a hook that stays open while the rows are read.
    :param window: what to read; at most four years.
    :param calendars: a list of ``user`` (the acting user's), ``user:7``, ``group:7`` and ``company_calendar``, or one
        of them; default the acting user's.
    :param stored_meetings: rows of meetings with all columns of :func:`schema`; more columns do no harm. Times may be
        ISO text, and are in UTC where they have no zone. Those that begin or end in the window or at most a day beside
        it suffice, with the other rows of meetings that have moved into it. A null is ``None``, not a data frame's
        ``NaN`` or ``NaT``.
    :param stored_attendance: rows of answers, of the same occurrences.
    :param portal: the name of the portal in the rows; default its host.
    :param exclude_users: ids of people who are in no row, nor in the counts of meetings. You delete the rows that you
        have stored of them; give the stored rows of before.
    :raises InvalidArgumentError: an argument is invalid, or a stored row lacks a column or has an invalid time.
    :raises Bitrix24Error: a calendar could not be read; nothing of this part is yielded.
    """
    source = check_source(calendars, None, window.start, window.end, {})
    name = check_portal(portal) or portal_name(hook)
    left_out = check_excluded(exclude_users)
    answers: dict[Key, dict[int, Attendance]] = {}
    for row in _parse(Attendance, stored_attendance, name, "stored_attendance"):
        answers.setdefault((row.parent_id, row.occurrence_start), {})[row.user_id] = row
    meetings = {
        row.key: without_answers(row, [answers[row.key].pop(one) for one in left_out & answers.get(row.key, {}).keys()])
        for row in _parse(Meeting, stored_meetings, name, "stored_meetings")
    }
    return _read(hook, source, _Memory(name, meetings, answers), left_out)


def _read(hook: Bitrix24CalendarHook, source: Source, memory: _Memory, left_out: frozenset[int]) -> Iterator[Rows]:
    sync = Sync(hook, memory, hook.log, exclude_users=left_out)
    for read in source.parts(hook):
        sync.update(read)
        yield memory.written


class _Memory:
    """Holds what is stored elsewhere, and takes what has to be written there."""

    meeting_names: Final = True
    people_names: Final = False

    def __init__(
        self, portal: str, meetings: dict[Key, Meeting], attendances: dict[Key, dict[int, Attendance]]
    ) -> None:
        self.written = Rows([], [], [])
        self._portal = portal
        self._meetings = meetings
        self._attendances = attendances
        self._started: datetime | None = None

    def lock(self) -> AbstractContextManager[None]:
        """Return no lock: the rows are written by others."""
        return nullcontext()

    def load(self, session: None, snapshot: Snapshot) -> Stored:
        """Return all rows that are known."""
        return Stored(self._meetings, self._attendances)

    def write(
        self, session: None, stored: Stored, difference: Diff, now: datetime, people: Sequence[Person] = ()
    ) -> None:
        """Keep the rows that a snapshot changes."""
        self._started = self._started or now
        meetings = [row for row in difference.meetings if self._is_news(row, self._meetings.get(row.key))]
        answers = [
            row
            for row in difference.attendances
            if self._is_news(row, self._attendances.get((row.parent_id, row.occurrence_start), {}).get(row.user_id))
        ]
        self._meetings.update((row.key, row) for row in meetings)
        for row in answers:
            self._attendances.setdefault((row.parent_id, row.occurrence_start), {})[row.user_id] = row
        records = self._records
        self.written = Rows(records(meetings), records(answers), records(difference.changes))

    def _is_news(self, row: R, before: R | None) -> bool:
        """Return whether a row says more than that it was seen again in this run, at the border of two parts."""
        assert self._started is not None
        return before is None or before.last_seen < self._started or row != before._replace(last_seen=row.last_seen)

    def _records(self, rows: Iterable[Meeting | Attendance | AttendanceChange]) -> list[Row]:
        return [{"portal": self._portal, **row._asdict()} for row in rows]


def _parse(kind: type[R], records: Iterable[Mapping[str, Any]], portal: str, argument: str) -> list[R]:
    """Return the stored rows of a portal."""
    kinds = {name: _parts(hint) for name, hint in get_type_hints(kind, {"datetime": datetime}).items()}
    optional = {name: type(None) in parts for name, parts in kinds.items() if datetime in parts}

    def read(name: str, value: Any) -> Any:
        if name not in optional:
            return value
        return _time(value, f"{name} in {argument}", optional=optional[name])

    try:
        return [
            kind(**{name: read(name, record[name]) for name in kind._fields})
            for record in records
            if record["portal"] == portal
        ]
    except KeyError as missing:
        raise InvalidArgumentError(
            f"Invalid {argument}: expected rows with the columns of schema(); {missing} is missing in one."
        ) from None


def _parts(hint: Any) -> Sequence[Any]:
    return getattr(hint, "__args__", (hint,))


def _time(value: Any, column: str, *, optional: bool) -> datetime | None:
    """Return a stored time in UTC.

    :param optional: whether it may be null.
    :raises InvalidArgumentError: it is no time; a data frame's null, NaN or NaT, is none either.
    """
    if value is None and optional:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        # NaT is a datetime whose year is not a number.
        if isinstance(moment, datetime) and isinstance(moment.year, int):
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        pass
    raise invalid(column, value, "a datetime, its ISO text, or None" if optional else "a datetime or its ISO text")
