"""The answers to an occurrence as one text, so that a database returns one row for each occurrence and not nine.

Most answers are as they were at the last sync. Only the rows of the others have to be loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import String, case, cast, func, literal, null, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from airflow_provider_b24cal.attendance.models import answers, is_host, row_ids

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import ColumnElement, Select, Table

    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent

_HOST: Final = "h"


def answer_text(event: CalendarEvent) -> str | None:
    """Return the answers to an event with its id in each attendee's calendar, such as ``1Hh501,5Y502``.

    ``None`` where the portal does not show them. A text without ids never equals a stored one with ids; the answers are
    then loaded and compared one by one.
    """
    if (given := answers(event)) is None:
        return None
    ids = row_ids(event)
    return ",".join(
        f"{user_id}{status.value}{_HOST if is_host(event, user_id, status) else ''}{ids[user_id] or ''}"
        for user_id, status in sorted(given.items())
    )


def select_texts(table: Table, dialect: str) -> Select[Any]:
    """Return the query for the occurrences in the table of answers, with the answers that have not vanished as text.

    A text that a database cuts or writes in another order is only not recognised.
    """
    host = case((table.c.is_host, _HOST), else_="")
    event_id = func.coalesce(cast(table.c.event_id, String(20)), "")
    answer = cast(table.c.user_id, String(20)) + table.c.status + host + event_id
    live = case((table.c.vanished_at.is_(None), answer), else_=null())
    key = table.c.parent_id, table.c.occurrence_start
    return select(*key, _JOINED[dialect](live, table.c.user_id)).group_by(*key)


def _postgresql(texts: ColumnElement[Any], user_id: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.string_agg(texts, aggregate_order_by(literal(","), user_id))


def _mysql(texts: ColumnElement[Any], user_id: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.group_concat(texts.op("ORDER BY")(user_id))


def _sqlite(texts: ColumnElement[Any], _: ColumnElement[Any]) -> ColumnElement[Any]:
    # In the order of the primary key.
    return func.group_concat(texts)


_JOINED: Final[dict[str, Callable[[ColumnElement[Any], ColumnElement[Any]], ColumnElement[Any]]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "mysql": _mysql,
    "mariadb": _mysql,
}
