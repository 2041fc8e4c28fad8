"""``@task.bitrix24_statuses``: what is refused. What it does in a DAG, a real run shows."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_b24cal._airflow import AirflowFailException
from airflow_provider_b24cal.bitrix24 import errors
from airflow_provider_b24cal.decorators.statuses import Bitrix24StatusesDecoratedOperator
from airflow_provider_b24cal.sandbox.portal import Portal
from tests.conftest import ACCEPTED, FOREIGN, SILENT


def _task(decide: Callable[..., Any], **more: Any) -> Any:
    return Bitrix24StatusesDecoratedOperator(task_id="decide", python_callable=decide, **more)


def _nothing() -> dict[int, str]:
    return {}


def _context(**more: Any) -> dict[str, Any]:
    return {"ti": SimpleNamespace(xcom_push=lambda key, value: None), **more}


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (None, r"The return value of decide=None is not acceptable; accepted is a mapping such as \{651: \"Y\"\}"),
        ("Y", "The return value of decide='Y' is not acceptable"),
        ([(651, "Y")], r"The return value of decide=\[\(651, 'Y'\)\] is not acceptable"),
        ({"651abc": "Y"}, "The return value of decide='651abc' is not acceptable; accepted is a positive whole number"),
        ({0: "Y"}, "The return value of decide=0 is not acceptable"),
        ({651: "H"}, r"The return value of decide='H' is not acceptable; accepted is Y \(accepted\)"),
        ({651: None}, "The return value of decide=None is not acceptable; accepted is Y"),
        ({651: "Y", "651": "N"}, "The return value of decide gives event 651 two different statuses"),
    ],
)
def test_what_it_returns_is_checked_before_anything_is_sent(
    returned: Any, told: str, connection: str, portal: Portal
) -> None:
    def decide() -> Any:
        return returned

    with pytest.raises(errors.InvalidArgumentError, match=told):
        _task(decide).execute(_context())
    with pytest.raises(AirflowFailException, match=told):
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
