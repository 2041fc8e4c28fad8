"""The looking itself: a secret is found wherever it is, and the public objects show none."""

from __future__ import annotations

import asyncio
import logging
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from bitrix24_sandbox.faults import parse

from airflow_provider_b24cal.bitrix24.auth.credentials import AccessToken, Endpoint, Request, Secret, Webhook
from airflow_provider_b24cal.bitrix24.protocol.errors import CLASSES
from airflow_provider_b24cal.bitrix24.settings import Settings, read_settings
from airflow_provider_b24cal.client.httpx_transport import HttpxTransport
from airflow_provider_b24cal.client.requests_transport import RequestsTransport
from tests.faults.leaks import LOUD, Evidence
from tests.faults.player import Ear, LocalAirflow, Player, filled
from tests.faults.table import FAULTS
from tests.portal_data import CANARY

HALF = CANARY[:9]


def _raised(error: Exception, cause: BaseException | None = None) -> Exception:
    with pytest.raises(type(error)) as caught:
        raise error from cause
    return caught.value


def _hidden_in_a_frame() -> Exception:
    url = f"http://127.0.0.1/rest/1/{CANARY}/"
    try:
        raise ValueError(len(url))
    except ValueError as raised:
        return raised


def _in_passing() -> Exception:
    try:
        try:
            raise ValueError(HALF)
        except ValueError:
            raise RuntimeError from None
    except RuntimeError as raised:
        return raised


def _noted() -> Exception:
    error = ValueError()
    error.add_note(CANARY)
    return _raised(error)


class Showing:
    def __init__(self) -> None:
        self.url = CANARY


class Pickling:
    def __reduce__(self) -> Any:
        return str, (CANARY,)


class Task:
    template_fields = ("conn_id",)

    def __init__(self) -> None:
        self.conn_id = f"http://1:{HALF}@host"


def _record(**more: Any) -> list[logging.LogRecord]:
    return [logging.makeLogRecord({"msg": "%s", "args": ("x",), **more})]


PLANTED: dict[str, Callable[[Evidence], None]] = {
    "text": lambda evidence: evidence.text("stdout", f"see {CANARY}"),
    "half of it": lambda evidence: evidence.text("stdout", f"see {HALF}"),
    "value": lambda evidence: evidence.value("XCom", {"deep": [{"er": CANARY}]}),
    "log line": lambda evidence: evidence.records(_record(msg=CANARY, args=())),
    "log argument": lambda evidence: evidence.records(_record(args=(CANARY,))),
    "log field": lambda evidence: evidence.records(_record(url=CANARY)),
    "log of an error": lambda evidence: evidence.records(
        _record(exc_info=(ValueError, _raised(ValueError(CANARY)), None))
    ),
    "error": lambda evidence: evidence.error("error", _raised(ValueError(CANARY))),
    "cause": lambda evidence: evidence.error("error", _raised(ValueError(), KeyError(CANARY))),
    "context": lambda evidence: evidence.error("error", _in_passing()),
    "group": lambda evidence: evidence.error("error", ExceptionGroup("many", [ValueError(CANARY)])),
    "note": lambda evidence: evidence.error("error", _noted()),
    "local variable": lambda evidence: evidence.error("error", _hidden_in_a_frame()),
    "attribute": lambda evidence: evidence.thing("thing", Showing()),
    "pickle": lambda evidence: evidence.thing("thing", Pickling()),
    "rendered field": lambda evidence: evidence.task(Task()),
}


@pytest.mark.parametrize("place", PLANTED)
def test_a_secret_is_found(place: str) -> None:
    evidence = Evidence()
    PLANTED[place](evidence)
    assert evidence.showing({CANARY})
    assert not evidence.showing({"another0secret0"})


def test_a_percent_encoded_secret_is_found() -> None:
    evidence = Evidence()
    evidence.text("stdout", "%2F%3D%26%2B%2F%3D%26%2B")
    assert evidence.showing({"/=&+/=&+"})


@pytest.mark.parametrize("name", LOUD)
def test_every_loud_logger_is_heard(name: str, ear: Ear) -> None:
    logging.getLogger(f"{name}.below" if name else "").debug(CANARY)
    evidence = Evidence()
    evidence.records(ear.records)
    assert evidence.showing({CANARY})


