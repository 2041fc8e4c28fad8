"""The trigger that starts DAGs when an attendee answers."""

from __future__ import annotations

import json
from asyncio import to_thread
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from inspect import signature
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
    InvalidArgumentError,
    NoSuchEventError,
    UnexpectedReplyError,
)
from airflow_provider_b24cal.bitrix24.validation import (
    check_conn_id,
    check_letters,
    check_number,
    check_some_ids,
    invalid,
)
from airflow_provider_b24cal.hooks.unreadable import UnreadableRows
from airflow_provider_b24cal.triggers.outbox import DELIVERY_GRACE, LONGEST_PAUSE, Outbox
from airflow_provider_b24cal.waiting.arguments import check_size
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
"""Seconds by which a sleep may end early."""


class Bitrix24AttendanceChangesTrigger(BaseEventTrigger):
    """
    Fire an event for each change of an answer, for ever: for ``AssetWatcher``, with Airflow 3.0 and later.

    It watches the meetings of a calendar from ``days_behind`` to ``days_ahead`` from now, or single meetings. The
    payload of an event::

        {"parent_id": 650, "occurrence_start": "2026-09-16T08:00:00+00:00", "user_id": 7, "old": "Q", "new": "Y",
         "change_id": "5f0c6d1e9a7b3c24"}

    ``old`` is ``null`` for a user who was not invited before, ``new`` for a user who is no longer invited. A
    series has one answer per person, so its change is one event.

    The first poll fires no event; later ones are compared with it. With Airflow 3.3 and later the state is in the
    asset's state store, and a restarted triggerer continues from it: it fires events for changes during the restart,
    and none twice. If a triggerer ends within about five seconds of an event, Airflow may not have stored the event, so
    the next one fires it again with the same ``change_id``. Before 3.3, or if one trigger watches for several assets, a
    restart begins with a new first poll: no event is fired twice, and changes during the restart have no event.

    No event is fired before the store has been read. If the store cannot be written, events are fired all the same and
    the state is stored later; after a restart in between, their events are fired again.

    A poll that fails is logged and repeated, after twice the time at each failure, up to a quarter of an hour.
    A row that cannot be read is logged once. Its meeting has no events until it can be read again; its last answers are
    kept.

    :param bitrix24_conn_id: a connection of type ``bitrix24``.
    :param calendar: ``user`` (the acting user's), ``user:7``, ``group:7`` or ``company_calendar``; default the
        acting user's.
    :param event_ids: single meetings in place of a calendar; together with ``user_ids`` 2,500 at most.
    :param days_ahead: days after now that the window spans, 0 to 366.
    :param days_behind: days before now that the window spans, 0 to 366.
    :param user_ids: fire events for these users only; default all.
    :param new_statuses: fire events for changes to one of these letters only; default any.
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
        # Nothing is templated here: an invalid argument breaks the DAG file, where it is seen.
        if calendar is not None and event_ids is not None:
            raise InvalidArgumentError("Invalid calendar: expected none together with event_ids.")
        self._calendar = check_calendar("user" if calendar is None else calendar)
        for name, days in (("days_ahead", days_ahead), ("days_behind", days_behind)):
            check_number(days, name, 0, _MOST_DAYS)
        if days_ahead + days_behind <= 0:
            raise invalid("days_ahead", days_ahead, "more than 0 days together with days_behind")
        check_number(poke_interval, "poke_interval", 1, 86_400)
        self.bitrix24_conn_id = check_conn_id(bitrix24_conn_id)
        self.calendar = calendar
        self.event_ids = None if event_ids is None else check_some_ids(event_ids, "event_ids")
        self.days_ahead = days_ahead
        self.days_behind = days_behind
        self.user_ids = None if user_ids is None else check_some_ids(user_ids, "user_ids")
        ids = (*(self.event_ids or ()), *(self.user_ids or ()))
        check_size("event_ids or user_ids", len(ids), "events and users in one trigger", "Use several watchers.")
        letters = None if new_statuses is None else check_letters(new_statuses, "new_statuses")
        self.new_statuses = None if letters is None else sorted(letter.value for letter in letters)
        self.poke_interval = poke_interval
        self._owner_id: int | None = None
        self._unreadable = UnreadableRows(self.log)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, without secrets, hosts and rows."""
        arguments = {name: getattr(self, name) for name in signature(type(self)).parameters}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll for ever, and fire an event for each wanted change."""
        from airflow_provider_b24cal.triggers.shared_poll import shared_poll

        poll = shared_poll(self.bitrix24_conn_id)
        outbox = Outbox(getattr(self, "asset_state_store", None), self._state_key, self.log)
        failures = 0
        while True:
            # Airflow restarts a watcher that raises or returns after a second, also for an error that stays.
            try:
                await outbox.open()
                await self._poll(poll, outbox)
                failures = 0
            except Exception as error:  # noqa: BLE001 - a watcher has no caller to raise to
                failures += 1
                text = str(error) if isinstance(error, Bitrix24Error) else type(error).__name__
                self.log.error("Poll failed; the watcher continues: %s", text)
            for change in outbox.unsent:
                yield TriggerEvent(change.payload)
                change.fired_at = clock.time()
            await self._rest(poll, failures, outbox)

    async def _poll(self, poll: SharedPoll, outbox: Outbox) -> None:
        found, first = await self.read(poll), outbox.state is None
        self._unreadable.add(("", row) for row in found.unreadable)
        # In a thread: thousands of meetings take a while, and all other triggers share the loop.
        meetings = await to_thread(by_meeting, found.events)
        if first:
            self.log.info("Watching %d meetings", len(meetings))
        await to_thread(outbox.compare, meetings, self._wanted, {row.parent_id for row in found.unreadable})
        await outbox.save()

    async def _rest(self, poll: SharedPoll, failures: int, outbox: Outbox) -> None:
        due = clock.time() + self._pause(poll, failures)
        if outbox.in_flight and due - clock.time() > DELIVERY_GRACE + _SLACK:
            await clock.asleep(DELIVERY_GRACE + _SLACK)
            await outbox.save()
        await clock.asleep(max(0.0, due - clock.time()))

    async def read(self, poll: SharedPoll) -> EventList:
        """Make one poll, together with other waits that poll at the same moment.

        :return: the meetings, and the rows that are left out because they cannot be read.
        :raises Bitrix24Error: a call failed; a missing list would look like deleted meetings.
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
        # Read in the same poll: a connection can become another person's. The calendar is then read again.
        known = self._owner_id
        user, *outcomes = await poll.call_many([profile(), *(() if known is None else self._calls(known, window))])
        self._owner_id = user.unwrap().active_id()
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
    def _state_key(self) -> str:
        path, arguments = self.serialize()
        # With another poke_interval it is the same watcher.
        text = json.dumps([path, {**arguments, "poke_interval": None}], sort_keys=True)
        return f"b24cal_{sha256(text.encode()).hexdigest()[:16]}"


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
