"""The log of an operator, as a person reads it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_b24cal.operators.events import Bitrix24ListEventsOperator
from airflow_provider_b24cal.operators.meeting_status import (
    Bitrix24GetMeetingStatusOperator,
    Bitrix24SetMeetingStatusOperator,
)
from airflow_provider_b24cal.operators.task_log import as_table
from tests.portal_data import ACCEPTED, FOREIGN, MANY, SILENT
from tests.sensor_runner import Lines


def _reported(operator: Any) -> list[str]:
    lines = Lines()
    # The logger is a property, another one in each version of Airflow.
    kind = type(operator)
    operator.__class__ = type(kind.__name__, (kind,), {"log": property(lambda _: lines)})
    operator.execute({"ti": SimpleNamespace(xcom_push=lambda key, value: None)})
    # Airflow 3 says that this is no task runner.
    return [line for line in lines.lines if "outside" not in line]


@pytest.fixture
def acting(server: Any, connection: str) -> str:
    return f"Acting as user 1 on {server.url}"


def test_one_meeting(acting: str) -> None:
    set_one = {"task_id": "t", "event_id": SILENT, "status": "Y"}
    assert _reported(Bitrix24SetMeetingStatusOperator(**set_one)) == [
        acting, f"Event {SILENT}, wanted accepted: not answered -> accepted, set, verified",
    ]  # fmt: skip
    assert _reported(Bitrix24SetMeetingStatusOperator(**set_one)) == [
        acting, f"Event {SILENT}, wanted accepted: unchanged",
    ]  # fmt: skip
    assert _reported(Bitrix24GetMeetingStatusOperator(task_id="t", event_id=SILENT)) == [
        acting, f"Event {SILENT}: accepted",
    ]  # fmt: skip


def test_whom_a_token_acts_as_is_not_asked_for(server: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line in the log is worth no request, and no failure of one."""
    connection = server.oauth_connection_json(1, token_store=f"file:{tmp_path}")
    monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", connection)
    server.portal.plan({"method": "profile", "error": "ACCESS_DENIED", "times": 9})
    reported = _reported(Bitrix24GetMeetingStatusOperator(task_id="t", event_id=SILENT))
    assert reported == [f"Acting as the user of the access token on {server.url}", f"Event {SILENT}: not answered"]
    assert server.portal.counters.requests == 1


def test_several_meetings_are_a_folded_table(acting: str) -> None:
    operator = Bitrix24SetMeetingStatusOperator(
        task_id="t", event_ids=[SILENT, ACCEPTED, FOREIGN], status="Y", fail_on="none"
    )
    reported = _reported(operator)
    assert reported[:-2] == [
        acting,
        "3 meetings: 1 changed, 1 unchanged, 1 failed",
        "::group::Changes (3)",
        "event  wanted    before        outcome",
        "101    accepted  not answered  set, verified",
        "102    accepted  accepted      unchanged",
        "105    accepted  -             NotInvitedError",
        "::endgroup::",
    ]
    assert reported[-2].startswith("Event 105: ")


def test_a_table_has_an_end(acting: str) -> None:
    reported = _reported(Bitrix24GetMeetingStatusOperator(task_id="t", event_ids=list(MANY)))
    assert reported[2] == "::group::Statuses (120)"
    assert reported[-2:] == ["... and 20 more", "::endgroup::"]
    assert len(reported) == 2 + 1 + 1 + 100 + 2


def test_events(acting: str) -> None:
    window = {"window_start": "2026-09-16T00:00:00Z", "window_end": "2026-09-17T00:00:00Z"}
    reported = _reported(Bitrix24ListEventsOperator(task_id="t", **window, statuses=["H"]))
    assert reported[0] == acting
    assert reported[2:4] == ["::group::Events (1)", "event  start              status     name"]
    assert reported[4].split() == ["104", "2026-09-16", reported[4].split()[2], "organiser", "My", "own"]


def test_a_name_cannot_break_the_table() -> None:
    assert as_table(("a", "b"), [("x\n::endgroup::\x1b[31m", "y" * 99)]) == [
        "a                    b",
        "x ::endgroup:: [31m  " + "y" * 57 + "...",
    ]
