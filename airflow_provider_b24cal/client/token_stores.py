"""Stores for renewed token pairs: an Airflow variable, a file, or a class named by a dotted path."""

from __future__ import annotations

import os
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from airflow_provider_b24cal._airflow import variables
from airflow_provider_b24cal.bitrix24.auth.credentials import without_inner_frames
from airflow_provider_b24cal.bitrix24.auth.tokens import Grant, TokenPair, read_stored
from airflow_provider_b24cal.bitrix24.protocol.errors import TokenStoreError
from airflow_provider_b24cal.bitrix24.validation import invalid_field
from airflow_provider_b24cal.client.log_filter import mask_all


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


TRIAL: Final = "_trial"
"""The suffix of the store entry that is written to check that a store is writable."""


class GrantStore:
    """The token pairs of one grant in the token store that its connection names; blocking.

    :ivar unsaved: a pair that could not be stored; the only copy of it.
    """

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.unsaved: TokenPair | None = None
        self._store = make_store(grant.store)
        self._writable = False

    @without_inner_frames
    def load(self) -> TokenPair:
        """Return the stored pair, or that of the connection if none is stored.

        :raises TokenStoreError: the store fails, or holds something else.
        """
        if self.unsaved is not None:
            self.save(self.unsaved)
        try:
            text = self._store.load(self.grant.key)
        except Exception as problem:  # noqa: BLE001 - the text of any error may hold tokens
            raise self._failure("read", problem) from None
        self._writable = text is not None
        if text is None:
            return self.grant.pair
        stored = read_stored(text)
        mask_all(stored.secrets())
        return stored

    def check_writable(self) -> None:
        """Check that a pair can be stored.

        :raises TokenStoreError: it cannot.
        """
        # A store that holds a pair is writable. In any other one the trial is an entry of its own: another host may
        # store a newer pair at this moment.
        if not self._writable:
            self._save(f"{self.grant.key}{TRIAL}", "This store can be written.")
            self._writable = True

    def save(self, pair: TokenPair) -> None:
        """Store a pair.

        :raises TokenStoreError: the store fails.
        """
        mask_all(pair.secrets())
        self.unsaved = pair
        self._save(self.grant.key, pair.to_text())
        self.unsaved = None

    @without_inner_frames
    def _save(self, key: str, text: str) -> None:
        try:
            self._store.save(key, text)
        except Exception as problem:  # noqa: BLE001 - the text of any error may hold tokens
            raise self._failure("written", problem) from None

    def _failure(self, what: str, problem: Exception) -> TokenStoreError:
        # From its number: the text of the error may hold anything.
        reason = f": {os.strerror(problem.errno)}" if isinstance(problem, OSError) and problem.errno else ""
        return TokenStoreError(
            f"The token store {type(self._store).__name__} could not be {what}{reason}.", cause=type(problem).__name__
        )
