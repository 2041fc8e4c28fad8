"""The judgement."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome
from airflow_provider_b24cal.bitrix24.protocol.errors import Permanence
from airflow_provider_b24cal.waiting.conditions import MeetingsCondition
from airflow_provider_b24cal.waiting.evaluate import Rule, State, evaluate
from airflow_provider_b24cal.waiting.schedule import interval
from airflow_provider_b24cal.waiting.trigger_event import ResultKind, WaitResult, result_from_event

PASSING = errors.RateLimitError("slow down")
LASTING = errors.CredentialsError("no")


def _judge(*answers: Any, rule: Rule | None = None) -> Any:
    outcomes = {
        number: Outcome(error=answer) if isinstance(answer, Exception) else Outcome(MeetingStatus(answer))
        for number, answer in enumerate(answers, 1)
    }
    return evaluate(outcomes, rule or Rule())


@pytest.mark.parametrize(
    ("answers", "state", "error"),
    [
        (["Y"], State.ARRIVED, None),
        (["Q"], State.WAITING, None),
        (["N"], State.WAITING, None),
        (["M"], State.WAITING, None),
        (["H"], State.UNREACHABLE, errors.OrganiserError),
        ([LASTING], State.UNREACHABLE, errors.CredentialsError),
        ([PASSING], State.WAITING, None),
        (["Y", "Y"], State.ARRIVED, None),
        (["Y", "Q"], State.WAITING, None),
        (["Y", "H"], State.UNREACHABLE, errors.OrganiserError),
        (["Y", PASSING], State.WAITING, None),
        ([PASSING, LASTING], State.UNREACHABLE, errors.CredentialsError),
    ],
)
def test_judge(answers: list[Any], state: State, error: type[Exception] | None) -> None:
    verdict = _judge(*answers)
    assert verdict.state is state
    assert type(verdict.error) is (error or type(None))
    assert (verdict.transient_error is PASSING) == (PASSING in answers and state is not State.UNREACHABLE)


def test_a_status_to_fail_on() -> None:
    verdict = _judge("N", rule=Rule(fail_on=frozenset({MeetingStatus.DECLINED})))
    assert verdict.state is State.UNREACHABLE
    assert verdict.error.event_id == 1


@pytest.mark.parametrize(
    "end",
    [
        WaitResult(ResultKind.ARRIVED, {651: MeetingStatus.ACCEPTED}),
        WaitResult(ResultKind.TIMED_OUT, {651: MeetingStatus.NOT_ANSWERED}),
        WaitResult(ResultKind.FAILED, {}, errors.NotInvitedError("no", event_id=651, permanence=Permanence.PERMANENT)),
    ],
)
def test_an_end_travels_as_json(end: WaitResult) -> None:
    again = result_from_event(json.loads(json.dumps(end.to_event())))
    assert (again.ending, again.statuses, str(again.error)) == (end.ending, end.statuses, str(end.error))


def test_interval() -> None:
    assert [interval(60, n, exponential_backoff=False, max_wait=None) for n in (0, 5)] == [60, 60]
    assert interval(60, 0, exponential_backoff=False, max_wait=10) == 60
    assert [interval(60, n, exponential_backoff=True, max_wait=100) for n in (0, 1)] == [60, 100]
    assert interval(60, 10**6, exponential_backoff=True, max_wait=None) == 4 * 366 * 86_400
    assert interval(0, 0, exponential_backoff=True, max_wait=0) == 1


def test_letters_too_many_for_xcom_are_counted() -> None:
    wait = MeetingsCondition(tuple(range(1, 10_001)), Rule())
    assert wait.xcom(dict.fromkeys(wait.event_ids, MeetingStatus.ACCEPTED)) == {"counts": {"Y": 10_000}}
    assert wait.xcom({1: MeetingStatus.ACCEPTED}) == {"1": "Y"}
