"""Which failures are repeated: Airflow's own policy where there are policies, an exception of its own elsewhere."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_b24cal._airflow import HAS_RETRY_POLICIES, AirflowFailException
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.operators.events import Bitrix24ListEventsOperator
from airflow_provider_b24cal.operators.meeting_status import (
    Bitrix24GetMeetingStatusOperator,
    Bitrix24SetMeetingStatusOperator,
)
from airflow_provider_b24cal.retry_policy import Bitrix24RetryPolicy
from tests.portal_data import FOREIGN

needs_policies = pytest.mark.skipif(not HAS_RETRY_POLICIES, reason="retry policies came with Airflow 3.3")


@needs_policies
@pytest.mark.parametrize(
    ("error", "try_number", "action", "seconds"),
    [
        (errors.NotInvitedError("no"), 1, "fail", None),
        (errors.CredentialsError("no", retry_after=5), 1, "fail", None),
        (errors.OperatingLimitError("no", retry_after=600), 1, "retry", 600),
        (errors.OperatingLimitError("no", retry_after=7200), 9, "retry", 7200),
        (errors.MeetingsFailedError("no", permanence=errors.Permanence.AMBIGUOUS, retry_after=90), 1, "retry", 90),
        (errors.ConnectError("no"), 1, "retry", 30),
        (errors.ConnectError("no"), 3, "retry", 120),
        (errors.TransportError("no"), 99_999, "retry", 1800),
        (errors.PortalError("no", permanence=errors.Permanence.TRANSIENT), 0, "retry", 30),
        (ValueError("not ours"), 1, "default", None),
    ],
    ids=repr,
)
def test_decisions(error: Exception, try_number: int, action: str, seconds: float | None) -> None:
    decision = Bitrix24RetryPolicy().evaluate(error, try_number, 10)
    assert decision.action.value == action
    assert decision.retry_delay == (None if seconds is None else timedelta(seconds=seconds))


@needs_policies
def test_the_policy_is_taken_by_tasks_and_survives_serialization() -> None:
    policy = Bitrix24RetryPolicy(first_delay=5, longest_delay=60)
    task = Bitrix24GetMeetingStatusOperator(task_id="get", event_id=1, retries=2, retry_policy=policy)
    assert task.retry_policy is policy
    again = Bitrix24RetryPolicy.deserialize(policy.serialize())
    assert (again.first_delay, again.longest_delay) == (5, 60)


@needs_policies
@pytest.mark.parametrize("delay", ["30", 0, -1, True, None, float("nan"), float("inf"), 10**9])
@pytest.mark.parametrize("argument", ["first_delay", "longest_delay"])
def test_delays_are_checked_where_the_dag_is_read(argument: str, delay: Any) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=f"{argument} .*: expected a number from 1 to 2,592,000"):
        Bitrix24RetryPolicy(**{argument: delay})


@pytest.mark.skipif(HAS_RETRY_POLICIES, reason="this Airflow has retry policies")
def test_an_old_airflow_says_what_to_use() -> None:
    with pytest.raises(RuntimeError, match=r"Airflow 3\.3.*retry_permanent_errors=False"):
        Bitrix24RetryPolicy()


class Silent:
    """Stands for a task instance."""

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed = {key: value}


@pytest.mark.parametrize(
    ("operator", "reported"),
    [
        (Bitrix24SetMeetingStatusOperator(task_id="t", event_id=FOREIGN, status="Y"), "NotInvitedError: "),
        (
            Bitrix24SetMeetingStatusOperator(task_id="t", event_id="x", status="Y"),
            "InvalidArgumentError: Invalid event_id 'x'",
        ),
        (Bitrix24SetMeetingStatusOperator(task_id="t", statuses={FOREIGN: "Y", 1: "Y"}), "MeetingsFailedError: 2 of 2"),
        (Bitrix24GetMeetingStatusOperator(task_id="t", event_id=FOREIGN), "NotInvitedError: "),
        (
            Bitrix24ListEventsOperator(task_id="t", window_start="no", window_end="no"),
            "InvalidArgumentError: Invalid window_start",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_permanent_errors_end_the_task_if_reported_so(operator: Any, reported: str, connection: str) -> None:
    with pytest.raises(errors.Bitrix24Error):
        operator.execute({"ti": Silent()})
    operator.retry_permanent_errors = False
    with pytest.raises(AirflowFailException, match=reported):
        operator.execute({"ti": Silent()})


def test_errors_in_passing_are_still_repeated(connection: str, portal: Any, clock: Any) -> None:
    portal.plan({"method": "*", "times": 99, "error": "CONNECTION_ERROR", "http_status": 401})
    operator = Bitrix24GetMeetingStatusOperator(task_id="t", event_id=FOREIGN, retry_permanent_errors=False)
    with pytest.raises(errors.AuthServerError):
        operator.execute({"ti": Silent()})
