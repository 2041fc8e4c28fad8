"""What must hold for any readings of any portal, in any order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import count, pairwise, permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_b24cal.attendance.calendars import PART, parts, whole_days
from airflow_provider_b24cal.attendance.models import AttendanceChange, CompletedRead, Snapshot
from airflow_provider_b24cal.attendance.reconcile import Diff, Stored, reconcile
from airflow_provider_b24cal.bitrix24.calendar.events import Attendee, CalendarEvent, UnreadableRow
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from tests.property.test_events import windows

FIRST = datetime(2026, 9, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
HOST = 1
WINDOWS = [Window(FIRST + day * DAY, FIRST + (day + 2) * DAY) for day in (0, 2, 4)]
CALENDARS = ("company_calendar", "user:1", "user:2")

letters = st.sampled_from("YNQ").map(MeetingStatus)
answers = st.dictionaries(st.integers(2, 5), letters, max_size=3)


def _event(
    parent: int, hour: int, given: dict[int, MeetingStatus] | None, *, series: bool, hosted: bool = True
) -> CalendarEvent:
    invited = [Attendee(user, status) for user, status in (given or {}).items()]
    host = [Attendee(HOST, MeetingStatus.ORGANISER)] if hosted else []
    attendees = None if given is None else (*host, *invited)
    start = FIRST + hour * HOUR
    return CalendarEvent(
        id=parent, parent_id=parent, name=f"Meeting {parent}", start=start, end=start + HOUR, zone="Europe/Berlin",
        all_day=False, calendar_type="user", owner_id=HOST, host_id=HOST, is_meeting=True, is_recurring=series,
        status=MeetingStatus.ORGANISER, attendees=attendees,
    )  # fmt: skip


any_hour = st.integers(0, 143)


@st.composite
def portals(draw: st.DrawFn, parents: int = 6, hours: Any = any_hour) -> dict[str, list[CalendarEvent]]:
    """Return what each calendar shows: the same meetings, here and there masked or missing."""
    shown: dict[str, list[CalendarEvent]] = {name: [] for name in CALENDARS}
    for parent in draw(st.sets(st.integers(1, parents), max_size=4)):
        series = draw(st.booleans())
        given_answers = draw(answers)
        # Who calls a meeting of a group need not come to it.
        hosted = not given_answers or draw(st.booleans())
        for hour in draw(st.sets(hours, min_size=1, max_size=3 if series else 1)):
            for name in CALENDARS:
                view = draw(st.sampled_from(["open", "open", "masked", "missing"]))
                if view != "missing":
                    hidden = view == "masked"
                    visible = None if hidden else given_answers
                    shown[name].append(_event(parent, hour, visible, series=series, hosted=hosted))
    return shown


class Tables:
    """The tables, in memory."""

    def __init__(self) -> None:
        self.reads: list[CompletedRead] = []
        self.stored = Stored({}, {}, self.reads)
        self.changes: dict[Any, AttendanceChange] = {}

    def write(self, difference: Diff) -> Diff:
        for row in difference.meetings:
            self.stored.meetings[row.key] = row  # type: ignore[index]
        for answer in difference.attendances:
            self.stored.attendances.setdefault((answer.parent_id, answer.occurrence_start), {})[answer.user_id] = answer  # type: ignore[attr-defined]
        for change in difference.changes:
            key = (*change[:3], change.old_seen_at)
            assert key not in self.changes, "no change is reported twice"
            self.changes[key] = change
        self.reads[:] = [*(old for old in self.reads if old[:3] not in {new[:3] for new in difference.reads}),
                         *difference.reads]  # fmt: skip
        return difference

    def sync(self, snapshot: Snapshot) -> Diff:
        return self.write(reconcile(self.stored, snapshot))

    def truth(self) -> tuple[Any, Any, Any]:
        """Return the tables without the times of our readings, and which of many calendars was the last one read."""
        return (
            {
                key: (*row._replace(calendar="")[2:15], row.vanished_at is None)
                for key, row in self.stored.meetings.items()
            },
            {
                (key, user): (row.status, row.is_host, row.vanished_at is None)
                for key, rows in self.stored.attendances.items()
                for user, row in rows.items()
            },
            sorted((change[:5] for change in self.changes.values()), key=repr),
        )

    def now(self) -> dict[Any, dict[int, str] | None]:
        """Return the answers to what is there now; ``None`` where they are not shown."""
        return {
            key: None if row.total is None else {
                user: answer.status
                for user, answer in self.stored.attendances.get(key, {}).items()
                if answer.vanished_at is None
            }
            for key, row in self.stored.meetings.items()
            if row.vanished_at is None
        }  # fmt: skip


def _shown(events: Iterable[CalendarEvent]) -> dict[Any, dict[int, str] | None]:
    """Return the answers that calendars show of each occurrence; ``None`` where all of them are masked."""
    shown: dict[Any, dict[int, str] | None] = {}
    for event in events:
        key = event.parent_id, event.start
        if event.attendees is None:
            shown.setdefault(key, None)
        else:
            shown[key] = {one.user_id: one.status.value for one in event.attendees}
    return shown


class Clock:
    def __init__(self) -> None:
        self.ticks = count()

    def read(
        self, portal: dict[str, list[CalendarEvent]], window: Window, names: Iterable[str] = CALENDARS
    ) -> Snapshot:
        tick = self.now()
        seen = tuple((name, event) for name in names for event in portal[name] if window.touches(event))
        return Snapshot(tick, tick + MINUTE, seen, frozenset(names), window)

    def now(self) -> datetime:
        """Return the next time."""
        return FIRST + 365 * DAY + next(self.ticks) * 2 * MINUTE


@given(portals(), portals(), st.permutations(WINDOWS), st.permutations(WINDOWS))
def test_the_order_of_windows_does_not_matter(
    before: dict[str, list[CalendarEvent]], after: dict[str, list[CalendarEvent]], one: list[Window], two: list[Window]
) -> None:
    results = []
    for order in (one, two):
        clock, tables = Clock(), Tables()
        for portal in (before, after):
            for window in order:
                tables.sync(clock.read(portal, window))
        results.append(tables.truth())
    assert results[0] == results[1]


@given(portals(), st.lists(st.sampled_from([(w, c) for w in range(3) for c in range(3)]), min_size=9, unique=True))
def test_calendars_synced_one_by_one_in_any_order_give_the_same_tables(
    portal: dict[str, list[CalendarEvent]], order: list[tuple[int, int]]
) -> None:
    clock, tables, whole = Clock(), Tables(), Tables()
    for window in WINDOWS:
        whole.sync(clock.read(portal, window))
    for window_number, calendar_number in order:
        tables.sync(clock.read(portal, WINDOWS[window_number], [CALENDARS[calendar_number]]))
    assert tables.truth() == whole.truth()


@given(portals(), portals())
def test_again_changes_nothing(before: dict[str, list[CalendarEvent]], after: dict[str, list[CalendarEvent]]) -> None:
    clock, tables = Clock(), Tables()
    for portal in (before, after):
        for window in WINDOWS:
            snapshot = clock.read(portal, window)
            tables.sync(snapshot)
            same = reconcile(tables.stored, snapshot)
            assert (same.meetings, same.attendances, same.changes) == ([], [], []), "as of a retry"
    truth = tables.truth()
    for window in WINDOWS:
        again = tables.sync(clock.read(after, window))
        assert set(+again.counts) <= {"unchanged", "unknown"}
        assert not again.changes
    assert tables.truth() == truth


@given(st.lists(portals(), min_size=2, max_size=4), st.randoms())
def test_readings_written_late_do_not_turn_back_the_time(
    states: list[dict[str, list[CalendarEvent]]], chance: Any
) -> None:
    clock, tables, late = Clock(), Tables(), Tables()
    snapshots = [clock.read(portal, WINDOWS[0]) for portal in states]
    for snapshot in snapshots:
        tables.sync(snapshot)
    last = snapshots.pop()
    chance.shuffle(snapshots)
    for snapshot in (last, *snapshots):
        late.sync(snapshot)
    shown: dict[Any, bool] = {}
    for _, event in last.seen:
        key = event.parent_id, event.start
        shown[key] = shown.get(key, False) or event.attendees is not None
    for key, answers_shown in shown.items():
        row = late.stored.meetings[key]
        assert row.last_seen == last.ended
        if answers_shown:
            assert row[6:15] == tables.stored.meetings[key][6:15]
        else:
            # Written in their order, earlier readings may have reported; written late, they tell nothing.
            assert (row.accepted, row.declined, row.silent, row.total) == (None,) * 4


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
    assert not {look.calendar for look in difference.reads} & partly
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
        name: [_event(e.parent_id, round((e.start - FIRST) / HOUR), None, series=e.is_recurring) for e in events]
        for name, events in after.items()
    }
    for window in WINDOWS:
        tables.sync(clock.read(before, window))
    known = {key: dict(rows) for key, rows in tables.stored.attendances.items()}
    for window in WINDOWS:
        difference = tables.sync(clock.read(masked, window))
        assert not difference.changes
    shown = {(event.parent_id, event.start) for events in masked.values() for event in events}
    for key in shown:
        row = tables.stored.meetings[key]
        assert row.vanished_at is None
        assert (row.total, row.share) == (None, None) or key in known
        assert tables.stored.attendances.get(key, {}) == known.get(key, {}), "what was known is kept as it was"


@given(answers, answers, answers)
def test_the_history_leads_from_one_to_the_next(
    one: dict[int, MeetingStatus], two: dict[int, MeetingStatus], three: dict[int, MeetingStatus]
) -> None:
    clock, tables = Clock(), Tables()
    reported = one
    tables.sync(clock.read({"user:1": [_event(7, 5, one, series=False)]}, WINDOWS[0], ["user:1"]))
    for following in (two, three, two):
        snapshot = clock.read({"user:1": [_event(7, 5, following, series=False)]}, WINDOWS[0], ["user:1"])
        changes = tables.sync(snapshot).changes
        replayed = {user: status.value for user, status in reported.items()}
        for change in changes:
            assert replayed.get(change.user_id) == change.old_status
            assert change.old_seen_at < change.new_seen_at == snapshot.ended
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
    return [clock.read(portal, window, names) for portal, seen in history for window, names in seen]


@given(histories, st.randoms(), st.booleans(), st.lists(rounds, min_size=2, max_size=2))
def test_whatever_came_before_the_tables_come_to_what_is_shown(
    history: list[tuple[Any, Any]], chance: Any, late: bool, last_rounds: list[Any]
) -> None:
    clock, tables = Clock(), Tables()
    snapshots = _glance(clock, history)
    if late:
        chance.shuffle(snapshots)
    for snapshot in snapshots:
        tables.sync(snapshot)
        starts = [key[0] for key, row in tables.stored.meetings.items() if not row.vanished_at and not row.is_recurring]
        assert len(starts) == len(set(starts)), "what is no series takes place once"
    whole = Tables()
    whole.stored = deepcopy(tables.stored)
    portal = history[-1][0]
    shown = _shown(event for events in portal.values() for event in events)
    for window in WINDOWS:
        whole.sync(clock.read(portal, window))
    assert whole.now() == shown, "one reading of everything"
    for window, names in (glance for one in last_rounds for glance in one):
        tables.sync(clock.read(portal, window, names))
    assert tables.now() == shown, "each calendar for itself, twice"


class Run:
    """One of several runs at once: it reads windows, each as long as another one has overtaken it, and writes.

    :ivar applied: readings that were written whole, each with the time at which the portal made its answer.
    """

    def __init__(self, tables: Tables, clock: Clock, windows: list[Window], names: list[str]) -> None:
        self.tables, self.clock, self.names, self.left = tables, clock, names, windows
        self.applied: list[tuple[datetime, Snapshot]] = []
        self._steps = self._read()
        self.portal: dict[str, list[CalendarEvent]] = {}

    def _read(self) -> Iterator[None]:
        for window in self.left:
            while True:
                started = self.clock.now()
                yield
                asked, shown = self.clock.now(), self.clock.read(self.portal, window, self.names)
                yield
                snapshot = replace(shown, started=started, ended=self.clock.now())
                yield
                difference = reconcile(self.tables.stored, snapshot)
                if not difference.counts["outdated"]:
                    self.tables.write(difference)
                    self.applied.append((asked, snapshot))
                    break
                yield

    def step(self, portal: dict[str, list[CalendarEvent]]) -> bool:
        """Begin, be answered, have the answer, or write; false if there is nothing more to do."""
        self.portal = portal
        return next(self._steps, self) is None


runs_of_windows = st.lists(st.lists(st.sampled_from(WINDOWS), min_size=1, max_size=2), min_size=2, max_size=3)


@settings(max_examples=500)
@given(st.lists(few, min_size=1, max_size=4), runs_of_windows, st.booleans(), some_calendars, st.data())
def test_runs_at_once_give_the_tables_of_runs_one_after_another(
    states: list[Any], plans: list[list[Window]], stored_before: bool, names: list[str], data: st.DataObject
) -> None:
    clock, tables, serial = Clock(), Tables(), Tables()
    if stored_before:
        for window in WINDOWS:
            snapshot = clock.read(states[0], window, names)
            tables.sync(snapshot)
            serial.sync(snapshot)
    runs = [Run(tables, clock, plan, names) for plan in plans]
    going = list(runs)
    state = 0
    while going:
        run = data.draw(st.sampled_from(going), label="next")
        state = min(state + data.draw(st.integers(0, 1)), len(states) - 1)
        if not run.step(states[state]):
            going.remove(run)
    for _, snapshot in sorted((one for run in runs for one in run.applied), key=lambda one: one[0]):
        whole = replace(snapshot, started=clock.now())
        serial.sync(replace(whole, ended=clock.now()))
    assert tables.now() == serial.now()
    assert tables.truth() == serial.truth()


@settings(max_examples=300)
@given(histories)
def test_changes_are_true_and_none_is_lost(history: list[tuple[Any, Any]]) -> None:
    clock, tables = Clock(), Tables()
    snapshots = _glance(clock, history)
    for snapshot in snapshots:
        tables.sync(snapshot)
    # Answers to each occurrence by the time of the reading that has shown them.
    reported: dict[Any, dict[datetime, dict[int, str]]] = {}
    for snapshot in snapshots:
        for key, given_answers in _shown(event for _, event in snapshot.seen).items():
            if given_answers is not None:
                reported.setdefault(key, {})[snapshot.ended] = given_answers
    for key, by_time in reported.items():
        first, *_, last = [*by_time.values(), *by_time.values()]
        changes = sorted(
            (change for change in tables.changes.values() if (change.parent_id, change.occurrence_start) == key),
            key=lambda change: change.new_seen_at,
        )
        replayed = dict(first)
        for change in changes:
            assert by_time[change.old_seen_at].get(change.user_id) == change.old_status
            assert by_time[change.new_seen_at].get(change.user_id) == change.new_status
            assert replayed.get(change.user_id) == change.old_status
            if change.new_status is None:
                del replayed[change.user_id]
            else:
                replayed[change.user_id] = change.new_status
        assert replayed == last
    assert {(change.parent_id, change.occurrence_start) for change in tables.changes.values()} <= reported.keys()


def test_a_moved_meeting_vanishes_from_its_old_start_at_once() -> None:
    clock, tables = Clock(), Tables()
    tables.sync(clock.read({"user:1": [_event(7, 5, {2: MeetingStatus("Y")}, series=False)]}, WINDOWS[0], ["user:1"]))
    moved = clock.read({"user:1": [_event(7, 100, {2: MeetingStatus("Q")}, series=False)]}, WINDOWS[2], ["user:1"])
    assert tables.sync(moved).counts == {"new": 1, "vanished": 1, "unknown": 0}
    old, new = sorted(tables.stored.meetings.values(), key=lambda row: row.occurrence_start)
    assert (old.vanished_at, new.vanished_at) == (moved.ended, None)
    assert tables.stored.attendances[old.key][2].vanished_at == moved.ended
    assert not tables.changes, "the meeting has moved, nobody has changed an answer"


def test_vanished_and_back_with_another_answer() -> None:
    clock, tables = Clock(), Tables()
    here, gone = (
        {"user:1": [_event(7, 5, {2: MeetingStatus("Y"), 3: MeetingStatus("Q")}, series=False)]},
        {"user:1": []},
    )
    back = {"user:1": [_event(7, 5, {2: MeetingStatus("N"), 3: MeetingStatus("Q")}, series=False)]}
    first = clock.read(here, WINDOWS[0], ["user:1"])
    tables.sync(first)
    assert tables.sync(clock.read(gone, WINDOWS[0], ["user:1"])).counts == {"vanished": 1}
    assert not tables.sync(clock.read(gone, WINDOWS[0], ["user:1"])).meetings
    last = clock.read(back, WINDOWS[0], ["user:1"])
    assert tables.sync(last).changes == [AttendanceChange(7, FIRST + 5 * HOUR, 2, "Y", "N", first.ended, last.ended)]
    (row,) = tables.stored.meetings.values()
    assert (row.first_seen, row.last_seen, row.vanished_at) == (first.ended, last.ended, None)
    assert (row.accepted, row.declined, row.silent, row.total, row.share) == (0, 1, 1, 2, 0.0)


def _one(given_answers: str | None, hour: int = 5, *, series: bool = False) -> CalendarEvent:
    """Return meeting 7 with the answers of users 2, 3 and so on; a blank for who is not invited."""
    if given_answers is None:
        return _event(7, hour, None, series=series)
    given = {number: MeetingStatus(letter) for number, letter in enumerate(given_answers, 2) if letter != " "}
    return _event(7, hour, given, series=series)


def _reported(tables: Tables) -> list[tuple[int, str | None, str | None]]:
    return sorted((change[2:5] for change in tables.changes.values()), key=repr)


@pytest.mark.parametrize("order", list(permutations(["user:1", "user:2"])))
def test_who_is_removed_leaves_the_meeting_in_other_calendars(order: tuple[str, ...]) -> None:
    clock, tables = Clock(), Tables()
    for name in ("user:1", "user:2"):
        tables.sync(clock.read({name: [_one("YQ")]}, WINDOWS[0], [name]))
    for name in order:
        tables.sync(clock.read({"user:1": [], "user:2": [_one(" Q")]}, WINDOWS[0], [name]))
    assert tables.now() == {(7, FIRST + 5 * HOUR): {1: "H", 3: "Q"}}
    assert _reported(tables) == [(2, "Y", None)]


@pytest.mark.parametrize("order", list(permutations([0, 1])))
def test_calendars_read_at_the_same_time_by_different_tasks(order: tuple[int, ...]) -> None:
    """That a meeting has left one of them says nothing of the other."""
    clock, tables = Clock(), Tables()
    for name in ("user:2", "user:1"):
        tables.sync(clock.read({name: [_one("YQ")]}, WINDOWS[0], [name]))
    one = clock.read({"user:1": []}, WINDOWS[0], ["user:1"])
    two = replace(one, seen=(("user:2", _one(" Q")),), calendars=frozenset({"user:2"}))
    for number in order:
        tables.sync((one, two)[number])
    assert tables.now() == {(7, FIRST + 5 * HOUR): {1: "H", 3: "Q"}}
    assert _reported(tables) == [(2, "Y", None)]


def test_a_calendar_read_no_more_does_not_hold_on_to_a_meeting() -> None:
    clock, tables = Clock(), Tables()
    portal = {"user:1": [_one("Y")], "user:2": [_one("Y")]}
    tables.sync(clock.read(portal, WINDOWS[0], ["user:1", "user:2"]))
    tables.sync(clock.read(portal, WINDOWS[0], ["user:2"]))
    assert tables.sync(clock.read({"user:2": []}, WINDOWS[0], ["user:2"])).counts == {"vanished": 1}


def test_another_calendar_that_shows_the_same_is_no_change() -> None:
    clock, tables = Clock(), Tables()
    for name in ("user:1", "user:2"):
        counts = tables.sync(clock.read({name: [_one("Y")]}, WINDOWS[0], [name])).counts
    assert +counts == {"unchanged": 1}
    assert [row.calendar for row in tables.stored.meetings.values()] == ["user:2"]


def test_vanished_and_back_without_somebody() -> None:
    clock, tables = Clock(), Tables()
    for events in ([_one("YY")], [], [_one("Y")]):
        tables.sync(clock.read({"user:1": events}, WINDOWS[0], ["user:1"]))
    assert _reported(tables) == [(3, "Y", None)]


def test_vanished_back_masked_and_then_open() -> None:
    clock, tables = Clock(), Tables()
    for events in ([_one("YY")], [], [_one(None)], [_one("YNQ")]):
        tables.sync(clock.read({"user:1": events}, WINDOWS[0], ["user:1"]))
    assert _reported(tables) == [(3, "Y", "N"), (4, None, "Q")]


def test_the_last_one_removed_then_masked_then_invited_again() -> None:
    clock, tables = Clock(), Tables()
    first, empty, hidden, again = (
        clock.read({"user:1": [_event(7, 5, given, series=False, hosted=False)]}, WINDOWS[0], ["user:1"])
        for given in ({2: MeetingStatus("Y")}, {}, None, {2: MeetingStatus("Q")})
    )
    for snapshot in (first, empty, hidden, again):
        tables.sync(snapshot)
    assert [change[3:] for change in tables.changes.values()] == [
        ("Y", None, first.ended, empty.ended), (None, "Q", empty.ended, again.ended),
    ]  # fmt: skip


def test_a_meeting_handed_to_another_organiser() -> None:
    clock, tables = Clock(), Tables()
    for host in (2, 3):
        event = replace(_one("YY"), host_id=host)
        tables.sync(clock.read({"user:1": [event]}, WINDOWS[0], ["user:1"]))
    (answers_now,) = tables.stored.attendances.values()
    assert [answers_now[user].is_host for user in (2, 3)] == [False, True]


def test_gone_from_one_calendar_and_masked_in_another_it_takes_place() -> None:
    clock, tables = Clock(), Tables()
    for name, events in (("user:1", [_one("Y")]), ("user:1", []), ("user:2", [_one(None)])):
        tables.sync(clock.read({name: events}, WINDOWS[0], [name]))
    assert tables.now() == {(7, FIRST + 5 * HOUR): None}


def test_days_are_those_of_the_window_s_zone() -> None:
    clock, tables = Clock(), Tables()
    west = timezone(-5 * HOUR)
    window = Window(datetime(2026, 9, 2, tzinfo=west), datetime(2026, 9, 3, tzinfo=west))
    days = replace(_event(7, 24, {}, series=True), all_day=True, zone=None, end=FIRST + 2 * DAY)
    tables.sync(clock.read({"user:1": [days]}, window, ["user:1"]))
    assert len(tables.now()) == 1
    assert tables.sync(clock.read({"user:1": []}, window, ["user:1"])).counts == {"vanished": 1}


def test_masked_in_the_calendar_that_showed_it_is_unknown_wherever_else_it_is_masked() -> None:
    clock, tables = Clock(), Tables()
    tables.sync(clock.read({"user:1": [_one("Y")], "user:2": [_one(None)]}, WINDOWS[0], ["user:1", "user:2"]))
    hidden = {"user:1": [], "user:2": [_one(None)]}
    assert tables.sync(clock.read(hidden, WINDOWS[0], ["user:2"])).counts == {"unchanged": 1, "unknown": 1}
    assert tables.now() == {(7, FIRST + 5 * HOUR): {1: "H", 2: "Y"}}, "another calendar shows more of it"
    tables.sync(clock.read(hidden, WINDOWS[0], ["user:1", "user:2"]))
    assert tables.now() == {(7, FIRST + 5 * HOUR): None}
    assert not tables.changes


def test_a_single_meeting_that_is_masked_where_it_was_shown_is_unknown() -> None:
    clock, tables = Clock(), Tables()
    for event in (_one("Y"), _one(None)):
        snapshot = clock.read({"user:1": [event]}, WINDOWS[0], ["user:1"])
        difference = tables.sync(replace(snapshot, calendars=frozenset(), window=None))
    assert +difference.counts == {"changed": 1, "unknown": 1}
    assert tables.now() == {(7, FIRST + 5 * HOUR): None}


def test_a_meeting_that_is_gone_by_its_id_is_gone_from_all_its_dates() -> None:
    clock, tables = Clock(), Tables()
    dates = [_one("Y", hour, series=True) for hour in (5, 100)]
    for window in WINDOWS:
        tables.sync(clock.read({"user:1": [*dates, _event(8, 6, {}, series=False)]}, window, ["user:1"]))
    gone = replace(clock.read({}, WINDOWS[0], []), window=None, gone=frozenset({7}))
    assert tables.sync(gone).counts == {"vanished": 2}


@pytest.mark.parametrize("back", [False, True], ids=["new there", "gone from there before"])
def test_a_late_reading_does_not_show_a_meeting_where_it_no_longer_is(back: bool) -> None:
    clock, tables = Clock(), Tables()
    for events in ([_one("Y")], []) if back else ():
        tables.sync(clock.read({"user:1": events}, WINDOWS[0], ["user:1"]))
    late = clock.read({"user:1": [_one("Y")]}, WINDOWS[0], ["user:1"])
    tables.sync(clock.read({"user:1": [_one("Y", 100)]}, WINDOWS[2], ["user:1"]))
    assert +tables.sync(late).counts == {"outdated": 1}
    assert tables.now() == {(7, FIRST + 100 * HOUR): {1: "H", 2: "Y"}}


def test_a_late_reading_does_not_bring_back_what_is_gone() -> None:
    clock, tables = Clock(), Tables()
    snapshots = [clock.read({"user:1": events}, WINDOWS[0], ["user:1"]) for events in ([_one("Y")], [_one("N")], [])]
    for snapshot in (snapshots[0], snapshots[2]):
        tables.sync(snapshot)
    assert +tables.sync(snapshots[1]).counts == {"outdated": 1}
    assert (tables.now(), _reported(tables)) == ({}, [])


@pytest.mark.parametrize("known", [False, True], ids=["never seen", "gone before"])
def test_a_later_read_that_found_nothing_counts(known: bool) -> None:
    clock, tables = Clock(), Tables()
    for events in ([_one("Y")], []) if known else ():
        tables.sync(clock.read({"user:1": events}, WINDOWS[0], ["user:1"]))
    late = clock.read({"user:1": [_one("Y")]}, WINDOWS[0], ["user:1"])
    tables.sync(clock.read({"user:1": []}, WINDOWS[0], ["user:1"]))
    assert +tables.sync(late).counts == {"outdated": 1}
    assert tables.now() == {}
    assert +tables.sync(clock.read({"user:1": [_one("Y")]}, WINDOWS[0], ["user:1"])).counts in (
        {"changed": 1},
        {"new": 1},
    )


def test_a_later_read_of_another_calendar_does_not_count() -> None:
    clock, tables = Clock(), Tables()
    late = clock.read({"user:1": [_one("Y")]}, WINDOWS[0], ["user:1"])
    tables.sync(clock.read({"user:2": []}, WINDOWS[0], ["user:2"]))
    tables.sync(clock.read({"user:1": []}, WINDOWS[1], ["user:1"]))
    assert +tables.sync(late).counts == {"new": 1}


def test_a_meeting_asked_for_by_its_id_and_not_shown_is_gone_for_late_readings_of_calendars() -> None:
    clock, tables = Clock(), Tables()
    late = clock.read({"user:1": [_one("Y"), _event(8, 6, {}, series=False)]}, WINDOWS[0], ["user:1"])
    tables.sync(replace(clock.read({}, WINDOWS[0], []), window=None, gone=frozenset({7})))
    assert +tables.sync(late).counts == {"outdated": 1, "new": 1}


@pytest.mark.parametrize("offset", [-12, 0, 14])
def test_days_count_in_all_zones(offset: int) -> None:
    clock, tables = Clock(), Tables()
    zone = timezone(offset * HOUR)
    window = Window(datetime(2026, 9, 2, tzinfo=zone), datetime(2026, 9, 3, tzinfo=zone))
    days = replace(_event(7, 24, {}, series=True), all_day=True, zone=None, end=FIRST + 2 * DAY)
    late = clock.read({"user:1": [days]}, window, ["user:1"])
    tables.sync(clock.read({"user:1": []}, window, ["user:1"]))
    assert +tables.sync(late).counts == {"outdated": 1}


def test_a_late_view_takes_no_row_over_from_another_calendar() -> None:
    clock, tables = Clock(), Tables()
    tables.sync(clock.read({"user:1": [_one("Y")]}, WINDOWS[0], ["user:1"]))
    late = clock.read({"user:2": [_one("N")]}, WINDOWS[0], ["user:2"])
    tables.sync(clock.read({"user:2": []}, WINDOWS[0], ["user:2"]))
    assert +tables.sync(late).counts == {"outdated": 1}
    assert [row.calendar for row in tables.stored.meetings.values()] == ["user:1"]


def test_a_late_reading_of_a_series_that_has_become_a_single_meeting() -> None:
    clock, tables = Clock(), Tables()
    late = clock.read({"user:1": [_one("Y", hour, series=True) for hour in (5, 6)]}, WINDOWS[0], ["user:1"])
    tables.sync(clock.read({"user:1": [_one("Y", 100)]}, WINDOWS[2], ["user:1"]))
    assert +tables.sync(late).counts == {"outdated": 2}


def test_a_late_read_does_not_hide_a_later_one() -> None:
    clock, tables = Clock(), Tables()
    first, second, third = (clock.read({"user:1": events}, WINDOWS[0], ["user:1"]) for events in ([], [_one("Y")], []))
    for snapshot in (third, first):
        tables.sync(snapshot)
    assert +tables.sync(second).counts == {"outdated": 1}


@pytest.mark.parametrize("calendar", ["user:1", "user:2"])
def test_a_late_reading_of_many_calendars_does_not_bring_back_what_has_left_one_of_them(calendar: str) -> None:
    clock, tables = Clock(), Tables()
    names = ["user:1", "user:2"]
    tables.sync(clock.read({"user:1": [_one("Y")], "user:2": []}, WINDOWS[0], names))
    late = clock.read({"user:1": [], "user:2": [], calendar: [_one("Y")]}, WINDOWS[0], names)
    tables.sync(clock.read({"user:1": []}, WINDOWS[0], ["user:1"]))
    assert +tables.sync(late).counts == {"outdated": 1}


def test_a_reading_that_took_no_time_is_applied_once() -> None:
    tables = Tables()
    window, seen = WINDOWS[0], (("user:1", _one("Y")),)
    for _ in range(2):
        difference = tables.sync(Snapshot(FIRST, FIRST, seen, frozenset({"user:1"}), window))
    assert +difference.counts == {"unchanged": 1}
    for seen in ((), (("user:1", _one("N")),)):
        assert +tables.sync(Snapshot(FIRST, FIRST, seen, frozenset({"user:1"}), window)).counts == {"outdated": 1}


def test_a_series_has_many_starts_at_once() -> None:
    clock, tables = Clock(), Tables()
    one, two = ([_one("Y", hour, series=True)] for hour in (5, 100))
    late = clock.read({"user:1": one}, WINDOWS[0], ["user:1"])
    for snapshot in (clock.read({"user:1": two}, WINDOWS[2], ["user:1"]), late):
        assert +tables.sync(snapshot).counts == {"new": 1}


def test_a_calendar_that_shows_nothing_at_all_is_reported() -> None:
    clock, tables = Clock(), Tables()
    names = ["user:1", "user:2"]
    tables.sync(clock.read({"user:1": [_one("Y"), _event(8, 6, {}, series=False)], "user:2": []}, WINDOWS[0], names))
    assert not tables.sync(clock.read({"user:1": [_one("Y")], "user:2": []}, WINDOWS[0], names)).emptied
    assert tables.sync(clock.read({"user:1": [], "user:2": []}, WINDOWS[0], names)).emptied == {"user:1": 1}
    assert not tables.sync(clock.read({"user:1": [], "user:2": []}, WINDOWS[0], names)).emptied


def test_another_calendar_does_not_make_a_meeting_vanish() -> None:
    clock, tables = Clock(), Tables()
    portal = {"user:1": [_event(7, 5, {}, series=False)], "user:2": []}
    tables.sync(clock.read(portal, WINDOWS[0], ["user:1"]))
    assert not tables.sync(clock.read(portal, WINDOWS[0], ["user:2"])).meetings


@given(windows)
def test_parts_and_days(window: Window) -> None:
    divided = list(parts(window))
    assert (divided[0].start, divided[-1].end) == (window.start, window.end)
    for one, two in pairwise(divided):
        assert one.end == two.start
    assert all(part.end.astimezone(UTC) - part.start.astimezone(UTC) <= PART for part in divided)
    if window.end - window.start < timedelta(days=1400):
        days = whole_days(window)
        assert days.start <= window.start < days.start + DAY
        assert days.end - DAY < window.end <= days.end
