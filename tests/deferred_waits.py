"""Deferred waits that run in one event loop, as in a triggerer."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from airflow_provider_b24cal.triggers.attendance import Bitrix24AttendanceTrigger
from airflow_provider_b24cal.waiting.conditions import AttendeesCondition, MeetingsCondition
from airflow_provider_b24cal.waiting.evaluate import Rule


class Waits:
    """Several triggers on one loop, as in a triggerer; their intervals are short, for time is real here."""

    def __init__(self, interval: float = 1.0, conn_id: str = "bitrix24_default") -> None:
        self.interval = interval
        self.conn_id = conn_id
        self.ends: dict[Any, Any] = {}
        self._tasks: dict[Any, asyncio.Task[None]] = {}

    def join(self, name: Any, wait: MeetingsCondition | AttendeesCondition | None = None, **more: Any) -> None:
        """Defer one more wait; by default for the event that it is named after."""
        now = time.time()
        arguments = {
            "bitrix24_conn_id": self.conn_id,
            "wait": (wait or MeetingsCondition((name,), Rule())).to_dict(),
            "seen": "",
            "poke_interval": self.interval,
            # Overdue, as after a restart: the first poll comes at once.
            "deferred_at": now - self.interval - 100,
            "deadline": now + 600,
            "retry_timeout": 60.0,
        }
        trigger = Bitrix24AttendanceTrigger(**{**arguments, **more})
        trigger._log = logging.getLogger("waits")  # the same in all versions of Airflow
        self._tasks[name] = asyncio.create_task(self._run(name, trigger))

    async def leave(self, name: Any) -> None:
        """Cancel a wait, as a triggerer does with a task that is marked or cleared."""
        self._tasks[name].cancel()
        await asyncio.gather(self._tasks[name], return_exceptions=True)

    async def end(self) -> dict[Any, Any]:
        """Return every wait's end, by name."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        return self.ends

    async def _run(self, name: Any, trigger: Bitrix24AttendanceTrigger) -> None:
        (self.ends[name],) = [event.payload async for event in trigger.run()]
