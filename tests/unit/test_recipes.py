"""The recipes of the documentation that are no DAGs; it shows what stands between the marks."""

from __future__ import annotations

# [START howto_test_without_a_portal]
from collections.abc import Iterator

import pytest

from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator
from airflow_provider_b24cal.sandbox.portal import Portal
from airflow_provider_b24cal.sandbox.server import SandboxServer


@pytest.fixture
def office(monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    with SandboxServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", server.connection_json(1))
        yield server.portal


def test_my_task_accepts(office: Portal) -> None:
    Bitrix24SetMeetingStatusOperator(task_id="accept", event_id=668, status="Y").execute({})
    assert office.status(668, 1) == "Y"


# [END howto_test_without_a_portal]


def test_outcomes(office: Portal) -> None:
    office.answer(681, 1, "N")
    # [START howto_outcomes]
    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

    with Bitrix24CalendarHook() as hook:
        outcomes = hook.get_meeting_statuses([668, 681, 999_999])
    silent = [event_id for event_id, outcome in outcomes.items() if outcome.value == "Q"]
    wrong = {event_id: str(outcome.error) for event_id, outcome in outcomes.items() if not outcome.ok}
    # [END howto_outcomes]
    assert silent == [668]
    assert list(wrong) == [999_999]
    assert "no such meeting" in wrong[999_999]
