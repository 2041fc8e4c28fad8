"""The main job, shown to a person: a real DAG run in a real Airflow against the sandbox portal.

``python -m dev.demo DAGS`` runs the DAG ``attendance_round`` of that folder once
and prints the result for each meeting; with ``--ui`` it leaves everything running for a person to click, with the
tables of attendance filled and a task that waits.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from bitrix24_sandbox.server import SandboxServer

from dev.local_airflow import LocalAirflow, LocalAirflowError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DAG_ID = "attendance_round"
SYNC = "sync_company_calendar"
WAIT = "chase_the_silent"
PAGE = "/bitrix24/attendance/meetings"
CHOSEN = (668, 681, 689)
AWAITED = 702
ME = 1
_ANSWER_AFTER = 8.0
_RUN_TIMEOUT = 240.0
_WORDS = {"Y": "accepted", "N": "declined", "Q": "not answered", "H": "organiser", None: "-"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dev.demo", description=__doc__)
    parser.add_argument("dags", type=Path, help="folder of the example DAGs")
    parser.add_argument("--ui", action="store_true", help="leave Airflow and the portal running until Ctrl-C")
    options = parser.parse_args(arguments)
    if not (options.dags / f"{DAG_ID}.py").is_file():
        parser.error(f"{options.dags} holds no {DAG_ID}.py")
    if not Path("/proc/self/cwd").is_symlink():
        parser.error("there is no /proc, by which what Airflow has started is found and stopped")
    # Also SIGINT: whoever starts the demo in the background has switched it off.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    began, folder = time.monotonic(), ""
    try:
        with (
            tempfile.TemporaryDirectory(prefix="b24cal-demo-") as folder,
            _running(Path(folder), options.dags.resolve(), began, ui=options.ui) as (server, airflow),
        ):
            if options.ui:
                return _stay(server, airflow, began)
            return _show(server, airflow, began)
    except KeyboardInterrupt:
        left = _started_in(folder)
        print(f"\nStopped; {f'still running: {left}' if left else 'nothing is left running'}.")
        return 130
    except LocalAirflowError as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1


def _leave(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _started_in(folder: str) -> list[int]:
    """Return the processes that were started in a folder, which may be gone by now."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended in the meantime, or is somebody else's
            if folder and str((process / "cwd").readlink()).startswith(str(Path(folder).resolve())):
                found.append(int(process.name))
    return found


@contextmanager
def _running(folder: Path, dags: Path, began: float, *, ui: bool) -> Iterator[tuple[SandboxServer, LocalAirflow]]:
    with SandboxServer() as server:
        _tell(began, f"Sandbox portal at {server.url}")
        page = {"AIRFLOW__BITRIX24__ATTENDANCE_PAGE_CONN_ID": "attendance_db"} if ui else {}
        shown = _with_names(dags, folder / "dags") if ui else dags
        with LocalAirflow(folder, shown, connections(server, folder) | page) as airflow:
            _tell(began, "Creating Airflow's database ...")
            airflow.migrate()
            _tell(began, "Starting api-server, scheduler, dag-processor and triggerer ...")
            airflow.start()
            _tell(began, f"Airflow at {airflow.url}")
            yield server, airflow
            _tell(began, "Stopping ...")


def _with_names(dags: Path, folder: Path) -> Path:
    """Return a folder of the same DAGs in which the sync stores the names of people too, for the page to show."""
    folder.mkdir()
    for path in dags.glob("*.py"):
        if path.stem != SYNC:
            (folder / path.name).symlink_to(path)  # so that changes to it are seen
    source = (dags / f"{SYNC}.py").read_text("utf-8")
    named = source.replace("create_tables=True,", "create_tables=True,\n        people_names=True,")
    (folder / f"{SYNC}.py").write_text(named, "utf-8")
    return folder


