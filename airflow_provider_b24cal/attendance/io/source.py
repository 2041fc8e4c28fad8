"""The source of a transfer: calendars in a window, or single meetings."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_b24cal.attendance.calendars import Calendar, check_calendars, parts
from airflow_provider_b24cal.attendance.io.reader import read_calendars, read_events, resolve
from airflow_provider_b24cal.bitrix24.calendar.window import Window, check_moment
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from airflow_provider_b24cal.bitrix24.validation import check_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider_b24cal.attendance.models import Snapshot
    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Source:
    """Calendars in a window, or single meetings; made by :func:`check_source`.

    :param event_ids: single meetings; then the other fields are empty.
    """

    calendars: tuple[Calendar, ...] = ()
    window: Window | None = None
    event_ids: tuple[int, ...] = ()

    def parts(self, hook: Bitrix24CalendarHook) -> Iterator[Callable[[], Snapshot]]:
        """Yield a function for each part, which reads it."""
        if self.window is None:
            yield partial(read_events, hook, self.event_ids)
            return
        calendars = resolve(hook, self.calendars)
        for part in parts(self.window):
            yield partial(read_calendars, hook, calendars, part)

    def read_ahead(self, hook: Bitrix24CalendarHook) -> Iterator[Snapshot]:
        """Yield a snapshot for each part; the next one is read while one is written."""
        return ahead(read() for read in self.parts(hook))


def _next(items: Iterator[T]) -> T | None:
    return next(items, None)


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield what an iterator yields; the next item is made in another thread while one is used."""
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        following = pool.submit(copy_context().run, _next, items)
        while (item := following.result()) is not None:
            following = pool.submit(copy_context().run, _next, items)
            yield item
    finally:
        # After a failure the read in flight is not needed; closing the hook ends it.
        pool.shutdown(wait=False, cancel_futures=True)


def check_source(
    calendars: object, event_ids: object, window_start: object, window_end: object, context: Mapping[str, Any]
) -> Source:
    """Return the source.

    :param context: has the data interval, the default window.
    :raises InvalidArgumentError: an argument is invalid, or excluded by another one.
    """
    if event_ids is not None:
        others = {"calendars": calendars, "window_start": window_start, "window_end": window_end}
        beside = [name for name, value in others.items() if value is not None]
        if beside:
            raise InvalidArgumentError(f"Invalid event_ids: expected none together with {', '.join(beside)}.")
        return Source(event_ids=tuple(check_ids(event_ids)))
    return Source(
        calendars=tuple(check_calendars(["user"] if calendars is None else calendars)),
        window=_window(window_start, window_end, context),
    )


def shown_calendar(calendars: object) -> dict[str, Any]:
    """Return what the button of a task opens: the calendar that it reads, if there is only one.

    :raises InvalidArgumentError: the calendars are invalid.
    """
    first, *others = check_calendars(["user"] if calendars is None else calendars)
    # A group without a number has no page.
    one = Calendar("group", None) if others else first
    return {"calendar_type": one.kind, "owner_id": one.owner_id or None}


@contextmanager
def log_and_ignore(what: str, log: Any) -> Iterator[None]:
    """Log an error at debug level and continue: the task succeeds without this."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the rows are written in any case
        log.debug("No %s: %s", what, type(error).__name__)


def _window(window_start: object, window_end: object, context: Mapping[str, Any]) -> Window:
    if window_start is None and window_end is None:
        start, end = context.get("data_interval_start"), context.get("data_interval_end")
        if start is None or end is None or start >= end:
            raise InvalidArgumentError(
                "Invalid window_start None: expected window_start and window_end, because this run has no data "
                "interval. It was started by hand or by an asset, or its schedule is a CronTriggerTimetable, which "
                "Airflow 3 uses for cron expressions."
            )
        return Window(start, end)
    return Window(check_moment(window_start, "window_start"), check_moment(window_end, "window_end"))
