"""Synchronises tables with a portal: snapshots are written, or read again if another run was faster."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.attendance.io.reader import People, read_again
from airflow_provider_b24cal.attendance.read_log import RETENTION
from airflow_provider_b24cal.hooks.unreadable import UnreadableRows

if TYPE_CHECKING:
    from airflow_provider_b24cal._airflow import Logger
    from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
    from airflow_provider_b24cal.attendance.models import Snapshot
    from airflow_provider_b24cal.attendance.reconcile import Diff
    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

_AGAIN: Final = 3
"""How often a snapshot that another run has overtaken is read again."""
_COUNTS: Final = (
    "occurrences", "new", "changed", "unchanged", "vanished", "outdated", "unknown", "answers", "answer_changes",
    "people", "unreadable",
)  # fmt: skip


class Sync:
    """One run of a transfer to tables.

    :param people_names: whether to store the names of people.
    :ivar counts: what was read and written so far.
    """

    def __init__(self, hook: Bitrix24CalendarHook, store: AttendanceStore, log: Logger, *, people_names: bool) -> None:
        self._hook = hook
        self._store = store
        self._log = log
        self._people = People(hook) if people_names else None
        self._unreadable = UnreadableRows(log)
        self.counts: Counter[str] = Counter(dict.fromkeys(_COUNTS, 0))

    def write(self, snapshot: Snapshot) -> Snapshot:
        """Write a snapshot, and return it, or the one that has replaced it.

        :raises ScopeError: the credential lacks the scope for names.
        """
        if datetime.now(UTC) - snapshot.started > RETENTION:  # the process was suspended
            snapshot = read_again(self._hook, snapshot)
        for left in reversed(range(_AGAIN + 1)):
            if self._people is not None and (people := self._people.fetch_names(snapshot)):
                self._store.write_people(people)
                self.counts["people"] += len(people)
            difference = self._store.write(snapshot, whole=left > 0)
            if not difference.counts["outdated"] or not left:
                break
            self._log.info("Another run has written later changes: reading again")
            snapshot = read_again(self._hook, snapshot)
        self.counts.update(difference.counts)
        self.counts["occurrences"] += len({(event.parent_id, event.start) for _, event in snapshot.seen})
        self.counts["answers"] += len(difference.attendances)
        self.counts["answer_changes"] += len(difference.changes)
        self._unreadable.add(snapshot.unreadable)
        self.counts["unreadable"] = self._unreadable.count
        self._warn(snapshot, difference)
        return snapshot

    def _warn(self, snapshot: Snapshot, difference: Diff) -> None:
        if outdated := difference.counts["outdated"]:
            self._log.warning(
                "%d occurrences differ from later reads and are left as they are. Check that the clocks of the workers "
                "agree.",
                outdated,
            )
        for calendar, number in sorted(difference.emptied.items()):
            assert snapshot.window is not None
            self._log.warning(
                "%s is empty from %s to %s; it had %d occurrences. They were cancelled or moved, or the acting user "
                "has lost access: the portal's reply is the same.",
                calendar, snapshot.window.start.isoformat(), snapshot.window.end.isoformat(), number,
            )  # fmt: skip
