"""The rate limit of one portal, shared by all threads of a process and all processes of a host or a cluster.

The state is a few numbers: in Redis, if the connection names one and it answers, else in a small file per portal, read
and written under a file lock. The lock is held for microseconds: a sender reserves a place, and waits afterwards.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from math import inf
from random import SystemRandom
from threading import Lock
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.bitrix24.protocol.limits import CLUSTER_HEADROOM, Bucket, Plan
from airflow_provider_b24cal.client.state_files import opened_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_b24cal.client.redis_state import RedisState

LOCK_TIMEOUT: Final = 1.0
"""Seconds to try for the lock of a file; longer than that only a stopped process holds it."""
_RETRY_INTERVAL: Final = 0.002

_NUMBERS: Final = struct.Struct("<dddd")

# A DAG may seed the module's own generator, and hosts must not send at the same moments.
_random: Final = SystemRandom().random

_OWN: Final[dict[str, tuple[float, ...]]] = {}
"""The state by portal, where there is no file. Not an attribute: each call of a hook makes a rate limiter."""
_own_lock = Lock()


class RateLimiter:
    """Says when the next request to a portal may be sent.

    :param origin: the portal; all users of one origin share a bucket.
    :param plan: its limits.
    :param folder: where the state file is; by default a folder of this user in the system's temporary folder.
    :param redis: where the processes of a cluster share the bucket.
    :param group: in Redis, all users of one origin and group share a bucket.
    """

    def __init__(
        self, origin: str, plan: Plan, folder: Path | None = None, redis: RedisState | None = None, group: str = ""
    ) -> None:
        self._plan = plan
        self._origin, self._folder = origin, folder
        self._redis, self._group = redis, group
        self._cluster_plan = Plan(plan.rate, max(1.0, plan.burst - CLUSTER_HEADROOM))

    def reserve(self, longest: float = inf) -> float:
        """Reserve the next free place and return how many seconds to wait before sending.

        :param longest: if the wait is longer, nothing is reserved.
        """
        if self._redis:
            shared = self._redis.reserve(self._origin, self._group, self._cluster_plan, longest, _random())
            if shared is not None:
                return shared
        waits: list[float] = []

        def take(bucket: Bucket) -> Bucket:
            wait, after = bucket.reserve(time(), _random())
            waits.append(wait)
            return after if wait <= longest else bucket

        self._change(take)
        return waits[-1]

    def refused(self) -> None:
        """Take note that the portal has refused a request for its rate."""
        if self._redis and self._redis.refused(self._origin, self._group, self._cluster_plan):
            return
        self._change(lambda bucket: bucket.refused(time()))

    def _change(self, change: Callable[[Bucket], Bucket]) -> None:
        try:
            with opened_state(self._origin, self._folder) as descriptor:
                _lock(descriptor)
                stored = os.pread(descriptor, _NUMBERS.size, 0)
                after = change(Bucket(self._plan, *_unpack(stored)))
                os.pwrite(descriptor, _NUMBERS.pack(*after.numbers()), 0)
        except OSError:
            # No folder, a full disk, a file system without locks, or a lock that is not released: this process
            # rate-limits independently.
            with _own_lock:
                after = change(Bucket(self._plan, *_OWN.get(self._origin, ())))
                _OWN[self._origin] = after.numbers()


def _unpack(stored: bytes) -> tuple[float, ...]:
    """Return the numbers of a file; one that was written before there were shares has the first two."""
    return struct.unpack(f"<{len(stored) // 8}d", stored) if len(stored) in (_NUMBERS.size // 2, _NUMBERS.size) else ()


def _lock(descriptor: int) -> None:
    """Lock a file.

    :raises TimeoutError: another process holds the lock for too long.
    :raises OSError: it cannot be locked.
    """
    until = monotonic() + LOCK_TIMEOUT
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() > until:
                raise TimeoutError(errno.ETIMEDOUT, "another process holds the lock") from None
        sleep(_RETRY_INTERVAL)


def _renew_lock() -> None:
    """Replace, in a child process, a lock that a thread of its parent may hold."""
    global _own_lock  # noqa: PLW0603 - the state itself is global
    _own_lock = Lock()


os.register_at_fork(after_in_child=_renew_lock)
