"""What portals have told of their methods' operating time, remembered by each process.

A hook often lives for one call only: the triggerer makes a new one for every poll. So what is remembered
belongs to the process, by portal and credential, as the portal's own account does.
"""

from __future__ import annotations

from functools import lru_cache
from time import time
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.bitrix24.limits import OperatingTime, read_operating_time

if TYPE_CHECKING:
    from airflow_provider_b24cal.bitrix24.credentials import Endpoint
    from airflow_provider_b24cal.bitrix24.limits import Release

_NOTHING_TOLD: Final = OperatingTime(0.0)
# Webhooks are replaced now and then, and a triggerer runs for months.
_CREDENTIALS: Final = 128


class OperatingTimes:
    """The operating times of one credential's methods, as last told; safe for threads."""

    def __init__(self) -> None:
        self._by_method: dict[str, OperatingTime] = {}

    def note(self, method: str, told: object) -> None:
        """Remember the ``time`` of an answer, if it says anything of operating time."""
        if operating := read_operating_time(told, time()):
            self._by_method[method.lower()] = operating

    def release(self, method: str) -> Release:
        """Return when a method that is refused now may be called again."""
        return self._by_method.get(method.lower(), _NOTHING_TOLD).release(time())


@lru_cache(maxsize=_CREDENTIALS)
def operating_times(_endpoint: Endpoint) -> OperatingTimes:
    """Return what this process remembers of a portal and credential."""
    return OperatingTimes()
