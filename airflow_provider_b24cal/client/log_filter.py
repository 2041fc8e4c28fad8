"""Removes secrets from logs: by Airflow's masker, and from the log lines of the HTTP libraries by a filter.

At DEBUG ``urllib3`` logs the path of every request and ``httpcore`` the headers of every response. Both quote what they
cannot parse, ``urllib3`` at WARNING and with a traceback.
"""

from __future__ import annotations

import logging
import os
import re
from threading import Lock
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal._airflow import mask_secret
from airflow_provider_b24cal.bitrix24.auth.credentials import HIDDEN, Scrubber, Secret

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

MAX_KNOWN: Final = 1000
"""Secrets that are kept at most; a connection has two to ten, and each renewal of a token adds four."""

_LOGGERS: Final = (
    # One by one: a logger's filter does not apply to its children.
    "charset_normalizer",
    "httpcore",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
    "httpx",
    "requests",
    "urllib3",
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.contrib.pyopenssl",
    "urllib3.http2.connection",
    "urllib3.poolmanager",
    "urllib3.response",
    "urllib3.util.retry",
)

_BYTES: Final = r"""b(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_HEADER: Final = re.compile(rf"\(({_BYTES}), {_BYTES}\)")
# A library quotes what it cannot parse up to the end of the line.
_UNREADABLE: Final = re.compile(
    r"(HeaderParsingError: |Failed to parse headers \(url=.*?\): |illegal \w+ \w+:? ).*", re.IGNORECASE
)


class _SecretFilter(logging.Filter):
    """Rewrites records: known secrets, webhook paths and values of headers become ``***``."""

    def __init__(self) -> None:
        super().__init__()
        self._texts: dict[str, None] = {}
        self._scrubber: Scrubber | None = None
        self._lock = Lock()
        # Another thread may hold the lock while the process is forked; the child does not have that thread.
        os.register_at_fork(after_in_child=self._renew_lock)

    def add(self, texts: Iterable[str]) -> None:
        """Add secrets that this process has read; beyond the limit the oldest are dropped."""
        with self._lock:
            for text in texts:
                if text:
                    self._texts.pop(text, None)
                    self._texts[text] = None
            for text in list(self._texts)[:-MAX_KNOWN]:
                del self._texts[text]
            self._scrubber = None

    def filter(self, record: logging.LogRecord) -> bool:
        lines = [record.getMessage()]
        if record.exc_info:
            # As text: log handlers may show the error itself, with its causes and the variables of its frames.
            lines.append(_FORMATTER.formatException(record.exc_info))
        text = _UNREADABLE.sub(rf"\1{HIDDEN}", _HEADER.sub(rf"(\1, {HIDDEN})", "\n".join(lines)))
        record.msg, record.args = self._scrub(text), None
        record.exc_info = record.exc_text = None
        if record.stack_info:
            record.stack_info = self._scrub(record.stack_info)
        return True

    def _scrub(self, text: str) -> str:
        """Return a text without the secrets and without webhook paths."""
        with self._lock:
            if self._scrubber is None:
                self._scrubber = Scrubber(*map(Secret, self._texts))
            scrubber = self._scrubber
        return scrubber(text)

    def _renew_lock(self) -> None:
        self._lock = Lock()


_FORMATTER: Final = logging.Formatter()
_FILTER: Final = _SecretFilter()


def keep_out_of_logs(secrets: Iterable[str]) -> None:
    """Hide secrets in the log lines of the HTTP libraries, in this process and from now on."""
    _FILTER.add(secrets)
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)


def mask_all(secrets: Collection[str]) -> None:
    """Register texts with Airflow's log masker and with the filter of the HTTP libraries' logs; blocking."""
    keep_out_of_logs(secrets)
    for text in secrets:
        mask_secret(text)
