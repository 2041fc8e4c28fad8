"""What the hook returns, on its way from one task to the next through Airflow's own XCom."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import pytest

from airflow_provider_b24cal.bitrix24.calendar.window import Window
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.portal_data import ACCEPTED, FOREIGN, SILENT

try:
    SERDE: Any = import_module("airflow.sdk.serde")
except ImportError:  # before 3.2
    SERDE = import_module("airflow.serialization.serde")

SEPTEMBER = Window(datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))


def _passed_on(value: Any) -> Any:
    """Return what the next task is given."""
    return SERDE.deserialize(json.loads(json.dumps(SERDE.serialize(value))))


RESULTS: dict[str, tuple[Callable[[Bitrix24CalendarHook], Any], Any]] = {
    "change": (
        lambda hook: hook.set_meeting_status(SILENT, "Y"),
        {"event_id": SILENT, "wanted": "Y", "previous": "Q", "current": "Y", "error": None, "changed": True},
    ),
    "failed change": (
        lambda hook: hook.set_meeting_statuses({FOREIGN: "Y"})[FOREIGN],
        {"event_id": FOREIGN, "wanted": "Y", "previous": None, "current": None, "changed": False},
    ),
    "outcome": (lambda hook: hook.get_meeting_statuses([ACCEPTED])[ACCEPTED], {"value": "Y", "error": None}),
    "failed outcome": (lambda hook: hook.get_meeting_statuses([FOREIGN])[FOREIGN], {"value": None}),
    "outcome of a batch": (
        lambda hook: hook.batch([("calendar.event.getbyid", {"id": SILENT})])[0],
        {"error": None},
    ),
    "event": (
        lambda hook: hook.get_event(SILENT),
        {"id": SILENT, "name": "Budget", "start": "2026-09-16T10:00:00+00:00", "status": "H"},
    ),
    "listed event": (lambda hook: hook.list_events(SEPTEMBER)[0], {"all_day": False, "calendar_type": "user"}),
    "attendee": (lambda hook: (hook.get_event(SILENT).attendees or ())[0], {"user_id": 2, "status": "H"}),
    "busy": (lambda hook: hook.get_accessibility([1], SEPTEMBER)[1][0], {"all_day": False, "kind": "busy"}),
    "section": (lambda hook: hook.list_sections()[0], {"id": 11, "name": "My calendar", "owner_id": 1}),
    "profile": (lambda hook: hook.whoami(), {"user_id": 1, "name": "Anna Orlova"}),
}


@pytest.mark.parametrize("name", RESULTS)
def test_the_plain_form_is_passed_on_as_it_is(name: str, hook: Bitrix24CalendarHook) -> None:
    ask, part = RESULTS[name]
    plain = ask(hook).to_dict()
    assert {key: plain[key] for key in part} == part
    assert _passed_on(plain) == plain


@pytest.mark.parametrize("name", RESULTS)
def test_an_object_fails_the_task_that_returns_it_and_not_the_next(name: str, hook: Bitrix24CalendarHook) -> None:
    result = RESULTS[name][0](hook)
    for returned in (result, [result], {SILENT: result}):
        with pytest.raises(TypeError, match=rf"task result {type(result).__name__}: .* Return its to_dict\(\)"):
            SERDE.serialize(returned)


def test_errors_are_plain_within(hook: Bitrix24CalendarHook) -> None:
    (change,) = hook.set_meeting_statuses({FOREIGN: "Y"}).values()
    assert _passed_on(change.to_dict())["error"]["class"] == "NotInvitedError"


def test_attendees_are_plain_within(hook: Bitrix24CalendarHook) -> None:
    attendees = _passed_on(hook.get_event(SILENT).to_dict())["attendees"]
    assert {one["user_id"]: one["status"] for one in attendees} == {1: "Q", 2: "H", 3: "Q"}


@pytest.mark.parametrize(
    ("ask", "given"),
    [
        (lambda hook: hook.get_meeting_status(SILENT), "Q"),
        (lambda hook: hook.get_event(SILENT).status, "H"),
        (lambda hook: hook.scopes(), ("calendar",)),
        (lambda hook: hook.call("calendar.meeting.status.get", {"eventId": SILENT}, writes=False), "Q"),
    ],
)
def test_what_can_be_returned_as_it_is(ask: Callable[[Bitrix24CalendarHook], Any], given: Any, hook: Any) -> None:
    assert _passed_on(ask(hook)) == given
