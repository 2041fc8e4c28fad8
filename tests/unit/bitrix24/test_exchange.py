"""Exchanges over a list of answers: what is repeated, what is not, and what the pace learns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from airflow_provider_b24cal.bitrix24.auth.credentials import Endpoint, Secret, Webhook
from airflow_provider_b24cal.bitrix24.calendar.methods import get_status
from airflow_provider_b24cal.bitrix24.calendar.set_status import change_statuses
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol.errors import TransportError
from airflow_provider_b24cal.bitrix24.protocol.exchange import (
    Blocking,
    ExchangeContext,
    Pause,
    RateLimited,
    Send,
    Steps,
    run_calls,
)
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply
from tests.contexts import context_for

LIMIT = {"error": "QUERY_LIMIT_EXCEEDED", "error_description": ""}
SPENT = {"error": "OPERATION_TIME_LIMIT", "error_description": ""}
ODD = {"error": "ERROR_CORE", "error_description": ""}

Answer = Callable[[dict[str, str]], Any]
"""Makes of a batch's commands the answer's body, or the transport's error."""


def _terms() -> ExchangeContext:
    endpoint = Endpoint("https://example.bitrix24.com", Webhook("1", Secret("c0dec0dec0de")))
    return context_for(endpoint)


def _run(steps: Steps[Any], answers: list[Answer]) -> tuple[list[str], Any]:
    """Run an exchange of batches; return the names of its steps and its result. The last answer stays."""
    names: list[str] = []
    rest: Iterator[Answer] = iter([*answers, *[answers[-1]] * 20])
    step = next(steps)
    try:
        while True:
            names.append(type(step).__name__)
            if isinstance(step, Send):
                answer = next(rest)(json.loads(step.request.body)["cmd"])
                if isinstance(answer, Exception):
                    step = steps.throw(answer)
                else:
                    step = steps.send(Reply(503 if "error" in answer else 200, json.dumps(answer).encode()))
            elif isinstance(step, Blocking):
                step = steps.send(step.function())
            else:
                assert isinstance(step, Pause | RateLimited)
                step = steps.send(None)
    except StopIteration as end:
        return names, end.value


def _each(letter: str, **failing: dict[str, str]) -> Answer:
    """Answer every reading with a letter and confirm every set, but for the failing commands; ``c0`` is the first."""

    def answer(commands: dict[str, str]) -> Any:
        failed = {key: failing[name] for number, key in enumerate(commands) if (name := f"c{number}") in failing}
        values = {key: True if "status.set" in text else letter for key, text in commands.items() if key not in failed}
        return {"result": {"result": values, "result_error": failed, "result_time": []}}

    return answer


def _all_fail(error: dict[str, str]) -> Answer:
    return lambda commands: {
        "result": {"result": {}, "result_error": dict.fromkeys(commands, error), "result_time": []}
    }


def _set(count: int) -> Steps[Any]:
    return change_statuses([(number, MeetingStatus.ACCEPTED) for number in range(1, count + 1)], _terms())


def test_a_refused_request_corrects_the_pace_whether_it_reads_or_writes() -> None:
    reading = run_calls([get_status(1), get_status(2)], _terms())
    names, _ = _run(reading, [lambda _: LIMIT, _each("Q")])
    assert names == ["Send", "RateLimited", "Pause", "Send"]
    names, changes = _run(_set(2), [_each("Q"), lambda _: LIMIT, _each("Y")])
    assert names == ["Send", "Send", "RateLimited", "Pause", "Send"]
    assert [change.error for change in changes] == [None, None]


def test_a_refusal_inside_an_answer_corrects_the_pace() -> None:
    names, _ = _run(run_calls([get_status(1), get_status(2)], _terms()), [_each("Q", c1=LIMIT), _each("Q")])
    assert names == ["Send", "RateLimited", "Pause", "Send"]


def test_what_takes_too_long_ends_the_retries_for_itself_only() -> None:
    """Of fifty sets, the first half has used up its operating time for ten minutes, the others lose their answer."""
    lost = TransportError("lost", method="batch")
    names, changes = _run(_set(50), [_each("Q"), _all_fail(SPENT), lambda _: lost, _each("Y")])
    assert names == ["Send", "Send", "Blocking", "Send", "Pause", "Send"]
    assert [type(change.error).__name__ for change in changes[:25]] == ["OperatingLimitError"] * 25
    assert [change.current for change in changes[25:]] == ["Y"] * 25
    assert not any(change.error for change in changes[25:])


def test_few_attempts_of_one_call_are_not_those_of_the_others() -> None:
    """The portal's own fault is asked about twice at most, a refusal eight times."""
    both = _each("Q", c0=ODD, c1=LIMIT)
    names, outcomes = _run(
        run_calls([get_status(1), get_status(2)], _terms()), [both, both, _each("Q", c0=LIMIT), _each("Q")]
    )
    assert names.count("Send") == 4
    assert type(outcomes[0].error).__name__ == "PortalError"
    assert outcomes[1].value == "Q"