def connections(server: SandboxServer, folder: Path) -> dict[str, str]:
    """Return the connections that the example DAGs use, as environment variables.

    :param folder: where the database of ``attendance_db`` is kept.
    """
    database = {"conn_type": "sqlite", "host": str(folder / "attendance.db")}
    return {
        "AIRFLOW_CONN_BITRIX24_DEFAULT": server.connection_json(ME),
        "AIRFLOW_CONN_ATTENDANCE_DB": json.dumps(database),
    }


def _stay(server: SandboxServer, airflow: LocalAirflow, began: float) -> int:
    pages = f"  Airflow     {airflow.url}   user admin, password {airflow.password}\n"
    page = ""
    if has_attendance_page():
        awaited = _fill_attendance(server, airflow, began)
        pages += f"  Attendance  {airflow.url}{PAGE}   who has not answered; in Airflow's menu too\n"
        page = (
            "  Attendance shows next week's meetings. Unfold one to see who has not answered. Waiting now shows that\n"
            f"  {WAIT} waits for the answers to meeting {awaited}, {server.portal.book.events[awaited].name}.\n\n"
        )
    print(
        f"\n{pages}"
        f"  Portal      {server.url}   the calendar that the DAGs act on\n\n"
        f"{page}"
        "  Try the DAG answer_from_the_form: unpause it, trigger it, name meetings and choose an answer.\n"
        f"  {SYNC} fills tables in the database attendance_db; attendance_report draws them.\n\n"
        "  To practise the connection form (Admin > Connections): type Bitrix24, Port 443, and as Webhook URL\n"
        f"  {server.webhook_url(ME)}\n\n"
        "  Ctrl-C stops both.\n",
        flush=True,
    )
    signal.pause()
    return 0


def has_attendance_page() -> bool:
    """Return whether this Airflow shows the page, and can run the example that fills the tables."""
    try:
        version("apache-airflow-providers-sqlite")
    except PackageNotFoundError:
        return False
    return tuple(map(int, re.findall(r"\d+", version("apache-airflow"))[:2])) >= (3, 2)


def _fill_attendance(server: SandboxServer, airflow: LocalAirflow, began: float) -> int:
    """Fill the tables, let a task wait for the answers to a meeting of next week, and return the meeting's id."""
    _tell(began, f"DAG {SYNC} fills the tables of attendance ...")
    airflow.wait_for_dag(SYNC)
    # Its latest nightly run starts by itself.
    airflow.request("PATCH", f"/dags/{SYNC}", {"is_paused": False})
    state = airflow.wait_for(f"the end of {SYNC}", lambda: _end_of_a_run(airflow, SYNC))
    if state != "success":
        raise LocalAirflowError(f"{SYNC} failed\n{airflow.task_logs(f'dag_id={SYNC}')}")
    awaited = awaited_meeting(server, datetime.now(UTC))
    run_id = airflow.run_dag(WAIT, {"event_id": awaited, "hours_before": 0})
    _tell(began, f"DAG {WAIT} waits for the answers to meeting {awaited} ...")
    airflow.wait_for(
        f"{WAIT} to wait", lambda: _states(airflow.task_instances(WAIT, run_id)).get("everybody") == "deferred"
    )
    return awaited


def _end_of_a_run(airflow: LocalAirflow, dag_id: str) -> str | None:
    """Return the state of a DAG's run that has ended, if there is one."""
    states = [run["state"] for run in airflow.request("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"]]
    return next((state for state in ("success", "failed") if state in states), None)


def awaited_meeting(server: SandboxServer, now: datetime) -> int:
    """Return the id of the meeting of next week that most people have not answered, the acting user among them."""
    monday = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=7 - now.weekday())
    silent: dict[int, int] = {}
    with server.portal.locked() as calendar:
        for event in calendar.events.values():
            answers = {row.owner_id: row.status for row in calendar.rows_of(event.id)}
            starts = event.starts.replace(tzinfo=UTC)
            # In any zone it is in that week, and a date of a series has no id of its own.
            within = monday + timedelta(days=1) <= starts < monday + timedelta(days=6)
            single = event.is_meeting and event.repeat is None and event.recurrence_id is None
            if within and single and answers.get(ME) == "Q":
                silent[event.id] = list(answers.values()).count("Q")
    return max(silent, key=lambda event_id: (silent[event_id], -event_id), default=CHOSEN[0])


