"""How far a long run has come, in a log line now and then."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL: Final = 5.0
"""Seconds from one line to the next, at least; a run that is over sooner has none."""


class Progress:
    """Counts what is done, and tells of it while there is more to do.

    The expected end follows from the rate since the last line: a portal takes a burst at once, and then so
    many requests a second, so that the rate of the whole run would promise too much.

    :param total: how many there are.
    :param tell: logs a line, given a format and its values.
    :param clock: tells the time in seconds since the epoch.
    """

    def __init__(self, total: int, on_pause: Callable[..., object], clock: Callable[[], float]) -> None:
        self._total = total
        self._tell = on_pause
        self._clock = clock
        self._done = 0
        self._last_time = clock()
        self._last_done = 0

    def add(self, count: int) -> None:
        """Note that so many more are done."""
        self._done += count
        now = self._clock()
        since = now - self._last_time
        # A clock that was set back begins anew.
        if 0 <= since < INTERVAL or self._done >= self._total:
            return
        if since > 0:
            rate = (self._done - self._last_done) / since
            end = datetime.fromtimestamp(now + (self._total - self._done) / rate, UTC)
            self._tell(
                "%d of %d done, %.1f per second, expected end %s UTC", self._done, self._total, rate, f"{end:%H:%M:%S}"
            )
        self._last_time, self._last_done = now, self._done
