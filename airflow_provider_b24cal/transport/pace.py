"""The leaky bucket shared by all threads of a process and all processes of a host.

The whole state is one number in a small file per portal, read and written under a lock of the operating
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
from pathlib import Path
from threading import Lock
from time import time
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.bitrix24.limits import Bucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_b24cal.bitrix24.limits import Plan

_NUMBER: Final = struct.Struct("<d")
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_OWN: Final[dict[str, float]] = {}
"""What the files would hold, by portal, where there are none. Not a pace's own, for each call of a hook makes one."""
_CHANGING_OWN: Final = Lock()


class Pace:
    """When the next request to a portal may be sent.

    :param origin: the portal; all users of one origin share a bucket.
    :param plan: its limits; ``None`` for a portal without any.
    :param folder: where the state lies; by default a folder of this user in the system's temporary folder.
    """

    def __init__(self, origin: str, plan: Plan | None, folder: Path | None = None) -> None:
        self._plan = plan
        self._origin, self._folder = origin, folder

    def reserve(self) -> float:
        """Take the next free place and return how many seconds to wait before sending."""
        if self._plan is None:
            return 0.0
        waits: list[float] = []

        def take(bucket: Bucket) -> Bucket:
            wait, after = bucket.reserve(time())
            waits.append(wait)
            return after

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
            # No folder, a full disk, a file system without locks: this process then keeps the pace by itself.
            with _CHANGING_OWN:
                _OWN[self._origin] = change(Bucket(self._plan, _OWN.get(self._origin, 0.0))).empty_at

    def _change_shared(self, plan: Plan, change: Callable[[Bucket], Bucket]) -> None:
        descriptor = open_state(self._origin, self._folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            stored = os.pread(descriptor, _NUMBER.size, 0)
            empty_at = _NUMBER.unpack(stored)[0] if len(stored) == _NUMBER.size else 0.0
            os.pwrite(descriptor, _NUMBER.pack(change(Bucket(plan, empty_at)).empty_at), 0)
        finally:
            os.close(descriptor)


def open_state(name: str, folder: Path | None) -> int:
    """Open the file of a name that all processes of this user share.

    :param folder: where it lies; by default a folder of this user in the system's temporary folder.
    :raises OSError: there can be none.
    """
    return _open_private(folder or _own_folder(tempfile.gettempdir()), _file_name(name))


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
