"""The tables of attendance as a page of HTML, which needs no server, no script and no other file."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import inspect

from airflow_provider_b24cal.attendance.io import queries
from airflow_provider_b24cal.attendance.io.tables import TableNames, define
from airflow_provider_b24cal.attendance.io.templates import environment
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from airflow_provider_b24cal.bitrix24.validation import invalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, tzinfo

    from jinja2 import Template
    from sqlalchemy.engine import Connection, Engine

    from airflow_provider_b24cal.attendance.io.tables import Tables

PAST_WEEKS: Final = 12
"""Weeks before the current one whose responses are shown."""
_DAY: Final = timedelta(days=1)
_WEEK: Final = timedelta(weeks=1)


def report_page(
    connection: Connection,
    names: TableNames,
    *,
    now: datetime,
    zone: tzinfo = UTC,
    portal: str | None = None,
    weeks: int = 4,
    max_rows: int = 50,
) -> str:
    """Return the page.

    :param connection: of :func:`reading`, so that all figures are those of one time.
    :param names: the names of the tables; that of people need not exist.
    :param now: an aware datetime.
    :param zone: the time zone of the days and times shown.
    :param portal: whose rows to show; default the only one in the tables.
    :param weeks: how many weeks of meetings to show, from the current day.
    :param max_rows: how many meetings to show, how many people with each answer, and how many who are silent.
    :raises InvalidArgumentError: a table is missing, or the tables have no rows of the portal, or of several.
    """
    tables = define(names)
    has_names = check_tables(connection, tables)
    portal = _check_portal(queries.portals(connection, tables), portal)
    now = now.astimezone(zone)
    today = now.date()
    content: dict[str, Any] = {"portal": portal, "weeks": weeks, "now": now}
    content.update(first=today, last=today + weeks * _WEEK - _DAY)
    if portal is not None:
        days = queries.Days(today, today + weeks * _WEEK, zone)
        monday = today - today.weekday() * _DAY
        mondays = [monday + number * _WEEK for number in range(-PAST_WEEKS, weeks + 1)]
        meetings = queries.coming_meetings(connection, tables, portal, days, max_rows)
        answers = queries.answers(connection, tables, portal, days, max_rows)
        silent = queries.silent_people(connection, tables, portal, days, max_rows)
        user_ids = {
            *(meeting.host_id for meeting in meetings if meeting.host_id is not None),
            *(answer.user_id for groups in answers.values() for group in groups for answer in group.answers),
            *(person.user_id for person in silent),
        }
        named = queries.people_names(connection, tables.people, portal, sorted(user_ids)) if has_names else {}
        content.update(
            last_sync=queries.last_sync(connection, tables, portal),
            totals=queries.totals(connection, tables, portal, days),
            meetings=meetings,
            answers=answers,
            silent=silent,
            responses=queries.weekly_responses(connection, tables, portal, mondays, zone),
            monday=monday,
            person=lambda user_id: named.get(user_id, f"User {user_id}"),
        )
    return _template().render(content)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Yield a connection that sees the tables as they are now, whatever is written during the ``with`` block."""
    sqlite = engine.dialect.name == "sqlite"
    options = {} if sqlite else {"isolation_level": "REPEATABLE READ"}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        if sqlite:  # its driver begins a transaction with the first write only
            connection.exec_driver_sql("BEGIN")
        yield connection


def check_tables(connection: Connection, tables: Tables, needed: Sequence[str] = ("meetings", "attendance")) -> bool:
    """Check that tables exist.

    :param needed: the tables, by the fields of ``tables``.
    :return: whether the table of people does, which is made for names only.
    :raises InvalidArgumentError: one is missing.
    """
    known = inspect(connection)
    missing = [
        str(table)
        for table in (getattr(tables, field) for field in needed)
        if not known.has_table(table.name, schema=table.schema)
    ]
    if missing:
        raise InvalidArgumentError(
            f"Missing tables: {', '.join(missing)}. Bitrix24AttendanceToSqlOperator creates and fills them."
        )
    return known.has_table(tables.people.name, schema=tables.people.schema)


def _check_portal(known: list[str], portal: str | None) -> str | None:
    """Return the portal whose rows to show; ``None`` if the tables are empty and none is named."""
    if portal is None and len(known) < 2:
        return next(iter(known), None)
    if portal not in known:
        raise invalid("portal", portal, f"one of those in the tables: {', '.join(known) or 'they are empty'}")
    return portal


@cache
def _template() -> Template:
    return environment().get_template("report_page.html")
