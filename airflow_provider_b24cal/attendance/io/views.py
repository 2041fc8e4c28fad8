"""Views of the tables of attendance: what analysts ask first, in the SQL of each database."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sqlalchemy import MetaData, Table
from sqlalchemy.exc import ProgrammingError

from airflow_provider_b24cal.attendance.io.table_lock import transaction
from airflow_provider_b24cal.bitrix24.validation import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.engine import Connection

    from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
    from airflow_provider_b24cal.attendance.io.tables import TableNames

VIEWS: Final[dict[str, str]] = {
    "current": """\
SELECT a.portal, a.parent_id, a.occurrence_start, m.occurrence_end, m.all_day, m.name, m.host_id, m.calendar,
  a.user_id, a.status, a.is_host, COALESCE(a.changed_at, a.first_seen) AS since, a.changed_at IS NOT NULL AS observed,
  a.last_seen
FROM {attendance} a
JOIN {meetings} m ON m.portal = a.portal AND m.parent_id = a.parent_id AND m.occurrence_start = a.occurrence_start
WHERE a.vanished_at IS NULL AND m.vanished_at IS NULL AND m.total IS NOT NULL""",
    "weekly": """\
SELECT portal, user_id, {week} AS week, COUNT(*) AS invited,
  SUM(CASE WHEN status = 'Y' THEN 1 ELSE 0 END) AS accepted,
  SUM(CASE WHEN status = 'N' THEN 1 ELSE 0 END) AS declined,
  SUM(CASE WHEN status = 'Q' THEN 1 ELSE 0 END) AS silent,
  AVG(CASE WHEN status = 'Q' THEN 0.0 ELSE 1.0 END) AS response_rate
FROM {current}
WHERE NOT is_host
GROUP BY portal, user_id, {week}""",
    "answer_times": """\
SELECT c.portal, c.parent_id, c.occurrence_start, c.user_id, c.new_status AS status, a.first_seen AS invited_seen_at,
  c.old_seen_at AS silent_until, c.new_seen_at AS answered_seen_at, {answer_hours} AS hours_to_answer
FROM {changes} c
JOIN {attendance} a ON a.portal = c.portal AND a.parent_id = c.parent_id AND a.occurrence_start = c.occurrence_start
  AND a.user_id = c.user_id
WHERE c.old_status = 'Q' AND c.new_status IN ('Y', 'N') AND NOT a.is_host AND c.old_seen_at >= a.first_seen
  AND NOT EXISTS (
    SELECT 1 FROM {changes} e
    WHERE e.portal = c.portal AND e.parent_id = c.parent_id AND e.occurrence_start = c.occurrence_start
      AND e.user_id = c.user_id AND e.old_status IS NOT NULL
      AND e.old_seen_at >= a.first_seen AND e.old_seen_at < c.old_seen_at
  )""",
    "silent": """\
SELECT portal, parent_id, occurrence_start, name, host_id, user_id, since, {silent_days} AS days_of_silence
FROM {current}
WHERE status = 'Q' AND NOT is_host AND occurrence_end > {now}""",
    "freshness": """\
SELECT portal, calendar, {seen} AS last_seen, COUNT(*) AS meetings,
  SUM(CASE WHEN vanished_at IS NULL THEN 1 ELSE 0 END) AS live, {seen_hours} AS hours_ago
FROM {meetings}
GROUP BY portal, calendar""",
}
"""The views by the endings of their names, in the order in which they are created: later ones read earlier ones."""

_SEEN: Final = "MAX(CASE WHEN vanished_at > last_seen THEN vanished_at ELSE last_seen END)"
_MYSQL: Final = {
    "now": "utc_timestamp(6)",
    "week": "date_sub(date(occurrence_start), INTERVAL weekday(occurrence_start) DAY)",
    "hours": "timestampdiff(SECOND, {0}, {1}) / 3600",
    "days": "timestampdiff(DAY, {0}, {1})",
}
_DIALECTS: Final[dict[str, Mapping[str, str]]] = {
    "sqlite": {
        "now": "strftime('%Y-%m-%d %H:%M:%f', 'now')",
        "week": "date(occurrence_start, 'weekday 0', '-6 days')",
        "hours": "(strftime('%s', {1}) - strftime('%s', {0})) / 3600.0",
        "days": "(strftime('%s', {1}) - strftime('%s', {0})) / 86400",
    },
    "postgresql": {
        "now": "now()",
        "week": "CAST(date_trunc('week', occurrence_start AT TIME ZONE 'UTC') AS date)",
        "hours": "CAST(extract(epoch FROM {1} - {0}) / 3600 AS double precision)",
        "days": "CAST(floor(extract(epoch FROM {1} - {0}) / 86400) AS integer)",
    },
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
}


def view_names(names: TableNames) -> dict[str, str]:
    """Return the names of the views by their endings.

    :raises InvalidArgumentError: they are too long.
    """
    found = {ending: f"{names.attendance}_{ending}" for ending in VIEWS}
    if (longest := max(map(len, found.values()))) > 63:
        most = 63 - (longest - len(names.attendance))
        raise invalid("attendance_table", names.attendance, f"at most {most} characters: the names of views are longer")
    return found


def create_views(store: AttendanceStore, names: TableNames) -> list[str]:
    """Create the views, or replace those that are there, in one transaction while the tables are locked.

    :return: their names, with the schema if it is given.
    :raises InvalidArgumentError: a table is missing, or a name too long.
    """
    found = view_names(names)
    store.prepare(create=False, rights=["SELECT"])
    metadata = MetaData(schema=names.schema)
    views = {ending: Table(name, metadata) for ending, name in found.items()}
    with store.lock() as session, transaction(session):
        quoted = session.dialect.identifier_preparer.format_table
        statements = _statements(session.dialect.name, quoted, store, {key: quoted(one) for key, one in views.items()})
        _replace(session, statements)
    return [str(view) for view in views.values()]


def _statements(
    dialect: str, quoted: Callable[[Table], str], store: AttendanceStore, views: Mapping[str, str]
) -> dict[str, str]:
    """Return the query of each view by the view's name."""
    own = _DIALECTS[dialect]
    parts = {
        **views,
        **{kind: quoted(getattr(store.tables, kind)) for kind in ("meetings", "attendance", "changes")},
        "now": own["now"],
        "week": own["week"],
        "seen": _SEEN,
        "seen_hours": own["hours"].format(_SEEN, own["now"]),
        "answer_hours": own["hours"].format("a.first_seen", "c.new_seen_at"),
        "silent_days": own["days"].format("since", own["now"]),
    }
    return {views[ending]: query.format_map(parts) for ending, query in VIEWS.items()}


def _replace(session: Connection, statements: Mapping[str, str]) -> None:
    # Views that are replaced keep their privileges, and the views that others have made of them.
    if session.dialect.name in {"mysql", "mariadb"}:
        _create(session, statements, "CREATE OR REPLACE VIEW")
        return
    if session.dialect.name == "postgresql":
        # It refuses this if the columns are others.
        with suppress(ProgrammingError), session.begin_nested():
            _create(session, statements, "CREATE OR REPLACE VIEW")
            return
    for view in reversed(list(statements)):
        session.exec_driver_sql(f"DROP VIEW IF EXISTS {view}")
    _create(session, statements, "CREATE VIEW")


def _create(session: Connection, statements: Mapping[str, str], command: str) -> None:
    for view, query in statements.items():
        session.exec_driver_sql(f"{command} {view} AS\n{query}")
