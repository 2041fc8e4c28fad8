"""A statsd server that keeps the provider's metrics."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self


class Statsd:
    """Collects the metrics that come by UDP."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def settings(self, *, on: bool = True) -> dict[str, str]:
        """Return the environment variables by which Airflow sends its metrics here."""
        return {
            "AIRFLOW__METRICS__STATSD_ON": str(on),
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(self.socket.getsockname()[1]),
            "AIRFLOW__METRICS__STATSD_PREFIX": "company",
            "AIRFLOW__METRICS__METRICS_ALLOW_LIST": "bitrix24",  # Airflow's own would fill the socket
        }

    def received(self) -> list[str]:
        """Return what has come: a local datagram is there as soon as it is sent."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(65_536).decode())
            except BlockingIOError:
                return found
