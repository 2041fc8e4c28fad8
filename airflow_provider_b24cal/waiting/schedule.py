"""When a wait polls, and how long one poll is retried."""

from __future__ import annotations

from math import ceil, floor
from typing import Final

from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy

POLL_RETRY: Final = RetryPolicy(total=900.0)
"""The retries of one poll of a wait.

They take longer than those of other calls: a portal refuses a method for ten minutes at most, and a wait has time. They
stay within one poll, because a rescheduled sensor is a new process at each poll.
"""

MIN_DEFERRAL: Final = 10.0
"""Seconds after the deferral before which a trigger fires no event.

Airflow's scheduler can fail a task whose trigger fires within a few seconds: it can then mistake the end of the
deferring process for a crash.
"""

MAX_DEFERRAL: Final = 4 * 366 * 86_400.0
"""Seconds of a deferral, and between two polls, at most: four years.

A later time may not fit: Python's dates end in the year 9999, those of Airflow's tables on MySQL in 2038.
"""

HEARTBEAT: Final = 600.0
"""Seconds after which a wait without changes logs that it continues."""


def interval(poke_interval: float, polls: int, *, exponential_backoff: bool, max_wait: float | None) -> float:
    """Return the seconds between two polls: at least one, so that no loop can spin, and at most ``MAX_DEFERRAL``.

    :param polls: how many polls were made before.
    """
    if not exponential_backoff:
        # As in Airflow's own sensors, max_wait bounds only an interval that grows.
        return min(max(1.0, poke_interval), MAX_DEFERRAL)
    seconds = poke_interval * 2.0 ** min(polls, 64)
    return min(max(1.0, seconds if max_wait is None else min(seconds, max_wait)), MAX_DEFERRAL)


def tick_from(moment: float, origin: float, step: float) -> float:
    """Return the first tick at or after a moment; ticks are a step apart, one of them at the origin."""
    return origin + ceil((moment - origin) / step) * step


def tick_until(moment: float, origin: float, step: float) -> float:
    """Return the last tick at or before a moment."""
    return origin + floor((moment - origin) / step) * step
