"""The outbox of a watcher: changes are stored before their events are fired, so that a restart loses none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Any, Final, Protocol

from airflow_provider_b24cal import clock
from airflow_provider_b24cal.attendance.changes import WatcherState, state_from_json
from airflow_provider_b24cal.waiting.schedule import interval

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from airflow_provider_b24cal._airflow import Logger
    from airflow_provider_b24cal.attendance.changes import AnswerChange, MeetingAnswers

DELIVERY_GRACE: Final = 5.0
"""Seconds after which an event that was given to Airflow counts as stored.

Airflow gives no confirmation. Its triggerer passes events on once a second, its supervisor stores them up to a second
later, and both stop doing so at a shutdown.
"""
LONGEST_PAUSE: Final = 900.0
"""Seconds between two attempts at most while polls or the store fail."""


class Store(Protocol):
    """Airflow's state store of an asset, from 3.3 on."""

    async def aget(self, key: str) -> Any:
        """Return a value, or ``None``."""

    async def aset(self, key: str, value: Any) -> None:
        """Store a value."""


@dataclass(slots=True)
class PendingEvent:
    """An event that may not be stored by Airflow yet.

    :param payload: of the event.
    :param fired_at: when Airflow was given the event, in seconds since the epoch.
    """

    payload: dict[str, Any]
    fired_at: float = inf


class Outbox:
    """The state of a watcher.

    A change is stored before its event is fired, and removed when Airflow has stored the event. If the watcher ends in
    between, the next one fires the event again with the same payload, even if the answer was changed back meanwhile.

    :param store: ``None`` if this Airflow has none.
    :param key: of the entry in the store.
    :ivar state: the answers seen and the changes fired; ``None`` before the first poll.
    """

    def __init__(self, store: Store | None, key: str, log: Logger) -> None:
        self.state: WatcherState | None = None
        self._store = store
        self._key = key
        self._log = log
        self._opened = store is None
        self._pending: list[PendingEvent] = []
        self._seen: dict[str, Any] = {}
        self._stored: dict[str, Any] = {}
        self._failures = 0
        self._retry_at = -inf

    @property
    def unsent(self) -> list[PendingEvent]:
        """The events to fire now."""
        return [one for one in self._pending if one.fired_at == inf]

    @property
    def in_flight(self) -> bool:
        """Whether there are events to remove later."""
        return self._store is not None and bool(self._pending)

    async def open(self) -> None:
        """Load the state of before a restart, once.

        :raises Exception: the store failed; any class, as Airflow raises it.
        """
        if self._opened or self._store is None:
            return
        try:
            note = await self._store.aget(self._key)
        except ValueError:  # several assets share this trigger
            self._log.warning("This trigger watches for several assets, so no state is stored for a restart.")
            self._store = None
        else:
            self.state = state_from_json(note)
            if self.state is not None:
                self._seen = self.state.to_json()
                self._pending = [PendingEvent(payload) for payload in note.get("pending", ())]
        self._opened = True

    def compare(
        self,
        meetings: Mapping[int, MeetingAnswers],
        wanted: Callable[[AnswerChange], bool],
        unreadable: Collection[int | None] = (),
    ) -> None:
        """Compare the answers of a poll with the state, and add an event for each wanted change.

        Slow for many meetings.

        :param unreadable: meetings of rows that cannot be read, with ``None`` for any.
        """
        state = self.state
        if state is None:
            state = self.state = WatcherState(datetime.fromtimestamp(clock.time(), UTC).isoformat())
        for change in list(state.changes(meetings)):
            if wanted(change):
                self._pending.append(PendingEvent(_payload(change, state)))
            state.mark_emitted(change)
        state.update(meetings, unreadable)
        self._seen = state.to_json()

    async def save(self) -> None:
        """Store the state for a restart, if it has changed; after a failure it is stored later."""
        now = clock.time()
        self._pending = [one for one in self._pending if now - one.fired_at < DELIVERY_GRACE]
        if self._store is None or self.state is None or now < self._retry_at:
            return
        note = {**self._seen, "pending": [one.payload for one in self._pending]}
        if note == self._stored:
            return
        try:
            await self._store.aset(self._key, note)
        except Exception as error:  # noqa: BLE001 - the events are fired anyway
            self._failures += 1
            self._retry_at = now + interval(
                DELIVERY_GRACE, self._failures, exponential_backoff=True, max_wait=LONGEST_PAUSE
            )
            self._log.error(
                "The state could not be stored; after a restart the same events would be fired again: %s",
                type(error).__name__,
            )
        else:
            self._failures, self._stored = 0, note


def _payload(change: AnswerChange, state: WatcherState) -> dict[str, Any]:
    return {
        "parent_id": change.parent_id,
        "occurrence_start": change.occurrence_start.isoformat(),
        "user_id": change.user_id,
        "old": change.old,
        "new": change.new,
        "change_id": state.change_id(change),
    }
