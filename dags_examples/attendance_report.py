"""The tables as a picture: an HTML page with a chart, in a file whose path is the task's XCom."""

from __future__ import annotations

from tempfile import gettempdir

from airflow.sdk import DAG, Param, task

from airflow_provider_b24cal.assets import table_asset

with DAG(
    dag_id="attendance_report",
    description="Draw how many accept, day by day, whenever the tables were synced.",
    schedule=[table_asset("attendance_db")],
    catchup=False,
    tags=["bitrix24"],
    params={"folder": Param(f"{gettempdir()}/bitrix24_reports", type="string", title="Folder")},
) as dag:

    @task
    def draw(params: dict[str, str]) -> str:
        """Write the page and return its path."""
        from html import escape
        from pathlib import Path

        from airflow.providers.common.sql.hooks.sql import DbApiHook

        hook = DbApiHook.get_hook("attendance_db")
        rows = hook.get_records(
            "SELECT date(occurrence_start), sum(accepted), sum(declined), sum(silent) FROM bitrix24_meetings "
            "WHERE vanished_at IS NULL AND total > 0 GROUP BY date(occurrence_start) ORDER BY 1"
        )
        bars, height = [], 40 * len(rows) + 20
        longest = max((sum(row[1:]) for row in rows), default=1)
        for number, (day, *counts) in enumerate(rows):
            x, y = 110.0, 40 * number + 10
            bars.append(f'<text x="0" y="{y + 20}">{escape(str(day))}</text>')
            for count, colour, word in zip(counts, ("#2e7d32", "#c62828", "#9e9e9e"), _WORDS, strict=True):
                width = 480 * count / longest
                bars.append(
                    f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="28" fill="{colour}">'
                    f"<title>{count} {word}</title></rect>"
                )
                x += width
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Attendance</title>'
            "<style>body{font:15px sans-serif;margin:2em}</style><h1>Attendance by day</h1>"
            "<p>Green accepted, red declined, grey silent. Hover for the numbers.</p>"
            f'<svg role="img" aria-label="Attendance by day" width="600" height="{height}">{"".join(bars)}</svg></html>'
        )
        folder = Path(params["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "attendance.html"
        path.write_text(page, "utf-8")
        return str(path)

    draw()

_WORDS = ("accepted", "declined", "silent")
