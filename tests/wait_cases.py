"""Waits as tables of cases: what happens meanwhile, and how they end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal

from tests.clock import Clock
from tests.sensor_runner import context_of, run_sensor


@dataclass(frozen=True)
class Wait:
    """A wait, what happens meanwhile, and its end.

    :param wanted: the XCom, or the class of the exception.
    :param answers: who answers which event and how, after so many seconds.
    :param left: the XCom that a wait leaves that did not arrive.
    :param says: a part of the error's text.
    """

    name: str
    wanted: Any
    arguments: dict[str, Any] = field(default_factory=dict)
    answers: tuple[tuple[float, int, int, str], ...] = ()
    faults: tuple[dict[str, Any], ...] = ()
    later_faults: tuple[tuple[float, dict[str, Any]], ...] = ()
    left: Any = None
    says: str = ""


def how(mode: str) -> dict[str, Any]:
    """Return a sensor's arguments for a mode."""
    return {"deferrable": True} if mode == "deferrable" else {"mode": mode, "deferrable": False}


def check(wait: Wait, sensor: Any, portal: Portal, clock: Clock) -> None:
    """Run a wait, and check its end."""
    for seconds, event_id, user_id, letter in wait.answers:
        clock.later(seconds, lambda event=event_id, user=user_id, letter=letter: portal.answer(event, user, letter))
    portal.plan(*wait.faults)
    for seconds, fault in wait.later_faults:
        clock.later(seconds, lambda fault=fault: portal.plan(fault))
    context = context_of(clock)
    if not isinstance(wait.wanted, type):
        assert run_sensor(sensor, clock, [], context) == wait.wanted
        return
    with pytest.raises(wait.wanted) as caught:
        run_sensor(sensor, clock, [], context)
    assert type(caught.value) is wait.wanted
    assert wait.says in str(caught.value)
    if wait.left is not None:
        assert context["pushed"]["return_value"] == wait.left
