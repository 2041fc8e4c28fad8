"""One mechanism for every cell: bring the fault about, walk the path, and look everywhere for secrets."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.client.httpx_transport import HttpxTransport
from airflow_provider_b24cal.client.operating import operating_times
from airflow_provider_b24cal.client.requests_transport import RequestsTransport
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from airflow_provider_b24cal.triggers import shared_poll
from tests.conftest import CANARY, Clock, office
from tests.faults.leaks import LOUD, Evidence
from tests.faults.paths import Ran, walk
from tests.faults.table import Fault

PATIENT_S, IMPATIENT_S = 30.0, 2.0
"""Seconds that an answer is waited for; the fewer only where none is to come in time."""


class Heard(list[str]):
    """The sandbox's own log."""


@pytest.fixture(scope="session")
def _heard() -> Heard:
    return Heard()


@pytest.fixture(scope="session")
def _serving(_heard: Heard) -> Iterator[SandboxServer]:
    with SandboxServer(Portal(parse(office())), log=_heard.append) as running:
        yield running


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a portal whose certificate nobody trusts."""
    folder = tmp_path_factory.mktemp("stranger")
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    serving = SandboxServer(Portal(parse(office())), certfile=folder / "cert.pem", keyfile=folder / "key.pem")
    with serving as server:
        yield server.url


class Relay:
    """A proxy that hangs up on either side when the other one has."""

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                portal = socket.create_connection(self._to)
                for ends in ((client, portal), (portal, client)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                # A proxy is reported the whole address, a portal its path.
                target.sendall(re.sub(rb"^POST http://[^/]+", b"POST ", data))
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


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


class LocalAirflow:
    """Where cells are played.

    :ivar sent: requests handed to the transports.
    :ivar clock: the clock that everything waits on.
    """

    def __init__(
        self,
        server: SandboxServer,
        clock: Clock,
        places: Callable[[str], str],
        monkeypatch: pytest.MonkeyPatch,
        store: Path,
    ) -> None:
        self.server = server
        self.portal = server.portal
        self.clock = clock
        self.sent = 0
        self.hooks: list[Bitrix24CalendarHook] = []
        self._places = places
        self._monkeypatch = monkeypatch
        self._store = store
        self._watch()

    def play(self, fault: Fault, path: str) -> Ran:
        """Walk a path under a fault, and count the requests that it takes from then on."""
        self.connect()

        def strike() -> None:
            self.portal.configure(filled(dict(fault.settings), self.server))
            slow = "delay" in str(fault.rules)
            self.connect(fault.place, fault.auth, IMPATIENT_S if slow else PATIENT_S)
            if fault.expired:
                self.portal.expire_tokens()
            self.clock.later(1e-3, lambda: self._change(fault))
            self.portal.plan(*filled(fault.rules_for(path), self.server))
            self.sent = 0

        ran = walk(path, self.clock, self.portal, strike)
        _join_threads()
        return ran

    def _change(self, fault: Fault) -> None:
        """Do what happens while the provider waits for the first time."""
        self.clock.now += fault.jump
        if fault.later:
            self.portal.plan(*filled(list(fault.later), self.server))

    def heal(self) -> None:
        """Let everything be well again; the portal keeps its statuses and its counts."""
        self.portal.forget_faults()
        self.portal.configure({"renamed_to": None, "plan": "none", "operating": "full"})
        self.connect()

    def connect(self, place: str = "portal", auth: str = "webhook", timeout: float = PATIENT_S) -> None:
        """Point the connection somewhere."""
        if auth == "webhook":
            reported = json.loads(self.server.connection_json(1))
        else:
            reported = json.loads(self.server.oauth_connection_json(1, token_store=f"file:{self._store}"))
        reported["host"] = self._places(place)
        reported["extra"] |= {"timeout": timeout, "allow_http": True}
        if place == "behind a proxy":
            reported["extra"]["proxy"] = self._places("proxy")
        self._monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", json.dumps(reported))

    def secrets(self) -> set[str]:
        """Return everything that nobody may see, tokens given out meanwhile included."""
        server = self.portal.auth_server
        return {CANARY, server.client_secret, *server._by_access, *server._by_refresh}

    def _watch(self) -> None:
        def count(kind: Any, name: str) -> None:
            real = getattr(kind, name)

            def counting(transport: Any, request: Any) -> Any:
                self.sent += 1
                return real(transport, request)

            self._monkeypatch.setattr(kind, name, counting)

        count(RequestsTransport, "send")
        count(HttpxTransport, "send")
        begin = Bitrix24CalendarHook.__init__

        def beginning(hook: Bitrix24CalendarHook, *args: Any, **more: Any) -> None:
            begin(hook, *args, **more)
            self.hooks.append(hook)

        self._monkeypatch.setattr(Bitrix24CalendarHook, "__init__", beginning)


def filled(reported: Any, server: SandboxServer) -> Any:
    """Return rules or settings with the secret and the port in place."""
    text = json.dumps(reported).replace("{secret}", CANARY).replace("{port}", str(server.port))
    return json.loads(text)


def _join_threads() -> None:
    """Wait for the requests that were under way when a run was given up."""
    for thread in threading.enumerate():
        if thread.name.startswith("bitrix24_"):
            thread.join(60)
            assert not thread.is_alive(), "a thread of the provider hangs"


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


class Ear(logging.Handler):
    """Keeps every record of every logger."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


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


class Player:
    """Plays cells and looks at what they leave behind."""

    def __init__(self, stage: LocalAirflow, heard: Heard, ear: Ear, printed: pytest.CaptureFixture[str]) -> None:
        self._stage = stage
        self._heard = heard
        self._ear = ear
        self._printed = printed
        self._played: list[Ran] = []

    def __call__(self, fault: Fault, path: str) -> Ran:
        ran = self._stage.play(fault, path)
        self._played.append(ran)
        return ran

    def look(self) -> list[str]:
        """Look everywhere, and return the places that show a secret."""
        evidence = Evidence()
        for ran in self._played:
            evidence.value("XCom", [ran.value, ran.pushed])
            evidence.value("trigger and event", ran.travelled)
            for task in ran.tasks:
                evidence.task(task)
            if ran.error is not None:
                evidence.error("error", ran.error)
        for hook in self._stage.hooks:
            _look_into(hook, evidence)
        evidence.records(self._ear.records)
        for where, text in zip(("stdout", "stderr"), self._printed.readouterr(), strict=True):
            evidence.text(where, text)
        for line in self._heard:
            evidence.text("log of the sandbox", line)
        heard = evidence.places() & {"log of urllib3.connectionpool", "log of httpcore.connection"}
        assert heard, "the HTTP libraries were not heard, so their silence proves nothing"
        return evidence.showing(self._stage.secrets())


def _look_into(hook: Bitrix24CalendarHook, evidence: Evidence) -> None:
    """Look at a hook and at what it has made."""
    client: Any = hook._client
    settings, credentials = client._settings, client._credentials
    parts = [hook, client, settings, credentials, client._transport, client._async_transport]
    parts += [getattr(settings, "endpoint", None), getattr(settings, "grant", None)]
    if credentials is not None:
        parts += [credentials._store, *client._context(credentials), credentials.endpoint]
        parts += [credentials.endpoint.credential]
    for part in parts:
        if part is not None:
            evidence.thing(type(part).__name__, part)


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
