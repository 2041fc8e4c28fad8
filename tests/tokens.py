"""The hook with tokens, blocking and on an event loop, for the tests of OAuth."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal.bitrix24.auth.tokens import read_stored
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.client.token_stores import TRIAL
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

CONNECTION = "bitrix24_tokens"
Connect = Callable[..., Path]


class Blocking:
    """The hook as a worker uses it; :class:`Asynchronous` is the same on an event loop."""

    def __init__(self, policy: RetryPolicy | None = None) -> None:
        self.hook = Bitrix24CalendarHook(CONNECTION, retry=policy)

    def status(self, event_id: int) -> str:
        return self.hook.get_meeting_status(event_id)

    def outcomes(self, event_ids: Any) -> Any:
        return self.hook.get_meeting_statuses(event_ids).values()

    def statuses(self, event_ids: Any) -> list[str]:
        return [outcome.unwrap() for outcome in self.outcomes(event_ids)]


class Asynchronous(Blocking):
    def status(self, event_id: int) -> str:
        return asyncio.run(self._ended(self.hook.aget_meeting_status(event_id)))

    def outcomes(self, event_ids: Any) -> Any:
        return asyncio.run(self._ended(self.hook.aget_meeting_statuses(event_ids))).values()

    async def _ended(self, work: Any) -> Any:
        try:
            return await work
        finally:
            await self.hook.aclose()


def stored(folder: Path) -> Any:
    (file,) = [file for file in folder.iterdir() if not file.stem.endswith(TRIAL)]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return read_stored(file.read_text())


def issued(portal: Portal) -> int:
    return portal.auth_server.issued["refresh_token"]
