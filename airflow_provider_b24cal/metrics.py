"""Metrics of a connection, through Airflow's own ``Stats``. Loaded only where Airflow's metrics are on."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final

_NOT_ALLOWED: Final = re.compile(r"[^A-Za-z0-9_-]")
_MAX_ID: Final = 150
"""Characters of a connection's id; Airflow drops metrics whose names are longer than 250."""


class Metrics:
    """Counts and times what is done with a connection.

    Each metric has two names: one with a tag ``conn_id``, and one that ends in the connection's id, for statsd servers
    without tags.

    :param stats: Airflow's ``Stats``.
    :param conn_id: the connection. Characters that a name may not have become underscores.
    """

    def __init__(self, stats: Any, conn_id: str) -> None:
        self._stats = stats
        self._conn_id = _NOT_ALLOWED.sub("_", conn_id)[:_MAX_ID]

    def add_request(self) -> None:
        """Count a request to the portal; a batch of fifty calls is one."""
        self._send("incr", "requests")

    def add_refusal(self) -> None:
        """Count a request that the portal has refused for its rate."""
        self._send("incr", "refusals")

    def add_wait(self, seconds: float) -> None:
        """Time a wait for the rate limit."""
        self._send("timing", "rate_limit_wait", timedelta(seconds=seconds))

    def add_poll(self, waits: int) -> None:
        """Count a poll of a triggerer, and say how many waits it was made for."""
        self._send("incr", "polls")
        self._send("gauge", "waits_per_poll", waits)

    def _send(self, kind: str, name: str, *value: Any) -> None:
        send = getattr(self._stats, kind)
        send(f"bitrix24.{name}", *value, tags={"conn_id": self._conn_id})
        send(f"bitrix24.{name}.{self._conn_id}", *value)
