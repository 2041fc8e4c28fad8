"""A DAG that fills tables, and one that waits for a table by the URI of Airflow's provider of the database."""

from __future__ import annotations

import os

from airflow.sdk import Asset, dag, task

from airflow_provider_b24cal.transfers.attendance_to_sql import Bitrix24AttendanceToSqlOperator


@dag(schedule=None)
def fill_tables():
    Bitrix24AttendanceToSqlOperator(
        task_id="sync",
        sql_conn_id="warehouse",
        calendars=["user"],
        window_start="2026-09-01T00:00:00Z",
        window_end="2026-10-01T00:00:00Z",
        create_tables=True,
    )


TABLE = Asset(os.environ["B24CAL_TEST_TABLE"])


@dag(schedule=[TABLE])
def use_the_table():
    @task
    def occurrences(triggering_asset_events=None):
        return [event.extra["occurrences"] for event in triggering_asset_events[TABLE]]

    occurrences()


fill_tables()
use_the_table()
