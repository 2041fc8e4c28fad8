"""What people change in calendars between two syncs, and what the tables then have to say: one table of scenarios."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from bitrix24_sandbox.models import Row
from bitrix24_sandbox.portal import Portal

from tests.portal_data import CANARY
from tests.transfer_runs import delete_event, hand_over

ANNA, MARTIN, DORA, IVAN = 1, 2, 5, 6
BUDGET, DAILY, WEEKLY, FAIR, CAMP, NIGHT, CLOCKS, GROUP, COMPANY, SECRET, IVANS = range(10, 120, 10)
"""Ids of the meetings. Dates in the scenarios are in UTC; ten o'clock in Berlin is eight."""
BOTH: list[dict[str, Any]] = [{"user": ANNA, "status": "Y"}, {"user": DORA}]
WINDOW = {"window_start": "2026-09-01T00:00:00+00:00", "window_end": "2026-10-01T00:00:00+00:00"}
"""Two parts: the second begins on the 26th."""
OCTOBER = {"window_start": "2026-10-20T00:00:00+00:00", "window_end": "2026-10-31T00:00:00+00:00"}
CALENDARS = ["user:1", "user:5", "group:7", "company_calendar"]


def at(day: str, **more: Any) -> dict[str, Any]:
    return {"start": f"2026-{day}T10:00", "end": f"2026-{day}T11:00", "time_zone": "Europe/Berlin", **more}


def days(first: str, last: str) -> dict[str, Any]:
    return {"all_day": True, "start": f"2026-{first}", "end": f"2026-{last}"}


def meeting(event_id: int, name: str, **more: Any) -> dict[str, Any]:
    return {"id": event_id, "name": name, "host": MARTIN, "attendees": BOTH, **more}


DATA: dict[str, Any] = {
    "people": [
        {"id": ANNA, "name": "Anna", "webhook": {"secret": CANARY, "scopes": ["calendar"]}},
        {"id": MARTIN, "name": "Martin"}, {"id": DORA, "name": "Dora", "shares": "full"}, {"id": IVAN, "name": "Ivan"},
    ],
    "events": [
        meeting(BUDGET, "Budget", **at("09-03")),
        meeting(DAILY, "Daily", **at("09-07"), repeat={"frequency": "DAILY", "count": 10}),
        meeting(WEEKLY, "Weekly", **at("09-07"), repeat={"frequency": "WEEKLY", "by_day": ["MO"], "count": 4}),
        meeting(FAIR, "Fair", **days("08-28", "09-03")),
        meeting(CAMP, "Camp", **days("09-24", "09-28")),
        meeting(NIGHT, "Night", start="2026-09-10T23:30", end="2026-09-11T00:30", time_zone="UTC"),
        meeting(CLOCKS, "Clocks", **at("10-23"), repeat={"frequency": "DAILY", "count": 5}),
        meeting(GROUP, "Group", **at("09-25"), calendar={"type": "group", "owner": 7}),
        meeting(COMPANY, "Company", **at("09-28"), calendar={"type": "company_calendar"}),
        meeting(SECRET, "Secret", **at("09-09"), host=DORA, attendees=[{"user": IVAN, "status": "Y"}], private=True),
        meeting(IVANS, "Ivan's", **at("09-11"), host=DORA, attendees=[{"user": IVAN, "status": "Y"}]),
    ],
}  # fmt: skip


@dataclass
class Hand:
    """Who makes the changes.

    :param sql: runs a statement; ``:portal`` is the scenario's portal.
    :param rename: lets the portal have another host.
    """

    portal: Portal
    sql: Callable[[str], None]
    rename: Callable[[], None]

    def edit(self, event_id: int, **fields: Any) -> None:
        with self.portal.locked() as book:
            book.events[event_id] = replace(book.events[event_id], **fields)

    def move(self, event_id: int, **by: float) -> None:
        event = self.portal.book.events[event_id]
        self.edit(event_id, starts=event.starts + timedelta(**by), ends=event.ends + timedelta(**by))

    def restore(self, event_id: int) -> None:
        with self.portal.locked() as book:
            book.put([replace(row, deleted=False) for row in book.rows_of(event_id)])

    def split(self, series_id: int, day: date, **by: float) -> int:
        """Make one date of a series an event of its own, with the answers of the series; return its id."""
        with self.portal.locked() as book:
            series = book.events[series_id]
            starts = datetime.combine(day, series.starts.time()) + timedelta(**by)
            first = book.next_id()
            edited = replace(series, id=first, starts=starts, ends=starts + (series.ends - series.starts), repeat=None,
                             excluded=(), recurrence_id=series_id)  # fmt: skip
            book.events[series_id] = replace(series, excluded=(*series.excluded, day))
            rows = [
                Row(first + number, first, row.calendar_type, row.owner_id, row.status, deleted=False)
                for number, row in enumerate(book.rows_of(series_id))
            ]
            book.add(edited, rows)
            return first

    def share(self, user_id: int, shares: str) -> None:
        with self.portal.locked() as book:
            book.people[user_id] = replace(book.people[user_id], shares=shares)


