"""Running ``bitrix24-sandbox check`` on a sandbox: in this process, or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from bitrix24_sandbox.cli import main
from bitrix24_sandbox.server import SandboxServer

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Shown:
    """What a run has printed.

    :param table: mark, fact, expected and found.
    """

    status: int
    table: list[tuple[str, str, str, str]]
    out: str
    err: str

    def marked(self, mark: str) -> list[str]:
        """Return the facts with a mark."""
        return [fact for found, fact, _, _ in self.table if found == mark]


Check = Callable[..., Shown]


def environment(server: SandboxServer, host: int, guest: int | None) -> dict[str, str]:
    """Return the variables that name the webhooks."""
    second = {} if guest is None else {"BITRIX24_SECOND_WEBHOOK": server.webhook_url(guest)}
    return {"BITRIX24_WEBHOOK": server.webhook_url(host), **second}


def checking(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Return a function that runs the check in this process."""

    def check(server: SandboxServer, *options: str, host: int = 1, guest: int | None = 2) -> Shown:
        monkeypatch.delenv("BITRIX24_SECOND_WEBHOOK", raising=False)
        for name, value in environment(server, host, guest).items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        status = main(["check", "--yes", *options])
        out, err = capsys.readouterr()
        rows = [line.strip("|").split("|") for line in out.splitlines() if line.startswith("| ")][1:]
        return Shown(status, [(m.strip(), f.strip(), e.strip(), w.strip()) for m, f, e, w in rows], out, err)

    return check


def start(server: SandboxServer, *options: str) -> subprocess.Popen[str]:
    """Start the check in a process without a terminal; user 1 is the host, user 2 the attendee."""
    command = [sys.executable, "-m", "bitrix24_sandbox", "check", *options]
    variables = {**os.environ, **environment(server, 1, 2)}
    return subprocess.Popen(
        command, cwd=ROOT, env=variables, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
