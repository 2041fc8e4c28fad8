"""What portals have told of their methods' operating time, remembered by the processes of a host.

A hook often lives for one call only: the triggerer makes a new one for every poll. So what is remembered
belongs to the process, by portal and credential, as the portal's own account does. What is worth it goes into a
small file for the others: a task that is refused at its first call then knows when to come back.
"""

from __future__ import annotations

import os
import struct
from contextlib import contextmanager, suppress
from functools import lru_cache
from math import isnan, nan
from time import time
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.bitrix24.protocol.limits import OperatingTime, read_operating_time
from airflow_provider_b24cal.client.rate_limiter import close_state, open_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_b24cal.bitrix24.auth.credentials import Endpoint
    from airflow_provider_b24cal.bitrix24.protocol.limits import Release

_NOTHING_TOLD: Final = OperatingTime(0.0)
# Webhooks are replaced now and then, and a triggerer runs for months.
_CREDENTIALS: Final = 128


WORTH_SHARING: Final = 60.0
"""Seconds used up from which others are told. A portal refuses a method from 480 on."""

_NUMBERS: Final = struct.Struct("<ddd")


class OperatingTimes:
    """The operating times of one credential's methods, as last told; safe for threads.

    :param account: what the portal counts for; may hold secrets. Without it nothing is shared.
    :param folder: where it is shared; by default a folder of this user in the system's temporary folder.
    """

    def __init__(self, account: str | None = None, folder: Path | None = None) -> None:
        self._account, self._folder = account, folder
        self._by_method: dict[str, OperatingTime] = {}

    def note(self, method: str, told: object) -> None:
        """Remember the ``time`` of an answer, if it says anything of operating time."""
        if operating := read_operating_time(told, time()):
            self._by_method[method.lower()] = operating
            if operating.used >= WORTH_SHARING:
                self._share(method.lower(), operating)

    def release(self, method: str) -> Release:
        """Return when a method that is refused now may be called again."""
        now = time()
        known = self._by_method.get(method.lower(), _NOTHING_TOLD), self._shared(method.lower())
        current = [operating for operating in known if operating.is_current(now)]
        return max(current, key=lambda operating: operating.told_at, default=_NOTHING_TOLD).release(now)

    def _share(self, method: str, operating: OperatingTime) -> None:
        resets_at = nan if operating.resets_at is None else operating.resets_at
        with suppress(OSError), self._file(method) as descriptor:
            os.pwrite(descriptor, _NUMBERS.pack(operating.told_at, operating.used, resets_at), 0)

    def _shared(self, method: str) -> OperatingTime:
        stored = b""
        with suppress(OSError), self._file(method) as descriptor:
            stored = os.pread(descriptor, _NUMBERS.size, 0)
        if len(stored) != _NUMBERS.size:
            return _NOTHING_TOLD
        told_at, used, resets_at = _NUMBERS.unpack(stored)
        return OperatingTime(told_at, used, None if isnan(resets_at) else resets_at)

    @contextmanager
    def _file(self, method: str) -> Iterator[int]:
        """Open a method's file.

        :raises OSError: there can be none.
        """
        if self._account is None:
            raise FileNotFoundError
        descriptor = open_state(f"{self._account} {method}", self._folder)
        try:
            yield descriptor
        finally:
            close_state(descriptor)


@lru_cache(maxsize=_CREDENTIALS)
def operating_times(endpoint: Endpoint) -> OperatingTimes:
    """Return what is remembered of a portal and credential."""
    return OperatingTimes(" ".join((endpoint.origin, *endpoint.secrets())))
