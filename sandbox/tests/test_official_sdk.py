"""The vendor's own client runs against the sandbox unmodified, over TLS as it insists on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests

from sandbox.tests.sync import TIMEOUT

if TYPE_CHECKING:
    from pathlib import Path

    from bitrix24_sandbox.portal import Portal
    from bitrix24_sandbox.server import SandboxServer

sdk: Any = pytest.importorskip("b24pysdk", reason="the vendor's client is younger than this version of Airflow")
errors: Any = pytest.importorskip("b24pysdk.errors")
responses: Any = pytest.importorskip("b24pysdk.api.responses")


@pytest.fixture(autouse=True)
def trusted(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates / "ca.pem"))


@pytest.fixture
def token(secure: SandboxServer) -> Any:
    return sdk.BitrixWebhook(domain=f"127.0.0.1:{secure.port}", webhook_token="1/anna000000000001")


@pytest.fixture
def client(token: Any) -> Any:
    return sdk.Client(token)


def test_url(secure: SandboxServer) -> None:
    assert secure.url.startswith("https://127.0.0.1:")
    assert secure.connection_uri(1).startswith("bitrix24://https://1:")


def test_get_and_set(client: Any, portal: Portal) -> None:
    status = client.calendar.meeting.status
    assert status.get(event_id=652).response.result == "Q"
    assert status.set(event_id=652, status="N").response.result is True
    assert status.get(event_id=652).response.result == "N"
    assert portal.status(651, 1) == "N"
    assert portal.count()["notifications"] == {"651": {"declined": 1}}


def test_batch(token: Any) -> None:
    get = "calendar.meeting.status.get"
    answer = token.call_batch({"a": (get, {"eventId": 652}), "b": (get, {"eventId": 5}), "c": ("profile", {})})
    batch = answer["result"]
    assert batch["result"]["a"] == "Q"
    assert batch["result"]["c"]["ID"] == "1"
    assert batch["result_error"]["b"]["error"] == ""


def test_application(secure: SandboxServer, portal: Portal) -> None:
    pair, server = portal.grant(1), portal.auth_server
    domain = f"127.0.0.1:{secure.port}"
    application = sdk.BitrixAppLocal(domain=domain, client_id=server.client_id, client_secret=server.client_secret)
    client = sdk.Client(sdk.BitrixTokenLocal(auth_token=pair.access, bitrix_app=application))
    assert client.user.current().response.result["ID"] == "1"
    # The client asks the vendor's authorisation server for this, whose address it has built in.
    reply = requests.get(f"{secure.url}/rest/app.info/", {"auth": pair.access}, timeout=TIMEOUT).json()
    installed = responses.BitrixAppInfoResponse.from_dict(reply).result.install
    assert (installed.domain, installed.member_id) == (domain, server.member_id)


def test_typed_errors(client: Any, portal: Portal, secure: SandboxServer) -> None:
    stranger = sdk.Client(sdk.BitrixWebhook(domain=f"127.0.0.1:{secure.port}", webhook_token="1/wrong"))
    with pytest.raises(errors.BitrixAPIInvalidCredentials):
        stranger.calendar.meeting.status.get(event_id=652).response  # noqa: B018
    with pytest.raises(errors.BitrixAPIBadRequest):
        client.calendar.meeting.status.get(event_id=5).response  # noqa: B018
    portal.plan({"error": "OPERATION_TIME_LIMIT"})
    with pytest.raises(errors.BitrixAPIOperationTimeLimit):
        client.calendar.meeting.status.get(event_id=652).response  # noqa: B018


def test_what_it_does_wrong(secure: SandboxServer, portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    # The error of a connection that failed holds the webhook's code.
    nobody = sdk.Client(sdk.BitrixWebhook(domain="127.0.0.1:1", webhook_token="1/anna000000000001"))
    with pytest.raises(errors.BitrixRequestError, match="anna000000000001"):
        nobody.calendar.meeting.status.get(event_id=652).response  # noqa: B018
    # Tokens are renewed by the vendor's server alone, and the error holds the application's key. No request leaves
    # this machine: the proxy is a port that nobody listens on.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    pair, server = portal.grant(1), portal.auth_server
    portal.expire_tokens()
    application = sdk.BitrixAppLocal(
        domain=f"127.0.0.1:{secure.port}", client_id=server.client_id, client_secret=server.client_secret
    )
    token = sdk.BitrixTokenLocal(auth_token=pair.access, refresh_token=pair.refresh, bitrix_app=application)
    with pytest.raises(errors.oauth.BitrixOAuthRequestError, match=r"oauth\.bitrix24\.tech") as refused:
        sdk.Client(token).user.current().response  # noqa: B018
    assert server.client_secret in str(refused.value)
