"""``@task.bitrix24_statuses``: what is refused. What it does in a DAG, a real run shows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_b24cal._airflow import AirflowFailException

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow import DAG

from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.decorators.statuses import Bitrix24StatusesDecoratedOperator, bitrix24_statuses_task
from tests.portal_data import ACCEPTED, FOREIGN, SILENT


def _task(decide: Callable[..., Any], **more: Any) -> Any:
    return Bitrix24StatusesDecoratedOperator(task_id="decide", python_callable=decide, **more)


def _nothing() -> dict[int, str]:
    return {}


def _context(**more: Any) -> dict[str, Any]:
    return {"ti": SimpleNamespace(xcom_push=lambda key, value: None), **more}


@pytest.mark.parametrize(
    ("returned", "reported"),
    [
        (None, r"Invalid return value of decide None: expected a mapping such as \{651: \"Y\"\}"),
        ("Y", "Invalid return value of decide 'Y': expected a mapping"),
        ([(651, "Y")], r"Invalid return value of decide \[\(651, 'Y'\)\]: expected"),
        ({"651abc": "Y"}, "Invalid return value of decide '651abc': expected a positive whole number"),
        ({0: "Y"}, "Invalid return value of decide 0"),
        ({651: "H"}, r"Invalid return value of decide 'H': expected Y \(accepted\)"),
        ({651: None}, "Invalid return value of decide None: expected Y"),
        ({651: "Y", "651": "N"}, "Invalid return value of decide: expected one status for event 651; got two"),
    ],
)
def test_what_it_returns_is_checked_before_anything_is_sent(
    returned: Any, reported: str, connection: str, portal: Portal
) -> None:
    def decide() -> Any:
        return returned

    with pytest.raises(errors.InvalidArgumentError, match=reported):
        _task(decide).execute(_context())
    with pytest.raises(AirflowFailException, match=reported):
        _task(decide, retry_permanent_errors=False).execute(_context())
    count: Any = portal.count()
    assert count["requests"] == 0


def test_what_it_raises_is_not_touched(connection: str) -> None:
    def decide() -> Any:
        raise LookupError("of the user's own")

    with pytest.raises(LookupError, match="of the user's own"):
        _task(decide).execute(_context())


def test_arguments_and_context(connection: str, portal: Portal) -> None:
    def decide(first: int, letter: str, params: dict[str, int]) -> dict[int, str]:
        return {first: letter, params["second"]: "n"}

    task = _task(decide, op_args=[SILENT], op_kwargs={"letter": "y"})
    outcome = task.execute(_context(params={"second": ACCEPTED}))
    assert outcome["statuses"] == {str(SILENT): "Y", str(ACCEPTED): "N"}
    assert task.statuses == {str(SILENT): "Y", str(ACCEPTED): "N"}, "shown as the rendered field"
    assert portal.status(SILENT, 1) == "Y"


def test_nothing_to_set_is_a_success(connection: str, portal: Portal) -> None:
    assert _task(_nothing).execute(_context())["total"] == 0


def test_failures_are_judged_as_by_the_operator(connection: str) -> None:
    def decide() -> dict[int, str]:
        return {FOREIGN: "Y", SILENT: "Y"}

    with pytest.raises(errors.MeetingsFailedError):
        _task(decide).execute(_context())
    assert _task(decide, fail_on="all").execute(_context())["failed"] == 1


@pytest.mark.parametrize("name", ["event_id", "event_ids", "statuses", "status"])
def test_what_to_set_comes_from_the_function_alone(name: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=rf"@task\.bitrix24_statuses takes no {name}"):
        _task(_nothing, **{name: "Y"})
    with pytest.raises(errors.InvalidArgumentError, match=rf"@task\.bitrix24_statuses takes no {name}"):
        bitrix24_statuses_task(**{name: "Y"})(_nothing)


async def _asynchronous(event_id: int = SILENT) -> dict[int, str]:
    return {event_id: "Y"}


async def _asynchronous_generator() -> AsyncIterator[dict[int, str]]:
    yield {SILENT: "Y"}


def _generator() -> Iterator[tuple[int, str]]:
    yield SILENT, "Y"


class _Asynchronous:
    async def __call__(self) -> dict[int, str]:
        return {SILENT: "Y"}

    async def decide(self) -> dict[int, str]:
        return {SILENT: "Y"}


@pytest.mark.parametrize(
    "decide",
    [
        _asynchronous,
        _asynchronous_generator,
        _generator,
        partial(_asynchronous, SILENT),
        partial(partial(_asynchronous), event_id=SILENT),
        _Asynchronous(),
        partial(_Asynchronous()),
        _Asynchronous().decide,
    ],
    ids=lambda decide: type(decide).__name__,
)
@pytest.mark.parametrize("decorate", [_task, bitrix24_statuses_task, bitrix24_statuses_task(fail_on="none")])
def test_a_function_that_returns_no_statuses_is_refused_when_parsed(
    decorate: Callable[..., Any], decide: Callable[..., Any]
) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=r"Invalid python_callable \w+: .* Use def and return"):
        decorate(decide)


class _Decide:
    def __call__(self, event_id: int = SILENT) -> dict[int, str]:
        return {event_id: "Y"}


@pytest.mark.parametrize("decide", [_Decide(), partial(_Decide(), SILENT), partial(lambda: {SILENT: "Y"})])
def test_a_callable_without_a_name(decide: Callable[..., Any], connection: str) -> None:
    assert _task(decide).execute(_context())["statuses"] == {str(SILENT): "Y"}


@pytest.mark.parametrize("mapped", [False, True])
def test_default_args_of_other_tasks_are_ignored(mapped: bool, connection: str, portal: Portal) -> None:
    """A DAG may hold them for its set operators."""
    defaults = {"status": "N", "event_id": 1, "event_ids": [1], "statuses": {1: "N"}, "fail_on": "all"}
    with DAG("defaults", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), default_args=defaults) as dag:

        @bitrix24_statuses_task
        def decide(event: int) -> dict[int, str]:
            return {event: "Y", FOREIGN: "Y"}

        decide.expand(event=[SILENT]) if mapped else decide(SILENT)
    (task,) = dag.tasks
    operator: Any = task.unmap({"op_kwargs": {"event": SILENT}}) if mapped else task
    outcome = operator.execute(_context())
    assert (outcome["statuses"], outcome["failed"]) == ({str(SILENT): "Y"}, 1)
    assert portal.status(SILENT, 1) == "Y"


def test_default_args_of_the_task_itself_are_ignored_too(connection: str) -> None:
    assert _task(_nothing, default_args={"status": "N", "event_id": 1}).execute(_context())["total"] == 0
