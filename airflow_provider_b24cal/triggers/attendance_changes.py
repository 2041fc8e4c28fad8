"""The trigger that starts DAGs when somebody answers."""

from __future__ import annotations

import json
from asyncio import to_thread
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from airflow.triggers.base import TriggerEvent

from airflow_provider_b24cal import clock
from airflow_provider_b24cal._airflow import BaseEventTrigger
from airflow_provider_b24cal.attendance.calendars import check_calendar
from airflow_provider_b24cal.attendance.changes import by_meeting
from airflow_provider_b24cal.bitrix24.calendar.event_methods import check_readable, get_event, get_events
from airflow_provider_b24cal.bitrix24.calendar.events import EventList, UnreadableRow
from airflow_provider_b24cal.bitrix24.calendar.listing import MAX_CALL_SPAN
from airflow_provider_b24cal.bitrix24.calendar.methods import profile
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    Bitrix24Error,
    CredentialsError,
    InvalidArgumentError,
    NoSuchEventError,
    UnexpectedReplyError,
)
from airflow_provider_b24cal.bitrix24.validation import check_conn_id, check_letters, check_number, check_some_ids
from airflow_provider_b24cal.hooks.unreadable import UnreadableRows
from airflow_provider_b24cal.triggers.outbox import DELIVERY_GRACE, LONGEST_PAUSE, Outbox
from airflow_provider_b24cal.waiting.schedule import interval, tick_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from airflow_provider_b24cal.attendance.changes import AnswerChange
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent
    from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome
    from airflow_provider_b24cal.bitrix24.protocol.call import Call
    from airflow_provider_b24cal.triggers.shared_poll import SharedPoll

_MOST_DAYS: Final = 366
_SLACK: Final = 0.5
"""Seconds by which clocks may disagree about a sleep."""


