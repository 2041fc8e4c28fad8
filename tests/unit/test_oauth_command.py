"""The way to the first pair: the command as a person runs it, and its parts."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from airflow_provider_b24cal.oauth import read_response
from tests.portal_data import SILENT
from tests.sync import FOR_A_PROCESS, TIMEOUT, ending


@contextmanager
def _started(server: SandboxServer, *more: str) -> Iterator[subprocess.Popen[str]]:
    client_id = server.portal.auth_server.client_id
    command = [sys.executable, "-m", "airflow_provider_b24cal.oauth", "--portal", server.url, "--client-id", client_id]
    running = subprocess.Popen(
        [*command, "--auth-server", server.url, *more],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST")},
    )  # fmt: skip
    with ending(running) as process:
        yield process


def _agree(process: subprocess.Popen[str], secret: str) -> tuple[str, str]:
    """Enter the key, open the printed address, and return the address led to and its code."""
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(f"{secret}\n")
    process.stdin.flush()
    for line in process.stderr:
        if found := re.search(r"http://\S+/oauth/authorize/\S+", line):
            led = requests.get(found[0], timeout=TIMEOUT).url
            return led, led.split("code=")[1].split("&")[0]
    raise AssertionError("no address was printed")


@pytest.mark.parametrize("whole", [True, False])
def test_from_a_code_to_a_connection_that_works(
    whole: bool, server: SandboxServer, portal: Portal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with _started(server, "--token-store", f"file:{tmp_path}") as process:
        led, code = _agree(process, portal.auth_server.client_secret)
        out, err = process.communicate(f"{led if whole else code}\n", timeout=FOR_A_PROCESS)
    assert process.returncode == 0, err
    made = json.loads(out)
    for secret in (code, portal.auth_server.client_secret, made["extra"]["access_token"]):
        assert secret not in err
    monkeypatch.setenv("AIRFLOW_CONN_MADE", out)
    with Bitrix24CalendarHook("made") as hook:
        assert hook.get_meeting_status(SILENT) == "Q"
        portal.expire_tokens()
        assert hook.get_meeting_status(SILENT) == "Q"
    assert portal.auth_server.issued == {"authorization_code": 1, "refresh_token": 1}


def test_into_a_file_that_airflow_imports(server: SandboxServer, portal: Portal, tmp_path: Path) -> None:
    file = tmp_path / "made.json"
    with _started(server, "--output", str(file), "--conn-id", "mine") as process:
        _, code = _agree(process, portal.auth_server.client_secret)
        out, err = process.communicate(f"{code}\n", timeout=FOR_A_PROCESS)
    assert (process.returncode, out) == (0, ""), err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["mine"]["conn_type"] == "bitrix24"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--output", "{folder}/there.json"), "File exists"),
        (("--output", "{folder}/none/new.json"), "No such file or directory"),
        (
            ("--output", "{folder}/new.json", "--token-store", "variabel"),
            "(extra key token_store) 'variabel': expected variable",
        ),
    ],
)
def test_what_would_waste_the_code_is_found_before_anybody_is_asked_for_it(
    more: tuple[str, ...], message: str, server: SandboxServer, portal: Portal, tmp_path: Path
) -> None:
    (tmp_path / "there.json").write_text("precious")
    with _started(server, *(word.format(folder=tmp_path) for word in more)) as process:
        out, err = process.communicate(f"{portal.auth_server.client_secret}\n", timeout=FOR_A_PROCESS)
    assert (process.returncode, out) == (1, "")
    assert message in err
    assert "Traceback" not in err
    assert "oauth/authorize" not in err
    # What is there is left alone, and nothing is left behind.
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("there.json", "precious")]


def test_a_file_is_not_left_behind_empty(server: SandboxServer, portal: Portal, tmp_path: Path) -> None:
    with _started(server, "--output", str(tmp_path / "new.json")) as process:
        _agree(process, portal.auth_server.client_secret)
        _, err = process.communicate("not a code\n", timeout=FOR_A_PROCESS)
    assert (process.returncode, "expected a code" in err) == (1, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("secret", "code", "message"),
    [
        (None, "0123", "The code is not valid: it can be used once"),
        ("other", None, "Check client_id and client_secret"),
        (None, "not a code", "expected a code, or the URL"),
        (None, "", "nothing was entered"),
    ],
)
def test_refusals(secret: str | None, code: str | None, message: str, server: SandboxServer, portal: Portal) -> None:
    with _started(server) as process:
        _, real = _agree(process, secret or portal.auth_server.client_secret)
        out, err = process.communicate(f"{real if code is None else code}\n", timeout=FOR_A_PROCESS)
    assert (process.returncode, out) == (1, "")
    assert re.search(message, err), err
    assert "Traceback" not in err
    assert real not in err


LED = "https://app.example/?code=c0de&domain=example.bitrix24.com&server_domain={server}&state={state}"


@pytest.mark.parametrize(
    ("text", "server", "message"),
    [
        (
            LED.format(server="oauth.evil.example", state="s"),
            None,
            "names the authorisation server 'oauth.evil.example'",
        ),
        (LED.format(server="oauth.bitrix.info", state="other"), None, "belongs to another"),
        (LED.format(server="oauth.bitrix.info", state=""), None, "belongs to another"),
        ("https://app.example/?error=denied", None, "with a code in it"),
        ("http://[bad?code=c0de", None, "with a code in it"),
    ],
)
def test_what_is_pasted_is_checked(text: str, server: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        read_response(text, "s", server)
    assert "c0de" not in str(caught.value)


def test_a_server_named_by_hand_is_trusted_and_a_known_one_followed() -> None:
    text = LED.format(server="oauth.own.example", state="s")
    assert read_response(text, "s", "https://oauth.own.example").code.reveal() == "c0de"
    assert (
        read_response(LED.format(server="oauth.bitrix24.tech", state="s"), "s").server == "https://oauth.bitrix24.tech"
    )