@pytest.mark.parametrize("path", ["get", "wait"])
@pytest.mark.parametrize("how", ["stdout", "stderr", "log of asyncio"])
def test_a_leak_during_a_cell_is_found(how: str, path: str, player: Player) -> None:
    player(FAULTS[3], path)
    line = f"HTTP Request: POST http://127.0.0.1/rest/1/{CANARY}/"
    if how == "log of asyncio":
        logging.getLogger("asyncio").info("%s", line)
    else:
        print(line, file=getattr(sys, how))
    found = player.look()
    assert found
    assert all(place.startswith((how, "stdout")) for place in found)


PORTAL = "https://example.bitrix24.com"
WHOLE = f"{PORTAL}/rest/1/{CANARY}/"
CREDENTIALS = [Webhook("1", Secret(CANARY)), AccessToken(Secret(CANARY))]


@pytest.mark.parametrize("credential", CREDENTIALS, ids=["webhook", "token"])
def test_what_holds_a_secret_shows_none(credential: Any) -> None:
    endpoint = Endpoint(PORTAL, credential)
    request = endpoint.request("profile", {})
    assert isinstance(request, Request)
    evidence = Evidence()
    for thing in (Secret(CANARY), credential, endpoint, endpoint.scrub, request, request.url):
        evidence.thing(type(thing).__name__, thing)
        evidence.text("formatted", f"{thing} {thing!r} %s" % (thing,))
    assert not evidence.showing({CANARY})
    for thing in (Secret(CANARY), credential, endpoint, request):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(thing)


class StopError(BaseException):
    """What Airflow raises in the middle of whatever runs."""


@pytest.fixture
def silent() -> Iterator[tuple[Settings, Callable[[Callable[[], object]], None]]]:
    """A portal that never answers; what it was given to do it does as soon as it was asked."""
    over, threads = threading.Event(), []
    listening = socket.create_server(("127.0.0.1", 0))

    def once_asked(deed: Callable[[], object]) -> None:
        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                deed()
                over.wait(60)

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()

    origin = f"http://127.0.0.1:{listening.getsockname()[1]}"
    yield read_settings(host=origin, login="1", password=CANARY, port=None, extra={}), once_asked
    over.set()
    for thread in threads:
        thread.join(10)
    listening.close()


def test_a_task_that_is_stopped_shows_nothing(silent: Any) -> None:
    """The HTTP libraries have the URL in their variables, and some log handlers print those of every frame."""
    settings, once_asked = silent

    def stop(*_: object) -> None:
        raise StopError

    previous = signal.signal(signal.SIGALRM, stop)
    try:
        once_asked(lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM))
        with closing(RequestsTransport(settings)) as transport, pytest.raises(StopError) as caught:
            transport.send(settings.endpoint.request("profile", {}))
    finally:
        signal.signal(signal.SIGALRM, previous)
    evidence = Evidence()
    evidence.error("stopped", caught.value)
    assert not evidence.showing({CANARY})


def test_a_trigger_that_is_cancelled_shows_nothing(silent: Any) -> None:
    settings, once_asked = silent
    evidence = Evidence()

    async def go() -> None:
        transport = HttpxTransport(settings)
        task = asyncio.ensure_future(transport.send(settings.endpoint.request("profile", {})))
        loop = asyncio.get_running_loop()
        once_asked(lambda: loop.call_soon_threadsafe(task.cancel))
        try:
            await task
        except asyncio.CancelledError as error:
            evidence.error("cancelled", error)
        await transport.aclose()

    asyncio.run(go())
    assert evidence.places()
    assert not evidence.showing({CANARY})


def test_no_error_shows_what_it_was_not_reported() -> None:
    for kind in CLASSES.values():
        scrubbed = kind(Endpoint(PORTAL, CREDENTIALS[0]).scrub(f"see {WHOLE} and {CANARY}"), code="X", cause="Y")
        evidence = Evidence()
        evidence.error(kind.__name__, _raised(scrubbed))
        evidence.value(kind.__name__, scrubbed.to_dict())
        assert not evidence.showing({CANARY})


def test_every_fault_is_one_that_the_sandbox_knows(stage: LocalAirflow) -> None:
    for fault in FAULTS:
        for path in fault.cells:
            for rule in filled(fault.rules_for(path), stage.server):
                assert parse(rule), (fault.name, path)
