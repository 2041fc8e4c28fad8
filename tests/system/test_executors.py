"""The example DAGs on the executors of production: LocalExecutor and CeleryExecutor, both on PostgreSQL.

Run by ``make executors``. With CeleryExecutor two workers and two triggerers are as on four hosts: each has a temporary
folder of its own, so that none knows of the others' requests, and a quarter of the portal's rate.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.oauth import AuthServer
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.seed import default_seed_data
from bitrix24_sandbox.server import SandboxServer
from bitrix24_sandbox.settings import Settings
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, Engine

from dev.local_airflow import LocalAirflow
from tests.databases import database
from tests.statsd import Statsd
from tests.system.runs import ENDED, pause, states_of

if os.environ.get("B24CAL_TEST_EXECUTORS") != "asked":
    pytest.skip("other executors are tried when asked for, by: make executors", allow_module_level=True)

# What runs on the executor of the other system tests runs on these.
from tests.system.test_real_airflow import (  # noqa: F401
    test_attendance_round,
    test_chase_the_silent,
    test_example,
    test_quorum_then_act,
    test_several_people_one_at_a_time,
    test_tokens,
    test_wait_for_the_team,
    test_waits,
)

pytestmark = pytest.mark.xdist_group("airflow of executors")

ROOT = Path(__file__).parents[2]
REDIS = os.environ.get("B24CAL_TEST_REDIS", "redis://127.0.0.1:6379/0")
"""Where the broker is; another place is named in the environment."""
ME = 1
WORKERS = ("first", "second")
CAPACITY = 6
"""Waits that a triggerer takes: fewer than there are at once."""


@pytest.fixture(scope="module", params=["LocalExecutor", "CeleryExecutor"])
def executor(request: pytest.FixtureRequest) -> str:
    if request.param == "CeleryExecutor":
        for module in ("airflow.providers.celery", "redis"):
            pytest.importorskip(module)
    return str(request.param)


@pytest.fixture(scope="module")
def hosts(executor: str) -> int:
    return 4 if executor == "CeleryExecutor" else 1


@contextmanager
def _postgresql(paths: pytest.TempPathFactory) -> Iterator[Engine]:
    with database("postgresql", paths.mktemp("unused")) as url:
        engine = create_engine(url)
        yield engine
        engine.dispose()


@pytest.fixture(scope="module")
def metadata(executor: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Airflow's database."""
    with _postgresql(tmp_path_factory) as engine:
        yield engine


