"""The seed data the portal serves: its people, their meetings, and the calendar rows these are stored in.

A meeting is one :class:`Event` (what it is about) and several :class:`Row` s (who takes part). The parent
row has the event's own id and lies in the organiser's, group's or company's calendar; every other
attendee has a child row with an id of its own. An attendee's answer is the status of the child row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime

ANSWERS = ("Y", "N", "Q")
CALENDAR_TYPES = ("user", "group", "company_calendar")
ROOMS = "location"
"""The type of the calendars of rooms."""
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
ACCESSIBILITIES = ("busy", "quest", "free", "absent")
IMPORTANCES = ("low", "normal", "high")
SHARES = ("full", "title", "time", "none")


@dataclass(frozen=True)
class Webhook:
    """An inbound webhook of one person, or the token that an application has from them.

    :param secret: the code in its address, or the token.
    :param scopes: what it may be used for, such as ``calendar``.
    :param client_id: of the application.
    """

    secret: str
    scopes: tuple[str, ...]
    client_id: str | None = None


@dataclass(frozen=True)
class Person:
    """Somebody with an account in the portal.

    :param id: user id.
    :param login: accepted in place of the id in a webhook address.
    :param active: ``False`` once dismissed; the webhook is then refused.
    :param external: an extranet user, who may not read events.
    :param shares: what colleagues who do not take part see of this calendar.
    :param departments: ids of the departments that the person works in.
    """

    id: int
    name: str
    last_name: str
    time_zone: str
    login: str
    active: bool
    admin: bool
    external: bool
    shares: str
    webhook: Webhook | None
    departments: tuple[int, ...]

    @property
    def full_name(self) -> str:
        """Name and last name."""
        return f"{self.name} {self.last_name}".strip()


@dataclass(frozen=True)
class Repeat:
    """The rule of a recurring meeting.

    :param by_day: weekdays of a weekly rule.
    :param count: number of occurrences, deleted ones included.
    :param until: last possible day.
    """

    frequency: str
    interval: int
    by_day: tuple[str, ...]
    count: int | None
    until: date | None


@dataclass(frozen=True)
class Event:
    """What all rows of one meeting (or of one plain event) have in common.

    :param id: id of the parent row.
    :param owner_id: user, group or 0 for the company, as ``calendar_type`` says.
    :param host_id: the organiser.
    :param starts: wall clock in ``time_zone``; midnight when ``all_day``.
    :param ends: wall clock in ``time_zone``; midnight of the last day, inclusive, when ``all_day``.
    :param is_meeting: ``False`` for an entry without invitations.
    :param notify: whether the organiser is notified of every answer.
    :param excluded: days of a series that do not take place (or were edited away).
    :param recurrence_id: the series this edited occurrence was split from.
    :param changed: when the event, not an answer to it, was last saved.
    :param room: section id of the room that is booked for it.
    :param section_id: the section made by REST that its parent row lies in; ``None`` for the usual one.
    :param crm_links: the CRM items that it is linked to, such as ``D_12``.
    """

    id: int
    calendar_type: str
    owner_id: int
    host_id: int
    name: str
    description: str
    location: str
    starts: datetime
    ends: datetime
    time_zone: str
    all_day: bool
    is_meeting: bool
    notify: bool
    private: bool
    accessibility: str
    importance: str
    repeat: Repeat | None
    excluded: tuple[date, ...]
    recurrence_id: int | None
    version: int
    changed: datetime
    room: int | None = None
    section_id: int | None = None
    crm_links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Absence:
    """An absence that the personnel department has entered.

    :param starts: wall clock of the portal's server; midnight for whole days, as is ``ends``.
    """

    id: int
    user_id: int
    starts: datetime
    ends: datetime


@dataclass(frozen=True)
class Row:
    """One calendar row: an event in one calendar, with the answer of that calendar's owner.

    A booked room has a row too, in the calendar of rooms.

    :param status: the stored letter; empty for an entry that is no meeting.
    :param deleted: the attendee was removed; the row stays, with its last answer.
    """

    id: int
    parent_id: int
    calendar_type: str
    owner_id: int
    status: str
    deleted: bool

    @property
    def is_parent(self) -> bool:
        """Whether this is the row the meeting was created as."""
        return self.id == self.parent_id

    @property
    def shown_status(self) -> str:
        """The status a portal shows: whatever a parent row stores, it shows as organiser."""
        return "H" if self.is_parent and self.status else self.status


@dataclass(frozen=True)
class Section:
    """A part of somebody's calendar that was made by REST."""

    id: int
    owner_id: int
    name: str


