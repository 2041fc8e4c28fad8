"""Small files by which the processes of one user and host share state, and their locks."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import tempfile
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_OPEN: Final[set[int]] = set()
"""The descriptors of all open state files of this process."""


def open_state(name: str, folder: Path | None) -> int:
    """Open the state file of a name.

    :param folder: where it is; by default a folder of this user in the system's temporary folder.
    :return: a descriptor; close it with :func:`close_state`.
    :raises OSError: it cannot be opened.
    """
    descriptor = _open_private(folder or _own_folder(tempfile.gettempdir()), _file_name(name))
    _OPEN.add(descriptor)
    return descriptor


def close_state(descriptor: int) -> None:
    """Close a file of :func:`open_state` and release its lock."""
    # Before it is closed: afterwards the number may belong to another file.
    _OPEN.discard(descriptor)
    try:
        # Closing alone keeps the lock as long as a child process has a copy of the descriptor.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


@contextmanager
def opened_state(name: str, folder: Path | None) -> Iterator[int]:
    """Open the state file of a name for a ``with`` block; parameters and errors of :func:`open_state`."""
    descriptor = open_state(name, folder)
    try:
        yield descriptor
    finally:
        close_state(descriptor)


def _forget_after_fork() -> None:
    """Close, in a child process, the copies of descriptors whose locks belong to its parent."""
    for descriptor in _OPEN:
        with suppress(OSError):
            os.close(descriptor)
    _OPEN.clear()


os.register_at_fork(after_in_child=_forget_after_fork)


@lru_cache(maxsize=16)
def _own_folder(temporary: str) -> Path:
    return Path(temporary, f"airflow-provider-b24cal-{os.getuid()}")


@lru_cache(maxsize=256)
def _file_name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _open_private(folder: Path, name: str) -> int:
    """Open a file in a folder of this user alone; both are created if needed.

    Every user can write to the system's temporary folder and may have created something else there before.

    :raises OSError: folder or file are links, another user's, writable for others, or unusable.
    """
    try:
        inside = os.open(folder, _FOLDER)
    except FileNotFoundError:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700, parents=True)
        inside = os.open(folder, _FOLDER)
    try:
        _check_private(inside, folder)
        # Relative to the folder that was checked: its name may point elsewhere by now.
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
        raise PermissionError(errno.EPERM, "others can write there", str(path))
