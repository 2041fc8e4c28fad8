"""Creates views of the tables that ``Bitrix24AttendanceToSqlOperator`` keeps."""

from __future__ import annotations


def create_attendance_views(
    sql_conn_id: str,
    *,
    schema: str | None = None,
    meetings_table: str = "bitrix24_meetings",
    attendance_table: str = "bitrix24_attendance",
    changes_table: str = "bitrix24_attendance_changes",
) -> list[str]:
    """Create the views of attendance, or replace those that are there, and return their names.

    The names are that of the table of answers with an ending: ``bitrix24_attendance_current`` for who has answered how,
    ``_weekly`` for the response rate of each person and week, ``_answer_times`` for how long an answer took,
    ``_silent`` for who has not answered what is still to come, and ``_freshness`` for when each calendar was last read.

    Call it once, and again after an upgrade of the provider; it makes no difference how often. All views are replaced
    in one transaction, except in MySQL and MariaDB, which have none for views. It waits for runs that write the tables,
    up to 600 seconds. In PostgreSQL, MySQL and MariaDB it also waits for queries that read the views.

    :param sql_conn_id: the connection of the database, as the operator was given it. Its user may create views.
    :param schema: schema of the tables, and then of the views; default that of the connection.
    :param meetings_table: name of the table of meetings.
    :param attendance_table: name of the table of answers, at most 50 characters.
    :param changes_table: name of the table of changes.
    :return: the names of the views.
    :raises InvalidArgumentError: an argument is invalid, or a table is missing.
    :raises TimeoutError: a run has held the lock of the tables for 600 seconds.
    """
    from airflow_provider_b24cal.attendance.io.database import database_hook
    from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
    from airflow_provider_b24cal.attendance.io.tables import TableNames
    from airflow_provider_b24cal.attendance.io.views import create_views

    names = TableNames(schema, meetings_table, attendance_table, changes_table)
    engine = database_hook(sql_conn_id).get_sqlalchemy_engine()
    try:
        return create_views(AttendanceStore(engine, names, portal=""), names)
    finally:
        engine.dispose()
