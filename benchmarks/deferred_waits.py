"""A thousand deferred waits in one real triggerer, beside a thousand deferrable HttpSensors.

``airflow triggerer`` runs by itself on a database in which a thousand task instances are deferred; the portal is
the sandbox in a process of its own, with the bucket of a standard plan, 120 ms a request and 15 ms a command.
Beside the waits the triggerer runs one more trigger that beats every 10 ms: it measures how late the event loop
is, and the resident memory of the process that all of them live in, compared with that of a single wait that has
polled once. Measured are three intervals, begun an interval after the triggerer runs every wait.

``python benchmarks/deferred_waits.py [ours] [http] [--waits 1000] [--connections 1] [--interval 30]``; both kinds by
default, which takes about six minutes. More waits on more connections are measured, not judged. With
``--waits 10000 --connections 100 --interval 120`` it takes a quarter of an hour.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from asyncio import sleep
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from _portal import counters, portal
from many_statuses import FIRST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

INTERVALS = 3
DAG_FILE = """
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

for first in range(0, {waits}, {in_a_dag}):
    with DAG(f"waits_{{first}}", schedule=None):
        if not first:
            EmptyOperator(task_id="heartbeat")
        for number in range(first, min(first + {in_a_dag}, {waits})):
            EmptyOperator(task_id=f"wait_{{number}}")
