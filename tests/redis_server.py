"""A Redis server of one test, which it may kill, stop and start again."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any, Self

import pytest

from tests.sync import wait_until

redis = pytest.importorskip("redis", reason="the Redis client is not installed")
BINARY = shutil.which("redis-server")
if BINARY is None:
    pytest.skip("redis-server is not installed", allow_module_level=True)


class RedisServer:
    """A server on a free port of this machine that keeps nothing on disk."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        places = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder))
        self._command = [str(BINARY), *places, "--save", "", "--appendonly", "no", *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, empty."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(1) != b""
        except OSError:
            return False

    def kill(self) -> None:
        """Kill it; connections to it are closed, and new ones refused."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """Let it take connections and requests, and answer none."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def client(self, **options: Any) -> Any:
        """Return a client of the test's own."""
        return redis.Redis(port=self.port, **options)

    def connection(self, **fields: Any) -> str:
        """Return Airflow's connection to it, as JSON."""
        return json.dumps({"conn_type": "redis", "host": "127.0.0.1", "port": self.port, **fields})

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
