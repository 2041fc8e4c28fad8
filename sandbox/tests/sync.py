"""Waiting in tests: for a condition, for a process, and for a gate that holds what the sandbox delays."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TIMEOUT = 120.0
"""Seconds to wait for what takes milliseconds on an idle machine."""

PROCESS_TIMEOUT = 300.0
"""Seconds that a process of its own may take; it has to start first."""


class Gate:
    """Holds what a portal delays until the gate is opened; give its ``sleep`` to the server."""

    def __init__(self) -> None:
        self.held = 0
        self._opened = threading.Event()

    def open(self) -> None:
        """Let everything through from now on."""
        self._opened.set()

    async def sleep(self, _seconds: float) -> None:
        """Stand for the sandbox's ``sleep``."""
        self.held += 1
        while not self._opened.is_set():
            await asyncio.sleep(0.005)


def wait_until(true: Callable[[], object]) -> None:
    """Return as soon as a condition holds."""
    deadline = time.monotonic() + TIMEOUT
    while not true():
        assert time.monotonic() < deadline, "the condition did not hold in time"
        time.sleep(0.005)


@contextmanager
def ending(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Have a process that ends with the block at the latest; it is terminated before it is killed."""
    timer = threading.Timer(PROCESS_TIMEOUT, process.terminate)
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
