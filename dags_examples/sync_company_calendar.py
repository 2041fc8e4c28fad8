"""Every night: the company calendar into SQL tables, from the run's own day to a fortnight ahead.

A meeting is read again each night until it is over, and answers that change meanwhile become history.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG, CronDataIntervalTimetable

from airflow_provider_b24cal.transfers.attendance_to_sql import Bitrix24AttendanceToSqlOperator

with DAG(
    dag_id="sync_company_calendar",
    description="Keep tables of who comes to the company's meetings.",
    # Each run has a day of its own, which a cron expression alone does not give it in Airflow 3.
    schedule=CronDataIntervalTimetable("0 3 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    # Days before the first run, with the answers of today, one after the other since their windows overlap:
    # airflow backfill create --dag-id sync_company_calendar --from-date ... --to-date ... --max-active-runs 1
    catchup=False,
    max_active_runs=1,
    tags=["bitrix24"],
) as dag:
    # [START howto_operator_bitrix24_attendance_to_sql]
    Bitrix24AttendanceToSqlOperator(
        task_id="sync",
        sql_conn_id="attendance_db",
        calendars=["company_calendar", "user"],
        window_start="{{ data_interval_start.isoformat() }}",
        window_end="{{ (data_interval_end + macros.timedelta(days=14)).isoformat() }}",
        create_tables=True,
    )
    # [END howto_operator_bitrix24_attendance_to_sql]
