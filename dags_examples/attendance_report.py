"""The tables as a picture: an HTML page with a chart, in a file whose path is the task's XCom."""

from __future__ import annotations

from datetime import UTC
from tempfile import gettempdir
from typing import Any

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
        from operator import add
        from pathlib import Path

        from airflow.providers.common.sql.hooks.sql import DbApiHook

        rows = DbApiHook.get_hook("attendance_db").get_records(
            "SELECT occurrence_start, accepted, declined, silent FROM bitrix24_meetings "
            "WHERE vanished_at IS NULL AND total > 0"
        )
        # Here and not in SQL, for what a day is depends on the database and its session.
        days: dict[str, list[int]] = {}
        for start, *answers in rows:
            sums = days.setdefault(_day_in_utc(start), [0, 0, 0])
            sums[:] = map(add, sums, answers)
        height = 40 * len(days) + 20
        longest = max(map(sum, days.values()), default=0) or 1
        bars = []
        for y, (day, sums) in zip(range(10, 40 * len(days) + 10, 40), sorted(days.items()), strict=True):
            x = 110.0
            bars.append(f'<text x="0" y="{y + 20}">{day}</text>')
            for count, colour, word in zip(sums, ("#2e7d32", "#c62828", "#616161"), _WORDS, strict=True):
                width = 480 * count / longest
                text = f'<text x="{x + width / 2:.1f}" y="{y + 20}" class="count">{count}</text>' if count else ""
                bars.append(
                    f'<g aria-label="{count} {word}" role="img"><title>{count} {word}</title>'
                    f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="28" fill="{colour}"/>{text}</g>'
                )
                x += width
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Attendance</title>'
            "<style>body{font:15px sans-serif;margin:2em}.count{fill:#fff;text-anchor:middle}</style>"
            "<h1>Attendance by day</h1><p>Green accepted, red declined, grey silent; days of UTC.</p>"
            f'<svg role="group" aria-label="Bars" width="600" height="{height}">{"".join(bars)}</svg></html>'
        )
        folder = Path(params["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "attendance.html"
        path.write_text(page, "utf-8")
        return str(path)

    draw()

_WORDS = ("accepted", "declined", "silent")


def _day_in_utc(moment: Any) -> str:
    """Return the day of what a database gives: a text, a time without a zone, or one in the session's zone."""
    if getattr(moment, "tzinfo", None) is not None:
        moment = moment.astimezone(UTC)
    return str(moment)[:10]
