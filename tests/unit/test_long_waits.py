"""Waits whose times are longer than any calendar: bounded, in every mode."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal._airflow import AirflowSensorTimeout
from airflow_provider_b24cal.sensors.attendees import Bitrix24AttendeesSensor
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor
from tests.clock import Clock
from tests.portal_data import SILENT
from tests.sensor_runner import MODES, run_sensor

HUGE = [timedelta.max, 1e12, 2_000_000_000, timedelta(days=365_000)]
# Airflow's times on MySQL end in January 2038.
FOUR_YEARS = 4 * 366 * 86_400.0
LATEST = timedelta(seconds=FOUR_YEARS + 900)


def _how(mode: str) -> dict[str, Any]:
    return {"deferrable": True} if mode == "deferrable" else {"mode": mode, "deferrable": False}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("huge", HUGE, ids=str)
@pytest.mark.parametrize(
    "names",
    [
        ["timeout"],
        ["timeout", "poke_interval"],
        ["timeout", "execution_timeout"],
        ["timeout", "max_wait", "exponential_backoff"],
        ["timeout", "poke_interval", "max_wait", "exponential_backoff"],
    ],
    ids=" ".join,
)
def test_huge_times(
    names: list[str], huge: Any, mode: str, connection: str, portal: Portal, airflow_clock: Clock
) -> None:
    values: dict[str, Any] = dict.fromkeys(names, huge) | {"exponential_backoff": "exponential_backoff" in names}
    if "execution_timeout" in names and not isinstance(huge, timedelta):
        values["execution_timeout"] = timedelta(seconds=huge)
    sensor = Bitrix24MeetingStatusSensor(task_id="wait", event_id=SILENT, **_how(mode), **values)
    airflow_clock.later(130, lambda: portal.answer(SILENT, 1, "Y"))
    deferrals: list[Any] = []
    assert run_sensor(sensor, airflow_clock, deferrals) == {str(SILENT): "Y"}
    assert all(timedelta() < deferral.timeout <= LATEST for deferral in deferrals)
    assert all(airflow_clock.utcnow() + deferral.timeout for deferral in deferrals), "a date that exists"


def test_a_deferral_ends_after_four_years(connection: str, airflow_clock: Clock) -> None:
    sensor = Bitrix24MeetingStatusSensor(
        task_id="wait", event_id=SILENT, deferrable=True, timeout=timedelta.max, poke_interval=timedelta(days=300)
    )
    started = airflow_clock.now
    with pytest.raises(AirflowSensorTimeout):
        run_sensor(sensor, airflow_clock, [])
    assert FOUR_YEARS <= airflow_clock.now - started < FOUR_YEARS + 60


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("before", [-1e300, 1e300, timedelta.max, timedelta.min], ids=str)
def test_a_huge_deadline(before: Any, mode: str, connection: str, portal: Portal, airflow_clock: Clock) -> None:
    """One before the epoch has passed; one after all times bounds nothing."""
    sensor = Bitrix24AttendeesSensor(
        task_id="wait", event_id=SILENT, users=[1], deadline_before_start=before, timeout=timedelta.max, **_how(mode)
    )
    airflow_clock.later(130, lambda: portal.answer(SILENT, 1, "Y"))
    passed = before in (1e300, timedelta.max)
    if passed:
        with pytest.raises(AirflowSensorTimeout, match="deadline before the event's start"):
            run_sensor(sensor, airflow_clock, [])
    else:
        assert run_sensor(sensor, airflow_clock, [])["accepted"] == [1]