@dataclass(frozen=True)
class Department:
    """A department of the company.

    :param parent_id: the department above; ``None`` for the company itself.
    :param head_id: the user who leads it.
    """

    id: int
    name: str
    parent_id: int | None
    head_id: int | None


@dataclass(frozen=True)
class Group:
    """A group or project of people.

    :param owner_id: the user who owns it, a member too.
    :param moderators: ids of the members who help the owner.
    :param members: ids of the other members.
    """

    id: int
    name: str
    owner_id: int
    moderators: tuple[int, ...]
    members: tuple[int, ...]


@dataclass(frozen=True)
class SeedData:
    """People, events, rows and absences to start from, and the departments and groups of the people."""

    people: tuple[Person, ...]
    events: tuple[Event, ...]
    rows: tuple[Row, ...]
    absences: tuple[Absence, ...] = ()
    departments: tuple[Department, ...] = ()
    groups: tuple[Group, ...] = ()


class CalendarStore:
    """All calendar rows of a portal, changing as people answer.

    :param seed_data: where to start from.
    """

    def __init__(self, seed_data: SeedData) -> None:
        self.people = {person.id: person for person in seed_data.people}
        self.events = {event.id: event for event in seed_data.events}
        self.absences = seed_data.absences
        self.departments = seed_data.departments
        self.groups = {group.id: group for group in seed_data.groups}
        self.rows: dict[int, Row] = {}
        self._row_ids: dict[int, list[int]] = {event.id: [] for event in seed_data.events}
        # Looked up for every answer read, whatever the size of the meeting and of the seed data.
        self._own_row_ids: dict[tuple[int, int], list[int]] = {}
        self._calendars: dict[tuple[str, int], list[int]] = {}
        self._occurrences: dict[int, list[Event]] = {}
        self.sections: dict[int, Section] = {}
        self._sections_made = 0
        self._last_id = 650
        for event in seed_data.events:
            if event.recurrence_id is not None:
                self._occurrences.setdefault(event.recurrence_id, []).append(event)
        self.put(seed_data.rows)

    def put(self, rows: Iterable[Row]) -> None:
        """Store rows, new or changed."""
        for row in rows:
            if row.id not in self.rows:
                self._row_ids[row.parent_id].append(row.id)
                self._own_row_ids.setdefault((row.parent_id, row.owner_id), []).append(row.id)
                self._calendars.setdefault((row.calendar_type, row.owner_id), []).append(row.id)
                self._last_id = max(self._last_id, row.id)
            self.rows[row.id] = row

    def live_row(self, row_id: int) -> Row | None:
        """Return the row of this id unless it is deleted."""
        row = self.rows.get(row_id)
        return None if row is None or row.deleted else row

    def rows_of(self, event_id: int) -> list[Row]:
        """Return all rows of a meeting in order of creation, deleted ones included."""
        return [self.rows[row_id] for row_id in self._row_ids[event_id]]

    def rows_owned(self, event_id: int, owner_id: int) -> list[Row]:
        """Return the rows of a meeting in calendars of an owner, whatever the calendars' type."""
        return [self.rows[row_id] for row_id in self._own_row_ids.get((event_id, owner_id), ())]

    def calendar(self, calendar_type: str, owner_id: int) -> list[Row]:
        """Return all rows of one calendar, deleted ones included."""
        return [self.rows[row_id] for row_id in self._calendars.get((calendar_type, owner_id), ())]

    def occurrences(self, series_id: int) -> list[Event]:
        """Return the occurrences of a series that were edited into events of their own."""
        return self._occurrences.get(series_id, [])

    def next_id(self) -> int:
        """Return an id no row has yet."""
        return self._last_id + 1

    def add(self, event: Event, rows: Iterable[Row]) -> None:
        """Store a new event with its rows."""
        self.events[event.id] = event
        self._row_ids[event.id] = []
        if event.recurrence_id is not None:
            self._occurrences.setdefault(event.recurrence_id, []).append(event)
        self.put(rows)

    def drop(self, event_id: int) -> None:
        """Forget an event and its rows."""
        event = self.events.pop(event_id)
        for row in [self.rows.pop(row_id) for row_id in self._row_ids.pop(event_id)]:
            self._own_row_ids[(event_id, row.owner_id)].remove(row.id)
            self._calendars[(row.calendar_type, row.owner_id)].remove(row.id)
        if event.recurrence_id is not None:
            self._occurrences[event.recurrence_id] = [
                other for other in self.occurrences(event.recurrence_id) if other.id != event_id
            ]

    def add_section(self, owner_id: int, name: str) -> Section:
        """Store a new section of a personal calendar."""
        self._sections_made += 1
        # The usual sections end in the digits 1 to 4.
        section = Section(10 * self._sections_made + 9, owner_id, name)
        self.sections[section.id] = section
        return section
