"""Tables of attendance and Airflow's settings, for tests of the page that shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import create_engine

from airflow_provider_b24cal.attendance.models import Person, Snapshot
from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from tests.stored_tables import DAY, make_meeting, make_store, write

HOSTILE = "<img src=x onerror=document.title='hit'>"
HOSTILE_PERSON = "</summary><script>document.title='hit'</script>"
GUESTS = {10: "Martin Weiß", 11: "Irina Petrova", 12: HOSTILE_PERSON, 13: "Dora O'Neil"}
PATH = "/bitrix24/attendance"


def this_monday() -> datetime:
    """Return the beginning of the current week."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - today.weekday() * DAY


def fill_tables(file: Path, read_at: datetime | None = None) -> None:
    """Fill the tables of a new SQLite database: meetings of last, this and next week, and one change of an answer.

    :param read_at: time of the last of two syncs; default now.
    """
    monday, at = this_monday(), read_at or datetime.now(UTC)
    store = make_store(create_engine(f"sqlite:///{file}"))
    store.prepare(create=True)
    people = [Person(user_id, name, at) for user_id, name in {1: "Anna Becker", **GUESTS}.items()]
    for hours, budget in ((-48, "YQNQ"), (0, "YYNQ")):
        events = [
            make_meeting(650, monday - 6 * DAY + timedelta(hours=9), "YYNQ", name="Retrospective"),
            make_meeting(651, monday + timedelta(hours=9), "YNQQ", name="Planning"),
            _with_own_id(make_meeting(668, monday + 8 * DAY, "QQ", name=HOSTILE), 670),
            make_meeting(653, monday + 9 * DAY, budget, name="Budget & forecast"),
            make_meeting(654, monday + 10 * DAY, None, name="Hidden"),
        ]
        seen = tuple(("user:1", event) for event in events)
        window = Window(monday - 14 * DAY, monday + 28 * DAY)
        snapshot = Snapshot(at + timedelta(hours=hours), seen, frozenset({"user:1"}), window)
        write(store, snapshot, people)
    store.engine.dispose()


def _with_own_id(event: CalendarEvent, own_id: int) -> CalendarEvent:
    """Return an event with the id that the sandbox has for it in the calendar of somebody who is invited."""
    assert event.attendees is not None
    host, first, *others = event.attendees
    return replace(event, attendees=(host, replace(first, row_id=own_id), *others))


def page_settings(file: Path) -> dict[str, str]:
    """Return the environment of an Airflow that shows the page of a SQLite database to ``admin``, not to ``viewer``."""
    return {
        "AIRFLOW__BITRIX24__ATTENDANCE_PAGE_CONN_ID": "attendance_db",
        "AIRFLOW_CONN_ATTENDANCE_DB": json.dumps({"conn_type": "sqlite", "host": str(file)}),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer",
    }
