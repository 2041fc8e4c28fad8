"""Plays a cell of the fault table: cause the fault, run the path, and search everything for secrets."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.client.httpx_transport import HttpxTransport
from airflow_provider_b24cal.client.requests_transport import RequestsTransport
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.clock import Clock
from tests.faults.leaks import Evidence
from tests.faults.paths import Ran, walk
from tests.faults.table import Fault
from tests.portal_data import CANARY

PATIENT_S, IMPATIENT_S = 30.0, 2.0
"""Seconds that an answer is waited for; the fewer only where none is to come in time."""


class Heard(list[str]):
    """The sandbox's own log."""


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


class Ear(logging.Handler):
    """Keeps every record of every logger."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


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
    settings, context = client._settings, client._context
    parts = [hook, client, settings, context, client._transport, client._async_transport]
    parts += [getattr(settings, "endpoint", None), getattr(settings, "grant", None)]
    if context is not None:
        endpoint = context.credentials.endpoint
        parts += [*context, context.credentials._store, endpoint, endpoint.credential]
    for part in parts:
        if part is not None:
            evidence.thing(type(part).__name__, part)
