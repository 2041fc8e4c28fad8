"""What a watcher knows, kept where its restart can find it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Any, Final, Protocol

from airflow_provider_b24cal import clock
from airflow_provider_b24cal.attendance.changes import WatcherState, memory_from_json
from airflow_provider_b24cal.waiting.schedule import interval

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from airflow_provider_b24cal._airflow import Logger
    from airflow_provider_b24cal.attendance.changes import AnswerChange, MeetingAnswers

DELIVERY_GRACE: Final = 5.0
"""Seconds after which an event that was handed to Airflow is taken to be stored.

Airflow says nothing of it. Its triggerer hands events on once a second, its supervisor stores them up to a second
after that, and neither does so any more once it was told to stop.
"""
LONGEST_PAUSE: Final = 900.0
"""Seconds between two tries at most while something fails."""


class Store(Protocol):
    """What Airflow keeps for an asset, from 3.3 on."""

    async def aget(self, key: str) -> Any:
        """Return a value, or ``None``."""

    async def aset(self, key: str, value: Any) -> None:
        """Keep a value."""


@dataclass(slots=True)
class PendingEvent:
    """A change that is told.

    :param payload: of the event.
    :param handed_over: when Airflow was given the event, in seconds since the epoch.
    """

    payload: dict[str, Any]
    handed_over: float = inf


class Outbox:
    """A watcher's memory.

    A change is written down before its event is handed to Airflow, and crossed out when the event has settled.
    Whatever ends the watcher in between, the next one tells the change again, as the same payload, even if the
    answer was changed back in the meantime.

    :param store: ``None`` where this Airflow keeps nothing.
    :param key: of the note in the store.
    :ivar memory: what was seen and told; ``None`` before the first reading.
    """

    def __init__(self, store: Store | None, key: str, log: Logger) -> None:
        self.memory: WatcherState | None = None
        self._store = store
        self._key = key
        self._log = log
        self._opened = store is None
        self._told: list[PendingEvent] = []
        self._seen: dict[str, Any] = {}
        self._kept: dict[str, Any] = {}
        self._failures = 0
        self._again = -inf

    @property
    def unsent(self) -> list[PendingEvent]:
        """What is to be handed to Airflow now."""
        return [one for one in self._told if one.handed_over == inf]

    @property
    def in_flight(self) -> bool:
        """Whether something has to be crossed out after a while."""
        return self._store is not None and bool(self._told)

    async def open(self) -> None:
        """Take up what was kept before a restart, once.

        :raises Exception: the store does not answer, in whichever way Airflow says so.
        """
        if self._opened or self._store is None:
            return
        try:
            note = await self._store.aget(self._key)
        except ValueError:  # several assets share this trigger, and none of them is its own
            self._log.warning("This trigger watches for several assets, so nothing is kept for a restart.")
            self._store = None
        else:
            self.memory = memory_from_json(note)
            if self.memory is not None:
                self._seen = self.memory.to_json()
                self._told = [PendingEvent(payload) for payload in note.get("pending", ())]
        self._opened = True

    def compare(
        self,
        meetings: Mapping[int, MeetingAnswers],
        wanted: Callable[[AnswerChange], bool],
        unreadable: Collection[int | None] = (),
    ) -> None:
        """Note what a reading shows, and which changes are to be told; takes a while for many meetings.

        :param unreadable: meetings of rows that cannot be read, with ``None`` for any.
        """
        memory = self.memory
        if memory is None:
            memory = self.memory = WatcherState(datetime.fromtimestamp(clock.time(), UTC).isoformat())
        for change in list(memory.changes(meetings)):
            if wanted(change):
                self._told.append(PendingEvent(_payload(change, memory)))
            memory.mark_emitted(change)
        memory.update(meetings, unreadable)
        self._seen = memory.to_json()

    async def keep(self) -> None:
        """Keep what a restart has to know, if that has changed; a store that fails is tried again later."""
        now = clock.time()
        self._told = [one for one in self._told if now - one.handed_over < DELIVERY_GRACE]
        if self._store is None or self.memory is None or now < self._again:
            return
        note = {**self._seen, "pending": [one.payload for one in self._told]}
        if note == self._kept:
            return
        try:
            await self._store.aset(self._key, note)
        except Exception as error:  # noqa: BLE001 - what was read is told all the same
            self._failures += 1
            self._again = now + interval(
                DELIVERY_GRACE, self._failures, exponential_backoff=True, max_wait=LONGEST_PAUSE
            )
            self._log.error("What was told could not be noted; a restart would tell it again: %s", type(error).__name__)
        else:
            self._failures, self._kept = 0, note


def _payload(change: AnswerChange, memory: WatcherState) -> dict[str, Any]:
    return {
        "parent_id": change.parent_id,
        "occurrence_start": change.occurrence_start.isoformat(),
        "user_id": change.user_id,
        "old": change.old,
        "new": change.new,
        "change_id": memory.change_id(change),
    }
