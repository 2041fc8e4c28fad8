"""The time and waiting, in one place, so that tests pass time without spending it.

Use it as a module (``clock.time()``), never import its functions.
"""

from __future__ import annotations

import asyncio
import time as _time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threading import Event


class Stopped(BaseException):
    """The run was stopped while this thread waited."""


def time() -> float:
    """Return the seconds since the epoch."""
    return _time.time()


def sleep(seconds: float, stop: Event | None = None) -> None:
    """Wait in this thread.

    :param stop: ends the wait when it is set.
    :raises Stopped: it was set.
    """
    if stop is None:
        _time.sleep(seconds)
    elif stop.wait(seconds):
        raise Stopped


async def asleep(seconds: float) -> None:
    """Wait without blocking the event loop."""
    await asyncio.sleep(seconds)
