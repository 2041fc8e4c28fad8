"""The processor time of a sync into PostgreSQL, beside that of an earlier commit, in one run on one machine.

``python benchmarks/sync_cpu.py [commit]`` takes the earlier package out of git; the default is the one that the bounds
are set against. By turns, each syncs 12,500 occurrences with nine rows of answers each into an empty database, and then
again. The processor time is that of the process that runs the operator; that of the database and of the portal is not
in it. It also shows the memory above the start, and how both grow from half of the occurrences to all.
"""

from __future__ import annotations

import json
import math
import os
import re
import resource
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from _portal import portal
from attendance_to_sql import calendar_data, empty, own_engine, warehouse

EARLIER = "a80a789"
TURNS = 3
DAYS = 125
FIRST, AGAIN, MEMORY_MB, EXPONENT = 1.15, 0.6, 130.0, 1.05
HERE = Path(__file__).parents[1]


def one(days: int) -> None:
    """Run the operator once, and print its processor time and memory."""
    from airflow_provider_b24cal._airflow import BaseHook
    from airflow_provider_b24cal.transfers.attendance_to_sql import Bitrix24AttendanceToSqlOperator

    BaseHook.get_hook("warehouse").get_sqlalchemy_engine().dispose()

    def task(first: datetime, days: int) -> Bitrix24AttendanceToSqlOperator:
        bounds = (moment.isoformat() for moment in (first, first + timedelta(days=days)))
        window = dict(zip(("window_start", "window_end"), bounds, strict=True))
        return Bitrix24AttendanceToSqlOperator(
            task_id="sync", sql_conn_id="warehouse", calendars=["user:1"], create_tables=True, **window
        )

    # What is loaded and made once in a process is so before the clock starts.
    task(datetime(2029, 1, 1, tzinfo=UTC), 1).execute({})
    start, used = _kilobytes("VmRSS"), _processor_seconds()
    counts = task(datetime(2026, 1, 1, tzinfo=UTC), days).execute({})
    print(json.dumps({
        "occurrences": counts["occurrences"], "answers": counts["answers"], "cpu": _processor_seconds() - used,
        "mb": (_kilobytes("VmHWM") - start) / 1024,
    }))  # fmt: skip


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _kilobytes(field: str) -> float:
    found = re.search(rf"{field}:\s+([0-9]+) kB", Path("/proc/self/status").read_text("ascii"))
    assert found is not None
    return float(found[1])


def run(package: Path, days: int, connections: dict[str, str]) -> dict[str, Any]:
    """Run :func:`one` with the package in a folder."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, **connections, "AIRFLOW_HOME": home, "PYTHONPATH": str(package)}
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(days)], env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    reported: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return reported


def checked_out(commit: str, folder: Path) -> Path:
    """Write the package of a commit into a folder."""
    archive = subprocess.run(
        ["git", "-C", str(HERE), "archive", commit, "airflow_provider_b24cal"], capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def data() -> dict[str, Any]:
    """Return a hundred daily series over enough days."""
    found = calendar_data()
    for event in found["events"]:
        event["repeat"]["count"] = DAYS
    return found


def main(commit: str) -> int:
    """Print the comparison; return 1 if a bound is missed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["AIRFLOW_HOME"] = name
        earlier = folder / "earlier"
        earlier.mkdir()
        packages = {"earlier": checked_out(commit, earlier), "now": HERE}
        file = folder / "calendar.json"
        file.write_text(json.dumps(data()), "utf-8")
        with warehouse("postgresql", folder) as found, portal("--data", str(file)) as (_, connection):
            if found is None:
                return 1
            connections = {"AIRFLOW_CONN_BITRIX24_DEFAULT": json.dumps(connection), "AIRFLOW_CONN_WAREHOUSE": found}
            engine = own_engine(found)
            runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
            for _ in range(TURNS):
                for which, package in packages.items():
                    for days, title in ((DAYS // 2, "half"), (DAYS, "first")):
                        empty(engine)
                        runs.setdefault((which, title), []).append(run(package, days, connections))
                    runs.setdefault((which, "again"), []).append(run(package, DAYS, connections))
            engine.dispose()
    best = {key: min(some, key=lambda one: one["cpu"]) for key, some in runs.items()}
    first, half = best["now", "first"], best["now", "half"]
    print(f"{first['occurrences']:,} occurrences, {first['answers']:,} answers; {commit} and now")
    ok = True
    for title, bound in (("first", FIRST), ("again", AGAIN)):
        before, now = best["earlier", title]["cpu"], best["now", title]["cpu"]
        print(f"  {title:<6} {before:6.2f} s {now:6.2f} s  ratio {now / before:.2f}  bound {bound}")
        ok &= now / before <= bound
    memory = max(one["mb"] for title in ("first", "again") for one in runs["now", title])
    exponent = math.log(first["cpu"] / half["cpu"]) / math.log(first["occurrences"] / half["occurrences"])
    print(f"  memory {memory:.0f} MB above the start, bound {MEMORY_MB:.0f}")
    print(f"  growth exponent {exponent:.2f}, bound {EXPONENT}")
    ok &= memory <= MEMORY_MB and exponent <= EXPONENT
    print("all bounds hold" if ok else "A BOUND IS MISSED")
    return int(not ok)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(int(sys.argv[2]))
        sys.exit(0)
    sys.exit(main(*(sys.argv[1:] or [EARLIER])))
