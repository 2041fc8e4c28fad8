"""What the example DAGs decide, on fixed data and a fixed day; that they run is shown in a real Airflow."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("airflow.sdk", reason="the examples are written for Airflow 3")

import airflow.sdk
from airflow.exceptions import AirflowException
from airflow.sdk import DAG
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.seed import default_seed_data
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.operators.notify import Bitrix24NotifyOperator
from dev import demo

EXAMPLES = Path(__file__).parents[2] / "dags_examples"
RUN = SimpleNamespace(run_after=datetime(2026, 9, 15, 9, tzinfo=UTC))


def _at(day: int, hour: int, **more: Any) -> dict[str, Any]:
    times = {"start": f"2026-09-{day}T{hour:02}:00", "end": f"2026-09-{day}T{hour + 1:02}:00"}
    return {"time_zone": "UTC", "host": 2, **times, **more}


def _seed_data() -> object:
    me, accepted = {"user": 1}, {"user": 1, "status": "Y"}
    whole = {"host": 2, "all_day": True, "start": "2026-09-17", "end": "2026-09-17"}
    return {
        "people": [
            {"id": 1, "name": "Anna", "webhook": {"secret": "annaC0de00000000", "scopes": ["calendar", "im"]}},
            {"id": 2, "name": "Martin"},
            {"id": 3, "name": "Irina"},
        ],
        "events": [
            {"id": 10, "name": "Taken", **_at(17, 10), "attendees": [accepted]},
            {"id": 20, "name": "At the same time", **_at(17, 10), "attendees": [{**me, "id": 21}]},
            {"id": 30, "name": "Right after", **_at(17, 11), "attendees": [me]},
            {"id": 40, "name": "Fair", **whole, "attendees": [me]},
            {"id": 50, "name": "Holiday", **whole, "attendees": [accepted]},
            {"id": 60, "name": "Series", **_at(17, 10), "attendees": [me],
             "repeat": {"frequency": "DAILY", "count": 3}},
            {"id": 70, "name": "Declined already", **_at(17, 10), "attendees": [{"user": 1, "status": "N"}]},
            {"id": 80, "name": "Beside what is only invited", **_at(18, 14), "attendees": [me]},
            {"id": 90, "name": "Invited too", **_at(18, 14), "attendees": [me]},
            {"id": 100, "name": "Own", **_at(18, 16, host=1), "attendees": [{"user": 3, "status": "Y"}]},
            {"id": 110, "name": "Collides with mine", **_at(18, 16), "attendees": [{**me, "id": 111}]},
            {"id": 150, "name": "Takes no time", **_at(18, 18), "accessibility": "free", "attendees": [accepted]},
            {"id": 160, "name": "Beside it", **_at(18, 18), "attendees": [me]},
            {"id": 120, "name": "Sync", **_at(16, 10, host=1), "attendees": [{"user": 2}, {"user": 3, "status": "N"}]},
            {"id": 130, "name": "Sync", **_at(16, 12, host=1), "attendees": [{"user": 3}]},
            {"id": 170, "name": "Team", **_at(18, 8), "attendees": [{**me, "id": 171}, {"user": 3}]},
            {"id": 140, "name": "All have answered", **_at(16, 14, host=1), "attendees": [{"user": 3, "status": "Y"}]},
        ],
    }  # fmt: skip


@pytest.fixture(scope="module")
def serving() -> Iterator[SandboxServer]:
    with SandboxServer(Portal(parse(_seed_data()))) as server:
        yield server


@pytest.fixture(autouse=True)
def fixed_portal(serving: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    serving.renew()
    monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", serving.connection_json(1))


def _operator(dag_id: str, task_id: str) -> Any:
    return _dag(dag_id).get_task(task_id)


def _task(dag_id: str, task_id: str) -> Any:
    return _operator(dag_id, task_id).python_callable


def _dag(dag_id: str) -> Any:
    return _module(dag_id).dag


def _module(name: str) -> Any:
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("wrong", ["651abc", "0", "-1", " "])
def test_the_form_refuses_an_id_in_words(wrong: str) -> None:
    """Airflow shows the whole text of the refusal in the form."""
    ids = _dag("answer_from_the_form").params.get_param("event_ids")
    assert ids.resolve(["668", "", "681"]) == ["668", "", "681"]
    # Before 3.3 it is no ValueError.
    with pytest.raises(AirflowException, match="'the number of a meeting, such as 668' was expected") as refused:
        ids.resolve(["668", wrong])
    assert f"On instance[1]:\n    {wrong!r}" in str(refused.value)
    assert "[0-9]" not in str(refused.value), "no regular expression"
    with pytest.raises(AirflowException, match="does not contain"):
        ids.resolve(["", ""])


def test_what_collides_with_an_accepted_meeting_is_declined() -> None:
    assert _task("decline_what_collides", "collisions")(dag_run=RUN) == {"21": "N", "111": "N"}


def test_the_meetings_of_a_team_are_those_that_all_of_it_is_invited_to() -> None:
    assert _task("wait_for_the_team", "meetings_of_the_team")(dag_run=RUN) == [171]


def _meeting(event_id: int, accepted: int | None, declined: int | None, name: str = "Budget") -> dict[str, Any]:
    start = "2026-09-16T08:00:00+00:00"
    return {"event_id": event_id, "name": name, "start": start, "accepted": accepted, "declined": declined}


def test_answers_are_proposed_where_the_others_agree() -> None:
    propose = _module("approve_the_answers").propose.function
    hostile = "<b>x</b> | [y](https://example.com)\n| 1 |"
    found = propose(
        [_meeting(1, 2, 0, hostile), _meeting(2, 0, 1), _meeting(3, 1, 1), _meeting(4, 0, 0), _meeting(5, None, None),
         _meeting(1, 0, 3)]
    )  # fmt: skip
    assert found["answers"] == {"1": "Y", "2": "N"}
    assert found["summary"] == "accept 1, decline 1"
    _, _, first, second = found["table"].splitlines()
    assert "| accept |" in first
    assert re.findall(r"(?<!\\)\|", first) == ["|"] * 7, "a name makes no cells"
    assert not re.search(r"(?<!\\)[<>\[\]()]", first), "nor markup"
    assert second == "| 2 | Budget | 2026-09-16 08:00 | 0 | 1 | decline |"
    assert propose([_meeting(3, 1, 1)]) is None


def test_only_what_is_approved_is_set() -> None:
    approved = _module("approve_the_answers").approved.function
    proposal = {"answers": {"1": "Y", "2": "N"}}
    assert approved(proposal, {"params_input": {}}) == {"1": "Y", "2": "N"}
    assert approved(proposal, {"params_input": {"strike_out": [" 2", ""]}}) == {"1": "Y"}
    assert approved(proposal, {"params_input": {"strike_out": ["1", "2"]}}) == {}
    with pytest.raises(ValueError, match=re.escape("Invalid strike_out ['21']: expected ids of the table.")):
        approved(proposal, {"params_input": {"strike_out": ["21"]}})


def test_without_human_in_the_loop_the_approval_has_no_dag(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Airflow 3.0, where the file is read without an error."""
    monkeypatch.setitem(sys.modules, "airflow.providers.standard.operators.hitl", None)
    assert not [value for value in vars(_module("approve_the_answers")).values() if isinstance(value, DAG)]


