"""From an answer in the portal to the run of the DAG that waits for it.

``airflow standalone`` with its own intervals watches a sandbox portal. Somebody answers at any moment between two
polls, once the run before has begun. Measured is the time until the run has begun, beside one poll interval and five
seconds, and how much of it went until Airflow had the event.

``standalone`` listens on every interface, so all this happens in a network namespace, which has no other than loopback.
Where none can be made, as in some containers, the same processes are started one by one without those listeners.

``python benchmarks/answer_to_run.py [seconds between polls] [answers]``; 10 and 12 by default. About five minutes.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from dev.local_airflow import COMPONENTS, LocalAirflow

if TYPE_CHECKING:
    from collections.abc import Sequence

GRACE = 5.0
_INSIDE = "B24CAL_BENCHMARK_INSIDE"
DAG_FILE = """
from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_b24cal.triggers.attendance_changes import Bitrix24AttendanceChangesTrigger

trigger = Bitrix24AttendanceChangesTrigger(poke_interval={interval})
answers = Asset("answers", watchers=[AssetWatcher(name="mine", trigger=trigger)])

with DAG("waiting", schedule=[answers], catchup=False, is_paused_upon_creation=False):

    @task
    def go():
        pass

    go()
"""


def main() -> int:
    """Measure and print; the exit code says whether the bound was kept."""
    alone = _alone()
    given = [int(text) for text in sys.argv[1:]]
    interval, answers = given + [10, 12][len(given) :]
    print("airflow standalone:" if alone else "no network namespace here; Airflow's processes one by one:", flush=True)
    reported = measure(interval, answers, ["standalone"] if alone else list(COMPONENTS))
    whole, event = [one["run"] for one in reported], [one["event"] for one in reported]
    bound = interval + GRACE
    print(
        f"{len(reported)} answers, polls every {interval} s: the run begins after {median(whole):.1f} s at the median,"
        f" {max(whole):.1f} s at most; Airflow has the event after {median(event):.1f} and {max(event):.1f} s;"
        f" longest to (interval + {GRACE:.0f} s): {max(whole) / bound:.2f}"
    )
    return 0 if max(whole) <= bound else 1


def _alone() -> bool:
    """Go on in a network namespace, and return whether there is one."""
    if _INSIDE in os.environ:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return True
    enter = ["unshare", "--map-root-user", "--net", "--"]
    try:
        subprocess.run([*enter, "ip", "link", "set", "lo", "up"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    os.execvpe(enter[0], [*enter, sys.executable, *sys.argv], {**os.environ, _INSIDE: "1"})


def measure(interval: int, answers: int, components: Sequence[str]) -> list[dict[str, float]]:
    """Return the seconds from each answer to Airflow's event and to the begin of the run."""
    with tempfile.TemporaryDirectory() as folder, SandboxServer(Portal(parse(_office()))) as server:
        home, dags = Path(folder, "home"), Path(folder, "dags")
        home.mkdir()
        dags.mkdir()
        (dags / "waiting.py").write_text(DAG_FILE.format(interval=interval), "utf-8")
        settings = {
            "AIRFLOW_CONN_BITRIX24_DEFAULT": server.connection_json(1),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "5",  # Airflow's default; LocalAirflow sets 1
        }
        with LocalAirflow(home, dags, settings) as airflow:
            airflow.migrate()
            airflow.start(components)
            airflow.wait_for("the first poll", lambda: _polls(server.portal) >= 2)
            dice = random.Random(1)
            return [_one(airflow, server.portal, interval * dice.random(), number) for number in range(answers)]


def _one(airflow: LocalAirflow, portal: Portal, pause: float, number: int) -> dict[str, float]:
    time.sleep(pause)
    answered = datetime.now(UTC)
    portal.answer(101, 1, "NY"[number % 2])

    def runs() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = airflow.request("GET", "/dags/waiting/dagRuns?limit=1000")["dag_runs"]
        return [run for run in found if run["start_date"]]

    airflow.wait_for("the run", lambda: len(runs()) > number)
    begun = max(_moment(run["start_date"]) for run in runs())
    events = airflow.request("GET", "/assets/events?limit=1000")["asset_events"]
    event = max(_moment(one["timestamp"]) for one in events)
    return {"event": (event - answered).total_seconds(), "run": (begun - answered).total_seconds()}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _polls(portal: Portal) -> int:
    counted: Any = portal.count()
    return int(counted["methods"].get("calendar.event.get", 0))


def _office() -> object:
    day = datetime.now(UTC) + timedelta(days=3)
    times = {"start": f"{day:%Y-%m-%dT10:00}", "end": f"{day:%Y-%m-%dT11:00}"}
    webhook = {"secret": "b3nchC0de0000000", "scopes": ["calendar"]}
    people = [{"id": 1, "name": "Anna", "webhook": webhook}, {"id": 2, "name": "Martin"}]
    return {"people": people, "events": [{"id": 101, "name": "Sync", "host": 2, "attendees": [{"user": 1}], **times}]}


if __name__ == "__main__":
    sys.exit(main())
