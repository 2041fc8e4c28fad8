"""Fixtures of the tests of OAuth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.server import SandboxServer

from tests.clock import Clock
from tests.tokens import CONNECTION, Asynchronous, Blocking, Connect


@pytest.fixture
def connect(server: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Make a connection with a new pair of tokens and a file store; return the folder of the store."""

    def make(user_id: int = 1, **extra: Any) -> Path:
        folder = tmp_path / "tokens"
        connection = server.oauth_connection_json(user_id, **{"token_store": f"file:{folder}", **extra})
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", connection)
        return folder

    return make


@pytest.fixture(params=[Blocking, Asynchronous], ids=["blocking", "asynchronous"])
def reader(request: pytest.FixtureRequest, clock: Clock) -> Any:
    return request.param
