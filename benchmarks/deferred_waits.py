"""A thousand deferred waits in one real triggerer, beside a thousand deferrable HttpSensors.

``airflow triggerer`` runs by itself on a database in which a thousand task instances are deferred; the portal is
the sandbox in a process of its own, with the bucket of a standard plan, 120 ms a request and 15 ms a command.
Beside the waits the triggerer runs one more trigger that beats every 10 ms: it measures how late the event loop
is, and the resident memory of the process that all of them live in, compared with that of a single wait that has
polled once. Measured are three intervals, begun when every wait has polled once.

``python benchmarks/deferred_waits.py [ours] [http]``; both by default. About five minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from asyncio import sleep
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from _portal import counters, portal
from many_statuses import FIRST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WAITS, INTERVAL, INTERVALS = 1_000, 30.0, 3
DAG_FILE = f"""
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

with DAG("waits", schedule=None) as dag:
    EmptyOperator(task_id="heartbeat")
    for number in range({WAITS}):
        EmptyOperator(task_id=f"wait_{{number}}")
"""


def main() -> int:
    """Run what was asked for; the exit code says whether the bounds were kept."""
    wanted = sys.argv[1:] or ["ours", "http"]
    fine = True
    for kind in wanted:
        fine = measure(kind) and fine
    return 0 if fine else 1


def measure(kind: str) -> bool:
    """Let a thousand waits of one kind run in a triggerer, and print what they cost."""
    # A sensor that knows nothing of the portal's bucket would be refused, and fail.
    options = () if kind == "http" else ("--plan", "standard")
    with (
        portal("--meetings", str(WAITS), *options, "--latency-ms", "120", "--command-ms", "15") as (url, connection),
        tempfile.TemporaryDirectory() as folder,
    ):
        home = Path(folder)
        environment = _environment(home, url, connection)
        (home / "dags").mkdir()
        (home / "dags" / "waits.py").write_text(DAG_FILE, "utf-8")
        airflow = [str(Path(sys.executable).with_name("airflow"))]
        for command in (["db", "migrate"], ["dags", "reserialize"]):
            subprocess.run(airflow + command, env=environment, check=True, capture_output=True)
        _defer(environment, "heartbeat", 0, 1)
        with (home / "triggerer.log").open("wb") as log:
            triggerer = subprocess.Popen(
                [*airflow, "triggerer", "--skip-serve-logs"], env=environment, stdout=log, stderr=log
            )
        try:
            beats = home / "beats.jsonl"
            _until(lambda: len(_beats(beats)) >= 5, "the heartbeat")
            # One wait pays for what is imported once.
            _defer(environment, kind, 0, 1)
            _until(lambda: counters(url)["requests"], "the first poll")
            time.sleep(2)
            before, resting = counters(url)["requests"], _beats(beats)[-1]["rss"]
            _defer(environment, kind, 1, WAITS)
            first = WAITS if kind == "http" else WAITS // 50
            _until(lambda: counters(url)["requests"] - before >= first, "the first poll of all")
            time.sleep(INTERVAL / 3)  # halfway between two polls
            at_first, seen = counters(url)["requests"], len(_beats(beats))
            time.sleep(INTERVALS * INTERVAL)
            requests, late = counters(url)["requests"] - at_first, _beats(beats)[seen:]
            refused = sum(counters(url)["refusals"].values())
        except TimeoutError:
            print((home / "triggerer.log").read_text("utf-8", "replace")[-3000:], file=sys.stderr)
            raise
        finally:
            triggerer.terminate()
            triggerer.wait()
    lags = [lag for beat in late for lag in beat["lags"]]
    p99 = quantiles(lags, n=100)[98] * 1000
    # A long stop is one late beat; to whoever comes at any moment of it, it is many.
    moments = quantiles([lag - 0.01 * n for lag in lags for n in range(max(0, int(lag / 0.01)) + 1)], n=100)[98] * 1000
    memory = (max(beat["rss"] for beat in late) - resting) / (WAITS - 1)
    print(
        f"{kind:6} {WAITS} waits: {requests / INTERVALS:7.1f} requests per interval, {refused} refused,"
        f" {memory / 1000:5.1f} kB a wait, loop late by {p99:5.1f} ms at p99 of beats,"
        f" {moments:.0f} ms at p99 of moments, {max(lags) * 1000:.0f} ms at most",
        flush=True,
    )
    return kind == "http" or (requests == INTERVALS * WAITS // 50 and memory <= 30_000 and p99 <= 50)


def _environment(home: Path, url: str, connection: dict[str, Any]) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW_")}
    return inherited | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": "Zm9yIGEgYmVuY2htYXJrLCBub3QgYSBzZWNyZXQgaXQ=",
        "AIRFLOW__TRIGGERER__CAPACITY": str(WAITS + 1),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW_CONN_BITRIX24_DEFAULT": json.dumps(connection),
        "AIRFLOW_CONN_HTTP_DEFAULT": json.dumps({"conn_type": "http", "host": url}),
        "BEATS": str(home / "beats.jsonl"),
        "PYTHONPATH": str(Path(__file__).parent),
        "PYTHONWARNINGS": "ignore",
        "NO_PROXY": "127.0.0.1",
    }


def _beats(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _until(true: Any, what: str) -> None:
    deadline = time.monotonic() + 300
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.2)


# In processes of their own, for they read the environment when Airflow is imported.


def _defer(environment: dict[str, str], kind: str, first: int, last: int) -> None:
    code = f"import deferred_waits; deferred_waits.defer({kind!r}, {first}, {last})"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)


def defer(kind: str, first: int, last: int) -> None:
    """Put task instances into the state in which a deferral leaves them."""
    from airflow.models import TaskInstance
    from airflow.models.dagrun import DagRun
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.trigger import Trigger
    from airflow.sdk import timezone
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, TaskInstanceState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from sqlalchemy import select

    with create_session() as session:
        if session.scalar(select(DagRun)) is None:
            dag = SerializedDagModel.get_dag("waits", session=session)
            assert dag is not None
            dag.create_dagrun(
                run_id="waits",
                run_after=timezone.utcnow(),
                run_type=DagRunType.MANUAL,
                triggered_by=DagRunTriggeredByType.TEST,
                state=DagRunState.RUNNING,
                session=session,
            )
        session.flush()
        tasks = {task.task_id: task for task in session.scalars(select(TaskInstance))}
        for number in range(first, last):
            trigger = Trigger.from_object(_trigger(kind, number))
            session.add(trigger)
            session.flush()
            task = tasks["heartbeat" if kind == "heartbeat" else f"wait_{number}"]
            task.state, task.trigger_id, task.next_method = TaskInstanceState.DEFERRED, trigger.id, "execute_complete"


def _trigger(kind: str, number: int) -> Any:
    if kind == "heartbeat":
        return _heartbeat()()
    if kind == "http":
        from airflow.providers.http.triggers.http import HttpSensorTrigger

        # An answer of 404 is what it waits on.
        return HttpSensorTrigger(endpoint=f"rest/1/nobody/there.is.no.{number}", poke_interval=INTERVAL)
    from airflow_provider_b24cal.triggers.attendance import Bitrix24AttendanceTrigger

    return Bitrix24AttendanceTrigger(
        bitrix24_conn_id="bitrix24_default",
        wait={"event_ids": [FIRST + number], "target_status": "Y", "fail_on_statuses": [], "require": "all"},
        seen="Q",
        poke_interval=INTERVAL,
        deferred_at=time.time(),
        deadline=time.time() + 3600,
        retry_timeout=900.0,
    )


def _heartbeat() -> Any:
    return __getattr__("Heartbeat")


def __getattr__(name: str) -> Any:
    """Make the trigger class when Airflow asks for it: the benchmark itself must not import Airflow."""
    if name != "Heartbeat":
        raise AttributeError(name)
    from airflow.triggers.base import BaseTrigger

    class Heartbeat(BaseTrigger):
        """Beat every 10 ms; write how late the beats were, and the memory of the process, every second."""

        def serialize(self) -> tuple[str, dict[str, Any]]:
            return "deferred_waits.Heartbeat", {}

        async def run(self) -> AsyncIterator[Any]:
            while True:
                lags = []
                for _ in range(100):
                    began = time.perf_counter()
                    await sleep(0.01)
                    lags.append(time.perf_counter() - began - 0.01)
                _write({"rss": _resident(), "lags": lags})
            yield  # type: ignore[unreachable]  # what makes it the generator that Airflow expects

    return Heartbeat


def _write(beat: dict[str, Any]) -> None:
    with Path(os.environ["BEATS"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(beat) + "\n")


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
