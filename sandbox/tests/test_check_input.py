"""Where the check takes its webhooks from, what it refuses, and what it asks."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.check.webhook import Webhook, from_connection, from_url
from bitrix24_sandbox.checks import BadInputError
from bitrix24_sandbox.cli import main
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from sandbox.tests.checking import ROOT, checking, environment, start
from sandbox.tests.sync import TIMEOUT, ending

check = pytest.fixture(checking)

CODE = "c0de0000000000001"
PORTAL = f"https://portal.example/rest/7/{CODE}/"
CONNECTION = {"conn_id": "bitrix24_default", "conn_type": "bitrix24", "host": "portal.example", "login": "7",
              "password": CODE, "port": None, "extra_dejson": {}}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (PORTAL, f"https://portal.example/rest/7/{CODE}/profile"),
        (PORTAL.rstrip("/"), f"https://portal.example/rest/7/{CODE}/profile"),
        (f" {PORTAL}\n", f"https://portal.example/rest/7/{CODE}/profile"),
        ("http://127.0.0.1:8424/rest/anna/x/", "http://127.0.0.1:8424/rest/anna/x/profile"),
        ("http://[::1]:8424/rest/1/x/", "http://[::1]:8424/rest/1/x/profile"),
    ],
)
def test_a_webhook_s_url(text: str, url: str) -> None:
    assert from_url(text, "X").url("profile") == url


@pytest.mark.parametrize(
    "text", ["", "portal.example", "https://portal.example/", f"http://portal.example/rest/7/{CODE}/",
             f"ftp://portal.example/rest/7/{CODE}/", f"https:///rest/7/{CODE}/", f"{PORTAL}profile",
             f"https://portal.example:x/rest/7/{CODE}/"],
)  # fmt: skip
def test_what_is_no_webhook_s_url_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(BadInputError) as refused:
        from_url(text, "BITRIX24_WEBHOOK")
    assert str(refused.value).startswith("BITRIX24_WEBHOOK: got ")
    assert CODE not in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, Webhook("https://portal.example", "7", CODE)),
        ({"port": "8443"}, Webhook("https://portal.example:8443", "7", CODE)),
        ({"port": 0, "login": "anna@portal.example"}, Webhook("https://portal.example", "anna%40portal.example", CODE)),
        ({"host": "http://127.0.0.1:8424"}, Webhook("http://127.0.0.1:8424", "7", CODE)),
        ({"host": None, "login": None, "password": PORTAL}, Webhook("https://portal.example", "7", CODE)),
        ({"extra_dejson": {"verify": "/ca.pem", "proxy": "http://proxy.example:3128", "plan": "enterprise"}},
         Webhook("https://portal.example", "7", CODE, "/ca.pem", "http://proxy.example:3128")),
        ({"extra_dejson": '{"verify": false}'}, Webhook("https://portal.example", "7", CODE, verify=False)),
    ],
)  # fmt: skip
def test_an_airflow_connection(changed: dict[str, Any], expected: Webhook) -> None:
    """As a list of one, which Airflow's command prints, and as one."""
    connection = {**CONNECTION, **changed}
    assert from_connection(json.dumps([connection])) == from_connection(json.dumps(connection)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", "[7]", '{"extra": 7}', json.dumps({**CONNECTION, "extra": '{"auth": "oauth"}'}),
     json.dumps([CONNECTION, CONNECTION]), json.dumps({**CONNECTION, "login": None}),
     json.dumps({**CONNECTION, "host": "http://portal.example"})],
)  # fmt: skip
def test_what_is_no_connection_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(BadInputError) as refused:
        from_connection(text)
    assert "--connection" in str(refused.value)
    assert CODE not in str(refused.value)


def test_a_connection_from_standard_input(
    server: SandboxServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("BITRIX24_SECOND_WEBHOOK", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"[{server.connection_json(1)}]"))
    assert main(["check", "--yes", "--connection", "-"]) == 0
    assert "facts checked, 0 differ" in capsys.readouterr().out


def test_a_proxy_that_is_none_is_not_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    connection = {**CONNECTION, "extra_dejson": {"proxy": f"proxy://me:{CODE}@proxy.example"}}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(connection)))
    assert main(["check", "--yes", "--connection", "-"]) == 2
    err = capsys.readouterr().err
    assert "webhook or proxy: got '***'; accepted: a valid host" in err
    assert CODE not in err


@pytest.mark.parametrize("trusted", [True, False])
def test_a_connection_s_bundle_of_certificates(
    fresh: Callable[..., Portal], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    certificates: Path, trusted: bool,
) -> None:  # fmt: skip
    monkeypatch.delenv("BITRIX24_SECOND_WEBHOOK", raising=False)
    pem = certificates / "server.pem"
    with SandboxServer(fresh(), certfile=pem, keyfile=pem) as server:
        connection = {**json.loads(server.connection_json(1)), "extra": {"verify": str(certificates / "ca.pem")}}
        if not trusted:
            del connection["extra"]
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(connection)))
        assert main(["check", "--yes", "--connection", "-"]) == (0 if trusted else 2)
    assert ("No reply to profile: ConnectError." in capsys.readouterr().err) != trusted


