"""One at a time: among the threads and tasks of a process, and among all processes of a host.

Nobody blocks for it. It is tried again and again, so that an event loop is not held up, and so that a task
which is cancelled while it waits leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections import defaultdict
from contextlib import asynccontextmanager, contextmanager
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.client.dispatcher import sleep
from airflow_provider_b24cal.client.rate_limiter import close_state, open_state

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path
    from threading import Event

BETWEEN: Final = 0.05
"""Seconds between two attempts."""

_LOCKS: defaultdict[str, Lock] = defaultdict(Lock)
# In a child process nobody is left who would release those of its parent.
os.register_at_fork(after_in_child=_LOCKS.clear)


class InterprocessLock:
    """The turn of a name.

    :param name: what there is only one of at a time.
    :param longest: seconds to wait for it at most.
    :param folder: where its file lies; by default a folder of this user in the system's temporary folder.
        Without such a folder the turn is taken within this process only.
    """

    def __init__(self, name: str, longest: float, folder: Path | None = None) -> None:
        self._lock = _LOCKS[name]
        self._longest = longest
        self._name, self._folder = name, folder
        self._descriptor: int | None = None

    @contextmanager
    def acquire(self, stop: Event) -> Iterator[None]:
        """Hold the turn during a ``with`` block.

        :raises TimeoutError: somebody else has it for too long.
        :raises Stopped: the event was set while waiting.
        """
        until = monotonic() + self._longest
        while not self._take():
            self._check(until)
            sleep(BETWEEN, stop)
        try:
            yield
        finally:
            self._give_back()

    @asynccontextmanager
    async def aacquire(self) -> AsyncIterator[None]:
        """Hold the turn during an ``async with`` block; the twin of :meth:`held`."""
        until = monotonic() + self._longest
        while not self._take():
            self._check(until)
            await asyncio.sleep(BETWEEN)
        try:
            yield
        finally:
            self._give_back()

    def _check(self, until: float) -> None:
        if monotonic() > until:
            raise TimeoutError

    def _take(self) -> bool:
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._descriptor = self._lock_file()
        except BlockingIOError:
            self._lock.release()
            return False
        except OSError:
            # No folder, a full disk, a file system without locks: then within this process only.
            self._descriptor = None
        return True

    def _lock_file(self) -> int:
        descriptor = open_state(self._name, self._folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            close_state(descriptor)
            raise
        return descriptor

    def _give_back(self) -> None:
        if self._descriptor is not None:
            close_state(self._descriptor)
            self._descriptor = None
        self._lock.release()
