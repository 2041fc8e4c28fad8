"""When a wait polls, and for how long one poll bears trouble."""

from __future__ import annotations

from math import ceil, floor
from typing import Final

from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy

PATIENCE: Final = RetryPolicy(total=900.0)
"""What one poll of a wait bears of errors in passing.

More than other calls do: the longest time that a portal refuses a method for is ten minutes, and a wait has
time. It is spent within one poll, for a rescheduled sensor is a new process at each.
"""

SOONEST_EVENT: Final = 10.0
"""Seconds that a trigger stays silent after the deferral.

Airflow's scheduler can fail a task whose trigger fires within a few seconds: it then still takes the end of
the deferring process for an unexpected one.
"""

MAX_DEFERRAL: Final = 4 * 366 * 86_400.0
"""Seconds that a deferral or the time between two polls lasts at most, four years.

A later time may not fit: Python's dates end in the year 9999, those of Airflow's tables on MySQL in 2038.
"""

HEARTBEAT: Final = 600.0
"""Seconds after which a wait without news says that it goes on."""


def interval(poke_interval: float, polls: int, *, exponential_backoff: bool, max_wait: float | None) -> float:
    """Return the seconds between two polls: at least one, so that no loop can spin, and at most ``MAX_DEFERRAL``.

    :param polls: how many polls were made at this pace already.
    """
    if not exponential_backoff:
        # max_wait bounds what grows, as it does in Airflow's own sensors
        return min(max(1.0, poke_interval), MAX_DEFERRAL)
    seconds = poke_interval * 2.0 ** min(polls, 64)
    return min(max(1.0, seconds if max_wait is None else min(seconds, max_wait)), MAX_DEFERRAL)


def tick_from(moment: float, origin: float, step: float) -> float:
    """Return the first tick at or after a moment; ticks lie a step apart, one of them on the origin."""
    return origin + ceil((moment - origin) / step) * step


def tick_until(moment: float, origin: float, step: float) -> float:
    """Return the last tick at or before a moment."""
    return origin + floor((moment - origin) / step) * step
