"""What must hold for any readings of any portal, one after another."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_b24cal.attendance.models import Snapshot
from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent, UnreadableRow
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from tests.attendance_tables import (
    CALENDARS,
    FIRST,
    HOUR,
    WINDOWS,
    Clock,
    Tables,
    answers,
    make_event,
    portals,
    shown_answers,
)


@given(portals(), portals(), st.permutations(WINDOWS), st.permutations(WINDOWS))
def test_the_order_of_windows_does_not_matter(
    before: dict[str, list[CalendarEvent]], after: dict[str, list[CalendarEvent]], one: list[Window], two: list[Window]
) -> None:
    results = []
    for order in (one, two):
        clock, tables = Clock(), Tables()
        for portal in (before, after):
            for window in order:
                tables.sync(clock.read_all(portal, window))
        results.append(tables.truth())
    assert results[0] == results[1]


@given(portals(), st.lists(st.sampled_from([(w, c) for w in range(3) for c in range(3)]), min_size=9, unique=True))
def test_calendars_synced_one_by_one_in_any_order_give_the_same_tables(
    portal: dict[str, list[CalendarEvent]], order: list[tuple[int, int]]
) -> None:
    clock, tables, whole = Clock(), Tables(), Tables()
    for window in WINDOWS:
        whole.sync(clock.read_all(portal, window))
    for window_number, calendar_number in order:
        tables.sync(clock.read_all(portal, WINDOWS[window_number], [CALENDARS[calendar_number]]))
    assert tables.truth() == whole.truth()


@given(portals(), portals())
def test_again_changes_nothing(before: dict[str, list[CalendarEvent]], after: dict[str, list[CalendarEvent]]) -> None:
    clock, tables = Clock(), Tables()
    for portal in (before, after):
        for window in WINDOWS:
            snapshot = clock.read_all(portal, window)
            tables.sync(snapshot)
            stored, changes = deepcopy(tables.stored), dict(tables.changes)
            tables.sync(snapshot)
            assert (tables.stored, tables.changes) == (stored, changes), "as of a retry"
    truth = tables.truth()
    for window in WINDOWS:
        again = tables.sync(clock.read_all(after, window))
        assert set(+again.counts) <= {"unchanged", "unknown"}
        assert not again.changes
    assert tables.truth() == truth


@given(portals(), portals(), st.data())
def test_what_cannot_be_read_does_not_vanish(
    before: dict[str, list[CalendarEvent]], after: dict[str, list[CalendarEvent]], data: st.DataObject
) -> None:
    """Nor does anything else of a calendar in which a row of no known meeting is shown."""
    clock, tables, (window, *_) = Clock(), Tables(), WINDOWS
    tables.sync(clock.read(before, window))
    snapshot, kept, lost = clock.read(after, window), [], []
    for calendar, event in snapshot.seen:
        (lost if data.draw(st.booleans()) else kept).append((calendar, event))
    rows = [
        (calendar, UnreadableRow(None, None if data.draw(st.booleans()) else event.parent_id, None, "wrong"))
        for calendar, event in lost
    ]
    there = {key: row for key, row in tables.stored.meetings.items() if row.vanished_at is None}
    difference = tables.sync(replace(snapshot, seen=tuple(kept), unreadable=tuple(rows)))
    moved = {event.parent_id for _, event in kept if not event.is_recurring}
    partly = {calendar for calendar, row in rows if row.parent_id is None}
    for row in difference.meetings:
        if row.vanished_at is not None and row.parent_id not in moved:
            assert there[row.key].calendar not in partly
            assert row.parent_id not in {one.parent_id for _, one in rows}
    # Once all of it can be read again, the tables are those of a reading that could read all of it at once.
    whole = Tables()
    for portal in (before, after):
        whole.sync(clock.read(portal, window))
    tables.sync(clock.read(after, window))
    assert tables.now() == whole.now()


@given(portals(), portals())
def test_unknown_is_never_nobody(before: dict[str, list[CalendarEvent]], after: dict[str, list[CalendarEvent]]) -> None:
    clock, tables = Clock(), Tables()
    masked = {
        name: [make_event(e.parent_id, round((e.start - FIRST) / HOUR), None, series=e.is_recurring) for e in events]
        for name, events in after.items()
    }
    for window in WINDOWS:
        tables.sync(clock.read_all(before, window))
    known = {key: dict(rows) for key, rows in tables.stored.attendances.items()}
    for window in WINDOWS:
        difference = tables.sync(clock.read_all(masked, window))
        assert not difference.changes
    shown = {(event.parent_id, event.start) for events in masked.values() for event in events}
    origins = {(key[0], row.moved_to): key for key, row in tables.stored.meetings.items() if row.moved_to}
    for key in shown:
        row, origin = tables.stored.meetings[key], origins.get(key, key)
        assert row.vanished_at is None
        assert (row.total, row.share) == (None, None) or key in known
        kept = {user: (*one[3:5], one.vanished_at) for user, one in tables.stored.attendances.get(key, {}).items()}
        expected = {user: (*one[3:5], None) for user, one in known.get(origin, {}).items()}
        assert kept == expected, "what was known is kept as it was"


@given(answers, answers, answers)
def test_the_history_leads_from_one_to_the_next(
    one: dict[int, MeetingStatus], two: dict[int, MeetingStatus], three: dict[int, MeetingStatus]
) -> None:
    clock, tables = Clock(), Tables()
    reported = one
    tables.sync(clock.read_all({"user:1": [make_event(7, 5, one, series=False)]}, WINDOWS[0], ["user:1"]))
    for following in (two, three, two):
        snapshot = clock.read_all({"user:1": [make_event(7, 5, following, series=False)]}, WINDOWS[0], ["user:1"])
        changes = tables.sync(snapshot).changes
        replayed = {user: status.value for user, status in reported.items()}
        for change in changes:
            assert replayed.get(change.user_id) == change.old_status
            assert change.old_seen_at < change.new_seen_at == snapshot.read_at
            if change.new_status is None:
                del replayed[change.user_id]
            else:
                replayed[change.user_id] = change.new_status
        assert replayed == {user: status.value for user, status in following.items()}
        reported = following


# One or two meetings and few hours, so that the same are met again and again.
few = st.sampled_from([1, 1, 2]).flatmap(lambda most: portals(parents=most, hours=st.sampled_from([5, 5, 47, 100])))
some_calendars = st.sets(st.sampled_from(CALENDARS), min_size=1).map(sorted)
glances = st.lists(st.tuples(st.sampled_from([WINDOWS[0], *WINDOWS]), some_calendars), min_size=1, max_size=3)
histories = st.lists(st.tuples(few, glances), min_size=1, max_size=6)
rounds = st.permutations([(window, [name]) for window in WINDOWS for name in CALENDARS])


def _glance(clock: Clock, history: Iterable[tuple[Any, Any]]) -> list[Snapshot]:
    """Return readings of a portal that changes meanwhile: now of these calendars, now of those."""
    return [clock.read_all(portal, window, names) for portal, seen in history for window, names in seen]


@given(histories, st.lists(rounds, min_size=2, max_size=2))
def test_whatever_came_before_the_tables_come_to_what_is_shown(
    history: list[tuple[Any, Any]], last_rounds: list[Any]
) -> None:
    clock, tables = Clock(), Tables()
    for snapshot in _glance(clock, history):
        tables.sync(snapshot)
        starts = [key[0] for key, row in tables.stored.meetings.items() if not row.vanished_at and not row.is_recurring]
        assert len(starts) == len(set(starts)), "what is no series takes place once"
    whole = Tables()
    whole.stored = deepcopy(tables.stored)
    portal = history[-1][0]
    shown = shown_answers(event for events in portal.values() for event in events)
    for window in WINDOWS:
        whole.sync(clock.read_all(portal, window))
    assert whole.now() == shown, "one reading of everything"
    for window, names in (glance for one in last_rounds for glance in one):
        tables.sync(clock.read_all(portal, window, names))
    assert tables.now() == shown, "each calendar for itself, twice"


@settings(max_examples=300)
@given(histories)
def test_changes_are_true_and_none_is_lost(history: list[tuple[Any, Any]]) -> None:
    clock, tables = Clock(), Tables()
    # Answers to each occurrence, and the time of the reading that has shown them last.
    known: dict[Any, tuple[datetime, dict[int, str]]] = {}
    for snapshot in _glance(clock, history):
        difference = tables.sync(snapshot)
        origins = {(row.parent_id, row.moved_to): row.key for row in difference.meetings if row.moved_to}
        shown = shown_answers(event for _, event in snapshot.seen)
        for row in difference.meetings:
            key, changes = row.key, [one for one in difference.changes if (one[0], one[1]) == row.key]
            seen_at, replayed = known.get(origins.get(key, key), (None, {}))
            if row.vanished_at is not None or row.total is None:
                assert not changes
                if row.vanished_at is None and seen_at is not None:
                    known[key] = seen_at, replayed
                continue
            now = tables.now()[key]
            assert now == shown.get(key, now)
            replayed = dict(replayed)
            for change in changes:
                assert (change.old_seen_at, change.new_seen_at) == (seen_at, snapshot.read_at)
                assert replayed.get(change.user_id) == change.old_status
                if change.new_status is None:
                    del replayed[change.user_id]
                else:
                    replayed[change.user_id] = change.new_status
            assert seen_at is None or replayed == now
            known[key] = snapshot.read_at, now
    assert {(change.parent_id, change.occurrence_start) for change in tables.changes.values()} <= known.keys()
