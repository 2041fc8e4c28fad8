"""One mechanism for every cell: bring the fault about, walk the path, and look everywhere for secrets."""

from __future__ import annotations

import contextlib
import logging
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.client.operating import operating_times
from airflow_provider_b24cal.triggers import shared_poll
from tests.clock import Clock
from tests.faults.leaks import LOUD
from tests.faults.player import Ear, Heard, LocalAirflow, Player, Relay
from tests.portal_data import portal_data


@pytest.fixture(scope="session")
def _heard() -> Heard:
    return Heard()


@pytest.fixture(scope="session")
def _serving(_heard: Heard) -> Iterator[SandboxServer]:
    with SandboxServer(Portal(parse(portal_data())), log=_heard.append) as running:
        yield running


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a portal whose certificate nobody trusts."""
    folder = tmp_path_factory.mktemp("stranger")
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    serving = SandboxServer(Portal(parse(portal_data())), certfile=folder / "cert.pem", keyfile=folder / "key.pem")
    with serving as server:
        yield server.url


@pytest.fixture
def relay(server: SandboxServer) -> Iterator[str]:
    """The address of a proxy before the portal."""
    with contextlib.closing(Relay(server.port)) as running:
        yield running.url


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which connections are refused; the port is kept, so that nobody else can take it."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{kept.getsockname()[1]}"


@pytest.fixture
def stage(
    server: SandboxServer,
    nobody: str,
    airflow_clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> LocalAirflow:
    """A portal, a connection to it or elsewhere, and a clock; names in ``.test`` lead to this machine or nowhere."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *more: Any, **rest: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name.endswith(".nowhere.test"):
            # The resolver of a machine without a network may take its time to say so.
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real("127.0.0.1" if name.endswith(".test") else host, *more, **rest)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("airflow_provider_b24cal.client.rate_limiter.time", airflow_clock.time)
    monkeypatch.setattr(shared_poll, "_GATHERING", 0.001)
    places = {
        "portal": lambda: server.url,
        "behind a proxy": lambda: server.url,
        "proxy": lambda: request.getfixturevalue("relay"),
        "nobody": lambda: nobody,
        "nowhere": lambda: "http://portal.nowhere.test",
        "stranger": lambda: request.getfixturevalue("stranger"),
        "old name": lambda: f"http://old.bitrix24.test:{server.port}",
    }
    return LocalAirflow(server, airflow_clock, lambda place: places[place](), monkeypatch, tmp_path / "tokens")


@pytest.fixture
def ear() -> Iterator[Ear]:
    """Hear whatever is logged, at DEBUG."""
    ear = Ear()
    loggers = [logging.getLogger(name or None) for name in LOUD]
    levels = [logger.level for logger in loggers]
    deaf = [logger for logger in loggers if logger is loggers[0] or not logger.propagate]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    for logger in deaf:
        logger.addHandler(ear)
    yield ear
    for logger in deaf:
        logger.removeHandler(ear)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def player(stage: LocalAirflow, _heard: Heard, ear: Ear, capfd: pytest.CaptureFixture[str]) -> Player:
    """Play cells."""
    _heard.clear()
    return Player(stage, _heard, ear, capfd)


@pytest.fixture
def play(player: Player) -> Iterator[Player]:
    """Play cells; in the end no secret may show anywhere."""
    yield player
    assert player.look() == []


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    operating_times.cache_clear()
