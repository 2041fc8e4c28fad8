"""Which requests a proxy gets to see, by both transports: plain http to this machine never leaves it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidConnectionError
from airflow_provider_b24cal.bitrix24.settings import read_settings
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.portal_data import CANARY, SILENT
from tests.wires import CARRIERS, GOOD, Carry, Listener, settings_for

VARIABLES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """A proxy that every variable of the environment names, and that answers whatever it is asked."""
    with Listener(GOOD, GOOD) as listener:
        for name in VARIABLES:
            monkeypatch.setenv(name, listener.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        yield listener


@pytest.fixture(params=CARRIERS)
def carry(request: pytest.FixtureRequest) -> Carry:
    return CARRIERS[request.param]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("allow_http", [False, True])
def test_the_proxy_of_the_environment_sees_nothing_of_this_machine(
    name: str, allow_http: bool, carry: Carry, proxy: Listener
) -> None:
    with Listener(GOOD) as portal:
        settings = settings_for(f"http://{name}:{portal.port}", allow_http=allow_http)
        assert carry(settings, settings.endpoint.request("profile", {})).http_status == 200
    assert proxy.heard == []
    assert CANARY.encode() in portal.heard[0]


def test_a_hook_on_this_machine_passes_by_the_proxy(connection: str, proxy: Listener) -> None:
    with Bitrix24CalendarHook(connection) as hook:
        assert hook.get_meeting_status(SILENT) == "Q"
        assert hook.test_connection()[0]
    assert proxy.heard == []


def test_tokens_are_renewed_past_the_proxy(
    server: SandboxServer, proxy: Listener, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """The application's key goes to an authorisation server on this machine."""
    monkeypatch.setenv("AIRFLOW_CONN_ANY", server.oauth_connection_json(1, token_store=f"file:{tmp_path}"))
    server.portal.expire_tokens()
    with Bitrix24CalendarHook("any") as hook:
        assert hook.get_meeting_status(SILENT) == "Q"
    assert proxy.heard == []


def test_allow_http_goes_through_the_proxy_of_the_environment(carry: Carry, proxy: Listener) -> None:
    """Whoever allows plain http to another machine has allowed it on the way there."""
    settings = settings_for("http://portal.invalid", allow_http=True)
    assert carry(settings, settings.endpoint.request("profile", {})).http_status == 200
    assert proxy.heard[0].startswith(b"POST http://portal.invalid/rest/1/")


def test_a_proxy_on_this_machine_is_used_if_the_connection_names_it(carry: Carry) -> None:
    with Listener(GOOD) as proxy:
        settings = settings_for("http://127.0.0.1:9", proxy=proxy.url)
        assert carry(settings, settings.endpoint.request("profile", {})).http_status == 200
    assert proxy.heard[0].startswith(b"POST http://127.0.0.1:9/rest/1/")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("name", ["127.0.0.1:8080", "localhost", "[::1]:8080"])
def test_a_proxy_elsewhere_gets_no_plain_http(name: str, scheme: str) -> None:
    extra: dict[str, Any] = {"proxy": f"{scheme}://user:w0rd4pr0xy@proxy.example:3128"}
    fields: dict[str, Any] = {"host": f"http://{name}", "login": "1", "password": CANARY, "port": None}
    with pytest.raises(InvalidConnectionError, match=r"Proxy \(extra key proxy\): .*http://.* in clear") as caught:
        read_settings(**fields, extra=extra)
    assert "w0rd4pr0xy" not in str(caught.value)
    assert read_settings(**fields, extra={**extra, "allow_http": True}).proxy is not None
    assert read_settings(**{**fields, "host": f"https://{name}"}, extra=extra).proxy is not None


def test_nor_does_it_get_the_key_of_an_application() -> None:
    extra = {
        "auth": "oauth",
        "client_id": "local.1",
        "client_secret": "key",
        "access_token": "access",
        "refresh_token": "refresh",
        "auth_server": "http://127.0.0.1:8080",
        "proxy": "http://proxy.example:3128",
    }
    with pytest.raises(InvalidConnectionError, match=r"http://127\.0\.0\.1:8080 is plain http"):
        read_settings(host="example.bitrix24.com", login=None, password=None, port=None, extra=extra)


def test_the_test_button_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = {"conn_type": "bitrix24", "host": "http://127.0.0.1:9", "login": "1", "password": CANARY}
    monkeypatch.setenv("AIRFLOW_CONN_ANY", json.dumps({**reported, "extra": {"proxy": "http://proxy.example:3128"}}))
    good, text = Bitrix24CalendarHook("any").test_connection()
    assert not good
    assert "Remove the proxy, use https, or set Allow plain http" in text