@pytest.mark.parametrize(
    ("variables", "options", "message"),
    [
        ({"BITRIX24_SECOND_WEBHOOK": PORTAL}, (), "got '***'; accepted: a webhook of the same portal"),
        ({"BITRIX24_SECOND_WEBHOOK": "first"}, (), "got '***'; accepted: the webhook of another person"),
        ({"BITRIX24_WEBHOOK": "portal"}, (), "accepted: a webhook's URL, such as"),
        ({"BITRIX24_WEBHOOK": "wrong secret"}, (), "got '401 INVALID_CREDENTIALS'; accepted: a webhook of an active"),
        ({"BITRIX24_WEBHOOK": "dismissed"}, (), "got '401 authorization_error'"),
        ({"BITRIX24_WEBHOOK": "nowhere", "BITRIX24_SECOND_WEBHOOK": ""}, (),
         "No reply to profile: ConnectError. The check has ended early."),
        ({}, ("--report", "/no/such/folder/report.md"), "--report: got '/no/such/folder/report.md'"),
        ({}, ("--record", "/no/such/folder/replies"), "--record: got '/no/such/folder/replies'"),
    ],
)  # fmt: skip
def test_bad_input_is_named_and_nothing_is_checked(
    server: SandboxServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    variables: dict[str, str], options: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    named = {"first": server.webhook_url(1), "wrong secret": f"{server.url}/rest/1/{CODE}/",
             "dismissed": server.webhook_url(3), "nowhere": f"http://127.0.0.1:1/rest/1/{CODE}/"}  # fmt: skip
    for name, value in {**environment(server, 1, 2), **variables}.items():
        monkeypatch.setenv(name, named.get(value, value))
    assert main(["check", "--yes", "--scratch", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert CODE not in err
    assert server.portal.book.sections == {}


def test_a_webhook_is_not_taken_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["check", PORTAL])
    assert stopped.value.code == 2


# Questions


def test_without_a_terminal_it_does_not_begin_unasked(server: SandboxServer) -> None:
    with ending(start(server, "--scratch")) as process:
        out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out) == (2, "")
    assert "--yes: got None; accepted: this option where there is no terminal to ask" in err
    assert "calendar.section.add" not in server.portal.count()["methods"]  # type: ignore[operator]


@contextmanager
def _on_a_terminal(variables: dict[str, str], *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start the check on a terminal of its own; yield the process and the other end of the terminal."""
    other, terminal = os.openpty()
    # The terminal that the first process of a session opens becomes its own.
    # Tests that a shell runs in the background inherit that Ctrl-C is ignored.
    take = [
        "env",
        "--default-signal=INT",
        "sh",
        "-c",
        'terminal=$1; shift; exec "$@" 0<>"$terminal"',
        "sh",
        os.ttyname(terminal),
    ]
    command = [sys.executable, "-m", "bitrix24_sandbox", "check", *options]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BITRIX24_")}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*take, *command], cwd=ROOT, env={**kept, **variables}, stdout=pipe, stderr=pipe, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        with ending(process):
            yield process, other
    finally:
        os.close(terminal)
        os.close(other)


def _read_until(terminal: int, text: str, process: subprocess.Popen[str]) -> str:
    found = ""
    while text not in found:
        if not select.select([terminal], [], [], 1)[0]:
            assert process.poll() is None, process.communicate()
            continue
        found += os.read(terminal, 1024).decode()
    return found


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("Yes\n", 0), ("n\n", 2), ("\n", 2), ("\x03", 130)])
def test_it_says_what_it_will_do_and_asks(server: SandboxServer, answer: str, status: int) -> None:
    with _on_a_terminal(environment(server, 1, 2), "--scratch") as (process, terminal):
        asked = _read_until(terminal, "Go on? [y/N] ", process)
        assert "as user 1 and 2" in asked
        assert "makes the section 'bitrix24-sandbox check (removed at its end)'" in asked
        assert server.secret(1) not in asked
        assert server.portal.book.sections == {}
        os.write(terminal, answer.encode())
        process.communicate(timeout=TIMEOUT)
    assert process.returncode == status
    began = "calendar.section.add" in server.portal.count()["methods"]  # type: ignore[operator]
    assert began == (status == 0)


def test_the_webhook_is_asked_for_and_not_shown(server: SandboxServer) -> None:
    with _on_a_terminal({}, "--yes") as (process, terminal):
        shown = _read_until(terminal, "Webhook URL (hidden): ", process)
        os.write(terminal, f"{server.webhook_url(1)}\n".encode())
        out, err = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, err) == (0, "")
    assert server.secret(1) not in shown + out
