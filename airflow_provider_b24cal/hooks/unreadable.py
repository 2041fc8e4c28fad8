"""Counts and logs rows that cannot be read."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_b24cal._airflow import Logger
    from airflow_provider_b24cal.bitrix24.calendar.events import UnreadableRow


class UnreadableRows:
    """The rows left out of some lists; each is logged once, as a warning."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._rows: Counter[tuple[str, UnreadableRow]] = Counter()
        self._named: set[tuple[str, int | None, str]] = set()

    @property
    def count(self) -> int:
        """How many rows were left out; one that was read twice counts once."""
        return self._rows.total()

    def add(self, rows: Iterable[tuple[str, UnreadableRow]]) -> None:
        """Count the rows of one list.

        :param rows: pairs of calendar and row; the calendar may be an empty text.
        """
        found = Counter(rows)
        self._rows |= found
        for calendar, row in found:
            # Occurrences of a series have one id, and mostly the same fault.
            named = calendar, row.event_id, row.reason
            if named in self._named:
                continue
            self._named.add(named)
            event = "An event without a readable id" if row.event_id is None else f"Event {row.event_id}"
            where = f" of {calendar}" if calendar else ""
            self._log.warning("%s%s cannot be read and is left out: %s", event, where, row.reason)
