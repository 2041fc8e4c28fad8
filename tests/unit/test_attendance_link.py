"""The button "Attendance" of tasks: which page it opens, and when there is none."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_b24cal._airflow import HAS_PLUGIN_PAGES
from airflow_provider_b24cal.links.attendance import AttendanceLink
from airflow_provider_b24cal.operators.events import Bitrix24ListEventsOperator
from airflow_provider_b24cal.operators.meeting_status import (
    Bitrix24GetMeetingStatusOperator,
    Bitrix24SetMeetingStatusOperator,
)
from airflow_provider_b24cal.operators.notify import Bitrix24NotifyOperator
from airflow_provider_b24cal.sensors.attendees import Bitrix24AttendeesSensor
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor

PAGE = "/bitrix24/attendance/meetings"
FROM_3_1_1 = pytest.mark.skipif(not HAS_PLUGIN_PAGES, reason="the page exists from Airflow 3.1.1 on")


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__BITRIX24__ATTENDANCE_PAGE_CONN_ID", "warehouse")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com")


def _link(task: Any) -> str:
    return AttendanceLink().get_link(task, ti_key=None)


def _query(task: Any) -> str:
    return _link(task).removeprefix(PAGE)


@FROM_3_1_1
def test_opens_the_page_at_the_meetings_of_the_task() -> None:
    one, many = {"task_id": "one", "event_id": "651"}, {"task_id": "many", "event_ids": [651, "653", 651]}
    for kind in (Bitrix24GetMeetingStatusOperator, Bitrix24MeetingStatusSensor, Bitrix24AttendeesSensor):
        assert _link(kind(**one)) == f"{PAGE}?event_id=651"
        assert _link(kind(**many)) == f"{PAGE}?event_id=651&event_id=653"
    statuses = {"651": "Y", "655": "N"}
    assert _query(Bitrix24SetMeetingStatusOperator(task_id="set", statuses=statuses)) == "?event_id=651&event_id=655"


@FROM_3_1_1
def test_opens_the_whole_page_without_meetings_or_with_very_many() -> None:
    window = {"window_start": "2026-09-14T00:00+00:00", "window_end": "2026-09-21T00:00+00:00"}
    assert _query(Bitrix24ListEventsOperator(task_id="upcoming", statuses=["Q"], **window)) == ""
    assert _query(Bitrix24NotifyOperator(task_id="notify", user_ids=[1], text="Hello")) == ""
    most = Bitrix24GetMeetingStatusOperator(task_id="most", event_ids=range(1, 101))
    assert _query(most).count("event_id=") == 100
    assert _query(Bitrix24GetMeetingStatusOperator(task_id="more", event_ids=range(1, 102))) == ""


@FROM_3_1_1
def test_holds_behind_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.com/airflow/")
    task = Bitrix24GetMeetingStatusOperator(task_id="one", event_id=651)
    assert _link(task) == f"/airflow{PAGE}?event_id=651"


def test_is_empty_without_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _link(Bitrix24GetMeetingStatusOperator(task_id="one", event_id="651&x=<script>")) == ""
    monkeypatch.delenv("AIRFLOW__BITRIX24__ATTENDANCE_PAGE_CONN_ID")
    task = Bitrix24GetMeetingStatusOperator(task_id="one", event_id=651)
    assert _link(task) == ""
    names = [link.name for link in task.operator_extra_links]
    assert names == ["Open in Bitrix24", "Attendance"][: 2 if HAS_PLUGIN_PAGES else 1]
