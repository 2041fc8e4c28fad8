from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from bitrix24_sandbox.cli import main

from sandbox.tests.sync import TIMEOUT, ending

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
EXAMPLE = str(files("bitrix24_sandbox").joinpath("example.yaml"))


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the command and read its greeting up to the last line."""
    command = [sys.executable, "-m", "bitrix24_sandbox", *arguments]
    pipe = subprocess.PIPE
    with ending(subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)) as process:
        assert process.stdout is not None
        greeting = ""
        while not greeting.endswith("Stop with Ctrl+C.\n"):
            line = process.stdout.readline()
            assert line, process.stderr and process.stderr.read()
            greeting += line
        yield process, greeting


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_start_and_stop(number: signal.Signals) -> None:
    with started() as (process, greeting):
        url = re.search(r"Sandbox portal: (http://127\.0\.0\.1:(\d+))/", greeting)
        assert url is not None
        host, port = url.group(1), url.group(2)
        secret = re.search(r"/rest/1/(\w{16})/", greeting)
        assert secret is not None
        code = secret.group(1)
        assert (
            f"""export AIRFLOW_CONN_BITRIX24_DEFAULT='{{"conn_type": "bitrix24", "host": "{host}", """
            f""""login": "1", "password": "{code}", "extra": {{"plan": "self_hosted"}}}}'"""
        ) in greeting
        assert f"bitrix24://http://1:{code}@127.0.0.1:{port}/?plan=self_hosted'" in greeting
        assert f"  {host}/rest/1/{code}/\n" in greeting
        with requests.Session() as session:
            assert session.get(host, timeout=TIMEOUT).status_code == 200
            assert session.get(f"{host}/rest/1/{code}/profile", timeout=TIMEOUT).status_code == 200
            process.send_signal(number)
            assert process.wait(TIMEOUT) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_what_is_printed_gives_a_token() -> None:
    with started() as (_, greeting):
        url = greeting.split("Sandbox portal: ")[1].split("/\n")[0]
        secret = re.search(r"client_secret\)\n  (\w+)\n", greeting)
        authorise = re.search(
            r"  (http\S+/oauth/authorize/\?client_id=(\S+)&\S+)\n  (http\S+/oauth/token/)\n", greeting
        )
        assert secret is not None
        assert authorise is not None
        assert f"--portal {url} --auth-server {url} \\\n      --client-id {authorise[2]}\n" in greeting
        # A reset forgets tokens, and keeps the application.
        assert requests.post(f"{url}/-/reset", timeout=TIMEOUT).status_code == 200
        led = requests.get(authorise[1], timeout=TIMEOUT).url
        sent = {"grant_type": "authorization_code", "code": re.split("[=&]", led)[1], "client_id": authorise[2],
                "client_secret": secret[1]}  # fmt: skip
        token = requests.get(authorise[3], sent, timeout=TIMEOUT).json()["access_token"]
        info = requests.get(f"{url}/rest/app.info/", {"auth": token}, timeout=TIMEOUT).json()["result"]
        assert info["CODE"] == authorise[2]


def test_options() -> None:
    options = ("--data", EXAMPLE, "--language", "ru", "--auth-statuses", "docs", "--verbose")
    with started(*options) as (process, greeting):
        assert "/rest/1/a1b2c3d4e5f6g7h8/" in greeting
        url = greeting.split("Sandbox portal: ")[1].split("/\n")[0]
        assert requests.get(f"{url}/rest/1/wrong/profile", timeout=TIMEOUT).status_code == 403
        missing = requests.get(f"{url}/rest/1/a1b2c3d4e5f6g7h8/calendar.meeting.status.get", timeout=TIMEOUT)
        assert "обязателен" in missing.json()["error_description"]
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 0
        assert process.stderr is not None
        assert process.stderr.read().splitlines() == [
            "GET profile 403",
            "GET calendar.meeting.status.get 400",
        ]


def test_many_meetings() -> None:
    with started("--meetings", "3000", "--seed", "2") as (_, greeting):
        url = greeting.split("Sandbox portal: ")[1].split("/\n")[0]
        state = requests.get(f"{url}/-/state", timeout=TIMEOUT).json()
        webhook = re.search(r"  (http\S+/rest/1/\w+/)\n", greeting)
        assert webhook is not None
        last = requests.get(f"{webhook.group(1)}calendar.meeting.status.get?eventId=103000", timeout=TIMEOUT)
    assert last.json()["result"] == "Q"
    assert (len(state["meetings"]), state["meetings_in_all"]) == (1000, 3000)


def test_limit_options() -> None:
    options = ("--plan", "enterprise", "--rate", "0", "--latency-ms", "1", "--command-ms", "2.5", "--operating-limit-s")
    with started(*options) as (_, greeting):
        url = greeting.split("Sandbox portal: ")[1].split("/\n")[0]
        settings = requests.get(f"{url}/-/state", timeout=TIMEOUT).json()["settings"]
    assert {name: settings[name] for name in ("plan", "rate", "burst", "latency_ms", "command_ms")} == {
        "plan": "enterprise", "rate": 0, "burst": None, "latency_ms": 1, "command_ms": 2.5,
    }  # fmt: skip
    assert settings["operating_limit_s"] == 480


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "not a loopback address"),
        (["--host", "192.168.1.5"], "not a loopback address"),
        (["--host", "example.com"], "not a loopback address"),
        (["--port", "70000"], "accepted: 0 to 65535"),
        (["--port", "-1"], "accepted: 0 to 65535"),
        (["--language", "de"], "invalid choice: 'de'"),
        (["--auth-statuses", "x"], "invalid choice: 'x'"),
        (["--seed", "x"], "invalid int value"),
        (["--meetings", "0"], "accepted: 1 to 1000000"),
        (["--meetings", "x"], "accepted: 1 to 1000000"),
        (["--meetings", "5", "--data", EXAMPLE], "does not go with --data"),
        (["--plan", "free"], "invalid choice: 'free'"),
        (["--rate", "-1"], "--rate: got -1.0; accepted: a number from 0"),
        (["--rate", "nan"], "--rate: got nan"),
        (["--burst", "0"], "--burst: got 0; accepted: a whole number from 1"),
        (["--latency-ms", "-1"], "--latency-ms: got -1.0"),
        (["--command-ms", "x"], "invalid float value"),
        (["--operating-limit-s", "-1"], "--operating-limit-s: got -1.0"),
        (["--data", EXAMPLE, "--seed", "2"], "not allowed with"),
        (["--data", "no-such.yaml"], "a readable YAML or JSON file"),
        (["--certfile", "x.pem"], "go together"),
        (["--keyfile", "x.pem"], "go together"),
        (["--certfile", "no.pem", "--keyfile", "no.pem"], "cannot serve"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_data_file_error_names_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "portal.yaml"
    file.write_text("people: [{id: 1, name: A, colour: red}]")
    with pytest.raises(SystemExit):
        main(["--data", str(file)])
    assert "people[0].colour" in capsys.readouterr().err