class Bitrix24AttendanceChangesTrigger(BaseEventTrigger):
    """
    Fire an event for each change of an answer, for ever: for ``AssetWatcher``, with Airflow 3.0 and later.

    It watches the meetings of a calendar from ``days_behind`` to ``days_ahead`` from now, or single meetings. The
    payload of an event::

        {"parent_id": 650, "occurrence_start": "2026-09-16T08:00:00+00:00", "user_id": 7, "old": "Q", "new": "Y",
         "change_id": "5f0c6d1e9a7b3c24"}

    ``old`` is ``null`` for somebody who was not invited before, ``new`` for somebody who is not any more. A
    series has one answer per person, so its change is one event.

    The first reading tells nothing: it is what later ones are compared with. With Airflow 3.3 and later it is
    kept in the asset's state store, and a restarted triggerer goes on from it: what changed meanwhile is told,
    what was told is not told again. A triggerer that ends within about five seconds of an event may have lost it,
    so the next one tells it again with the same ``change_id``. Before 3.3, or if one trigger watches for several
    assets, a restart reads anew: nothing is told twice, and what changed meanwhile is not told.

    Nothing is told before the store has answered. One that cannot be written to holds nothing up: it is tried
    again later, and a restart meanwhile tells again what it did not note.

    A poll that fails is logged and made again, after twice the time at each failure, up to a quarter of an hour.
    A row that cannot be read is logged once. Of its meeting nothing is told, and nothing forgotten, until it can be
    read again.

    :param bitrix24_conn_id: a connection of type ``bitrix24``.
    :param calendar: ``user`` (the acting user's), ``user:7``, ``group:7`` or ``company_calendar``; default the
        acting user's.
    :param event_ids: single meetings in place of a calendar.
    :param days_ahead: how far ahead to look, 0 to 366 days.
    :param days_behind: how far back to look, 0 to 366 days.
    :param user_ids: tell only of these people; default everybody.
    :param new_statuses: tell only of changes to one of these letters; default any.
    :param poke_interval: seconds between polls, at least one.
    """

    def __init__(
        self,
        *,
        bitrix24_conn_id: str = "bitrix24_default",
        calendar: str | None = None,
        event_ids: Sequence[int | str] | None = None,
        days_ahead: float = 14,
        days_behind: float = 0,
        user_ids: Sequence[int | str] | None = None,
        new_statuses: Sequence[str] | None = None,
        poke_interval: float = 60.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow leaves it unannotated
        # Nothing is templated here, so a mistake breaks the DAG file and not a trigger that nobody looks at.
        if calendar is not None and event_ids is not None:
            raise InvalidArgumentError("calendar is not accepted together with event_ids.")
        self._calendar = check_calendar("user" if calendar is None else calendar)
        for name, days in (("days_ahead", days_ahead), ("days_behind", days_behind)):
            check_number(days, name, 0, _MOST_DAYS)
        if days_ahead + days_behind <= 0:
            raise InvalidArgumentError("days_ahead and days_behind are both 0; nothing lies in between.")
        check_number(poke_interval, "poke_interval", 1, 86_400)
        self.bitrix24_conn_id = check_conn_id(bitrix24_conn_id)
        self.calendar = calendar
        self.event_ids = None if event_ids is None else check_some_ids(event_ids, "event_ids")
        self.days_ahead = days_ahead
        self.days_behind = days_behind
        self.user_ids = None if user_ids is None else check_some_ids(user_ids, "user_ids")
        letters = None if new_statuses is None else check_letters(new_statuses, "new_statuses")
        self.new_statuses = None if letters is None else sorted(letter.value for letter in letters)
        self.poke_interval = poke_interval
        self._owner_id: int | None = None
        self._unreadable = UnreadableRows(self.log)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments; no secret, no host, no row is among them."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "bitrix24_conn_id": self.bitrix24_conn_id,
            "calendar": self.calendar,
            "event_ids": self.event_ids,
            "days_ahead": self.days_ahead,
            "days_behind": self.days_behind,
            "user_ids": self.user_ids,
            "new_statuses": self.new_statuses,
            "poke_interval": self.poke_interval,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll for ever, and fire an event for each change that is asked for."""
        from airflow_provider_b24cal.triggers.shared_poll import shared_poll

        poll = shared_poll(self.bitrix24_conn_id)
        book = Outbox(getattr(self, "asset_state_store", None), self._memory_key, self.log)
        failures = 0
        while True:
            # Airflow starts a watcher that raises or returns again after a second, whatever is wrong with it.
            try:
                await book.open()
                await self._look(poll, book)
                failures = 0
            except Exception as error:  # noqa: BLE001 - a watcher has nobody to raise it to
                failures += 1
                told = str(error) if isinstance(error, Bitrix24Error) else type(error).__name__
                self.log.error("Poll failed, the next one will come: %s", told)
            for change in book.unsent:
                yield TriggerEvent(change.payload)
                change.handed_over = clock.time()
            await self._rest(poll, failures, book)

    async def _look(self, poll: SharedPoll, book: Outbox) -> None:
        found, first = await self.read(poll), book.memory is None
        self._unreadable.add(("", row) for row in found.unreadable)
        # In a thread: thousands of meetings take their time, and every other trigger waits for this one.
        meetings = await to_thread(by_meeting, found.events)
        if first:
            self.log.info("Watching %d meetings", len(meetings))
        await to_thread(book.compare, meetings, self._wanted, {row.parent_id for row in found.unreadable})
        await book.keep()

    async def _rest(self, poll: SharedPoll, failures: int, book: Outbox) -> None:
        due = clock.time() + self._pause(poll, failures)
        if book.in_flight and due - clock.time() > DELIVERY_GRACE + _SLACK:
            await clock.asleep(DELIVERY_GRACE + _SLACK)
            await book.keep()
        await clock.asleep(max(0.0, due - clock.time()))

    async def read(self, poll: SharedPoll) -> EventList:
        """Make one poll, together with whoever else asks on the same connection now.

        :return: the meetings, and the rows that are left out because they cannot be read.
        :raises Bitrix24Error: something could not be read; what is not shown would be taken for gone.
        """
        if self.event_ids is not None:
            outcomes = await poll.call_many([get_event(event_id) for event_id in self.event_ids])
            lists = [_as_list(event_id, one) for event_id, one in zip(self.event_ids, outcomes, strict=True)]
            return _meetings(lists)
        # Whole hours, so that watchers of the same calendar make the same calls.
        now = datetime.fromtimestamp(clock.time() // 3600 * 3600, UTC)
        window = Window(now - timedelta(days=self.days_behind), now + timedelta(days=self.days_ahead))
        if self._calendar.owner_id is not None:
            return self._shown(await poll.call_many(self._calls(self._calendar.owner_id, window)), window)
        # Asked beside, for a connection can become another person's; what was read then is read again.
        known = self._owner_id
        user, *outcomes = await poll.call_many([profile(), *(() if known is None else self._calls(known, window))])
        self._owner_id = user.unwrap().user_id
        if self._owner_id is None:
            raise CredentialsError("This connection has no active user on the portal.", method="profile")
        if self._owner_id != known:
            outcomes = await poll.call_many(self._calls(self._owner_id, window))
        return self._shown(outcomes, window)

    def _calls(self, owner_id: int, window: Window) -> list[Call[EventList]]:
        return [get_events(self._calendar.kind, owner_id, span) for span in window.chunks(MAX_CALL_SPAN)]

    def _shown(self, outcomes: Sequence[Outcome[EventList]], window: Window) -> EventList:
        found = _meetings([outcome.unwrap() for outcome in outcomes])
        return replace(found, events=tuple(filter(window.touches, found.events)))

    def _wanted(self, change: AnswerChange) -> bool:
        return (self.user_ids is None or change.user_id in self.user_ids) and (
            self.new_statuses is None or change.new in self.new_statuses
        )

    def _pause(self, poll: SharedPoll, failures: int) -> float:
        now, step = clock.time(), self.poke_interval
        if failures:
            longest = max(step, LONGEST_PAUSE)
            return interval(step, failures, exponential_backoff=True, max_wait=longest)
        due = tick_from(now, poll.origin(step, now), step)
        return due - now if due - now > step / 2 else due - now + step

    @property
    def _memory_key(self) -> str:
        path, arguments = self.serialize()
        # Another pace is no other watcher.
        told = json.dumps([path, {**arguments, "poke_interval": None}], sort_keys=True)
        return f"b24cal_{sha256(told.encode()).hexdigest()[:16]}"


def _meetings(lists: Sequence[EventList]) -> EventList:
    """Return the meetings of some lists, and the rows that cannot be read.

    :raises UnexpectedReplyError: there are rows, and none of them can be read.
    """
    check_readable(lists)
    events = tuple(event for one in lists for event in one.events if event.is_meeting)
    return EventList(events, tuple(row for one in lists for row in one.unreadable))


def _as_list(event_id: int, outcome: Outcome[CalendarEvent]) -> EventList:
    """Return one event as a list, empty if there is no such event."""
    if isinstance(outcome.error, NoSuchEventError):
        return EventList()
    if isinstance(outcome.error, UnexpectedReplyError):
        return EventList(unreadable=(UnreadableRow(event_id, None, None, outcome.error.message),))
    return EventList((outcome.unwrap(),))
