"""A sandbox portal in a process of its own, for the benchmarks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.request import ProxyHandler, build_opener

if TYPE_CHECKING:
    from collections.abc import Iterator

FETCH = build_opener(ProxyHandler({})).open


@contextmanager
def portal(*options: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Serve a portal; yield its address and the connection of user 1.

    :param options: those of ``python -m bitrix24_sandbox``.
    """
    command = [sys.executable, "-u", "-m", "bitrix24_sandbox", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            greeting = ""
            while "AIRFLOW_CONN" not in greeting or "/rest/1/" not in greeting:
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError(f"the sandbox did not start: {greeting}")
                greeting += line
            found = re.search(r"AIRFLOW_CONN_BITRIX24_DEFAULT='(.*)'", greeting)
            assert found is not None
            connection = json.loads(found[1])
            yield connection["host"], connection
        finally:
            process.terminate()


def counters(url: str) -> dict[str, Any]:
    """Return what the portal has counted."""
    with FETCH(f"{url}/-/counters") as answer:
        counted: dict[str, Any] = json.loads(answer.read())
        return counted