"""
IN_A_DAG = 100
"""Waits of one DAG: for each wait the triggerer loads the whole DAG of its task."""


@dataclass(frozen=True)
class Size:
    """How much to measure.

    :param interval: seconds between two polls of a wait.
    """

    waits: int = 1_000
    connections: int = 1
    interval: float = 30.0


def main() -> int:
    """Run what was asked for; the exit code says whether the bounds were kept."""
    parser = ArgumentParser()
    parser.add_argument("kinds", nargs="*", default=["ours", "http"])
    parser.add_argument("--waits", type=int, default=Size.waits)
    parser.add_argument("--connections", type=int, default=Size.connections)
    parser.add_argument("--interval", type=float, default=Size.interval)
    given = parser.parse_args()
    size = Size(given.waits, given.connections, given.interval)
    fine = True
    for kind in given.kinds:
        fine = measure(kind, size) and fine
    return 0 if fine else 1


def measure(kind: str, size: Size) -> bool:
    """Let waits of one kind run in a triggerer, and print what they cost."""
    # A sensor that knows nothing of the portal's bucket would be refused, and fail.
    options = () if kind == "http" else ("--plan", "standard")
    with (
        portal("--meetings", str(size.waits), *options, "--latency-ms", "120", "--command-ms", "15") as (
            url,
            connection,
        ),
        tempfile.TemporaryDirectory() as folder,
    ):
        home = Path(folder)
        environment = _environment(home, url, connection, size)
        (home / "dags").mkdir()
        (home / "dags" / "waits.py").write_text(DAG_FILE.format(waits=size.waits, in_a_dag=IN_A_DAG), "utf-8")
        airflow = [str(Path(sys.executable).with_name("airflow"))]
        for command in (["db", "migrate"], ["dags", "reserialize"]):
            subprocess.run(airflow + command, env=environment, check=True, capture_output=True)
        _defer(environment, "heartbeat", 0, 1, size)
        with (home / "triggerer.log").open("wb") as log:
            triggerer = subprocess.Popen(
                [*airflow, "triggerer", "--skip-serve-logs"], env=environment, stdout=log, stderr=log
            )
        try:
            beats = home / "beats.jsonl"
            _until(lambda: len(_beats(beats)) >= 5, "the heartbeat")
            # One wait pays for what is imported once.
            _defer(environment, kind, 0, 1, size)
            _until(lambda: counters(url)["requests"], "the first poll")
            time.sleep(2)
            resting = _beats(beats)[-1]["rss"]
            _defer(environment, kind, 1, size.waits, size)
            started = time.monotonic()
            _until(lambda: _running(home / "triggerer.log") > size.waits, "the triggerer to run all waits")
            print(f"{kind:6} all waits run after {time.monotonic() - started:.0f} s", flush=True)
            time.sleep(size.interval)
            before = counters(url)["requests"]
            _until(lambda: counters(url)["requests"] > before, "the next poll")
            time.sleep(size.interval / 3)  # halfway between two polls
            at_first, seen, used = counters(url)["requests"], len(_beats(beats)), _processor_time(beats)
            time.sleep(INTERVALS * size.interval)
            requests, late = counters(url)["requests"] - at_first, _beats(beats)[seen:]
            busy = (_processor_time(beats) - used) / (INTERVALS * size.interval)
            refused = ", ".join(f"{count} {code}" for code, count in counters(url)["refusals"].items()) or "none"
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
    memory = (max(beat["rss"] for beat in late) - resting) / (size.waits - 1)
    print(
        f"{kind:6} {size.waits} waits on {size.connections} connections: {requests / INTERVALS:7.1f} requests per"
        f" interval of {size.interval:.0f} s, refused: {refused},"
        f" {memory / 1000:5.1f} kB a wait, loop late by {p99:5.1f} ms at p99 of beats,"
        f" {moments:.0f} ms at p99 of moments, {max(lags) * 1000:.0f} ms at most, {busy:.0%} of a core;"
        f" load of the machine {os.getloadavg()[2]:.1f}",
        flush=True,
    )
    if kind == "http" or size != Size():
        return True
    return bool(requests == INTERVALS * size.waits // 50 and memory <= 30_000 and p99 <= 50)


def _environment(home: Path, url: str, connection: dict[str, Any], size: Size) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW_")}
    connections = {
        f"AIRFLOW_CONN_{_conn_id(number).upper()}": json.dumps(connection) for number in range(size.connections)
    }
    return (
        inherited
        | connections
        | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__FERNET_KEY": "Zm9yIGEgYmVuY2htYXJrLCBub3QgYSBzZWNyZXQgaXQ=",
            "AIRFLOW__TRIGGERER__CAPACITY": str(size.waits + 1),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=60",
            "AIRFLOW_CONN_HTTP_DEFAULT": json.dumps({"conn_type": "http", "host": url}),
            "BEATS": str(home / "beats.jsonl"),
            "PYTHONPATH": str(Path(__file__).parent),
            "PYTHONWARNINGS": "ignore",
            "NO_PROXY": "127.0.0.1",
        }
    )


def _conn_id(number: int) -> str:
    return f"bitrix24_{number}"


def _running(log: Path) -> int:
    """Return how many triggers the triggerer says it runs."""
    found = re.findall(r"(\d+) triggers currently running", log.read_text("utf-8", "replace"))
    return int(found[-1]) if found else 0


def _processor_time(beats: Path) -> float:
    """Return the seconds of processor time that the process of the triggers has used."""
    used: float = _beats(beats)[-1]["used"]
    return used


def _beats(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _until(true: Any, what: str) -> None:
    deadline = time.monotonic() + 1200
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.2)


# In processes of their own, for they read the environment when Airflow is imported.


def _defer(environment: dict[str, str], kind: str, first: int, last: int, size: Size) -> None:
    code = f"from deferred_waits import Size, defer; defer({kind!r}, {first}, {last}, {size})"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)


def defer(kind: str, first: int, last: int, size: Size) -> None:
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
            for number in range(0, size.waits, IN_A_DAG):
                dag = SerializedDagModel.get_dag(f"waits_{number}", session=session)
                assert dag is not None
                dag.create_dagrun(
                    run_id="waits",
                    run_after=timezone.utcnow(),
                    run_type=DagRunType.MANUAL,
                    triggered_by=DagRunTriggeredByType.TEST,
                    state=DagRunState.RUNNING,
                    session=session,
                )
                session.commit()
        tasks = {task.task_id: task for task in session.scalars(select(TaskInstance))}
        for number in range(first, last):
            trigger = Trigger.from_object(_trigger(kind, number, size))
            session.add(trigger)
            session.flush()
            task = tasks["heartbeat" if kind == "heartbeat" else f"wait_{number}"]
            task.state, task.trigger_id, task.next_method = TaskInstanceState.DEFERRED, trigger.id, "execute_complete"
            if not number % 100:
                # SQLite has one writer, and the triggerer beside it gives up after a while.
                session.commit()


def _trigger(kind: str, number: int, size: Size) -> Any:
    if kind == "heartbeat":
        return _heartbeat()()
    if kind == "http":
        from airflow.providers.http.triggers.http import HttpSensorTrigger

        # An answer of 404 is what it waits on.
        return HttpSensorTrigger(endpoint=f"rest/1/nobody/there.is.no.{number}", poke_interval=size.interval)
    from airflow_provider_b24cal.triggers.attendance import Bitrix24AttendanceTrigger

    return Bitrix24AttendanceTrigger(
        bitrix24_conn_id=_conn_id(number % size.connections),
        wait={"event_ids": [FIRST + number], "target_status": "Y", "fail_on_statuses": [], "require": "all"},
        seen="Q",
        poke_interval=size.interval,
        deferred_at=time.time(),
        deadline=time.time() + 36_000,
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
                _write({"rss": _resident(), "used": time.process_time(), "lags": lags})
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
