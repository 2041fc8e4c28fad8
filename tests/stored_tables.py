"""Meetings, snapshots and stores, for tests of the tables in real databases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection, Engine

from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
from airflow_provider_b24cal.attendance.io.tables import TableNames, Tables
from airflow_provider_b24cal.attendance.models import Person, Snapshot
from airflow_provider_b24cal.attendance.reconcile import Diff, reconcile
from airflow_provider_b24cal.bitrix24.calendar.events import Attendee, CalendarEvent
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.calendar.window import Window

DAY = timedelta(days=1)
FIRST = datetime(2026, 9, 1, tzinfo=UTC)
SEPTEMBER = Window(FIRST, FIRST + 30 * DAY)
NOON = datetime(2026, 10, 1, 12, 0, 0, 123456, tzinfo=UTC)
PORTAL = "example.bitrix24.com"


def make_store(engine: Engine, names: TableNames | None = None, portal: str = PORTAL) -> AttendanceStore:
    return AttendanceStore(engine, names or TableNames(), portal, people_names=True, crm_links=True)


def own_id(parent: int, user_id: int) -> int:
    """Return the id that a meeting has in the calendar of somebody who is invited."""
    return parent * 1000 + user_id


def make_meeting(parent: int, start: datetime, answers: str | None = "YNQ", **more: Any) -> CalendarEvent:
    attendees = None
    if answers is not None:
        given = enumerate(map(MeetingStatus, answers), 10)
        guests = (Attendee(user_id, status, own_id(parent, user_id)) for user_id, status in given)
        attendees = (Attendee(1, MeetingStatus("H"), parent), *guests)
    values: dict[str, Any] = {
        "id": parent, "parent_id": parent, "name": "Plan 🗓 'x'", "start": start, "end": start + timedelta(hours=1),
        "zone": "Europe/Berlin", "all_day": False, "calendar_type": "user", "owner_id": 1, "host_id": 1,
        "is_meeting": True, "is_recurring": False, "status": MeetingStatus("H"), "attendees": attendees, **more,
    }  # fmt: skip
    return CalendarEvent(**values)


def make_snapshot(hours: float, *events: CalendarEvent, window: Window | None = SEPTEMBER) -> Snapshot:
    at = NOON + timedelta(hours=hours)
    seen = tuple(("user:1", event) for event in events)
    return Snapshot(at + timedelta(seconds=1), seen, frozenset({"user:1"}) if window else frozenset(), window)


def write(store: AttendanceStore, snapshot: Snapshot, people: Sequence[Person] = ()) -> Diff:
    with store.lock() as session:
        return write_to(store, session, snapshot, people)


def write_to(store: AttendanceStore, session: Connection, snapshot: Snapshot, people: Sequence[Person] = ()) -> Diff:
    """Write a snapshot by a session that holds the lock."""
    stored = store.load(session, snapshot)
    difference = reconcile(stored, snapshot)
    store.write(session, stored, difference, snapshot.read_at, people)
    return difference


def read_rows(store: AttendanceStore) -> Tables:
    """Return the rows of each table, in the order of their keys."""
    with store.engine.connect() as connection:
        return Tables(
            *(list(connection.execute(table.select().order_by(*table.primary_key))) for table in store.tables)
        )  # type: ignore[arg-type]  # rows in place of tables