def _inbox(serving: SandboxServer) -> list[tuple[int, str]]:
    return [(one.user_id, one.text) for one in serving.portal.notifications()]


def test_the_silent_are_reminded_a_day_before(serving: SandboxServer) -> None:
    """A run that is repeated, or cleared in part, replaces what it has sent."""
    for _ in range(2):
        reminders = _task("remind_the_silent", "silent")(dag_run=RUN)
        for reminder in reversed(reminders):
            Bitrix24NotifyOperator(task_id="remind", **reminder).execute({})
    assert sorted(_inbox(serving)) == [
        (2, "Please answer: Sync, 16.09. 10:00 UTC"), (3, "Please answer: Sync, 16.09. 12:00 UTC"),
    ]  # fmt: skip
    assert serving.portal.inbox.sent == 4


def test_the_demo_has_the_database_of_the_examples(
    serving: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("airflow.providers.sqlite")
    if not hasattr(airflow.sdk, "CronDataIntervalTimetable"):
        pytest.skip("the example takes its timetable from the SDK of Airflow 3.2 and later")
    for name, value in demo.connections(serving, tmp_path).items():
        monkeypatch.setenv(name, value)
    sync = _operator("sync_company_calendar", "sync")
    sync.window_start, sync.window_end = "2026-09-14T00:00:00+00:00", "2026-09-28T00:00:00+00:00"
    sync.execute({})
    path = str(tmp_path / "reports" / "attendance.html")
    assert _task("attendance_report", "draw")(params={"path": path, "time_zone": "Europe/Berlin"}) == path
    page = Path(path).read_text("utf-8")
    assert "Europe/Berlin" in page
    assert "127.0.0.1" in page, "the portal"


@pytest.mark.parametrize("weekday", range(7))
def test_the_demo_waits_for_a_meeting_of_next_week(weekday: int) -> None:
    today = date(2026, 11, 23) + timedelta(days=weekday)
    with SandboxServer(Portal(default_seed_data(today=today))) as server:
        found = demo.awaited_meeting(server, datetime(today.year, today.month, today.day, 12, tzinfo=UTC))
        assert date(2026, 11, 30) <= server.portal.book.events[found].starts.date() < date(2026, 12, 7)
        assert server.portal.status(found, demo.ME) == "Q"
