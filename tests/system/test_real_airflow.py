"""Example DAGs and waits in a real Airflow: scheduler, workers, triggerer and database."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.oauth import AuthServer
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from dev.local_airflow import LocalAirflow, LocalAirflowError
from tests.airflow_version import AIRFLOW
from tests.statsd import Statsd
from tests.system.runs import answer_once_deferred, finish, states_of

# One Airflow serves all of them, so they run in one process one after the other.
pytestmark = pytest.mark.xdist_group("airflow")

EXAMPLES = Path(__file__).parents[2] / "dags_examples"


def test_attendance_round(airflow: LocalAirflow, portal: Portal) -> None:
    answering = answer_once_deferred(portal, 702, "Y", "await_answer")
    run_id = finish(airflow, "attendance_round", {}, answering)
    assert airflow.run_state("attendance_round", run_id) == "success", airflow.task_logs()
    assert [portal.status(event_id, 1) for event_id in (668, 681, 689, 702)] == ["Y"] * 4
    assert [airflow.xcom("attendance_round", run_id, "read_back", index) for index in range(3)] == ["Y"] * 3
    assert airflow.xcom("attendance_round", run_id, "accept", 2)["previous"] == {"689": "Q"}
    assert airflow.xcom("attendance_round", run_id, "await_answer") == {"702": "Y"}
    count: Any = portal.count()
    assert count["methods"]["calendar.meeting.status.set"] == 3
    assert count["notifications"] == {"689": {"accepted": 1}}


@pytest.mark.parametrize(
    ("dag_id", "conf", "stored"),
    [
        ("accept_every_morning", {}, {668: "Y"}),
        ("answer_from_the_form", {"event_ids": ["681", "689", ""], "status": "N"}, {681: "N", 689: "N"}),
        ("decide_in_python", {}, {668: "Y", 681: "Y", 689: "Y"}),
        ("decide_with_a_decorator", {}, {668: "Y", 681: "Y", 689: "N"}),
        ("list_and_decide", {}, {668: "Y"}),
        ("map_over_meetings", {}, {668: "Y", 681: "N"}),
        ("prepare_the_review", {}, {668: "Y", 702: "Y"}),
        # What these two decide is in tests/unit/test_examples.py; here it is that they run.
        ("decline_what_collides", {}, {}),
        ("remind_the_silent", {}, {}),
    ],
)
def test_example(
    dag_id: str, conf: dict[str, Any], stored: dict[int, str], airflow: LocalAirflow, portal: Portal
) -> None:
    # One of the examples asks whether somebody else has accepted, one waits for an answer.
    portal.answer(668, 3, "Y")
    portal.answer(702, 1, "Y")
    run_id = finish(airflow, dag_id, conf)
    assert airflow.run_state(dag_id, run_id) == "success", airflow.task_logs()
    assert {event_id: portal.status(event_id, 1) for event_id in stored} == stored


def test_quorum_then_act(airflow: LocalAirflow, portal: Portal) -> None:
    portal.answer(681, 3, "Y")
    portal.answer(681, 12, "N")

    def answer(states: dict[str, str]) -> None:
        if states.get("enough") == "deferred" and portal.status(681, 2) == "Q":
            portal.answer(681, 1, "Y")
            portal.answer(681, 2, "Y")

    run_id = finish(airflow, "quorum_then_act", {}, answer)
    assert airflow.run_state("quorum_then_act", run_id) == "success", airflow.task_logs()
    assert airflow.xcom("quorum_then_act", run_id, "enough") == {"accepted": [1, 2, 3], "declined": [12], "silent": []}
    assert airflow.xcom("quorum_then_act", run_id, "order_lunch") == 3


def test_chase_the_silent(airflow: LocalAirflow, portal: Portal) -> None:
    for user_id, letter in ((1, "Y"), (3, "N")):
        portal.answer(668, user_id, letter)
    run_id = finish(airflow, "chase_the_silent", {"hours_before": 24 * 30})
    assert airflow.run_state("chase_the_silent", run_id) == "success", airflow.task_logs()
    assert states_of(airflow, "chase_the_silent", run_id) == {"everybody": "skipped", "chase": "success"}
    silent = [4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert airflow.xcom("chase_the_silent", run_id, "chase")["sent"] == len(silent)
    finish(airflow, "chase_the_silent", {"hours_before": 24 * 30})
    reminders = [(one.user_id, one.text) for one in portal.notifications()]
    assert reminders == [(user_id, "Please answer the invitation to meeting 668.") for user_id in silent]
    assert portal.inbox.sent == 2 * len(silent), "the second run has replaced what the first one sent"


def test_wait_for_the_team(airflow: LocalAirflow, portal: Portal) -> None:
    team = (1, 3)

    def answer(states: dict[str, str]) -> None:
        if states.get("answered") == "deferred":
            for event_id in meetings:
                for user_id, letter in zip(team, "YN", strict=True):
                    portal.answer(event_id, user_id, letter)

    with portal.locked() as book:
        invited = {event_id: {row.owner_id for row in book.rows_of(event_id)} for event_id in book.events}
    meetings = [
        event_id
        for event_id, users in invited.items()
        if users.issuperset(team) and all(portal.status(event_id, user_id) in {"Y", "N", "Q"} for user_id in team)
    ]
    run_id = finish(airflow, "wait_for_the_team", {}, answer)
    assert airflow.run_state("wait_for_the_team", run_id) == "success", airflow.task_logs()
    found = airflow.xcom("wait_for_the_team", run_id, "answered")
    assert len(found) > 1
    assert all(answers == {"accepted": [1], "declined": [3], "silent": []} for answers in found.values())
    assert airflow.xcom("wait_for_the_team", run_id, "declines") == {event_id: [3] for event_id in found}


def test_every_example_is_tested() -> None:
    marks = [mark for mark in test_example.pytestmark if mark.name == "parametrize"]
    own = {"attendance_round", "quorum_then_act", "chase_the_silent", "wait_for_the_team"}
    # In test_approval.py and test_attendance.py.
    own |= {"approve_the_answers", "sync_company_calendar", "attendance_report", "start_when_the_customer_accepts"}
    tested = {*own, *(case[0] for case in marks[0].args[1])}
    assert tested == {path.stem for path in EXAMPLES.glob("*.py")}


def test_one_airflow_serves_all(request: pytest.FixtureRequest) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("there is one process, hence one Airflow")
    assert request.node.nodeid.endswith("@airflow"), "pytest-xdist does not keep groups together"


def test_the_form_refuses_what_it_does_not_offer(airflow: LocalAirflow, portal: Portal) -> None:
    for conf in ({"status": "H"}, {"event_ids": ["0"]}, {"event_ids": ["651abc"]}, {"event_ids": [""]}):
        with pytest.raises(LocalAirflowError, match="HTTP 4"):
            airflow.run_dag("answer_from_the_form", conf)
    count: Any = portal.count()
    assert count["requests"] == 0


def test_several_people_one_at_a_time(airflow: LocalAirflow, portal: Portal, data_server: SandboxServer) -> None:
    airflow.request("POST", "/pools", {"name": "bitrix24", "slots": 1})
    for name, user_id in (("anna", 1), ("irina", 3)):
        fields = json.loads(data_server.connection_json(user_id))
        airflow.request(
            "POST", "/connections", fields | {"connection_id": f"bitrix24_{name}", "extra": json.dumps(fields["extra"])}
        )
    run_id = finish(airflow, "several_people", {})
    assert airflow.run_state("several_people", run_id) == "success", airflow.task_logs("dag_id=several_people")
    assert [portal.status(668, user_id) for user_id in (1, 3)] == ["Y", "Y"]
    first, second = sorted(
        airflow.task_instances("several_people", run_id), key=lambda instance: instance["start_date"]
    )
    assert first["end_date"] <= second["start_date"], "the pool has one slot"


def test_waits(airflow: LocalAirflow, portal: Portal, data_server: SandboxServer, statsd: Statsd) -> None:
    """Real deferrals end as poke mode would have ended them, and the secret is seen nowhere."""
    statsd.received()
    waiting = (
        "declined_later",
        "declines_are_awaited",
        "mapped0",
        "mapped1",
        "rescheduled",
        "quorum",
        "attendee_declines",
    )
    run_id = finish(airflow, "waits", {}, answer_once_deferred(portal, 702, "N", *waiting))
    wanted = {
        "time_out": "failed",
        "time_out_with_retries": "failed",
        "time_out_skipped": "skipped",
        "declined_later": "failed",
        "declines_are_awaited": "success",
        "mapped0": "success",
        "mapped1": "success",
        "rescheduled": "success",
        "quorum": "success",
        "attendee_declines": "failed",
        "enough_attendees": "success",
        "not_a_meeting": "failed",
        "leak_by_accident": "success",
    }
    states = states_of(airflow, "waits", run_id)
    different = {name: states.get(name) for name in wanted if states.get(name) != wanted[name]}
    assert not different, "\n".join(airflow.task_logs(f"task_id={name.rstrip('01')}") for name in different)
    # What a rescheduled task knows lies in the state store, which came with 3.3.
    remembering = {"declined_later", "rescheduled"} if AIRFLOW >= "3.3" else {"declined_later"}
    for name in remembering:
        assert "702: not answered -> declined" in airflow.task_logs(f"task_id={name}"), "it knows of the poll before"
    tries = {instance["task_id"]: instance["try_number"] for instance in airflow.task_instances("waits", run_id)}
    assert tries["time_out_with_retries"] == 1, "a time-out is not retried"
    assert airflow.xcom("waits", run_id, "quorum") == {"668": "Q", "681": "Q", "702": "N"}
    assert airflow.xcom("waits", run_id, "attendee_declines") == {"accepted": [], "declined": [1], "silent": []}
    assert airflow.xcom("waits", run_id, "not_a_meeting")["failures"]["1"]["error"] == "NoSuchMeetingError"
    assert "accident: ***" in airflow.task_logs(), "the masker knows the whole URL"
    names = {line.partition(":")[0].removeprefix("company.bitrix24.") for line in statsd.received()}
    # Requests are sent by tasks and by the triggerer, polls by the triggerer alone.
    assert {f"{name}.bitrix24_default" for name in ("requests", "polls", "waits_per_poll")} <= names
    _assert_nowhere(data_server.secret(1), airflow)


def test_tokens(hosts: int, airflow: LocalAirflow, portal: Portal, auth_server: AuthServer) -> None:
    """Workers that meet a expired token at once, and the triggerer, renew it through Airflow's variables."""
    portal.auth_server = auth_server
    portal.expire_tokens()
    expired = False

    def look(states: dict[str, str]) -> None:
        nonlocal expired
        if states.get("answered") == "deferred" and not expired:
            expired = True
            portal.expire_tokens()
        # Three polls at least: one with the expired token, one with what the triggerer has stored.
        if expired and auth_server.issued["refresh_token"] == 2 and portal.status(702, 1) == "Q":
            portal.answer(702, 1, "Y")

    run_id = finish(airflow, "tokens", {}, look)
    assert airflow.run_state("tokens", run_id) == "success", airflow.task_logs("dag_id=tokens")
    assert [portal.status(event_id, 1) for event_id in (668, 681, 689)] == ["Y"] * 3
    assert auth_server.issued == {"refresh_token": 2}
    # One host asks once; of several that ask at the same moment all but one come too late.
    assert set(auth_server.refused) <= (set() if hosts == 1 else {"invalid_grant"})
    logs = airflow.task_logs("dag_id=tokens")
    assert "accident: ***" in logs, "the masker knows the renewed token"
    for pair in auth_server._by_access.values():
        for token in (pair.access, pair.refresh):
            _assert_nowhere(token, airflow)


def _assert_nowhere(secret: str, airflow: LocalAirflow) -> None:
    """Look into the database (XCom, rendered fields, triggers), every task log and every component's output."""
    for path in airflow.home.rglob("*"):
        if path.is_file():
            # Airflow 3.3 repeats what a task prints on the scheduler's own output without its masker, and 3.0 whatever
            # a task asks of it, the values of variables included.
            theirs = (b"accident: ", b"message from task runner") if AIRFLOW.startswith("3.0") else (b"accident: ",)
            lines = [line for line in path.read_bytes().splitlines() if not any(mark in line for mark in theirs)]
            assert secret.encode() not in b"\n".join(lines), path.name
