"""The protocol of a Bitrix24 portal: requests, replies and their meaning.

DAG authors import from here, whatever module a name is defined in: values, and every error class. Each name is loaded
when it is first used, so that parsing a DAG file stays fast.

Everything below is pure. No module here opens a socket, reads a clock, draws a random number, writes a log line or
imports Airflow; ``tests/contract/test_architecture.py`` checks that.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from airflow_provider_b24cal.bitrix24.calendar.accessibility import BusyPeriod as BusyPeriod
    from airflow_provider_b24cal.bitrix24.calendar.events import Attendee as Attendee
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent as CalendarEvent
    from airflow_provider_b24cal.bitrix24.calendar.methods import Profile as Profile
    from airflow_provider_b24cal.bitrix24.calendar.sections import Section as Section
    from airflow_provider_b24cal.bitrix24.calendar.set_status import Change as Change
    from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus as MeetingStatus
    from airflow_provider_b24cal.bitrix24.calendar.window import Window as Window
    from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome as Outcome
    from airflow_provider_b24cal.bitrix24.protocol.errors import *  # noqa: F403
    from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy as RetryPolicy

_HOMES: Final = {
    "Attendee": "calendar.events",
    "BusyPeriod": "calendar.accessibility",
    "CalendarEvent": "calendar.events",
    "Change": "calendar.set_status",
    "MeetingStatus": "calendar.status",
    "Outcome": "protocol.batch",
    "Permanence": "protocol.errors",
    "Profile": "calendar.methods",
    "RetryPolicy": "protocol.limits",
    "Section": "calendar.sections",
    "Window": "calendar.window",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name, "protocol.errors" if name.endswith("Error") else None)
    found = None if home is None else getattr(import_module(f"{__name__}.{home}"), name, None)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found


def __dir__() -> list[str]:
    errors = import_module(f"{__name__}.protocol.errors")
    return sorted({*globals(), *_HOMES, *errors.CLASSES})