@pytest.fixture(scope="module")
def tables(executor: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The database of ``sync_company_calendar``."""
    with _postgresql(tmp_path_factory) as engine:
        yield engine


@pytest.fixture(scope="module")
def broker(executor: str) -> Iterator[dict[str, str]]:
    """What names the broker to Airflow. Its keys are reported from others' by a prefix, and are removed in the end."""
    if executor != "CeleryExecutor":
        yield {}
        return
    import redis

    prefix = f"b24cal_{secrets.token_hex(6)}:"
    with redis.Redis.from_url(REDIS, socket_connect_timeout=5) as client:
        try:
            client.ping()
        except redis.RedisError as problem:
            pytest.skip(f"no broker on Redis: {problem}")
        try:
            yield {
                "AIRFLOW__CELERY__BROKER_URL": REDIS,
                "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__GLOBAL_KEYPREFIX": prefix,
            }
        finally:
            for key in client.scan_iter(f"{prefix}*"):
                client.delete(key)


@pytest.fixture(scope="module")
def data_server(executor: str) -> Iterator[SandboxServer]:
    """The seed data, on a portal with the limits of the standard plan."""
    with SandboxServer(Portal(default_seed_data(), Settings(plan="standard"))) as server:
        yield server


@pytest.fixture(scope="module")
def auth_server(data_server: SandboxServer) -> AuthServer:
    return data_server.portal.auth_server


@pytest.fixture(autouse=True)
def _within_the_limits(portal: Portal) -> Iterator[None]:
    """No request was one too many for the portal."""
    yield
    count: Any = portal.count()
    assert count["refusals"] == {}


@pytest.fixture(scope="module")
def airflow(
    executor: str,
    hosts: int,
    metadata: Engine,
    tables: Engine,
    broker: dict[str, str],
    data_server: SandboxServer,
    auth_server: AuthServer,
    statsd: Statsd,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LocalAirflow]:
    """Airflow's processes with the example DAGs and those of the system tests."""
    dags, home = tmp_path_factory.mktemp("dags"), tmp_path_factory.mktemp("airflow")
    for source in (*ROOT.glob("dags_examples/*.py"), *ROOT.glob("tests/system/dags/*.py")):
        shutil.copy(source, dags)
    part = {"requests_per_second": 2 / hosts, "burst": 50 // hosts} if hosts > 1 else {}
    connection = json.loads(data_server.connection_json(ME))
    connection["extra"] |= part
    settings = {
        "AIRFLOW__CORE__EXECUTOR": executor,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": _address(metadata),
        "AIRFLOW__TRIGGERER__CAPACITY": str(CAPACITY if hosts > 1 else 1000),
        "AIRFLOW_CONN_BITRIX24_DEFAULT": json.dumps(connection),
        "AIRFLOW_CONN_BITRIX24_WHOLE": data_server.connection_json(ME),
        "AIRFLOW_CONN_BITRIX24_TOKENS": data_server.oauth_connection_json(ME, **part),
        "AIRFLOW_CONN_ATTENDANCE_DB": _as_connection(tables.url),
        "TMPDIR": str(tmp_path_factory.mktemp("host")),
        **statsd.settings(),
        **broker,
    }
    if hosts > 1:
        settings |= {
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{_address(metadata)}",
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": "2",
            # The result then says which worker it is from.
            "AIRFLOW__CELERY__EXTRA_CELERY_CONFIG": json.dumps({"result_extended": True}),
        }
    with LocalAirflow(home, dags, settings) as running:
        running.migrate()
        running.start()
        if hosts > 1:
            for name in WORKERS:
                host = {"TMPDIR": str(tmp_path_factory.mktemp("host"))}
                running.start_component(f"{name} worker", "--celery-hostname", name, settings=host)
            host = {"TMPDIR": str(tmp_path_factory.mktemp("host"))}
            running.start_component("another triggerer", settings=host)
        yield running
        _assert_not_stored(data_server.secret(ME), metadata)


def _address(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def _as_connection(url: URL) -> str:
    fields = {"host": url.host, "port": url.port, "login": url.username, "schema": url.database}
    return json.dumps({"conn_type": "postgres", "password": url.password or "", **fields})


def _assert_not_stored(secret: str, metadata: Engine) -> None:
    """Look into every row of every table, bytes included."""
    with metadata.connect() as connection:
        tables = connection.execute(
            text("SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema = 'public'")
        ).all()
        assert len(tables) > 20
        for schema, name in tables:
            found = connection.execute(
                text(f'SELECT count(*) FROM "{schema}"."{name}" AS one WHERE strpos(one::text, :plain) > 0 '
                     "OR strpos(one::text, :bytes) > 0"),
                {"plain": secret, "bytes": secret.encode().hex()},
            ).scalar_one()  # fmt: skip
            assert found == 0, name


def _worked(airflow: LocalAirflow, metadata: Engine, *run_ids: str) -> Counter[str]:
    """Return how many task instances of some runs each Celery worker has run, as Celery has noted it."""
    query = text(
        "SELECT m.worker, m.status FROM task_instance t "
        "LEFT JOIN celery_taskmeta m ON m.task_id = t.external_executor_id WHERE t.run_id = ANY(:run_ids)"
    )

    def noted() -> Counter[str] | None:
        with metadata.connect() as connection:
            results = connection.execute(query, {"run_ids": list(run_ids)}).all()
        # Airflow hears of the end of a task before Celery does.
        return Counter(str(worker) for worker, _ in results) if {end for _, end in results} == {"SUCCESS"} else None

    found: Counter[str] = airflow.wait_for("Celery's results", noted)
    return found


def _unanswered(portal: Portal, count: int) -> list[int]:
    with portal.locked() as book:
        plain = [event.id for event in book.events.values() if event.repeat is None and event.id > 702]
    return [event_id for event_id in plain if portal.status(event_id, ME) == "Q"][:count]


def test_runs_at_once(hosts: int, airflow: LocalAirflow, portal: Portal, metadata: Engine) -> None:
    """Seven runs, whose waits are more than one triggerer takes."""
    meetings = _unanswered(portal, 21)
    runs = {
        airflow.run_dag("attendance_round", {"event_ids": [one, two], "awaited_id": awaited}): (one, two, awaited)
        for one, two, awaited in zip(meetings[::3], meetings[1::3], meetings[2::3], strict=True)
    }

    def instances() -> list[dict[str, Any]]:
        path = "/dags/attendance_round/dagRuns/~/taskInstances?limit=100&order_by=-id"
        return [one for one in airflow.request("GET", path)["task_instances"] if one["dag_run_id"] in runs]

    def triggerers() -> set[int] | None:
        waits = [one for one in instances() if one["task_id"] == "await_answer"]
        jobs = [one["triggerer_job"]["id"] for one in waits if one["triggerer_job"]]
        return set(jobs) if len(jobs) == len(runs) else None

    found = airflow.wait_for("all waits in triggerers", triggerers)
    for _, _, awaited in runs.values():
        portal.answer(awaited, ME, "Y")
    for run_id in runs:
        airflow.wait_for(
            "the end of a run", lambda run_id=run_id: airflow.run_state("attendance_round", run_id) in ENDED
        )
    pause(airflow, "attendance_round")
    ended = [airflow.run_state("attendance_round", run_id) for run_id in runs]
    assert ended == ["success"] * len(runs), airflow.task_logs("dag_id=attendance_round")
    assert {portal.status(event_id, ME) for event_id in meetings} == {"Y"}
    for run_id, (one, _, awaited) in runs.items():
        assert airflow.xcom("attendance_round", run_id, "await_answer") == {str(awaited): "Y"}
        assert airflow.xcom("attendance_round", run_id, "accept", 0)["previous"] == {str(one): "Q"}
    assert {one["try_number"] for one in instances()} == {1}
    count: Any = portal.count()
    assert count["methods"]["calendar.meeting.status.set"] == 2 * len(runs), "each meeting was set once"
    assert len(found) == (2 if hosts > 1 else 1)
    if hosts > 1:
        assert set(_worked(airflow, metadata, *runs)) == {f"celery@{name}" for name in WORKERS}


def _hurry(airflow: LocalAirflow, portal: Portal, connection: str) -> str:
    """Run four tasks at once, together 120 requests, of which the portal takes fifty at once and two a second."""
    run_id = airflow.run_dag("hurry", {"bitrix24_conn_id": connection})
    airflow.wait_for("the end of hurry", lambda: airflow.run_state("hurry", run_id) in ENDED)
    pause(airflow, "hurry")
    assert states_of(airflow, "hurry", run_id) == {f"ask{number}": "success" for number in range(4)}, (
        airflow.task_logs()
    )
    count: Any = portal.count()
    assert count["methods"] == {"calendar.meeting.status.get": 120}
    return run_id


def test_in_a_hurry(hosts: int, airflow: LocalAirflow, portal: Portal, metadata: Engine) -> None:
    """Each host keeps to its part of the rate, and nobody is refused."""
    run_id = _hurry(airflow, portal, "bitrix24_default")
    if hosts > 1:
        # A worker takes two at once.
        assert _worked(airflow, metadata, run_id) == {f"celery@{name}": 2 for name in WORKERS}


def test_in_a_hurry_without_parts(hosts: int, airflow: LocalAirflow, portal: Portal) -> None:
    """Hosts that use the whole rate each are refused, and come to the same end."""
    if hosts == 1:
        pytest.skip("one host has the whole rate for itself")
    _hurry(airflow, portal, "bitrix24_whole")
    count: Any = portal.count()
    assert count["refusals"]["QUERY_LIMIT_EXCEEDED"] > 0
    portal.reset()


@contextmanager
def _awake(airflow: LocalAirflow, *dag_ids: str) -> Iterator[None]:
    """Let DAGs run as their schedules have it, until what is waited for has come."""
    for dag_id in dag_ids:
        airflow.wait_for_dag(dag_id)
        airflow.request("PATCH", f"/dags/{dag_id}", {"is_paused": False})
    yield
    for dag_id in dag_ids:
        pause(airflow, dag_id)


def _ended(airflow: LocalAirflow, dag_id: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = airflow.request("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"]
    return [run for run in runs if run["state"] in ENDED]


def test_the_nightly_sync_starts_the_report(airflow: LocalAirflow, portal: Portal, tables: Engine) -> None:
    """The run of the last day, into tables on PostgreSQL; their assets start the DAG that draws."""
    portal.answer(668, ME, "Y")
    with _awake(airflow, "attendance_report", "sync_company_calendar"):
        airflow.wait_for("the sync", lambda: _ended(airflow, "sync_company_calendar"))
        airflow.wait_for("the report", lambda: _ended(airflow, "attendance_report"))
    (sync,), report = _ended(airflow, "sync_company_calendar"), _ended(airflow, "attendance_report")[0]
    assert (sync["state"], report["state"]) == ("success", "success"), airflow.task_logs("task_id=")
    counts = airflow.xcom("sync_company_calendar", sync["dag_run_id"], "sync")
    with tables.connect() as connection:
        stored = connection.execute(text("SELECT parent_id, user_id, status FROM bitrix24_attendance")).all()
        meetings = connection.execute(text("SELECT count(*) FROM bitrix24_meetings")).scalar_one()
    assert (668, ME, "Y") in stored
    assert counts["occurrences"] == meetings > 0
    different = [row for row in stored if row[1] == ME and row[2] not in (portal.status(row[0], ME), "H")]
    assert different == []
    page = Path(airflow.xcom("attendance_report", report["dag_run_id"], "draw")).read_text("utf-8")
    assert "Coming meetings" in page


def test_an_answer_starts_a_dag(airflow: LocalAirflow, portal: Portal, metadata: Engine) -> None:
    """One run, though there may be two triggerers."""
    dag_id = "start_when_the_customer_accepts"

    def watched() -> bool:
        logs = [path for path in airflow.home.rglob("*") if path.suffix in {".log", ".out"}]
        return any("Watching" in path.read_text("utf-8", "replace") for path in logs)

    def rests() -> bool:
        with metadata.connect() as connection:
            query = text("SELECT count(*) FROM trigger WHERE classpath LIKE '%Changes%'")
            return int(connection.execute(query).scalar_one()) == 0

    with _awake(airflow, dag_id):
        airflow.wait_for("the watcher", watched)
        portal.answer(668, ME, "Y")
        airflow.wait_for("the run", lambda: _ended(airflow, dag_id))
    airflow.wait_for("the end of the watcher", rests)
    (run,) = _ended(airflow, dag_id)
    assert run["state"] == "success", airflow.task_logs("task_id=prepare")
    assert airflow.xcom(dag_id, run["dag_run_id"], "prepare") == [f"user {ME} comes to 668"]
