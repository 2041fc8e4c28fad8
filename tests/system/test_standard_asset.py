"""A DAG that is scheduled on a table by the URI of Airflow's provider of the database, in a real Airflow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from dev.local_airflow import LocalAirflow
from tests.calendar_data import ANNA, DATA
from tests.databases import database
from tests.system.runs import ENDED, finish

WAITING = "use_the_table"


def test_a_dag_starts_on_the_uri_of_the_databases_own_provider(tmp_path: Path) -> None:
    pytest.importorskip("airflow.providers.postgres")
    home, dags = tmp_path / "airflow", tmp_path / "dags"
    home.mkdir()
    dags.mkdir()
    shutil.copy(Path(__file__).parent / "dags" / "standard_asset.py", dags)
    with database("postgresql", tmp_path) as url, SandboxServer(Portal(parse(DATA))) as server:
        fields = {"host": url.host, "login": url.username, "password": url.password, "port": url.port}
        stored = {name: value for name, value in fields.items() if value is not None}
        settings = {
            "AIRFLOW_CONN_BITRIX24_DEFAULT": server.connection_json(ANNA),
            "AIRFLOW_CONN_WAREHOUSE": json.dumps({"conn_type": "postgres", "schema": url.database, **stored}),
            "B24CAL_TEST_TABLE": f"postgres://{url.host}:{url.port or 5432}/{url.database}/public/bitrix24_attendance",
        }
        with LocalAirflow(home, dags, settings) as airflow:
            airflow.migrate()
            airflow.start()
            airflow.wait_for_dag(WAITING)
            airflow.request("PATCH", f"/dags/{WAITING}", {"is_paused": False})
            finish(airflow, "fill_tables", {})

            def ended() -> list[dict[str, Any]]:
                runs: list[dict[str, Any]] = airflow.request("GET", f"/dags/{WAITING}/dagRuns")["dag_runs"]
                return [run for run in runs if run["state"] in ENDED]

            airflow.wait_for("the DAG that waits for the table", ended)
            (run,) = ended()
            assert (run["state"], run["run_type"]) == ("success", "asset_triggered"), airflow.task_logs()
            assert airflow.xcom(WAITING, run["dag_run_id"], "occurrences") == [7], "the events carry the counts"
