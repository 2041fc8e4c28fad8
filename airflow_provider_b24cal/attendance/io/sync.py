"""Synchronises tables with a portal: each part is read and written while the tables are locked."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from airflow_provider_b24cal.attendance.absences import not_explained
from airflow_provider_b24cal.attendance.exclusion import without_users
from airflow_provider_b24cal.attendance.io.reader import People, read_by_id
from airflow_provider_b24cal.attendance.models import occurrence
from airflow_provider_b24cal.attendance.reconcile import reconcile, without_names
from airflow_provider_b24cal.hooks.unreadable import UnreadableRows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from airflow_provider_b24cal._airflow import Logger
    from airflow_provider_b24cal.attendance.models import Key, Person, Snapshot, Stored
    from airflow_provider_b24cal.attendance.reconcile import Diff
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent
    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

_COUNTS: Final = (
    "occurrences", "new", "changed", "unchanged", "moved", "vanished", "unknown", "answers", "answer_changes", "people",
    "unreadable",
)  # fmt: skip


class Store(Protocol):
    """What keeps the rows: tables, or whoever asked for the rows."""

    @property
    def meeting_names(self) -> bool:
        """Whether it keeps the names of meetings."""

    @property
    def people_names(self) -> bool:
        """Whether it keeps the names of people."""

    def lock(self) -> AbstractContextManager[Any]:
        """Let nobody else write during a ``with`` block, and yield the session to write with."""

    def load(self, session: Any, snapshot: Snapshot) -> Stored:
        """Return the rows that a snapshot can change; more do no harm."""

    def write(
        self, session: Any, stored: Stored, difference: Diff, now: datetime, people: Sequence[Person] = ()
    ) -> None:
        """Write what a snapshot changes that was read at ``now``."""


class Sync:
    """One run of a transfer to tables.

    :param exclude_users: people who are left out.
    :param portals_with: returns the other portals under whose name some of new occurrences are stored; ``None`` if the
        task names the portal.
    :ivar counts: what was read and written so far.
    """

    def __init__(
        self,
        hook: Bitrix24CalendarHook,
        store: Store,
        log: Logger,
        *,
        exclude_users: Collection[int] = (),
        portals_with: Callable[[Any, Sequence[Key]], Sequence[str]] | None = None,
    ) -> None:
        self._hook = hook
        self._store = store
        self._log = log
        self._exclude_users = exclude_users
        self._portals_with = portals_with
        self._people = People(hook) if store.people_names else None
        self._unreadable = UnreadableRows(log)
        # The next part shows them too.
        self._counted: frozenset[Key] = frozenset()
        self.counts: Counter[str] = Counter(dict.fromkeys(_COUNTS, 0))

    def update(self, read: Callable[[], Snapshot]) -> Snapshot:
        """Read a part and write it, and return its snapshot.

        :raises InvalidArgumentError: the calendar of somebody was read who is left out.
        :raises ScopeError: the credential lacks the scope for names.
        :raises TimeoutError: another run holds the lock of the tables.
        :raises ConnectionError: the session that held the lock was lost; nothing of the part is written.
        """
        with self._store.lock() as session:
            snapshot = without_users(read(), self._exclude_users)
            stored = self._store.load(session, snapshot)
            if event_ids := not_explained(stored, snapshot):
                snapshot = without_users(read_by_id(self._hook, snapshot, event_ids), self._exclude_users)
                stored = self._store.load(session, snapshot)
            people = self._people.fetch_names(snapshot) if self._people is not None else []
            shown = snapshot if self._store.meeting_names else without_names(snapshot)
            difference = reconcile(stored, shown, self._counted)
            self._store.write(session, stored, difference, snapshot.read_at, people)
            if self._portals_with is not None:
                new = [row.key for row in difference.meetings if row.key not in stored.meetings]
                self._warn_of_doubles(self._portals_with(session, new))
        self._unreadable.add(snapshot.unreadable)
        self.counts.update(difference.counts)
        self.counts.update(
            occurrences=sum(difference.counts[outcome] for outcome in ("new", "changed", "unchanged", "moved")),
            answers=sum((row.parent_id, row.occurrence_start) not in self._counted for row in difference.attendances)
            + sum(number for key, number in difference.seen_again.items() if key not in self._counted),
            answer_changes=len(difference.changes),
            people=len(people),
        )
        self.counts["unreadable"] = self._unreadable.count
        self._counted = frozenset(occurrence(event) for event in _reaching_on(snapshot))
        self._warn_of_emptied(snapshot, difference)
        return snapshot

    def _warn_of_doubles(self, portals: Sequence[str]) -> None:
        if portals:
            self._portals_with = None
            self._log.warning(
                "The tables have the same meetings under the portal %s; this run writes them under its own host. If it "
                "is one portal, rows are double: set portal to one name in all tasks, and delete the other rows.",
                " and ".join(portals),
            )  # fmt: skip

    def _warn_of_emptied(self, snapshot: Snapshot, difference: Diff) -> None:
        for calendar, number in sorted(difference.emptied.items()):
            assert snapshot.window is not None
            self._log.warning(
                "%s is empty from %s to %s; %d occurrences are not visible any more, though their meetings exist. They "
                "were taken out of this calendar, or the acting user has lost access: the portal's reply is the same.",
                calendar, snapshot.window.start.isoformat(), snapshot.window.end.isoformat(), number,
            )  # fmt: skip


def _reaching_on(snapshot: Snapshot) -> Iterator[CalendarEvent]:
    """Yield the events that take place after the end of a snapshot's window too."""
    if snapshot.window is not None:
        following = replace(snapshot.window, start=snapshot.window.end, end=snapshot.window.end + timedelta(days=1))
        yield from (event for _, event in snapshot.seen if following.touches(event))
