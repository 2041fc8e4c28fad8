"""The link and the decorator in a real run of the installed Airflow, whichever it is."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal._airflow import HAS_PLUGIN_PAGES
from tests.portal_data import CANARY, portal_data

pytestmark = pytest.mark.xdist_group("at_home")
DAGS = Path(__file__).with_name("dags")
AIRFLOW = str(Path(sys.executable).with_name("airflow"))
LATER = [
    {"id": number, "name": "Later", "host": 2, "start": f"2026-10-{day}T10:00", "end": f"2026-10-{day}T11:00",
     "attendees": [{"user": 1, "id": number + 1}]}
    for number, day in ((201, 16), (203, 17))
]  # fmt: skip


@dataclass
class Ran:
    """A finished run.

    :param xcoms: value by task, map index and key.
    :param states: state by task and map index.
    """

    portal: Portal
    url: str
    xcoms: dict[tuple[str, int, str], Any]
    states: dict[tuple[str, int], tuple[str, int]]
    output: str
    home: Path


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    home = tmp_path_factory.mktemp("airflow")
    there: Any = portal_data()
    there["events"] += LATER
    with SandboxServer(Portal(parse(there))) as server:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW_")} | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW_CONN_BITRIX24_DEFAULT": server.connection_json(1),
            "AIRFLOW__BITRIX24__ATTENDANCE_PAGE_CONN_ID": "attendance_db",
            "NO_PROXY": "127.0.0.1",
        }
        subprocess.run([AIRFLOW, "db", "migrate"], env=environment, check=True, capture_output=True)
        # Airflow 3 runs what it has stored.
        subprocess.run([AIRFLOW, "dags", "reserialize"], env=environment, check=True, capture_output=True)
        done = subprocess.run(
            [AIRFLOW, "dags", "test", "at_home"], env=environment, check=False, capture_output=True, text=True
        )
        with closing(sqlite3.connect(home / "airflow.db")) as database:
            xcoms = {
                # SQLite returns what is a number as a number.
                (task, index, key): json.loads(value) if isinstance(value, str | bytes) else value
                for task, index, key, value in database.execute("select task_id, map_index, key, value from xcom")
                if value is not None and value != b""
            }
            states = {
                (task, index): (state, tries)
                for task, index, state, tries in database.execute(
                    "select task_id, map_index, state, try_number from task_instance"
                )
            }
        yield Ran(server.portal, server.url, xcoms, states, done.stdout + done.stderr, home)


def test_states(ran: Ran) -> None:
    wanted = {
        ("one", -1): "success",
        ("not_invited", -1): "failed",
        ("not_invited_for_good", -1): "failed",
        ("many", -1): "success",
        ("mapped", 0): "success",
        ("mapped", 1): "success",
        ("by_statuses", -1): "success",
        ("arrived", -1): "success",
        ("deferred", -1): "failed",
        ("unreachable", -1): "failed",
        ("list_user", -1): "success",
        ("list_group", -1): "success",
        ("list_company_calendar", -1): "success",
        ("upcoming", -1): "success",
        ("accept", 0): "success",
        ("accept", 1): "success",
        ("decide", -1): "success",
        ("decide_mapped", 0): "success",
        ("decide_mapped", 1): "success",
        ("decide_nothing", -1): "success",
        ("decide_badly", -1): "failed",
        ("answer", -1): "success",
        ("read", -1): "success",
        ("pass_on", -1): "success",
        ("return_object", -1): "failed",
    }
    assert {key: state for key, (state, _) in ran.states.items()} == wanted, ran.output[-6000:]


@pytest.mark.parametrize(
    ("task", "index", "page"),
    [
        ("one", -1, "/company/personal/user/1/calendar/?EVENT_ID=101"),
        ("not_invited", -1, "/company/personal/user/1/calendar/?EVENT_ID=105"),
        ("many", -1, "/company/personal/user/1/calendar/"),
        ("mapped", 0, "/company/personal/user/1/calendar/?EVENT_ID=102"),
        ("mapped", 1, "/company/personal/user/1/calendar/?EVENT_ID=103"),
        ("by_statuses", -1, "/company/personal/user/1/calendar/?EVENT_ID=1005"),
        ("arrived", -1, "/company/personal/user/1/calendar/?EVENT_ID=102"),
        ("deferred", -1, "/company/personal/user/1/calendar/"),
        ("unreachable", -1, "/company/personal/user/1/calendar/?EVENT_ID=99999"),
        ("list_user", -1, "/company/personal/user/1/calendar/"),
        ("list_group", -1, "/workgroups/group/7/calendar/"),
        ("list_company_calendar", -1, "/calendar/"),
        ("upcoming", -1, "/company/personal/user/1/calendar/"),
        ("accept", 1, "/company/personal/user/1/calendar/?EVENT_ID=204"),
        ("decide", -1, "/company/personal/user/1/calendar/"),
        ("decide_badly", -1, "/company/personal/user/1/calendar/"),
    ],
)
def test_the_link_is_where_airflow_looks_for_it(ran: Ran, task: str, index: int, page: str) -> None:
    assert ran.xcoms[task, index, "bitrix24_link"] == ran.url + page


@pytest.mark.skipif(not HAS_PLUGIN_PAGES, reason="the page Attendance exists from Airflow 3.1.1 on")
@pytest.mark.parametrize(
    ("task", "index", "query"),
    [
        ("one", -1, "?event_id=101"),
        ("not_invited", -1, "?event_id=105"),
        ("mapped", 1, "?event_id=103"),
        ("by_statuses", -1, "?event_id=1005"),
        ("arrived", -1, "?event_id=102"),
        ("unreachable", -1, "?event_id=99999"),
        ("upcoming", -1, ""),
        ("decide", -1, "?event_id=1001&event_id=1002"),
        ("decide_badly", -1, ""),
    ],
)
def test_the_link_to_the_attendance_page_names_the_meetings(ran: Ran, task: str, index: int, query: str) -> None:
    assert ran.xcoms[task, index, "bitrix24_attendance_link"] == f"/bitrix24/attendance/meetings{query}"


def test_the_link_is_in_the_stored_dag(ran: Ran) -> None:
    with closing(sqlite3.connect(ran.home / "airflow.db")) as database:
        ((stored,),) = database.execute("select data from serialized_dag where dag_id = 'at_home' limit 1")
    tasks = [task for task in map(json.dumps, json.loads(stored)["dag"]["tasks"]) if "airflow_provider_b24cal" in task]
    assert len(tasks) == 18
    for task in tasks:
        # 2.11 stores the class, 3.x the name and where to look.
        assert "links.bitrix24.Bitrix24Link" in task or '"Open in Bitrix24": "bitrix24_link"' in task
        assert ('"Attendance": "bitrix24_attendance_link"' in task) == HAS_PLUGIN_PAGES


def test_the_decorated_function_is_applied_and_proven(ran: Ran) -> None:
    outcome = ran.xcoms["decide", -1, "return_value"]
    assert (outcome["changed"], outcome["statuses"]) == (2, {"1001": "Y", "1002": "N"})
    assert ran.xcoms["by_statuses", -1, "return_value"]["statuses"] == {"1005": "Y"}
    assert [ran.portal.status(event, 1) for event in (1001, 1002, 1003, 1004)] == ["Y", "N", "Y", "Y"]
    assert ran.xcoms["decide_mapped", 1, "return_value"]["statuses"] == {"1004": "Y"}
    assert ran.xcoms["decide_nothing", -1, "return_value"]["total"] == 0
    assert not [key for key in ran.xcoms if key[0] == "decide" and key[2] in outcome], "one value, not one per key"


def test_results_of_the_hook_are_passed_on(ran: Ran) -> None:
    assert ran.xcoms["pass_on", -1, "return_value"] == ["Y", "NotInvitedError"]
    assert "Invalid task result Change: expected JSON values. Return its to_dict()." in ran.output
    assert ("return_object", -1, "return_value") not in ran.xcoms


def test_a_map_over_events_answers_each(ran: Ran) -> None:
    assert [ran.portal.status(event, 1) for event in (201, 203)] == ["Y", "Y"]
    assert ran.xcoms["accept", 0, "return_value"]["previous"] == {"202": "Q"}


def test_nothing_of_it_is_secret(ran: Ran) -> None:
    # At DEBUG, the command of Airflow 3.0 prints what it sends to its own masker.
    lines = [line for line in ran.output.splitlines() if "MaskSecret(" not in line]
    assert CANARY not in "\n".join(lines)
    assert CANARY.encode() not in (ran.home / "airflow.db").read_bytes()
