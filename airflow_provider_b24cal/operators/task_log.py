"""The lines that operators write to the task's log."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_b24cal.bitrix24.wording import cut, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_b24cal._airflow import Logger
    from airflow_provider_b24cal.bitrix24.calendar.set_status import Change
    from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
    from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error

ROWS: Final = 100
"""Rows of a table in the log at most."""
_WIDTH: Final = 60


def status_label(status: MeetingStatus | None, error: Bitrix24Error | None = None) -> str:
    """Return a status in words, or the class of its error."""
    if error is not None:
        return type(error).__name__
    return "-" if status is None else status.label


def as_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a table with aligned columns; long cells are cut, control characters removed."""
    cells = [[cut(printable(str(cell)), _WIDTH) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def log_table(log: Logger, title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Log a table as a group, which Airflow's pages show folded; nothing if there are no rows."""
    if not rows:
        return
    log.info("::group::%s (%d)", title, len(rows))
    for line in as_table(header, islice(rows, ROWS)):
        log.info("%s", line)
    if len(rows) > ROWS:
        log.info("... and %d more", len(rows) - ROWS)
    log.info("::endgroup::")


def log_changes(log: Logger, changes: Sequence[Change], counts: Mapping[str, Any]) -> None:
    """Log the changes: one line for one meeting, counts and a table for many.

    :param counts: ``total``, ``changed``, ``unchanged`` and ``failed``.
    """
    if len(changes) == 1:
        (change,) = changes
        outcome = _outcome(change)
        if change.changed:
            outcome = f"{status_label(change.previous)} -> {status_label(change.current)}, {outcome}"
        log.info("Event %s, wanted %s: %s", change.event_id, change.wanted.label, outcome)
        return
    numbers = [counts[name] for name in ("total", "changed", "unchanged", "failed")]
    log.info("%d meetings: %d changed, %d unchanged, %d failed", *numbers)
    rows = [
        (change.event_id, change.wanted.label, status_label(change.previous), _outcome(change)) for change in changes
    ]
    log_table(log, "Changes", ("event", "wanted", "before", "outcome"), rows)


def _outcome(change: Change) -> str:
    if change.error is not None:
        return status_label(None, change.error)
    return "set, verified" if change.changed else "unchanged"
