"""Waiting in tests: for a condition, for a process, and for a gate that holds what the sandbox delays."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TIMEOUT = 120.0
"""Seconds to wait for what comes at once on an idle machine; a busy one takes many times that."""


FOR_A_PROCESS = 300.0
"""The same for what a process of its own does, which first has to start."""


class Gate:
    """Holds whatever a portal delays until it is opened, however long or short that was planned to be.

    :ivar held: how much has come to it.
    """

    def __init__(self) -> None:
        self.held = 0
        self._opened = threading.Event()

    def open(self) -> None:
        """Let everything through, from now on."""
        self._opened.set()

    async def sleep(self, _seconds: float) -> None:
        """Stand for the sandbox's ``sleep``."""
        self.held += 1
        while not self._opened.is_set():
            await asyncio.sleep(0.005)


def wait_until(true: Callable[[], object]) -> None:
    """Return as soon as something is so."""
    deadline = time.monotonic() + TIMEOUT
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


async def await_until(true: Callable[[], object]) -> None:
    """Return as soon as something is so, and let the loop go on meanwhile."""
    async with asyncio.timeout(TIMEOUT):
        while not true():
            await asyncio.sleep(0.005)


@contextmanager
def ending(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Have a process that ends at the latest with the block, and also when nobody reads what it does not write.

    It is asked to end before it is killed, for it may have children of its own.
    """
    timer = threading.Timer(FOR_A_PROCESS, process.terminate)
    timer.start()
    with process:
        try:
            yield process
        finally:
            timer.cancel()
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
