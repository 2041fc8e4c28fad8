"""A lock among the threads and tasks of a process and among all processes of a host.

It is polled, never blocked on: an event loop goes on meanwhile, and a task that is cancelled while it waits leaves
nothing behind.
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

from airflow_provider_b24cal.client.state_files import close_state, open_state
from airflow_provider_b24cal.clock import Stopped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path
    from threading import Event

POLL_INTERVAL: Final = 0.05
"""Seconds between two attempts."""

_LOCKS: defaultdict[str, Lock] = defaultdict(Lock)
# A child process has no thread that would release the locks of its parent.
os.register_at_fork(after_in_child=_LOCKS.clear)


class InterprocessLock:
    """The lock of a name.

    :param name: what is locked.
    :param timeout: seconds to wait for it at most.
    :param folder: where its file is; by default a folder of this user in the system's temporary folder. Without such
        a folder the lock holds within this process only.
    """

    def __init__(self, name: str, timeout: float, folder: Path | None = None) -> None:
        self._lock = _LOCKS[name]
        self._timeout = timeout
        self._name, self._folder = name, folder
        self._descriptor: int | None = None

    @contextmanager
    def acquire(self, stop: Event) -> Iterator[None]:
        """Hold the lock during a ``with`` block.

        :raises TimeoutError: it was not released in time.
        :raises Stopped: the event was set while waiting.
        """
        until = monotonic() + self._timeout
        while not self._try_acquire(until):
            if stop.wait(POLL_INTERVAL):
                raise Stopped
        try:
            yield
        finally:
            self._release()

    @asynccontextmanager
    async def aacquire(self) -> AsyncIterator[None]:
        """Hold the lock during an ``async with`` block; the twin of :meth:`acquire`."""
        until = monotonic() + self._timeout
        while not self._try_acquire(until):  # noqa: ASYNC110 - another process releases it
            await asyncio.sleep(POLL_INTERVAL)
        try:
            yield
        finally:
            self._release()

    def _try_acquire(self, until: float) -> bool:
        if self._lock.acquire(blocking=False):
            try:
                self._descriptor = self._lock_file()
            except BlockingIOError:
                self._lock.release()
            except OSError:
                # No folder, a full disk, a file system without locks: it holds within this process only.
                self._descriptor = None
                return True
            else:
                return True
        if monotonic() > until:
            raise TimeoutError
        return False

    def _lock_file(self) -> int:
        descriptor = open_state(self._name, self._folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            close_state(descriptor)
            raise
        return descriptor

    def _release(self) -> None:
        if self._descriptor is not None:
            close_state(self._descriptor)
            self._descriptor = None
        self._lock.release()
