"""Synchronises tables with a portal: each part is read and written while the tables are locked."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.attendance.io.reader import People
from airflow_provider_b24cal.hooks.unreadable import UnreadableRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_b24cal._airflow import Logger
    from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
    from airflow_provider_b24cal.attendance.models import Snapshot
    from airflow_provider_b24cal.attendance.reconcile import Diff
    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

_COUNTS: Final = (
    "occurrences", "new", "changed", "unchanged", "vanished", "unknown", "answers", "answer_changes", "people",
    "unreadable",
)  # fmt: skip


class Sync:
    """One run of a transfer to tables.

    :ivar counts: what was read and written so far.
    """

    def __init__(self, hook: Bitrix24CalendarHook, store: AttendanceStore, log: Logger) -> None:
        self._store = store
        self._log = log
        self._people = People(hook) if store.people_names else None
        self._unreadable = UnreadableRows(log)
        self.counts: Counter[str] = Counter(dict.fromkeys(_COUNTS, 0))

    def update(self, read: Callable[[], Snapshot]) -> Snapshot:
        """Read a part and write it, and return its snapshot.

        :raises ScopeError: the credential lacks the scope for names.
        :raises TimeoutError: another run holds the lock of the tables.
        :raises ConnectionError: the session that held the lock was lost; nothing of the part is written.
        """
        with self._store.lock() as session:
            snapshot = read()
            people = self._people.fetch_names(snapshot) if self._people is not None else []
            difference = self._store.write(session, snapshot, people)
        self._unreadable.add(snapshot.unreadable)
        self.counts.update(difference.counts)
        self.counts.update(
            occurrences=len({(event.parent_id, event.start) for _, event in snapshot.seen}),
            answers=len(difference.attendances),
            answer_changes=len(difference.changes),
            people=len(people),
        )
        self.counts["unreadable"] = self._unreadable.count
        self._warn_of_emptied(snapshot, difference)
        return snapshot

    def _warn_of_emptied(self, snapshot: Snapshot, difference: Diff) -> None:
        for calendar, number in sorted(difference.emptied.items()):
            assert snapshot.window is not None
            self._log.warning(
                "%s is empty from %s to %s; it had %d occurrences. They were cancelled or moved, or the acting user "
                "has lost access: the portal's reply is the same.",
                calendar, snapshot.window.start.isoformat(), snapshot.window.end.isoformat(), number,
            )  # fmt: skip
