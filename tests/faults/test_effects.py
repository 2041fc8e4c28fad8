"""Nothing is lost and nothing happens twice, whatever fault the first try of a task had."""

from __future__ import annotations

from typing import Any

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator
from tests.faults.paths import set_one
from tests.faults.player import LocalAirflow, Player
from tests.faults.table import FAULTS, SET, Fault
from tests.portal_data import MANY, NOTIFYING, portal_data

STRUCK = [fault for fault in FAULTS if "set" in fault.cells]


class Silent:
    """Stands for a task instance that nobody looks at."""

    def xcom_push(self, key: str, value: Any) -> None:
        """Forget it."""


def _execute(task: Any) -> Any:
    return task.execute({"ti": Silent()})


@pytest.mark.parametrize("fault", STRUCK, ids=[fault.name for fault in STRUCK])
def test_a_retry_and_a_cleared_task_tell_the_organiser_no_more(fault: Fault, play: Player, stage: LocalAirflow) -> None:
    play(fault, "set")
    stage.heal()
    retried, cleared = _execute(set_one()), _execute(set_one())
    assert retried["statuses"] == cleared["statuses"] == {str(NOTIFYING): "Y"}
    assert (cleared["changed"], cleared["unchanged"]) == (0, 1)
    assert stage.portal.status(NOTIFYING, 1) == "Y"
    assert stage.portal.count()["notifications"] == {str(NOTIFYING): {"accepted": 1}}


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A portal whose every meeting notifies its organiser."""
    people: Any = portal_data()
    for event in people["events"]:
        event["notify"] = True
    with SandboxServer(Portal(parse(people))) as server:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", server.connection_json(1))
        yield server.portal


@pytest.mark.parametrize(
    "rules",
    [
        [{"method": "batch", "drop": "after", "times": 5}],
        [{"method": "batch", "corruption": "half", "times": 3}, {"method": "*", "drop": "before", "times": 2}],
        [{"method": "batch", "body": "", "http_status": 504, "when": "after", "times": 999}],
        [{"inner": SET, "error": "INTERNAL_SERVER_ERROR", "times": 40}],
        [
            {"inner": SET, "error": "QUERY_LIMIT_EXCEEDED", "times": 40},
            {"method": "batch", "corruption": "cut", "times": 4},
        ],
    ],
    ids=["lost answers", "halves", "nothing but 504", "faults inside", "refusals inside"],
)
def test_many_sets_with_lost_answers_are_made_once_each(rules: Any, crowd: Portal, stage: LocalAirflow) -> None:
    """One task, retried until it is well, and cleared afterwards."""
    task = Bitrix24SetMeetingStatusOperator(task_id="set", event_ids=list(MANY), status="Y", fail_on="none")
    crowd.plan(*rules)
    _execute(task)
    crowd.forget_faults()
    for _ in range(2):
        assert _execute(task)["failed"] == 0
    assert {crowd.status(event_id, 1) for event_id in MANY} == {"Y"}
    assert crowd.count()["notifications"] == {str(event_id): {"accepted": 1} for event_id in MANY}
