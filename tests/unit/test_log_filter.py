"""What the HTTP libraries log at DEBUG: no spelling of a secret, no value of a response's header."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error
from airflow_provider_b24cal.bitrix24.settings import Settings, read_settings
from airflow_provider_b24cal.client import log_filter
from airflow_provider_b24cal.client.log_filter import MAX_KNOWN, keep_out_of_logs
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.faults.leaks import Evidence
from tests.portal_data import CANARY, SILENT
from tests.sync import TIMEOUT
from tests.wires import CARRIERS, GOOD, Carry, Listener, answer, settings_for

LOGINS = {"number": "1", "e-mail": "anna@example.com", "Cyrillic": "Анна Орлова", "percent": "50%"}
CODES = {
    "plain": CANARY,
    "percent": f"%{CANARY}%",
    "slash": f"{CANARY[:8]}/{CANARY}",
    "plus": f"+{CANARY}+=",
    "space": f"{CANARY} {CANARY}",
    "Cyrillic": f"Код{CANARY}",
}
TOKEN = "t0k3nInAHeaderN0b0dyKn0ws"
"""What a server says in a header, so that nobody could have registered it."""


class Ear(logging.Handler):
    """Keeps records, and what a usual handler would have written of them at that time."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.lines.append(logging.Formatter("%(name)s %(message)s").format(record))

    def showing(self, *secrets: str) -> list[str]:
        """Return where secrets show in the records, in the errors that these hold, or in the lines."""
        evidence = Evidence()
        evidence.records(self.records)
        for line in self.lines:
            evidence.text("line", line)
        return evidence.showing(secrets)

    def of(self, library: str) -> list[str]:
        """Return the lines of a library."""
        return [line for line in self.lines if line.startswith(library)]


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ear]:
    """Hear everything at the root. Secrets of other tests are forgotten meanwhile."""
    monkeypatch.setattr(log_filter._FILTER, "_texts", {})
    monkeypatch.setattr(log_filter._FILTER, "_scrubber", None)
    root, ear = logging.getLogger(), Ear()
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(ear)
    yield ear
    root.removeHandler(ear)
    root.setLevel(level)


@pytest.fixture(params=CARRIERS)
def carry(request: pytest.FixtureRequest) -> Carry:
    return CARRIERS[request.param]


def _settings(origin: str, login: str, code: str) -> Settings:
    """Return settings as of a pasted URL, which can hold any character."""
    url = f"{origin}/rest/{quote(login, safe='')}/{quote(code, safe='')}/"
    return read_settings(host=None, login=None, password=url, port=None, extra={"timeout": TIMEOUT})


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
@pytest.mark.parametrize("login", LOGINS.values(), ids=LOGINS)
def test_no_spelling_of_a_code_is_logged(login: str, code: str, carry: Carry, ear: Ear) -> None:
    with Listener(GOOD) as listener:
        settings = _settings(listener.url, login, code)
        assert carry(settings, settings.endpoint.request("profile", {})).http_status == 200
    assert quote(code, safe="").encode() in listener.heard[0]
    assert ear.lines
    assert ear.showing(CANARY) == []


ODD_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n"
ODD = {
    "a line without a colon": b"nonsense {path} {token}\r\nX-After: {token}\r\n",
    "a name with a space": b"X Odd {path}: {token}\r\n",
    "an escape": b"X-Odd\x1b: {path} {token} '\"\\\r\n",
    "a line that goes on": b" {path} {token}\r\n",
}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("line", ODD.values(), ids=ODD)
@pytest.mark.parametrize("login", LOGINS.values(), ids=LOGINS)
def test_a_malformed_header_that_repeats_the_path(line: bytes, first: bool, login: str, carry: Carry, ear: Ear) -> None:
    path = f"/rest/{quote(login, safe='')}/%25{CANARY}/profile".encode()
    odd = line.replace(b"{path}", path).replace(b"{token}", TOKEN.encode())
    status, rest = ODD_HEAD.split(b"\r\n", 1)
    with Listener((status + b"\r\n" + odd + rest if first else ODD_HEAD + odd) + b"\r\n{}") as listener:
        settings = _settings(listener.url, login, f"%{CANARY}")
        try:
            carry(settings, settings.endpoint.request("profile", {}))
        except Bitrix24Error as error:
            assert CANARY not in str(error)
    assert path in listener.heard[0]
    assert ear.lines
    assert ear.showing(f"%{CANARY}", TOKEN) == []
    assert not [record for record in ear.records if record.name.startswith(("urllib3", "http")) and record.exc_info]


def test_the_traceback_of_urllib3_stays_without_its_text(ear: Ear) -> None:
    odd = ODD_HEAD + f"nonsense /rest/1/{CANARY}/ {TOKEN}\r\n\r\n{{}}".encode()
    with Listener(odd) as listener:
        settings = _settings(listener.url, "anna@example.com", CANARY)
        CARRIERS["requests"](settings, settings.endpoint.request("profile", {}))
    (line,) = [line for line in ear.lines if "Failed to parse headers" in line]
    assert line.count("HeaderParsingError: ***") == 1
    assert "Traceback (most recent call last):" in line
    assert re.search(r"Failed to parse headers \(url=\S*\*\*\*\S*\): \*\*\*\n", line)


