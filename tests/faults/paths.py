"""The five paths, each as Airflow would walk it: a task that is executed, a trigger that is run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal.operators.meeting_status import (
    Bitrix24GetMeetingStatusOperator,
    Bitrix24SetMeetingStatusOperator,
)
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor
from airflow_provider_b24cal.triggers.attendance import Bitrix24AttendanceTrigger
from tests.clock import Clock
from tests.portal_data import MANY, NOTIFYING, SILENT

PAIR = list(MANY[:2])
"""The meetings that the deferred sensor waits for."""


@dataclass
class Ran:
    """What a path has come to.

    :param value: the task's result; ``None`` when it failed.
    :param error: why it failed.
    :param pushed: what it pushed to XCom besides.
    :param tasks: the operators and sensors executed.
    :param travelled: what went between worker, database and triggerer.
    """

    value: Any = None
    error: BaseException | None = None
    pushed: dict[str, Any] = field(default_factory=dict)
    tasks: list[Any] = field(default_factory=list)
    travelled: list[Any] = field(default_factory=list)


def walk(path: str, clock: Clock, portal: Portal, strike: Callable[[], None]) -> Ran:
    """Walk a path.

    :param strike: brings the fault about; called as late as the path's own requests begin.
    """
    ran = Ran()
    first = clock.utcnow()
    ti = SimpleNamespace(
        xcom_push=lambda key, value: ran.pushed.update({key: value}), get_first_reschedule_date=lambda _: first
    )
    context = {"ti": ti}
    try:
        if path == "wait":
            ran.value = _wait(ran, context, clock, portal, strike)
        else:
            strike()
            task = _TASKS[path]()
            ran.tasks.append(task)
            ran.value = task.execute(context)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the end to judge
        ran.error = error
    return ran


def set_one() -> Any:
    """Return the task that sets one status."""
    return Bitrix24SetMeetingStatusOperator(task_id="set", event_id=NOTIFYING, status="Y")


_TASKS: dict[str, Callable[[], Any]] = {
    "get": lambda: Bitrix24GetMeetingStatusOperator(task_id="get", event_id=SILENT),
    "set": set_one,
    "many": lambda: Bitrix24GetMeetingStatusOperator(task_id="many", event_ids=list(MANY)),
    "poke": lambda: Bitrix24MeetingStatusSensor(
        task_id="poke", event_id=SILENT, target_status="Q", poke_interval=60, timeout=7200, deferrable=False
    ),
}


def _wait(ran: Ran, context: Any, clock: Clock, portal: Portal, strike: Callable[[], None]) -> Any:
    sensor = Bitrix24MeetingStatusSensor(
        task_id="wait", event_ids=PAIR, poke_interval=60, timeout=7200, deferrable=True
    )
    ran.tasks.append(sensor)
    deferred: Any = None
    try:
        sensor.execute(context)
    except BaseException as signal:  # noqa: BLE001 - Airflow's versions have it in different places
        deferred = signal
    assert type(deferred).__name__ == "TaskDeferred", deferred
    for event_id in PAIR:
        portal.answer(event_id, 1, "Y")
    # As after a restart of the triggerer, so that the first wait is one for trouble.
    clock.now += 120
    strike()
    path, arguments = deferred.trigger.serialize()
    arguments = json.loads(json.dumps(arguments))
    event = asyncio.run(_event(Bitrix24AttendanceTrigger(**arguments)))
    ran.travelled += [path, arguments, deferred.kwargs, event]
    return sensor.resume_execution(deferred.method_name, {"event": json.loads(json.dumps(event))}, context)


async def _event(trigger: Bitrix24AttendanceTrigger) -> Any:
    (event,) = [event.payload async for event in trigger.run()]
    return event
