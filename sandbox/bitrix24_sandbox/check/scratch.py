"""Meetings of the check's own: made in a section of their own, long over, and removed at the end."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from bitrix24_sandbox.check.client import CheckError
from bitrix24_sandbox.check.facts import ME, OTHER
from bitrix24_sandbox.check.forms import NOON, ZONE, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bitrix24_sandbox.check.client import Client

SECTION: Final = "bitrix24-sandbox check (removed at its end)"
DAYS_AGO: Final = 40
"""The first day; the last one is more than thirty days ago too. Nobody is notified of meetings that are over."""
_LAST_DAY: Final = 9
_EVER: Final = "2010-01-01"
_MORE_TRIES: Final = 2
_THREE_DAYS: Final = {"FREQ": "DAILY", "COUNT": 3, "INTERVAL": 1}


class Scratch:
    """The meetings of one run.

    :param clients: of the host, and of the attendee if there is one.
    :param names: the ids of the users by ``me`` and ``other``; what is made is added.
    :ivar own_ids: the ids of all rows that were made.
    """

    def __init__(self, clients: Mapping[str, Client], names: dict[str, int | str], today: date) -> None:
        self.own_ids: set[int] = set()
        self._clients = clients
        self._host = clients[ME]
        self._names = names
        self._mine = {"type": "user", "ownerId": names[ME]}
        first = today - timedelta(days=DAYS_AGO)
        names.update({f"day {n}": (first + timedelta(days=n)).isoformat() for n in range(_LAST_DAY + 1)})

    # Making

    def make(self) -> None:
        """Make the section and the meetings.

        :raises CheckError: a portal refuses something, or replies in another shape.
        """
        try:
            self._make()
        except (AttributeError, LookupError, TypeError, ValueError):
            # The error's text could quote the reply.
            raise CheckError("A reply has another shape.") from None

    def _make(self) -> None:
        self._names["section"] = self._made("calendar.section.add", {**self._mine, "name": SECTION})
        self._names["plain"] = self._add("plain", 7, is_meeting="N")
        self._names["private"] = self._add("private", 8, is_meeting="N", private_event="Y", accessibility="busy")
        self._names["lone"] = self._add("lone", 5)
        self._names["series"] = self._add("series", 0, rrule=_THREE_DAYS)
        gone = self._add("gone", 5)
        self._call("calendar.event.delete", {**self._mine, "id": gone})
        self._names["gone"] = gone
        if OTHER in self._clients:
            self._make_with_attendee()

    def _make_with_attendee(self) -> None:
        pair = self._add("pair", 5, OTHER)
        self._names.update({"pair": pair, "pair row": self._invited(pair)})
        removed, row = self._removed("removed")
        self._names.update({"removed": removed, "removed row": row})
        again, row = self._removed("again")
        self._change(again, "again", 6, OTHER)
        self._names.update({"again": again, "again old row": row, "again new row": self._invited(again)})
        edited = self._add("edited", 0, OTHER, rrule=_THREE_DAYS)
        for day in (1, 2):
            more = {"recurrence_mode": "this", "current_date_from": self._names[f"day {day}"]}
            self._change(edited, "edited", day, OTHER, **more)
        self._names.update({"edited": edited, **self._edited_dates(edited)})

    def _removed(self, name: str) -> tuple[int, int]:
        """Return a meeting that the attendee has declined and was then removed from, and the attendee's row."""
        event = self._add(name, 6, OTHER)
        row = self._invited(event)
        self._call("calendar.meeting.status.set", {"eventId": event, "status": "N"}, OTHER)
        self._change(event, name, 6)
        return event, row

    def _edited_dates(self, series: int) -> dict[str, int]:
        """Return the ids of the second and third date of a series, which are events of their own."""
        rows = [row for row in self._listed(self._names["section"]) if str(row.get("RECURRENCE_ID")) == str(series)]
        ids = [self._own(row["ID"]) for row in sorted(rows, key=lambda row: str(row.get("DATE_FROM_TS_UTC")))]
        return {f"edited {number}": one for number, one in enumerate(ids, start=2)}

    def _add(self, name: str, day: int, *guests: str, **more: Any) -> int:
        return self._own(self._made("calendar.event.add", self._event(name, day, *guests, **more)))

    def _change(self, event_id: int, name: str, day: int, *guests: str, **more: Any) -> None:
        self._call("calendar.event.update", {**self._event(name, day, *guests, **more), "id": event_id})

    def _event(self, name: str, day: int, *guests: str, **more: Any) -> dict[str, object]:
        """Return the parameters of an event that only the owners of the webhooks take part in."""
        date_ = self._names[f"day {day}"]
        return {
            **self._mine, "section": self._names["section"], "auto_detect_section": "N", "name": name.capitalize(),
            "from": f"{date_}T{NOON}:00:00", "to": f"{date_}T{NOON + 1}:00:00", "timezone_from": ZONE,
            "timezone_to": ZONE, "accessibility": "free", "remind": [], "is_meeting": "Y", "host": self._names[ME],
            "attendees": [self._names[who] for who in (ME, *guests)],
            "meeting": {"notify": False, "reinvite": False, "allow_invite": False, "hide_guests": False}, **more,
        }  # fmt: skip

    def _invited(self, event_id: int) -> int:
        """Return the id of the attendee's row."""
        record = self._call("calendar.event.getbyid", {"id": event_id})
        rows = [one for one in _rows(record["ATTENDEE_LIST"]) if str(one["id"]) == str(self._names[OTHER])]
        if len(rows) != 1:
            raise CheckError("calendar.event.getbyid: the attendee that was invited is not listed.")
        return self._own(rows[0]["entryId"])

    def _made(self, method: str, params: Mapping[str, object]) -> int:
        made = self._call(method, params)
        if not isinstance(made, int | str) or not str(made).isdigit():
            raise CheckError(f"{method}: the answer is not the id of what was made.")
        return int(made)

    def _own(self, row_id: object) -> int:
        self.own_ids.add(int(str(row_id)))
        return int(str(row_id))

    def _call(self, method: str, params: Mapping[str, object], who: str = ME) -> Any:
        reply = self._clients[who].ask(method, params)
        if reply.status != 200 or reply.code is not None:
            raise CheckError(f"{method}: {outcome(reply)}.")
        return reply.result

    # Removing

    def remove(self) -> list[str]:
        """Remove every section of the check, of this run and of earlier ones, with all that is in it.

        :return: what is left over, in words.
        """
        self._host.finishing = True
        left = self._remove_once()
        for _ in range(_MORE_TRIES if left else 0):
            self._host.rest()
            left = self._remove_once()
            if not left:
                break
        self._host.finishing = False
        return left

    def _remove_once(self) -> list[str]:
        try:
            events = {event for section in self._sections() for event in self._remove_section(section)}
            left = [f"event {event}" for event in self._still_there(sorted(events | self.own_ids))]
            return left + [f"section {section}" for section in self._sections()]
        except (CheckError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            # No reply, or none that says what is there.
            return [f"perhaps section {SECTION!r}", *(f"perhaps event {row_id}" for row_id in sorted(self.own_ids))]

    def _remove_section(self, section: int) -> set[int]:
        # A row that is no parent is an invitation from somebody else, and deleting it would be a refusal. Edited dates
        # are parents too.
        events = {int(row["ID"]) for row in self._listed(section) if row["ID"] == row["PARENT_ID"]}
        for event in sorted(events):
            self._host.ask("calendar.event.delete", {**self._mine, "id": event})
        self._host.ask("calendar.section.delete", {**self._mine, "id": section})
        return events

    def _still_there(self, events: list[int]) -> list[int]:
        """Return those of some events that the portal still has."""
        found = []
        for begin in range(0, len(events), 50):
            commands = {f"c{event}": f"calendar.event.getbyid?id={event}" for event in events[begin : begin + 50]}
            result = self._call("batch", {"cmd": commands})["result"]
            found += [int(key[1:]) for key, record in result.items() if record] if isinstance(result, dict) else []
        return found

    def _sections(self) -> list[int]:
        listed = _rows(self._call("calendar.section.get", self._mine))
        return [int(row["ID"]) for row in listed if row.get("NAME") == SECTION]

    def _listed(self, section: object) -> list[dict[str, Any]]:
        window = {"from": _EVER, "to": self._names[f"day {_LAST_DAY}"]}
        return list(_rows(self._call("calendar.event.get", {**self._mine, "section": section, **window})))


def _rows(some: Any) -> Iterator[dict[str, Any]]:
    rows = some.values() if isinstance(some, dict) else some if isinstance(some, list) else ()
    return (row for row in rows if isinstance(row, dict))
