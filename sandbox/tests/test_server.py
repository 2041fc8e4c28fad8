from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import requests
from bitrix24_sandbox.server import SandboxServer

from sandbox.tests.sync import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from bitrix24_sandbox.portal import Portal

    Fresh = Callable[[], Portal]


def refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_two_portals_are_separate(fresh: Fresh) -> None:
    with SandboxServer(fresh()) as one, SandboxServer(fresh()) as two:
        assert one.port != two.port
        requests.post(
            one.webhook_url(1) + "calendar.meeting.status.set",
            json={"eventId": 651, "status": "N"},
            timeout=TIMEOUT,
        )
        assert (one.portal.status(651, 1), two.portal.status(651, 1)) == ("N", "Q")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", ""])
def test_others_cannot_reach_it(host: str, fresh: Fresh) -> None:
    with pytest.raises(ValueError, match="is not a loopback address"):
        SandboxServer(fresh(), host=host)


def test_stop_closes_the_port_and_the_thread(fresh: Fresh) -> None:
    with SandboxServer(fresh()) as server, requests.Session() as session:
        assert session.get(server.webhook_url(1) + "profile", timeout=TIMEOUT).status_code == 200
        port = server.port
        names = [thread.name for thread in threading.enumerate()]
        assert "bitrix24-sandbox" in names
        thread = server._thread
    assert not thread.is_alive()
    assert refused(port)


def test_stop_does_not_wait_for_a_delay(fresh: Fresh) -> None:
    with SandboxServer(fresh()) as server:
        server.portal.plan({"delay": 600})
        with pytest.raises(requests.ReadTimeout):
            requests.get(server.webhook_url(1) + "profile", timeout=0.2)
        started = time.monotonic()
    assert time.monotonic() - started < 300


def test_renewed_it_knows_nothing_of_requests_that_clients_gave_up(fresh: Fresh) -> None:
    """Neither one that is under way nor one that is still unread changes or counts anything afterwards."""
    parameters = "calendar.meeting.status.set?eventId=651&status=N"
    with SandboxServer(fresh()) as server, socket.socket() as unread:
        server.portal.plan({"times": 1, "delay": 600})
        with pytest.raises(requests.ReadTimeout):
            requests.get(server.webhook_url(1) + parameters, timeout=0.2)
        unread.connect(("127.0.0.1", server.port))
        path = server.webhook_url(1).removeprefix(server.url)
        unread.sendall(f"GET {path}{parameters} HTTP/1.1\r\nHost: portal\r\n\r\n".encode())
        server.renew()
        assert server.portal.count()["requests"] == 0
        assert server.portal.count()["connections"] == {"open": 0, "seen": 0}
        assert requests.get(server.webhook_url(1) + "profile", timeout=TIMEOUT).status_code == 200
        assert (server.portal.count()["requests"], server.portal.status(651, 1)) == (1, "Q")


def test_an_answer_in_two_parts_is_not_held_back(fresh: Fresh) -> None:
    """Without this a connection that is used again would wait 40 ms in most answers."""
    with SandboxServer(fresh()) as server, requests.Session() as session:
        assert session.get(server.webhook_url(1) + "profile", timeout=TIMEOUT).status_code == 200
        (connection,) = server._server.server_state.connections
        served = connection.transport.get_extra_info("socket")
        assert served.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_stops_after_an_error_in_the_block(fresh: Fresh) -> None:
    with pytest.raises(ZeroDivisionError), SandboxServer(fresh()) as server:
        raise ZeroDivisionError
    assert refused(server.port)


def test_default_seed_data() -> None:
    with SandboxServer() as server:
        profile = requests.get(server.webhook_url(1) + "profile", timeout=TIMEOUT).json()["result"]
        assert profile["ID"] == "1"
        assert requests.get(server.url + "/-/state", timeout=TIMEOUT).json()["meetings"]


def test_port_in_use(server: SandboxServer, fresh: Fresh) -> None:
    with pytest.raises(OSError, match="in use"), SandboxServer(fresh(), port=server.port):
        pass


def test_connection(server: SandboxServer) -> None:
    assert json.loads(server.connection_json(2)) == {
        "conn_type": "bitrix24",
        "host": server.url,
        "login": "2",
        "password": "martin0000000002",
        "extra": {"plan": "self_hosted"},
    }
    assert server.webhook_url(2) == f"{server.url}/rest/2/martin0000000002/"
    assert server.connection_uri(2) == f"bitrix24://http://2:martin0000000002@127.0.0.1:{server.port}/?plan=self_hosted"
    server.portal.configure({"plan": "standard", "burst": 60})
    assert json.loads(server.connection_json(2))["extra"] == {"plan": "standard", "burst": 60}


@pytest.mark.parametrize("user", [5, 99])
def test_no_webhook(server: SandboxServer, user: int) -> None:
    with pytest.raises(KeyError):
        server.webhook_url(user)


def test_airflow_reads_the_uri(server: SandboxServer) -> None:
    models: Any = pytest.importorskip("airflow.models")
    connection = models.Connection(uri=server.connection_uri(1))
    assert (connection.conn_type, connection.host, connection.port) == (
        "bitrix24",
        "http://127.0.0.1",
        server.port,
    )
    assert (connection.login, connection.password) == ("1", "anna000000000001")


def test_many_at_once(server: SandboxServer) -> None:
    url = server.webhook_url(1) + "batch"
    cmd = {f"c{n}": f"calendar.meeting.status.set?eventId=651&status={'YN'[n % 2]}" for n in range(50)}

    def send(_: int) -> int:
        return len(requests.post(url, json={"cmd": cmd}, timeout=TIMEOUT).json()["result"]["result"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(send, range(24))) == [50] * 24
    counts = server.portal.count()
    assert counts["requests"] == 24
    assert counts["notifications"] == {"651": {"accepted": 600, "declined": 600}}


def test_log_has_no_secrets(fresh: Fresh) -> None:
    lines: list[str] = []
    portal = fresh()
    with SandboxServer(portal, log=lines.append) as server:
        portal.plan({"method": "scope", "drop": "before"})
        requests.get(server.webhook_url(1) + "profile?x=1", timeout=TIMEOUT)
        requests.post(server.webhook_url(1), timeout=TIMEOUT)
        requests.get(f"{server.url}/rest/anna000000000001", timeout=TIMEOUT)
        with pytest.raises(requests.ConnectionError):
            requests.get(server.webhook_url(1) + "scope", timeout=TIMEOUT)
    assert lines == [
        "GET profile 200",
        "POST (no such method) 404",
        "GET (no such method) 404",
        "GET scope connection reset",
    ]


def test_uvicorn_logs_no_addresses(caplog: pytest.LogCaptureFixture, server: SandboxServer, fresh: Fresh) -> None:
    with caplog.at_level("DEBUG"):
        requests.get(server.webhook_url(1) + "profile", timeout=TIMEOUT)
        with SandboxServer(fresh()) as other:
            requests.get(other.webhook_url(1) + "profile", timeout=TIMEOUT)
    logged = [record for record in caplog.records if record.name.startswith("uvicorn")]
    assert logged
    assert not [record for record in logged if "anna000000000001" in record.getMessage()]