Step = Callable[[Hand], object]


@dataclass(frozen=True)
class Scenario:
    """Changes, and what comes of them.

    :param steps: what is changed; after each step the tables are synchronised.
    :param changes: changes of answers: meeting, start, user, old and new letter.
    :param ended: rows that have ended: meeting, start, reason, and the new start.
    :param counts: some counts of the last sync.
    :param beyond: rows outside the window that are there too.
    :param answers_kept: answers are still stored though the portal masks them now.
    """

    name: str
    steps: tuple[Step, ...]
    changes: list[tuple[int, str, int, str | None, str | None]] = field(default_factory=list)
    ended: list[tuple[int, str, str, str | None]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    beyond: list[tuple[int, str]] = field(default_factory=list)
    answers_kept: bool = False
    window: dict[str, str] = field(default_factory=lambda: WINDOW)


def answer(event_id: int, user_id: int, letter: str) -> Step:
    return lambda hand: hand.portal.answer(event_id, user_id, letter)


def invite(event_id: int, user_id: int) -> Step:
    return lambda hand: hand.portal.invite(event_id, user_id)


def remove(event_id: int, *user_ids: int) -> Step:
    return all_of(*(partial(_remove, event_id, user_id) for user_id in user_ids))


def _remove(event_id: int, user_id: int, hand: Hand) -> None:
    hand.portal.remove(event_id, user_id)


def edit(event_id: int, **fields: Any) -> Step:
    return lambda hand: hand.edit(event_id, **fields)


def move(event_id: int, **by: float) -> Step:
    return lambda hand: hand.move(event_id, **by)


def shorten(event_id: int, **by: float) -> Step:
    return lambda hand: hand.edit(event_id, ends=hand.portal.book.events[event_id].ends - timedelta(**by))


def delete(event_id: int) -> Step:
    return lambda hand: delete_event(hand.portal, event_id)


def restore(event_id: int) -> Step:
    return lambda hand: hand.restore(event_id)


def sql(statement: str) -> Step:
    return lambda hand: hand.sql(statement)


def all_of(*steps: Step) -> Step:
    return lambda hand: [step(hand) for step in steps]


def repeat(event_id: int, **fields: Any) -> Step:
    return lambda hand: hand.edit(event_id, repeat=replace(hand.portal.book.events[event_id].repeat, **fields))  # type: ignore[type-var]


MONDAYS = ("09-07", "09-14", "09-21", "09-28")
TEN_DAYS = [f"09-{day:02}" for day in range(7, 17)]
IN_OCTOBER = [("10-23T08", "10-23"), ("10-24T08", "10-24"), ("10-25T09", "10-25"), ("10-26T09", "10-26"),
              ("10-27T09", "10-27")]  # fmt: skip
NOT_VISIBLE, CANCELLED, MOVED = "not_visible", "cancelled", "moved"
ONE_DATE, EDITED = date(2026, 9, 9), 671

SCENARIOS = [
    Scenario("nothing", (all_of(),), counts={"unchanged": 22}),
    # Answers
    Scenario("accepted", (answer(BUDGET, DORA, "Y"),), [(BUDGET, "09-03T08:00", DORA, "Q", "Y")]),
    Scenario("declined after all", (answer(BUDGET, ANNA, "N"),), [(BUDGET, "09-03T08:00", ANNA, "Y", "N")]),
    Scenario("reset", (answer(BUDGET, ANNA, "Q"),), [(BUDGET, "09-03T08:00", ANNA, "Y", "Q")]),
    Scenario("back and forth between two syncs", (all_of(answer(BUDGET, ANNA, "N"), answer(BUDGET, ANNA, "Y")),)),
    Scenario("back and forth over two syncs", (answer(BUDGET, ANNA, "N"), answer(BUDGET, ANNA, "Y")),
             [(BUDGET, "09-03T08:00", ANNA, "N", "Y"), (BUDGET, "09-03T08:00", ANNA, "Y", "N")]),
    Scenario("two at once", (all_of(answer(BUDGET, ANNA, "N"), answer(BUDGET, DORA, "N")),),
             [(BUDGET, "09-03T08:00", ANNA, "Y", "N"), (BUDGET, "09-03T08:00", DORA, "Q", "N")]),
    Scenario("a series answered", (answer(WEEKLY, DORA, "Y"),),
             [(WEEKLY, f"{day}T08:00", DORA, "Q", "Y") for day in MONDAYS]),
    Scenario("answered in a group", (answer(GROUP, DORA, "Y"),), [(GROUP, "09-25T08:00", DORA, "Q", "Y")]),
    Scenario("answered in the company", (answer(COMPANY, DORA, "Y"),), [(COMPANY, "09-28T08:00", DORA, "Q", "Y")]),
    Scenario("answered at the border of two parts", (answer(CAMP, DORA, "Y"),),
             [(CAMP, "09-24T00:00", DORA, "Q", "Y")], counts={"changed": 1, "answer_changes": 1, "unchanged": 21}),
    Scenario("answered across midnight", (answer(NIGHT, DORA, "Y"),), [(NIGHT, "09-10T23:30", DORA, "Q", "Y")]),
    Scenario("answered before the window", (answer(FAIR, DORA, "Y"),), [(FAIR, "08-28T00:00", DORA, "Q", "Y")]),
    Scenario("answered where clocks change", (answer(CLOCKS, DORA, "Y"),),
             [(CLOCKS, f"{start}:00", DORA, "Q", "Y") for start, _ in IN_OCTOBER], window=OCTOBER),
    # People
    Scenario("invited", (invite(BUDGET, IVAN),), [(BUDGET, "09-03T08:00", IVAN, None, "Q")]),
    Scenario("removed", (remove(BUDGET, DORA),), [(BUDGET, "09-03T08:00", DORA, "Q", None)]),
    Scenario("the acting user removed", (remove(BUDGET, ANNA),), [(BUDGET, "09-03T08:00", ANNA, "Y", None)]),
    Scenario("removed and invited again", (all_of(remove(BUDGET, ANNA), invite(BUDGET, ANNA)),),
             [(BUDGET, "09-03T08:00", ANNA, "Y", "Q")]),
    Scenario("invited again after a sync", (remove(BUDGET, ANNA), invite(BUDGET, ANNA)),
             [(BUDGET, "09-03T08:00", ANNA, None, "Q"), (BUDGET, "09-03T08:00", ANNA, "Y", None)]),
    Scenario("everybody removed", (remove(BUDGET, ANNA, DORA),), ended=[(BUDGET, "09-03T08:00", NOT_VISIBLE, None)]),
    Scenario("another organiser", (edit(BUDGET, host_id=DORA),), counts={"changed": 1, "answer_changes": 0}),
    # Meetings
    Scenario("renamed", (edit(BUDGET, name="Costs"),), counts={"changed": 1, "answer_changes": 0}),
    Scenario("shortened", (shorten(BUDGET, minutes=30),), counts={"changed": 1, "vanished": 0}),
    Scenario("a new meeting", (lambda hand: hand.split(IVANS, date(2026, 9, 20)),), counts={"new": 1}),
    Scenario("cancelled", (delete(BUDGET),), ended=[(BUDGET, "09-03T08:00", CANCELLED, None)], counts={"vanished": 1}),
    Scenario("cancelled and restored", (delete(BUDGET), restore(BUDGET)), counts={"changed": 1}),
    Scenario("restored with another answer", (delete(BUDGET), all_of(restore(BUDGET), answer(BUDGET, DORA, "Y"))),
             [(BUDGET, "09-03T08:00", DORA, "Q", "Y")]),
    Scenario("no meeting any more", (edit(BUDGET, is_meeting=False),),
             ended=[(BUDGET, "09-03T08:00", CANCELLED, None)]),
    Scenario("cancelled at the border of two parts", (delete(CAMP),),
             ended=[(CAMP, "09-24T00:00", CANCELLED, None)], counts={"vanished": 1}),
    Scenario("cancelled that began before the window", (delete(FAIR),),
             ended=[(FAIR, "08-28T00:00", CANCELLED, None)]),
    Scenario("shortened to before the window", (shorten(FAIR, days=5),),
             beyond=[(FAIR, "08-28T00:00")]),
    # Moves
    Scenario("moved", (move(BUDGET, hours=1),), ended=[(BUDGET, "09-03T08:00", MOVED, "09-03T09:00")],
             counts={"moved": 1, "new": 0, "vanished": 0, "answer_changes": 0}),
    Scenario("moved and answered", (all_of(move(BUDGET, days=2), answer(BUDGET, DORA, "Y"), invite(BUDGET, IVAN)),),
             [(BUDGET, "09-05T08:00", DORA, "Q", "Y"), (BUDGET, "09-05T08:00", IVAN, None, "Q")],
             [(BUDGET, "09-03T08:00", MOVED, "09-05T08:00")]),
    Scenario("moved and back", (move(BUDGET, days=2), all_of(move(BUDGET, days=-2), answer(BUDGET, DORA, "Y"))),
             [(BUDGET, "09-03T08:00", DORA, "Q", "Y")], [(BUDGET, "09-05T08:00", MOVED, "09-03T08:00")]),
    Scenario("moved out of the window and answered", (all_of(move(BUDGET, days=60), answer(BUDGET, DORA, "Y")),),
             [(BUDGET, "11-02T09:00", DORA, "Q", "Y")], [(BUDGET, "09-03T08:00", MOVED, "11-02T09:00")],
             beyond=[(BUDGET, "11-02T09:00")]),
    Scenario("moved into another part", (all_of(move(BUDGET, days=25), answer(BUDGET, DORA, "Y")),),
             [(BUDGET, "09-28T08:00", DORA, "Q", "Y")], [(BUDGET, "09-03T08:00", MOVED, "09-28T08:00")]),
    Scenario("moved into the part before", (all_of(move(COMPANY, days=-25), answer(COMPANY, DORA, "Y")),),
             [(COMPANY, "09-03T08:00", DORA, "Q", "Y")], [(COMPANY, "09-28T08:00", MOVED, "09-03T08:00")]),
    Scenario("moved across midnight", (move(NIGHT, hours=1),), ended=[(NIGHT, "09-10T23:30", MOVED, "09-11T00:30")]),
    Scenario("another time zone", (edit(BUDGET, time_zone="UTC"),),
             ended=[(BUDGET, "09-03T08:00", MOVED, "09-03T10:00")]),
    Scenario("days become hours", (edit(CAMP, all_day=False, time_zone="Europe/Berlin"),),
             ended=[(CAMP, "09-24T00:00", MOVED, "09-23T22:00")],
             counts={"moved": 1}),
    Scenario("days moved into the window", (move(FAIR, days=10),), ended=[(FAIR, "08-28T00:00", MOVED, "09-07T00:00")]),
    Scenario("days moved out of the window", (all_of(move(FAIR, days=-20), answer(FAIR, DORA, "Y")),),
             [(FAIR, "08-08T00:00", DORA, "Q", "Y")], [(FAIR, "08-28T00:00", MOVED, "08-08T00:00")],
             beyond=[(FAIR, "08-08T00:00")]),
    # Series
    Scenario("a series moved by half an hour and answered",
             (all_of(move(DAILY, minutes=30), answer(DAILY, DORA, "N")),),
             [(DAILY, f"{day}T08:30", DORA, "Q", "N") for day in TEN_DAYS],
             [(DAILY, f"{day}T08:00", MOVED, f"{day}T08:30") for day in TEN_DAYS], {"moved": 10}),
    Scenario("a series moved where clocks change", (all_of(move(CLOCKS, minutes=-30), answer(CLOCKS, DORA, "Y")),),
             [(CLOCKS, f"{day}T0{int(start[-2:]) - 1}:30", DORA, "Q", "Y") for start, day in IN_OCTOBER],
             [(CLOCKS, f"{start}:00", MOVED, f"{day}T0{int(start[-2:]) - 1}:30") for start, day in IN_OCTOBER],
             window=OCTOBER),
    Scenario("a series moved to another weekday", (all_of(move(WEEKLY, days=1), repeat(WEEKLY, by_day=("TU",))),),
             # The second part has one date, which could be one that was never read.
             ended=[*((WEEKLY, f"{one}T08:00", MOVED, f"{two}T08:00")
                      for one, two in zip(MONDAYS[:3], ("09-08", "09-15", "09-22"), strict=True)),
                    (WEEKLY, "09-28T08:00", NOT_VISIBLE, None)], counts={"moved": 3, "new": 1}),
    Scenario("a series cut", (repeat(DAILY, count=6),),
             ended=[(DAILY, f"{day}T08:00", NOT_VISIBLE, None) for day in TEN_DAYS[6:]]),
    Scenario("a series prolonged", (repeat(DAILY, count=12),), counts={"new": 2, "answer_changes": 0}),
    Scenario("a series moved and prolonged", (all_of(move(DAILY, minutes=30), repeat(DAILY, count=11)),),
             ended=[(DAILY, f"{day}T08:00", NOT_VISIBLE, None) for day in TEN_DAYS],
             counts={"new": 11, "vanished": 10}),
    Scenario("a series cancelled", (delete(DAILY),),
             ended=[(DAILY, f"{day}T08:00", CANCELLED, None) for day in TEN_DAYS]),
    Scenario("one date deleted", (edit(DAILY, excluded=(ONE_DATE,)),),
             ended=[(DAILY, "09-09T08:00", NOT_VISIBLE, None)], counts={"vanished": 1, "answer_changes": 0}),
    Scenario("one date edited", (lambda hand: hand.portal.answer(hand.split(DAILY, ONE_DATE, hours=2), DORA, "N"),),
             [(EDITED, "09-09T10:00", DORA, "Q", "N")], [(DAILY, "09-09T08:00", MOVED, "09-09T10:00")]),
    Scenario("one date edited and then deleted",
             (lambda hand: hand.split(DAILY, ONE_DATE, hours=2), delete(EDITED)),
             ended=[(DAILY, "09-09T08:00", MOVED, "09-09T10:00"), (EDITED, "09-09T10:00", CANCELLED, None)]),
    Scenario("a series becomes one meeting", (edit(DAILY, repeat=None),),
             ended=[(DAILY, f"{day}T08:00", NOT_VISIBLE, None) for day in TEN_DAYS[1:]]),
    Scenario("one meeting becomes a series",
             (lambda hand: hand.edit(BUDGET, repeat=hand.portal.book.events[CLOCKS].repeat),), counts={"new": 4}),
    # Rights
    Scenario("made private", (edit(IVANS, private=True),), counts={"unknown": 2, "vanished": 0}, answers_kept=True),
    Scenario("private no more", (edit(SECRET, private=False),), counts={"unknown": 0, "changed": 1}),
    Scenario("answered while it was private",
             (edit(IVANS, private=True), all_of(edit(IVANS, private=False), answer(IVANS, IVAN, "N"))),
             [(IVANS, "09-11T08:00", IVAN, "Y", "N")]),
    Scenario("moved and made private at once", (all_of(edit(IVANS, private=True), move(IVANS, hours=1)),),
             ended=[(IVANS, "09-11T08:00", MOVED, "09-11T09:00")], answers_kept=True),
    Scenario("a calendar that is not shared any more", (lambda hand: hand.share(DORA, "none"),),
             ended=[(IVANS, "09-11T08:00", NOT_VISIBLE, None)], counts={"vanished": 1}),
    Scenario("a calendar that is shared again",
             (lambda hand: hand.share(DORA, "none"), lambda hand: hand.share(DORA, "full")), counts={"changed": 1}),
    Scenario("handed to another group",
             (all_of(remove(GROUP, ANNA, DORA), lambda hand: hand_over(hand.portal, GROUP, 8)),),
             ended=[(GROUP, "09-25T08:00", NOT_VISIBLE, None)]),
    # Tables, and the portal's name
    Scenario("meetings emptied", (all_of(sql("DELETE FROM bitrix24_meetings WHERE portal = :portal"),
                                         answer(BUDGET, DORA, "Y")),), counts={"new": 22, "answer_changes": 0}),
    Scenario("answers emptied", (all_of(sql("DELETE FROM bitrix24_attendance WHERE portal = :portal"),
                                        answer(BUDGET, DORA, "Y")),), counts={"answer_changes": 0}),
    Scenario("some answers lost",
             (all_of(sql("DELETE FROM bitrix24_attendance WHERE portal = :portal AND user_id = 5"),
                     move(BUDGET, days=1)),),
             ended=[(BUDGET, "09-03T08:00", MOVED, "09-04T08:00")], counts={"answer_changes": 0}),
    Scenario("changes emptied", (answer(BUDGET, DORA, "Y"),
                                 sql("DELETE FROM bitrix24_attendance_changes WHERE portal = :portal")),
             counts={"answer_changes": 0}),
    Scenario("the portal has another host", (all_of(lambda hand: hand.rename(), answer(BUDGET, DORA, "Y")),),
             [(BUDGET, "09-03T08:00", DORA, "Q", "Y")], counts={"new": 0}),
]  # fmt: skip
