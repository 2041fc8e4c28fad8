"""Stores for renewed token pairs: an Airflow variable, a file, or a class named by a dotted path."""

from __future__ import annotations

import os
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Protocol, runtime_checkable

from airflow_provider_b24cal._airflow import variables
from airflow_provider_b24cal.bitrix24.auth.tokens import TokenPair, read_stored
from airflow_provider_b24cal.bitrix24.connection_fields import invalid_field
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    TokenStoreError,
    without_inner_frames,
)


@runtime_checkable
class TokenStore(Protocol):
    """Stores texts by key, for all processes that use a connection.

    The texts are secret. Both methods block, and are always called from threads. Every :meth:`load` in any process
    must return the text of the last :meth:`save`.
    """

    def load(self, key: str) -> str | None:
        """Return the text of a key, or ``None``."""

    def save(self, key: str, text: str) -> None:
        """Store a text, in place of an earlier one."""


class VariableStore:
    """Stores texts as Airflow variables: encrypted, and hidden in the web UI because of their keys."""

    def load(self, key: str) -> str | None:
        """Return the text of a key, or ``None``."""
        text: str | None = variables().get(key, None)
        return text

    def save(self, key: str, text: str) -> None:
        """Store a text, in place of an earlier one."""
        description = "Written by the Bitrix24 provider: the current tokens of a connection."
        variables().set(key, text, description=description)


class FileStore:
    """Stores texts as files that only this user can read.

    :param folder: created if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, key: str) -> str | None:
        """Return the text of a key, or ``None``."""
        try:
            return self._path(key).read_text("utf-8")
        except FileNotFoundError:
            return None

    def save(self, key: str, text: str) -> None:
        """Store a text, in place of an earlier one; atomic and durable."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            Path(name).replace(self._path(key))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"


def make_store(name: str) -> TokenStore:
    """Return the store that a connection names.

    :param name: ``variable``, ``file:<folder>``, or the dotted path of a class or function that is called
        without arguments and returns a :class:`TokenStore`.
    :raises InvalidConnectionError: the name is invalid.
    """
    if name == "variable":
        return VariableStore()
    if name.startswith("file:"):
        return FileStore(Path(name.removeprefix("file:")))
    module, _, attribute = name.rpartition(".")
    try:
        store = getattr(import_module(module), attribute)()
    except Exception as problem:  # noqa: BLE001 - a user's class may raise anything
        reason = type(problem).__name__ + (f": {problem}" if isinstance(problem, _SHOWN_ERRORS) else "")
    else:
        if isinstance(store, TokenStore):
            return store
        reason = f"{type(store).__name__} lacks the method load or save"
    raise invalid_field(
        "token_store",
        "variable, file:<folder>, or the dotted path of a class that is made without arguments and has load(key) and "
        "save(key, text)",
        f"The reason: {ascii(reason)[1:-1][:200]}.",
        value=name,
    )


_SHOWN_ERRORS = (ImportError, AttributeError, TypeError)


@without_inner_frames
def load_pair(store: TokenStore, key: str) -> TokenPair | None:
    """Return the pair in a store, or ``None``.

    :raises TokenStoreError: the store fails, or holds something else.
    """
    try:
        text = store.load(key)
    except Exception as problem:  # noqa: BLE001 - the text of any error may hold tokens
        failure = _failure("read", store, problem)
    else:
        return None if text is None else read_stored(text)
    raise failure


@without_inner_frames
def save_text(store: TokenStore, key: str, text: str) -> None:
    """Store a text.

    :raises TokenStoreError: the store fails.
    """
    try:
        store.save(key, text)
    except Exception as problem:  # noqa: BLE001 - the text of any error may hold tokens
        failure = _failure("written", store, problem)
    else:
        return
    raise failure


def _failure(what: str, store: TokenStore, problem: Exception) -> TokenStoreError:
    # From its number: the text of the error may hold anything.
    reason = f": {os.strerror(problem.errno)}" if isinstance(problem, OSError) and problem.errno else ""
    return TokenStoreError(
        f"The token store {type(store).__name__} could not be {what}{reason}.", cause=type(problem).__name__
    )
