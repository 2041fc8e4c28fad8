"""The progress of a long run, in a log line now and then."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL: Final = 5.0
"""Seconds between two lines at least; a shorter run has none."""


class Progress:
    """Counts items and logs how many are done, as long as some are left.

    The expected end follows from the rate since the last line: a portal accepts a burst at once, so the rate of the
    whole run would be too high.

    :param total: how many items there are.
    :param log: logs a line, given a format and its values.
    :param clock: returns the time in seconds since the epoch.
    """

    def __init__(self, total: int, log: Callable[..., object], clock: Callable[[], float]) -> None:
        self._total = total
        self._log = log
        self._clock = clock
        self._done = 0
        self._last_time = clock()
        self._last_done = 0

    def add(self, count: int) -> None:
        """Count further items as done."""
        self._done += count
        now = self._clock()
        since = now - self._last_time
        # After the clock was set back the interval starts again.
        if 0 <= since < INTERVAL or self._done >= self._total:
            return
        if since > 0:
            rate = (self._done - self._last_done) / since
            end = datetime.fromtimestamp(now + (self._total - self._done) / rate, UTC)
            self._log(
                "%d of %d done, %.1f per second, expected end %s UTC", self._done, self._total, rate, f"{end:%H:%M:%S}"
            )
        self._last_time, self._last_done = now, self._done
