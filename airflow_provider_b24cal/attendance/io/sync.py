"""Bringing tables to what a portal shows: a reading is written, or made again where another run was faster."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.attendance.io.reader import People, read_again
from airflow_provider_b24cal.attendance.looks import MEMORY
from airflow_provider_b24cal.hooks.unreadable import UnreadableRows

if TYPE_CHECKING:
    from airflow_provider_b24cal._airflow import Logger
    from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
    from airflow_provider_b24cal.attendance.reconcile import Diff, Snapshot
    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

_AGAIN: Final = 3
"""How often a reading that another run has overtaken is made again."""
_COUNTS: Final = (
    "occurrences", "new", "changed", "unchanged", "vanished", "outdated", "unknown", "answers", "answer_changes",
    "people", "unreadable",
)  # fmt: skip


class Sync:
    """One run.

    :param people_names: whether to store what people are called.
    :ivar counts: what was seen and written so far.
    """

    def __init__(self, hook: Bitrix24CalendarHook, store: AttendanceStore, log: Logger, *, people_names: bool) -> None:
        self._hook = hook
        self._store = store
        self._log = log
        self._people = People(hook) if people_names else None
        self._unreadable = UnreadableRows(log)
        self.counts: Counter[str] = Counter(dict.fromkeys(_COUNTS, 0))

    def write(self, reading: Snapshot) -> Snapshot:
        """Write a reading, and return it, or the one that has replaced it.

        :raises ScopeError: names are wanted, and the credential may not ask for them.
        """
        if datetime.now(UTC) - reading.started > MEMORY:  # of a process that has slept
            reading = read_again(self._hook, reading)
        for left in reversed(range(_AGAIN + 1)):
            if self._people is not None and (people := self._people.fetch_names(reading)):
                self._store.write_people(people)
                self.counts["people"] += len(people)
            difference = self._store.write(reading, whole=left > 0)
            if not difference.counts["outdated"] or not left:
                break
            self._log.info("Another run has written what has changed meanwhile: reading again")
            reading = read_again(self._hook, reading)
        self.counts.update(difference.counts)
        self.counts["occurrences"] += len({(event.parent_id, event.start) for _, event in reading.seen})
        self.counts["answers"] += len(difference.attendances)
        self.counts["answer_changes"] += len(difference.changes)
        self._unreadable.add(reading.unreadable)
        self.counts["unreadable"] = self._unreadable.count
        self._warn(reading, difference)
        return reading

    def _warn(self, reading: Snapshot, difference: Diff) -> None:
        if outdated := difference.counts["outdated"]:
            self._log.warning(
                "Occurrences of which later readings tell something else: %d. They are left as they are; do the "
                "clocks of the workers agree?",
                outdated,
            )
        for calendar, number in sorted(difference.emptied.items()):
            assert reading.window is not None
            self._log.warning(
                "%s shows nothing from %s to %s any more, where it has shown: occurrences %d. They were cancelled or "
                "moved, or the acting user may no longer look: a portal answers the same.",
                calendar, reading.window.start.isoformat(), reading.window.end.isoformat(), number,
            )  # fmt: skip
