"""The time and waiting, in one place, so that tests pass time without spending it.

Use it as a module (``clock.time()``), never import its functions.
"""

from __future__ import annotations

import asyncio
import time as _time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from threading import Event

time: Final = _time.time
"""Returns the seconds since the epoch."""

asleep: Final = asyncio.sleep
"""Waits without blocking the event loop."""


class Stopped(BaseException):
    """The run was stopped while this thread waited."""


def sleep(seconds: float, stop: Event | None = None) -> None:
    """Wait in this thread.

    :param stop: ends the wait when it is set.
    :raises Stopped: it was set.
    """
    if stop is None:
        _time.sleep(seconds)
    elif stop.wait(seconds):
        raise Stopped
