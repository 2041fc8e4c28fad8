"""The operating times that portals report, shared by the processes of a host or a cluster.

They are kept by portal and credential, as the portal counts them, and outlive the hook that received them. High ones
are also written to a small file, and to Redis if the connection names one, so that another task that is refused at its
first call knows when to return.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from functools import lru_cache
from math import isnan, nan
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal import clock
from airflow_provider_b24cal.bitrix24.protocol.limits import OperatingTime, read_operating_time
from airflow_provider_b24cal.client.state_files import opened_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_b24cal.bitrix24.protocol.limits import Release
    from airflow_provider_b24cal.client.redis_state import RedisState

_UNKNOWN: Final = OperatingTime(0.0)
# Webhooks are replaced now and then, and a triggerer runs for months.
_CREDENTIALS: Final = 128

SHARED_FROM: Final = 60.0
"""Seconds of operating time from which it is shared. A portal refuses a method from 480 on."""

_NUMBERS: Final = struct.Struct("<ddd")


class OperatingTimes:
    """The last reported operating times of one credential's methods; safe for threads.

    :param account: what the portal counts for; may hold secrets. Without it nothing is shared.
    :param folder: where the files are; by default a folder of this user in the system's temporary folder.
    :param redis: where the processes of a cluster share them.
    :ivar unshared: high ones that :meth:`share` has not written yet, by method.
    """

    def __init__(self, account: str | None = None, folder: Path | None = None, redis: RedisState | None = None) -> None:
        self._account, self._folder, self._redis = account, folder, redis
        self._by_method: dict[str, OperatingTime] = {}
        self.unshared: dict[str, OperatingTime] = {}

    def note(self, method: str, reported: object) -> None:
        """Keep the operating time in the ``time`` of a reply, if there is one."""
        if operating := read_operating_time(reported, clock.time()):
            self._by_method[method.lower()] = operating
            if operating.used >= SHARED_FROM and self._account is not None:
                self.unshared[method.lower()] = operating

    def share(self) -> None:
        """Write the high operating times where other processes find them; blocking."""
        for method in tuple(self.unshared):
            operating = self.unshared.pop(method, None)
            if operating is None:  # another thread has written it
                continue
            name = f"{self._account} {method}"
            resets_at = nan if operating.resets_at is None else operating.resets_at
            with suppress(OSError), opened_state(name, self._folder) as descriptor:
                os.pwrite(descriptor, _NUMBERS.pack(operating.reported_at, operating.used, resets_at), 0)
            if self._redis is not None:
                self._redis.save_operating(name, operating)

    def release(self, method: str) -> Release:
        """Return when a method that is refused now can be called again; blocking."""
        known = [self._by_method.get(method.lower(), _UNKNOWN)]
        if self._account is not None:
            known += self._shared(f"{self._account} {method.lower()}")
        now = clock.time()
        current = [operating for operating in known if operating.is_current(now)]
        return max(current, key=lambda operating: operating.reported_at, default=_UNKNOWN).release(now)

    def _shared(self, name: str) -> Iterator[OperatingTime]:
        stored = b""
        with suppress(OSError), opened_state(name, self._folder) as descriptor:
            stored = os.pread(descriptor, _NUMBERS.size, 0)
        if len(stored) == _NUMBERS.size:
            reported_at, used, resets_at = _NUMBERS.unpack(stored)
            yield OperatingTime(reported_at, used, None if isnan(resets_at) else resets_at)
        if self._redis is not None and (operating := self._redis.load_operating(name)):
            yield operating


operating_times: Final = lru_cache(maxsize=_CREDENTIALS)(OperatingTimes)
"""Returns the operating times of an account."""
