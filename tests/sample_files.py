"""The samples: replies in the shape of real ones, with what is asked and what must become of them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent
from airflow_provider_b24cal.bitrix24.calendar.window import Window

SAMPLES = Path(__file__).parent / "samples"


def as_window(call: dict[str, Any]) -> Window:
    """Return the window that a call asks for."""
    return Window(*map(datetime.fromisoformat, call["window"]))


def shown_event(event: CalendarEvent, expected: dict[str, Any]) -> dict[str, Any]:
    """Return of an event what is expected of one, as JSON."""
    people = {name: getattr(event, name) for name in ("attendees", "guests")}
    letters = {
        name: None if some is None else {str(one.user_id): one.status.value for one in some}
        for name, some in people.items()
    }
    times = {name: getattr(event, name).isoformat() for name in ("start", "end")}
    return {name: {**letters, **times}.get(name, getattr(event, name)) for name in expected}