HEADERS = (
    b"Set-Cookie: BITRIX_SM_SESSION=%b; path=/; HttpOnly" % TOKEN.encode(),
    b"X-Bitrix-Rest-User: ' \"), (b'X', b'%b" % TOKEN.encode(),
    b"X-User: %b \\" % TOKEN.encode(),
    b"X-Quotes: \"%b'" % TOKEN.encode(),
    b"X-Latin: \xff\xfe%b" % TOKEN.encode(),
    b"Location: https://127.0.0.1/auth?access_token=%b" % TOKEN.encode(),
)


@pytest.mark.parametrize("status", [b"200 OK", b"302 Found", b"401 Unauthorized"])
def test_no_value_of_a_header_is_logged(status: bytes, carry: Carry, ear: Ear) -> None:
    with Listener(answer(b"{}", *HEADERS, status=status)) as listener:
        settings = settings_for(listener.url)
        carry(settings, settings.endpoint.request("profile", {}))
    assert ear.lines
    assert ear.showing(TOKEN) == []
    shown = [line for line in ear.of("httpcore.http11") if "receive_response_headers.complete" in line]
    for line in shown:
        # What helps to find an error stays.
        assert f"b'HTTP/1.1', {status[:3].decode()}, b'{status[4:].decode()}'" in line
        assert "(b'Set-Cookie', ***)" in line


def test_a_proxy_s_login_is_not_logged(carry: Carry, ear: Ear) -> None:
    refused = answer(b"", b"Proxy-Authenticate: Basic realm=%b" % TOKEN.encode(), status=b"407 Who")
    with Listener(GOOD) as plain:
        settings = settings_for(
            "http://portal.invalid", allow_http=True, proxy=f"http://{CANARY}:{TOKEN}@127.0.0.1:{plain.port}"
        )
        assert carry(settings, settings.endpoint.request("profile", {})).http_status == 200
    with Listener(refused) as tunnel:
        settings = settings_for("https://portal.invalid", proxy=f"http://{CANARY}:{TOKEN}@127.0.0.1:{tunnel.port}")
        with pytest.raises(Bitrix24Error):
            carry(settings, settings.endpoint.request("profile", {}))
    assert ear.lines
    assert ear.showing(CANARY, TOKEN) == []


def test_a_hook_and_its_tokens_are_known(
    server: SandboxServer, ear: Ear, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Also the tokens of a renewal, wherever the HTTP libraries may repeat them."""
    monkeypatch.setenv("AIRFLOW_CONN_ANY", server.oauth_connection_json(1, token_store=f"file:{tmp_path}"))
    server.portal.expire_tokens()
    with Bitrix24CalendarHook("any") as hook:
        hook.get_meeting_status(SILENT)
    auth = server.portal.auth_server
    secrets = {auth.client_secret, *auth._by_access, *auth._by_refresh}
    for secret in secrets:
        logging.getLogger("urllib3.connectionpool").debug("repeats %s", secret)
    assert len(ear.of("urllib3.connectionpool repeats ***")) == len(secrets)
    assert ear.showing(*secrets) == []


def test_memory_is_bounded_and_the_latest_are_kept(ear: Ear) -> None:
    keep_out_of_logs([CANARY])
    for number in range(2 * MAX_KNOWN):
        keep_out_of_logs([f"0ther53cr3t-{number:05}", CANARY])
    logger = logging.getLogger("httpcore.connection")
    logger.debug("%s 0ther53cr3t-00000 0ther53cr3t-%05d", CANARY, 2 * MAX_KNOWN - 1)
    assert ear.lines[-1] == "httpcore.connection *** 0ther53cr3t-00000 ***"


def test_threads_register_at_once(ear: Ear) -> None:
    secrets = [f"thr34d5-{number:03}-53cr3t" for number in range(80)]
    logger = logging.getLogger("urllib3.connectionpool")

    def register(part: list[str]) -> None:
        for secret in part:
            keep_out_of_logs([secret])
            logger.debug("sees %s", secret)

    threads = [threading.Thread(target=register, args=(secrets[start::8],)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert len(ear.of("urllib3.connectionpool sees ***")) == len(secrets)


@pytest.mark.parametrize("library", ["urllib3", "httpcore", "httpx", "requests", "charset_normalizer"])
def test_every_logger_of_the_libraries_is_filtered(library: str, ear: Ear) -> None:
    """Loggers that are only made when a part of a library is loaded, too."""
    keep_out_of_logs([CANARY])
    made = re.compile(r"getLogger\((?:\"([\w.]+)\"|__name__)\)")
    root = Path(str(import_module(library).__file__)).parent
    for path in root.rglob("*.py"):
        if "emscripten" in path.parts:
            continue  # only in a browser
        module = ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")
        for found in made.finditer(path.read_text("utf-8")):
            name = found[1] or module
            logging.getLogger(name).error("%s", CANARY)
            assert ear.lines[-1] == f"{name} ***"


def test_a_stack_is_scrubbed(ear: Ear) -> None:
    keep_out_of_logs([CANARY])
    try:
        raise ValueError(f"see {CANARY}") from KeyError(CANARY)
    except ValueError:
        logging.getLogger("urllib3.connectionpool").warning("100%% of %s", "it", exc_info=True, stack_info=True)
    assert ear.records[-1].getMessage().startswith("100% of it\nKeyError: '***'\n")
    assert ear.showing(CANARY) == []
