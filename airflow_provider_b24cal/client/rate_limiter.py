"""The leaky bucket shared by all threads of a process and all processes of a host.

The whole state is two numbers in a small file per portal, read and written under a lock of the operating
system. The lock is never held while anybody waits: a place is reserved, and the wait comes after.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import struct
import tempfile
from contextlib import suppress
from functools import lru_cache
from math import inf
from pathlib import Path
from threading import Lock
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.bitrix24.protocol.limits import Bucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_b24cal.bitrix24.protocol.limits import Plan

LOCK_TIMEOUT: Final = 1.0
"""Seconds to try for the lock of a file. It is held for microseconds, unless its holder was stopped meanwhile."""
_BETWEEN_TRIES: Final = 0.002

_NUMBERS: Final = struct.Struct("<dd")
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_OWN: Final[dict[str, tuple[float, float]]] = {}
"""What the files would hold, by portal, where there are none. Not a pace's own, for each call of a hook makes one."""
_changing_own = Lock()
_OPEN: Final[set[int]] = set()
"""The descriptors of all open state files of this process."""


class RateLimiter:
    """When the next request to a portal may be sent.

    :param origin: the portal; all users of one origin share a bucket.
    :param plan: its limits; ``None`` for a portal without any.
    :param folder: where the state lies; by default a folder of this user in the system's temporary folder.
    """

    def __init__(self, origin: str, plan: Plan | None, folder: Path | None = None) -> None:
        self._plan = plan
        self._origin, self._folder = origin, folder

    def reserve(self, longest: float = inf) -> float:
        """Take the next free place and return how many seconds to wait before sending.

        :param longest: if the wait is longer, the place is left to others.
        """
        if self._plan is None:
            return 0.0
        waits: list[float] = []

        def take(bucket: Bucket) -> Bucket:
            wait, after = bucket.reserve(time())
            waits.append(wait)
            return after if wait <= longest else bucket

        self._change(take)
        return waits[-1]

    def refused(self) -> None:
        """Learn that the portal has refused a request as one too many."""
        self._change(lambda bucket: bucket.refused(time()))

    def _change(self, change: Callable[[Bucket], Bucket]) -> None:
        if self._plan is None:
            return
        try:
            self._change_shared(self._plan, change)
        except OSError:
            # No folder, a full disk, a file system without locks, or a lock that is not given back: this process then
            # keeps the pace by itself.
            with _changing_own:
                after = change(Bucket(self._plan, *_OWN.get(self._origin, ())))
                _OWN[self._origin] = after.empty_at, after.noted_at

    def _change_shared(self, plan: Plan, change: Callable[[Bucket], Bucket]) -> None:
        descriptor = open_state(self._origin, self._folder)
        try:
            _lock(descriptor)
            stored = os.pread(descriptor, _NUMBERS.size, 0)
            after = change(Bucket(plan, *(_NUMBERS.unpack(stored) if len(stored) == _NUMBERS.size else ())))
            os.pwrite(descriptor, _NUMBERS.pack(after.empty_at, after.noted_at), 0)
        finally:
            close_state(descriptor)


def _lock(descriptor: int) -> None:
    """Lock a file.

    :raises TimeoutError: another process has locked it and does not give it back.
    :raises OSError: it cannot be locked.
    """
    until = monotonic() + LOCK_TIMEOUT
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() > until:
                raise TimeoutError(errno.ETIMEDOUT, "another process holds the lock") from None
        sleep(_BETWEEN_TRIES)


def open_state(name: str, folder: Path | None) -> int:
    """Open the file of a name that all processes of this user share.

    :param folder: where it lies; by default a folder of this user in the system's temporary folder.
    :return: a descriptor; close it with :func:`close_state`.
    :raises OSError: there can be none.
    """
    descriptor = _open_private(folder or _own_folder(tempfile.gettempdir()), _file_name(name))
    _OPEN.add(descriptor)
    return descriptor


def close_state(descriptor: int) -> None:
    """Close a file of :func:`open_state`, and give its lock back."""
    # Before it is closed: the number may be another file's right after.
    _OPEN.discard(descriptor)
    try:
        # Closing alone keeps the lock for as long as a child process has a copy of the descriptor.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _leave_to_parent() -> None:
    """Close, in a child process, the copies of descriptors whose locks are its parent's."""
    global _changing_own  # noqa: PLW0603 - of the parent's nobody is left who would release it
    _changing_own = Lock()
    for descriptor in _OPEN:
        with suppress(OSError):
            os.close(descriptor)
    _OPEN.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


@lru_cache(maxsize=16)
def _own_folder(temporary: str) -> Path:
    return Path(temporary, f"airflow-provider-b24cal-{os.getuid()}")


@lru_cache(maxsize=256)
def _file_name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _open_private(folder: Path, name: str) -> int:
    """Open a file in a folder of this user alone; both are made where there are none.

    Everybody may write to the system's temporary folder, and so may have put something else there before.

    :raises OSError: folder or file are links, somebody else's, open to others, or cannot be used.
    """
    try:
        inside = os.open(folder, _FOLDER)
    except FileNotFoundError:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700, parents=True)
        inside = os.open(folder, _FOLDER)
    try:
        _check_private(inside, folder)
        # Relative to the folder that was checked: its name may lead elsewhere by now.
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=inside)
    finally:
        os.close(inside)
    try:
        _check_private(descriptor, folder / name)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check_private(descriptor: int, path: Path) -> None:
    found = os.fstat(descriptor)
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(errno.EPERM, "others may write there", str(path))
