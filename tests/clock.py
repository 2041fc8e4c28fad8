"""A clock that tests pass to the provider in place of the real one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass
class Clock:
    """A clock that is moved by whoever sleeps on it.

    :param plans: what happens at which time, for example somebody answering.
    """

    now: float = 1_800_000_000.0
    slept: list[float] = field(default_factory=list)
    plans: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def time(self) -> float:
        return self.now

    def utcnow(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    def sleep(self, seconds: float, stop: object = None) -> None:
        # The threads of one run sleep on the same clock.
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds
            due = [plan for plan in self.plans if plan[0] <= self.now]
            self.plans = [plan for plan in self.plans if plan not in due]
        for plan in due:
            plan[1]()

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)

    def later(self, seconds: float, deed: Callable[[], object]) -> None:
        """Let something happen so many seconds from now."""
        self.plans.append((self.now + seconds, deed))