def _show(server: SandboxServer, airflow: LocalAirflow, began: float) -> int:
    before = {event_id: server.portal.status(event_id, ME) for event_id in (*CHOSEN, AWAITED)}
    run_id = airflow.run_dag(DAG_ID, {"event_ids": list(CHOSEN), "awaited_id": AWAITED})
    _tell(began, f"DAG {DAG_ID} runs ...")
    seen: dict[str, str] = {}
    answering: threading.Timer | None = None
    deadline = time.monotonic() + _RUN_TIMEOUT
    try:
        while (state := airflow.run_state(DAG_ID, run_id)) in {"queued", "running"}:
            for name, now in _states(airflow.task_instances(DAG_ID, run_id)).items():
                if seen.get(name) != now and now != "None":
                    seen[name] = now
                    _tell(began, f"  {name}: {now}")
            if answering is None and seen.get("await_answer") == "deferred":
                _tell(began, f"  (in {_ANSWER_AFTER:.0f} s somebody accepts meeting {AWAITED} in the calendar)")
                answering = threading.Timer(_ANSWER_AFTER, server.portal.answer, (AWAITED, ME, "Y"))
                answering.start()
            if time.monotonic() > deadline:
                raise LocalAirflowError(f"the run is still {state} after {_RUN_TIMEOUT:.0f} s\n{airflow.task_logs()}")
            time.sleep(0.5)
    finally:
        if answering is not None:
            answering.cancel()
    if state != "success":
        raise LocalAirflowError(f"the run ended as {state}\n{airflow.task_logs()}")
    _tell(began, f"  {DAG_ID}: {state}")
    print()
    rows = _rows(server, airflow, run_id, before)
    for row in rows:
        print("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, _widths(rows), strict=True)).rstrip())
    counts: Any = server.portal.count()
    sets = counts["methods"].get("calendar.meeting.status.set", 0)
    print(
        f"\n  before and after: as the portal holds them; verified: as the task read them back."
        f"\n  {counts['requests']} requests, {sets} of them writing: one set for each meeting that had to change.\n"
    )
    return 0 if all(row[-2] == "yes" for row in rows[1:]) else 1


def _states(instances: list[dict[str, Any]]) -> dict[str, str]:
    return {
        instance["task_id"] + ("" if instance["map_index"] < 0 else f"[{instance['map_index']}]"): str(
            instance["state"]
        )
        for instance in instances
    }


def _rows(
    server: SandboxServer, airflow: LocalAirflow, run_id: str, before: dict[int, str | None]
) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("event", "meeting", "before", "after", "verified", "waited")]
    for event_id in (*CHOSEN, AWAITED):
        after = server.portal.status(event_id, ME)
        if event_id == AWAITED:
            read = airflow.xcom(DAG_ID, run_id, "await_answer")[str(event_id)]
            waited = _seconds_of(airflow.task_instances(DAG_ID, run_id), "await_answer")
        else:
            read, waited = airflow.xcom(DAG_ID, run_id, "read_back", CHOSEN.index(event_id)), "-"
        name = server.portal.book.events[event_id].name
        verified = "yes" if read == after == "Y" else f"no: read {read}"
        rows.append((str(event_id), name, _WORDS[before[event_id]], _WORDS[after], verified, waited))
    return rows


def _seconds_of(instances: list[dict[str, Any]], task_id: str) -> str:
    (duration,) = (instance["duration"] for instance in instances if instance["task_id"] == task_id)
    return f"{duration:.0f} s"


def _widths(rows: list[tuple[str, ...]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _tell(began: float, what: str) -> None:
    print(f"[{time.monotonic() - began:5.1f} s] {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
