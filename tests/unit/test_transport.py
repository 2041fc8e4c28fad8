"""Both transports alike: certificates, proxies, what is never sent, and what becomes of broken wires."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply
from airflow_provider_b24cal.client.requests_transport import RequestsTransport
from tests.portal_data import CANARY, portal_data
from tests.sync import TIMEOUT
from tests.wires import CARRIERS, GOOD, Listener, read_more, read_request, settings_for

Send = Callable[..., Reply]


@pytest.fixture(params=CARRIERS)
def send(request: pytest.FixtureRequest) -> Send:
    """Send the same request twice: what a first answer leaves behind must not show in a second request."""

    def go(origin: str, **extra: Any) -> Reply:
        settings = settings_for(origin, **extra)
        return CARRIERS[request.param](settings, *2 * [settings.endpoint.request("profile", {})])

    return go


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    opened: list[Listener] = []

    def make(*answers: bytes) -> Listener:
        opened.append(Listener(*answers))
        return opened[-1]

    yield make
    for listener in opened:
        listener.close()


def test_what_is_sent_and_what_is_not(send: Send, listen: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    listener = listen(GOOD, GOOD)
    assert send(f"http://127.0.0.1:{listener.port}") == Reply(200, b'{"result":null}')
    for heard in listener.heard:
        head = heard.split(b"\r\n\r\n")[0].lower()
        assert head.startswith(b"post /rest/1/" + CANARY.encode().lower() + b"/profile http/1.1")
        assert b"content-type: application/json" in head
        assert b"user-agent: airflow-provider-b24cal/" in head
        assert b"authorization" not in head
        assert b"cookie" not in head
    assert len(listener.heard) == 2


def test_no_cookie_of_a_portal_is_kept(send: Send, server: SandboxServer) -> None:
    """Every reply of the sandbox has a session cookie, as in the cloud."""
    assert b'"ID":"1"' in send(server.url).body
    counted = server.portal.count()
    assert (counted["requests"], counted["cookies"]) == (2, 0)


def test_the_session_for_own_requests_keeps_no_cookie(server: SandboxServer) -> None:
    with contextlib.closing(RequestsTransport(settings_for(server.url))) as transport:
        for user_id in (1, 2):
            reply = transport.session.post(f"{server.webhook_url(user_id)}profile", timeout=TIMEOUT)
            assert reply.json()["result"]["ID"] == str(user_id)
    assert server.portal.count()["cookies"] == 0


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (b"", errors.TransportError),
        (b"nonsense\r\n\r\n", errors.TransportError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", errors.TransportError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz", errors.TransportError),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", errors.TransportError),
    ],
)
def test_broken_answers(answer: bytes, wanted: type[Exception], send: Send, listen: Any) -> None:
    with pytest.raises(wanted) as caught:
        send(f"http://127.0.0.1:{listen(answer, answer).port}")
    assert caught.value.permanence == "ambiguous"  # type: ignore[attr-defined]
    assert caught.value.cause  # type: ignore[attr-defined]
    assert caught.value.__context__ is None


class Dripping:
    """A server that sends its answer one byte at a time, for a minute."""

    def __init__(self, at_once: bytes, dripped: bytes) -> None:
        self._at_once, self._dripped = at_once, dripped
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._socket.accept()
            with connection:
                read_request(connection)
                connection.sendall(self._at_once)
                for number in range(len(self._dripped)):
                    if self._over.wait(0.05):
                        return
                    connection.sendall(self._dripped[number : number + 1])

    def close(self) -> None:
        self._over.set()
        self._socket.close()
        self._thread.join(TIMEOUT)


_HEAD = b"HTTP/1.1 200 OK\r\n"
DRIPS = {
    "status line": (b"", b"HTTP/1.1 200 " + b"O" * 1200),
    "headers": (_HEAD, b"X-Long: " + b"a" * 1200),
    "body": (_HEAD + b"Content-Length: 1200\r\n\r\n", b'{"result":null}' + b" " * 1185),
    "chunks": (_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 200),
}


@pytest.mark.parametrize("drip", DRIPS)
def test_an_answer_that_drips(drip: str, send: Send) -> None:
    """Each byte comes in time, and the whole would take a minute."""
    server = Dripping(*DRIPS[drip])
    try:
        with pytest.raises(errors.TransportError, match="not all of it within 1 s") as caught:
            send(f"http://127.0.0.1:{server.port}", timeout=0.5)
    finally:
        server.close()
    assert caught.value.permanence == "ambiguous"
    assert caught.value.__context__ is None


def test_odd_headers_bring_no_secret_into_the_log(send: Send, listen: Any, caplog: pytest.LogCaptureFixture) -> None:
    """urllib3 names the URL at WARNING when it cannot read a header."""
    odd = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nnonsense\r\nConnection: close\r\n\r\n{}"
    with caplog.at_level("DEBUG"), contextlib.suppress(errors.TransportError):
        send(f"http://127.0.0.1:{listen(odd, odd).port}")
    assert caplog.records
    assert CANARY not in caplog.text


def test_a_redirect_that_cannot_be_read(send: Send, listen: Any) -> None:
    for target in (f"http://[bad/{CANARY}", f"http://x/\xff\xfe{CANARY}"):
        moved = b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        answer = moved % target.encode("latin-1")
        reply = send(f"http://127.0.0.1:{listen(answer, answer).port}")
        assert reply.http_status == 302
        assert CANARY not in str(reply)


def test_plain_http_behind_https_was_never_sent(send: Send, listen: Any) -> None:
    speaker = socket.create_server(("127.0.0.1", 0))

    def greet() -> None:
        for _ in range(2):
            connection, _ = speaker.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    threading.Thread(target=greet, daemon=True).start()
    with speaker, pytest.raises(errors.TlsError):
        send(f"https://127.0.0.1:{speaker.getsockname()[1]}")


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port at which connections are refused; it is kept, so that nobody else can take it."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


@pytest.mark.parametrize("proxy", ["socks5h://127.0.0.1:{port}", "http://[::1", "http://127.0.0.1:99999999"])
def test_a_proxy_of_the_environment_that_cannot_be_used(
    proxy: str, send: Send, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", proxy.format(port=silent_port))
    with pytest.raises(errors.InvalidConnectionError, match="Invalid proxy in the environment: expected the URL"):
        send("https://portal.invalid")


def test_a_redirect_is_not_followed(send: Send, listen: Any) -> None:
    other = listen(GOOD)
    target = f"http://127.0.0.1:{other.port}/rest/1/x/"
    moved = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    reply = send(f"http://127.0.0.1:{listen(moved, moved).port}")
    assert reply == Reply(302, b"", f"http://127.0.0.1:{other.port}")
    assert other.heard == []


def test_nobody_listens(send: Send, silent_port: int) -> None:
    with pytest.raises(errors.ConnectError) as caught:
        send(f"http://127.0.0.1:{silent_port}")
    assert caught.value.permanence == "transient"


def test_no_such_host(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        # The resolver of a machine without a network may take its time to say so.
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(errors.ConnectError):
        send("https://portal.invalid")


@pytest.mark.parametrize("how", ["connection", "environment"])
def test_a_proxy_is_used(how: str, send: Send, listen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = listen(GOOD, GOOD)
    address = f"user:word@127.0.0.1:{proxy.port}"
    extra: dict[str, Any] = {"allow_http": True}
    if how == "connection":
        extra["proxy"] = f"http://{address}"
    else:
        monkeypatch.setenv("http_proxy", address)  # people leave the scheme out
    assert send("http://portal.invalid", **extra).http_status == 200
    assert proxy.heard[0].startswith(b"POST http://portal.invalid/rest/1/")
    assert b"proxy-authorization: basic" in proxy.heard[0].lower()


def test_a_proxy_that_loses_the_answer(send: Send, listen: Any) -> None:
    """The portal may have done what was asked."""
    proxy = listen(b"", b"")
    with pytest.raises(errors.TransportError) as caught:
        send("http://portal.invalid", proxy=f"http://127.0.0.1:{proxy.port}", allow_http=True)
    assert len(proxy.heard) == 1
    assert caught.value.permanence == "ambiguous"
    assert caught.value.__context__ is None


def test_nobody_listens_at_the_proxy(send: Send) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for portal in ("http://portal.invalid", "https://portal.invalid"):
        with pytest.raises(errors.ConnectError):
            send(portal, proxy=f"http://127.0.0.1:{port}", allow_http=True)


class Tunnel:
    """A proxy that opens one way, or refuses to, and speaks as the portal at its end until it was asked something."""

    def __init__(self, answer: bytes, portal: ssl.SSLContext | None = None) -> None:
        self.heard: list[bytes] = []
        self._answer, self._portal = answer, portal
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            heard = b""
            while b"\r\n\r\n" not in heard:
                heard += connection.recv(65536)
            self.heard.append(heard)
            connection.sendall(self._answer)
            if self._portal is not None:
                with self._portal.wrap_socket(connection, server_side=True) as inside:
                    self.heard.append(read_request(inside))

    def close(self) -> None:
        self._socket.close()


def test_a_tunnel_that_loses_the_answer(send: Send, tls: tuple[str, Path]) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls[1].with_name("cert.pem"), tls[1].with_name("key.pem"))
    with contextlib.closing(Tunnel(b"HTTP/1.1 200 OK\r\n\r\n", context)) as tunnel:
        with pytest.raises(errors.TransportError) as caught:
            send("https://127.0.0.1:1", proxy=tunnel.url, verify=str(tls[1]))
        assert tunnel.heard[1].startswith(b"POST /rest/1/")
    assert caught.value.permanence == "ambiguous"
    assert caught.value.__context__ is None


def test_a_tunnel_that_is_refused(send: Send) -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with contextlib.closing(Tunnel(refusal)) as tunnel:
        with pytest.raises(errors.ConnectError):
            send("https://portal.invalid", proxy=tunnel.url)
        assert tunnel.heard[0].startswith(b"CONNECT portal.invalid:443 ")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = authority.issue_cert("127.0.0.1", "portal.invalid")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    serving = SandboxServer(Portal(parse(portal_data())), certfile=folder / "cert.pem", keyfile=folder / "key.pem")
    with serving as server:
        yield server.url, folder / "ca.pem"


class OpenTunnel:
    """A proxy that leads every tunnel to one port, and keeps all that it sees pass."""

    def __init__(self, port: int) -> None:
        self.heard: list[bytes] = []
        self._leads_to = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._lead, args=(connection,), daemon=True).start()

    def _lead(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._leads_to)) as portal, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += read_more(client)
            self.heard.append(head)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=self._pass_on, args=(portal, client), daemon=True)
            back.start()
            self._pass_on(client, portal)
            back.join(TIMEOUT)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while passing := source.recv(65536):
                self.heard.append(passing)
                target.sendall(passing)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("how", ["connection", "environment"])
def test_a_proxy_sees_nothing_of_https(
    how: str, send: Send, tls: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, bundle = tls
    with contextlib.closing(OpenTunnel(int(url.rpartition(":")[2]))) as proxy:
        address = f"http://user:word@127.0.0.1:{proxy.port}"
        extra: dict[str, Any] = {"verify": str(bundle)}
        if how == "connection":
            extra["proxy"] = address
        else:
            monkeypatch.setenv("https_proxy", address)
        assert send("https://portal.invalid", **extra).http_status == 200
    assert proxy.heard[0].startswith(b"CONNECT portal.invalid:443 HTTP/1.")
    assert b"proxy-authorization: basic" in proxy.heard[0].lower()
    seen = b"".join(proxy.heard)
    for hidden in (CANARY.encode(), b"/rest/", b"profile", b"result"):
        assert hidden not in seen


def test_certificates(send: Send, tls: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    url, bundle = tls
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(errors.TlsError) as caught:
        send(url)
    assert caught.value.permanence == "permanent"
    assert send(url, verify=str(bundle)).http_status == 200
    assert send(url, verify=False).http_status == 200
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    assert send(url).http_status == 200


def test_a_ca_bundle_that_is_none(send: Send, tls: tuple[str, Path], tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name in ("absent.pem", "empty.pem"):
        with pytest.raises(errors.InvalidConnectionError, match=f"extra key verify.*{name}': .*no CA bundle"):
            send(tls[0], verify=str(tmp_path / name))
