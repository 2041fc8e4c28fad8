"""The tables as a page of HTML: who comes, who is silent, how many answer. Its address is the task's XCom."""

from __future__ import annotations

from tempfile import gettempdir

from airflow.sdk import DAG, Param, task

from airflow_provider_b24cal.assets import table_asset

with DAG(
    dag_id="attendance_report",
    description="Write a page about the coming meetings, whenever the tables were synced.",
    schedule=[table_asset("attendance_db")],
    catchup=False,
    tags=["bitrix24"],
    params={
        # Or a URL such as s3://bucket/attendance.html
        "path": Param(f"{gettempdir()}/bitrix24_reports/attendance.html", type="string", title="File"),
        "time_zone": Param("UTC", type="string", title="Time zone"),
    },
) as dag:

    @task
    def draw(params: dict[str, str]) -> str:
        """Write the page and return its address."""
        from airflow_provider_b24cal.report import write_attendance_report

        return write_attendance_report(params["path"], "attendance_db", time_zone=params["time_zone"])

    draw()
