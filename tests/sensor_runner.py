"""What Airflow does with a sensor, on a clock that needs no waiting."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from airflow_provider_b24cal.sensors.base import Bitrix24WaitSensor
from airflow_provider_b24cal.triggers.attendance import Bitrix24AttendanceTrigger
from tests.clock import Clock

MODES = ("poke", "reschedule", "deferrable")


class Lines:
    """A logger that keeps what it is reported."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def _keep(self, message: str, *values: object) -> None:
        self.lines.append(message % values if values else message)

    debug = info = warning = error = _keep


def context_of(clock: Clock) -> dict[str, Any]:
    """Return what Airflow passes to a task, as far as sensors look at it."""
    started = clock.utcnow()

    pushed: dict[str, Any] = {}

    class Store(dict[str, Any]):
        def set(self, key: str, value: Any) -> None:
            self[key] = json.loads(json.dumps(value))

    class TaskInstance(SimpleNamespace):
        try_number = 1

        def xcom_push(self, key: str, value: Any) -> None:
            pushed[key] = value

        def get_first_reschedule_date(self, context: object) -> datetime:
            return started

    # What Airflow 2.11 looks at before it reschedules.
    known = {"dag_id": "dag", "task_id": "wait", "run_id": "run", "map_index": -1, "max_tries": 0}
    return {"ti": TaskInstance(**known), "pushed": pushed, "task_state_store": Store()}


def run_sensor(
    sensor: Bitrix24WaitSensor, clock: Clock, deferrals: list[Any], context: dict[str, Any] | None = None
) -> Any:
    """Do what Airflow's task runner, scheduler and triggerer do with a sensor."""
    context = context or context_of(clock)
    while True:
        try:
            return sensor.execute(context)
        except BaseException as signal:
            kind = type(signal).__name__
            if kind == "AirflowRescheduleException":
                clock.sleep(signal.reschedule_date.timestamp() - clock.now)
            elif kind == "TaskDeferred":
                deferrals.append(signal)
                path, arguments = signal.trigger.serialize()
                assert path == "airflow_provider_b24cal.triggers.attendance.Bitrix24AttendanceTrigger"
                (event,) = asyncio.run(_events(Bitrix24AttendanceTrigger(**arguments)))
                return sensor.resume_execution(signal.method_name, {"event": event}, context)
            else:
                raise


async def _events(trigger: Bitrix24AttendanceTrigger) -> list[Any]:
    return [event.payload async for event in trigger.run()]
