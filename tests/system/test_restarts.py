"""Processes of a real Airflow are killed in the middle of the work, and nothing is lost or done twice.

Run by ``make restarts``: they take minutes, in which they mostly wait for Airflow to notice.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from dev.local_airflow import LocalAirflow

if os.environ.get("B24CAL_TEST_RESTARTS") != "asked":
    pytest.skip("processes are killed when asked for, by: make restarts", allow_module_level=True)

# Beside the other Airflow, but not at the same time.
pytestmark = pytest.mark.xdist_group("airflow")

MANY = range(1001, 1121)
WATCHED, GUESTS = 110, (3, 4)
CLEARING = "/dags/accept_many/clearTaskInstances"
WAITS = ("one", "quorum", "attendees")
FOREVER = 600
"""Seconds that a held answer takes: longer than any of these tests."""


def _calendar_data() -> object:
    def meeting(event_id: int) -> dict[str, Any]:
        attendees = [{"user": 1, "id": event_id + 5000}]
        times = {"start": "2026-09-16T10:00", "end": "2026-09-16T11:00"}
        return {"id": event_id, "name": "Meeting", "host": 2, "notify": True, "attendees": attendees, **times}

    webhook = {"secret": "r3st4rtC0de00000", "scopes": ["calendar"]}
    people = [{"id": 1, "name": "Anna", "webhook": webhook}, *({"id": one, "name": "Guest"} for one in range(2, 7))]
    watched = {**meeting(WATCHED), "attendees": [{"user": 1}, *({"user": one} for one in GUESTS)]}
    return {"people": people, "events": [*(meeting(event_id) for event_id in (101, 102, 103, *MANY)), watched]}


@pytest.fixture(scope="module")
def serving() -> Iterator[SandboxServer]:
    with SandboxServer(Portal(parse(_calendar_data()))) as server:
        yield server


@pytest.fixture
def portal(serving: SandboxServer) -> Portal:
    serving.renew()
    return serving.portal


@pytest.fixture(scope="module")
def breakable(serving: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    """An Airflow that takes a silent process for dead after ten seconds, and leaves nothing running in the end."""
    dags, home = tmp_path_factory.mktemp("dags"), tmp_path_factory.mktemp("airflow")
    shutil.copy(Path(__file__).parent / "dags" / "restarts.py", dags)
    connection = json.loads(serving.connection_json(1))
    connection["extra"]["timeout"] = FOREVER
    settings = {
        "AIRFLOW_CONN_BITRIX24_DEFAULT": json.dumps(connection),
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "2",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
    }
    with LocalAirflow(home, dags, settings) as airflow:
        airflow.migrate()
        airflow.start()
        yield airflow
        serving.renew()
        _hold_the_batches(serving.portal)
        _run_until_held(airflow, serving.portal)
    assert _still_running(home) == [], "a task under way ends with its Airflow"


def _still_running(home: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            # All of them are started there, and some write titles over their environment.
            if (process / "cwd").readlink() == home.resolve() and _runs(int(process.name)):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # gone in the meantime, or somebody else's
            continue
    return found


def _runs(process: int) -> bool:
    """Return whether a process runs; one that has ended and was not waited for does not."""
    try:
        status = Path("/proc", str(process), "stat").read_text("utf-8", "replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def _hold_the_batches(portal: Portal) -> None:
    """Let the first batch of a set of three chunks pass, and hold back the answers to each chunk's next.

    Whichever chunk comes first has been read and some of its statuses set; the others have been read. What is asked
    for is done in any case.
    """
    portal.plan(
        {"method": "batch", "times": 1, "delay": 0}, {"method": "batch", "times": 3, "delay": FOREVER, "when": "after"}
    )


def _run_until_held(airflow: LocalAirflow, portal: Portal) -> tuple[str, dict[str, Any]]:
    """Start setting a hundred and twenty statuses; return when every request under way is held."""
    run_id = airflow.run_dag("accept_many", {})
    airflow.wait_for("the held answers", lambda: not portal.plan() and _accepted(portal))
    accepted = _accepted(portal)
    assert 0 < len(accepted) < len(MANY), "some are set, some are not"
    return run_id, _instance(airflow, "accept_many", run_id, "accept")


def _accepted(portal: Portal) -> list[int]:
    return [event_id for event_id in MANY if portal.status(event_id, 1) == "Y"]


def _instance(airflow: LocalAirflow, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
    return next(found for found in airflow.task_instances(dag_id, run_id) if found["task_id"] == task_id)


def _success(airflow: LocalAirflow, dag_id: str, run_id: str) -> None:
    airflow.wait_for(f"the end of {dag_id}", lambda: airflow.run_state(dag_id, run_id) in {"success", "failed"})
    assert airflow.run_state(dag_id, run_id) == "success", airflow.task_logs()


def _assert_every_set_once(airflow: LocalAirflow, portal: Portal, run_id: str) -> None:
    assert _accepted(portal) == list(MANY)
    count: Any = portal.count()
    reported = {event_id: count["notifications"].get(str(event_id)) for event_id in MANY}
    assert reported == {event_id: {"accepted": 1} for event_id in MANY}
    summary = airflow.xcom("accept_many", run_id, "accept")
    assert (summary["failed"], set(summary["statuses"].values())) == (0, {"Y"})
    assert 0 < summary["unchanged"] < len(MANY), "the second try has found what the first had done"


def _wait_deferred(airflow: LocalAirflow) -> str:
    run_id = airflow.run_dag("wait_then_accept", {})

    def under_way() -> bool:
        instances = {found["task_id"]: found for found in airflow.task_instances("wait_then_accept", run_id)}
        return all(instances.get(name, {}).get("triggerer_job") for name in WAITS)

    airflow.wait_for("three waits in the triggerer", under_way)
    return run_id


def _assert_every_wait_once(airflow: LocalAirflow, portal: Portal, run_id: str) -> None:
    tries = {found["task_id"]: found["try_number"] for found in airflow.task_instances("wait_then_accept", run_id)}
    assert tries == dict.fromkeys((*WAITS, "accept"), 1)
    assert airflow.xcom("wait_then_accept", run_id, "one") == {"101": "Y"}
    assert airflow.xcom("wait_then_accept", run_id, "quorum") == {"101": "Y", "102": "Y", "103": "Q"}
    assert airflow.xcom("wait_then_accept", run_id, "attendees") == {"accepted": [1], "declined": [], "silent": []}
    count: Any = portal.count()
    assert count["notifications"]["103"] == {"accepted": 1}


def _answer(portal: Portal) -> None:
    portal.answer(101, 1, "Y")
    portal.answer(102, 1, "Y")


def test_a_cleared_task_tells_nobody_again(breakable: LocalAirflow, portal: Portal) -> None:
    run_id = breakable.run_dag("accept_many", {})
    _success(breakable, "accept_many", run_id)
    clearing = {"dry_run": False, "dag_run_id": run_id, "only_failed": False}
    breakable.wait_for("the clearing", lambda: breakable.request("POST", CLEARING, clearing))

    def again() -> bool:
        instance = _instance(breakable, "accept_many", run_id, "accept")
        return (instance["try_number"], instance["state"]) == (2, "success")

    breakable.wait_for("the second try", again)
    count: Any = portal.count()
    assert count["notifications"] == {str(event_id): {"accepted": 1} for event_id in MANY}
    summary = breakable.xcom("accept_many", run_id, "accept")
    assert (summary["changed"], summary["unchanged"]) == (0, len(MANY))


@pytest.fixture
def two_triggerers(breakable: LocalAirflow) -> Iterator[LocalAirflow]:
    """One more triggerer; each takes two waits at most, so that three are shared out."""
    both = ("triggerer", "another triggerer")
    breakable.stop_component("triggerer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(breakable.environment, "AIRFLOW__TRIGGERER__CAPACITY", "2")
        for name in both:
            breakable.start_component(name)
        yield breakable
        for name in both:
            breakable.stop_component(name)
    breakable.start_component("triggerer")


def test_two_triggerers_share_the_waits(two_triggerers: LocalAirflow, portal: Portal) -> None:
    run_id = _wait_deferred(two_triggerers)
    jobs = {_instance(two_triggerers, "wait_then_accept", run_id, name)["triggerer_job"]["id"] for name in WAITS}
    assert len(jobs) == 2
    _answer(portal)
    _success(two_triggerers, "wait_then_accept", run_id)
    _assert_every_wait_once(two_triggerers, portal, run_id)


@pytest.mark.skipif(version("apache-airflow").startswith("3.0"), reason="3.0 repeats no task whose process was killed")
def test_a_task_is_killed_in_the_middle_of_a_set(breakable: LocalAirflow, portal: Portal) -> None:
    _hold_the_batches(portal)
    run_id, instance = _run_until_held(breakable, portal)
    os.kill(instance["pid"], signal.SIGKILL)
    _success(breakable, "accept_many", run_id)
    _assert_every_set_once(breakable, portal, run_id)
    assert _instance(breakable, "accept_many", run_id, "accept")["try_number"] == 2


def test_the_triggerer_is_killed_in_the_middle_of_a_poll(breakable: LocalAirflow, portal: Portal) -> None:
    run_id = _wait_deferred(breakable)
    portal.plan({"method": "batch", "delay": FOREVER})
    breakable.wait_for("a poll under way", lambda: not portal.plan())
    breakable.kill_component("triggerer")
    _answer(portal)
    breakable.start_component("triggerer")
    _success(breakable, "wait_then_accept", run_id)
    _assert_every_wait_once(breakable, portal, run_id)


def test_the_scheduler_is_killed_and_its_task_lives_on(breakable: LocalAirflow, portal: Portal) -> None:
    """A new scheduler takes a task of the dead one back and runs it again; the first process is stopped."""
    _hold_the_batches(portal)
    run_id, instance = _run_until_held(breakable, portal)
    breakable.kill_component("scheduler", alone=True)
    assert _runs(instance["pid"])
    breakable.start_component("scheduler")
    _success(breakable, "accept_many", run_id)
    _assert_every_set_once(breakable, portal, run_id)
    breakable.wait_for("the end of the first process", lambda: not _runs(instance["pid"]))


def test_the_machine_of_scheduler_and_triggerer_is_lost(breakable: LocalAirflow, portal: Portal) -> None:
    _hold_the_batches(portal)
    setting, instance = _run_until_held(breakable, portal)
    waiting = _wait_deferred(breakable)
    for name in ("scheduler", "triggerer"):
        breakable.kill_component(name)
    _answer(portal)
    for name in ("scheduler", "triggerer"):
        breakable.start_component(name)
    assert not _runs(instance["pid"]), "a task ends with its machine"
    _success(breakable, "accept_many", setting)
    _success(breakable, "wait_then_accept", waiting)
    _assert_every_set_once(breakable, portal, setting)
    _assert_every_wait_once(breakable, portal, waiting)


def _reported(airflow: LocalAirflow) -> list[tuple[str, int, str, str]]:
    """Return what the watcher has reported, oldest first: change_id, user, old and new letter."""
    # Not from the REST API, which refuses while the run that an event has made has not begun.
    found = _stored(airflow, "SELECT extra FROM asset_event ORDER BY id")
    payloads = [json.loads(extra)["payload"] for (extra,) in found]
    return [(one["change_id"], one["user_id"], one["old"], one["new"]) for one in payloads]


def _stored(airflow: LocalAirflow, query: str) -> list[Any]:
    with closing(sqlite3.connect(airflow.home / "airflow.db", timeout=30)) as database:
        return database.execute(query).fetchall()


def _fired(airflow: LocalAirflow) -> int:
    logs = [path for path in airflow.home.rglob("*") if path.suffix in {".log", ".out"}]
    return sum(path.read_text("utf-8", "replace").count("Trigger fired event") for path in logs)


def _note(airflow: LocalAirflow) -> dict[str, Any]:
    """Return what the watcher has noted for a restart."""
    found = _stored(airflow, "SELECT value FROM asset_state_store WHERE key LIKE 'b24cal%'")
    return json.loads(found[0][0]) if found else {}


def _wait_for_polls(airflow: LocalAirflow, portal: Portal, polls: int) -> None:
    def made() -> int:
        count: Any = portal.count()
        return int(count["methods"].get("calendar.event.getbyid", 0))

    before = made()
    airflow.wait_for("polls of the watcher", lambda: made() >= before + polls)


@pytest.fixture
def watching(breakable: LocalAirflow, portal: Portal) -> Iterator[LocalAirflow]:
    """The watcher at work."""
    if tuple(map(int, version("apache-airflow").split(".")[:2])) < (3, 3):
        pytest.skip("Airflow keeps nothing for a watcher before 3.3")
    breakable.wait_for_dag("watch")
    breakable.request("PATCH", "/dags/watch", {"is_paused": False})

    def at_rest() -> bool:
        """Return whether the watcher has read the portal as it is now, and has fired every event."""
        note = _note(breakable)
        letters = note.get("answers", {}).get(str(WATCHED), {})
        return note.get("pending") == [] and all(
            letters.get(str(user)) == portal.status(WATCHED, user) for user in GUESTS
        )

    breakable.wait_for("a watcher at rest", at_rest)
    yield breakable
    breakable.request("PATCH", "/dags/watch", {"is_paused": True})
    query = "SELECT 1 FROM \"trigger\" WHERE classpath LIKE '%Changes%'"
    breakable.wait_for("the end of the watcher", lambda: not _stored(breakable, query))


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_the_triggerer_ends_around_an_answer(how: str, watching: LocalAirflow, portal: Portal) -> None:
    """No answer is lost; what may not have been stored comes again under the same id, and nothing else does."""
    end = watching.kill_component if how == "kill" else watching.stop_component
    before = len(_reported(watching))
    letters = {"kill": "YN", "stop": "NY"}[how]
    fired = _fired(watching)
    expected = {(user, portal.status(WATCHED, user), letter) for user, letter in zip(GUESTS, letters, strict=True)}
    portal.answer(WATCHED, GUESTS[0], letters[0])
    watching.wait_for("the event", lambda: _fired(watching) > fired)
    end("triggerer")
    portal.answer(WATCHED, GUESTS[1], letters[1])  # while nobody watches
    watching.start_component("triggerer")
    watching.wait_for("both answers", lambda: expected <= {one[1:] for one in _reported(watching)[before:]})
    reported = _reported(watching)[before:]
    assert {one[1:] for one in reported} == expected
    assert len({one[0] for one in reported}) == len(expected)

    watching.wait_for("the last note", lambda: _note(watching)["pending"] == [])
    end("triggerer")
    watching.start_component("triggerer")
    _wait_for_polls(watching, portal, 3)
    assert _reported(watching)[before:] == reported, "what was noted is not reported again"
