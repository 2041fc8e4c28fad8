"""Metrics through Airflow's own Stats, as a statsd server on this machine receives them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.metrics import Metrics
from tests.portal_data import CANARY, MANY, SILENT
from tests.statsd import Statsd
from tests.sync import FOR_A_PROCESS

CONN_ID = "portal.of_anna:1"
"""An id with characters that a metric's name may not have, or that would end a part of it."""
NAME = "portal_of_anna_1"

CALLS = f"""
import os
from airflow_provider_b24cal.bitrix24 import RetryPolicy
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

with Bitrix24CalendarHook({CONN_ID!r}) as hook:
    for _ in range(3):
        hook.get_meeting_status({SILENT})
    hook.get_meeting_statuses({list(MANY)[:60]})
"""

POLLS = f"""
import asyncio, time
from airflow_provider_b24cal.bitrix24.calendar.methods import get_status
from airflow_provider_b24cal.triggers.shared_poll import shared_poll

async def main():
    poll = shared_poll({CONN_ID!r})
    for _ in range(2):
        await asyncio.gather(*(poll.call_many([get_status(event_id)]) for event_id in {list(MANY)[:7]}))

asyncio.run(main())
"""

LOADED = """
import sys
print("airflow_provider_b24cal.metrics" in sys.modules)
"""

SET_UP = """
from inspect import signature
from {0} import stats
from {0}.metrics.stats_utils import get_stats_factory as choose

given = {{"export_legacy_names": True}} if hasattr(stats, "incr") else {{}}
factory = choose(*[stats.Stats] * len(signature(choose).parameters))
(stats if given else stats.Stats).initialize(factory=factory, **given)
"""

UNUSABLE = """
from airflow_provider_b24cal import _airflow
_airflow.stats = None
"""

CHOSEN = """
from airflow_provider_b24cal import _airflow
assert _airflow.stats().__name__ == "Stats"
"""


@pytest.fixture
def statsd() -> Iterator[Statsd]:
    with Statsd() as server:
        yield server


def _run(code: str, statsd: Statsd, server: SandboxServer, *, on: bool = True, **more: str) -> str:
    connection = json.loads(server.connection_json(1))
    # Of a burst of one, the second request waits for a twentieth of a second.
    connection["extra"] = {"requests_per_second": 20, "burst": 1}
    environment = {
        **os.environ,
        f"AIRFLOW_CONN_{CONN_ID.upper()}": json.dumps(connection),
        **statsd.settings(on=on),
        **more,
    }
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=FOR_A_PROCESS, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def _counts(lines: list[str], kind: str) -> dict[str, int]:
    """Return how often each metric of a kind has come."""
    return dict(Counter(line.partition(":")[0] for line in lines if line.endswith(f"|{kind}")))


def test_calls_and_waits_and_refusals(statsd: Statsd, server: SandboxServer, portal: Portal) -> None:
    portal.plan({"method": "calendar.meeting.status.get", "times": 1, "error": "QUERY_LIMIT_EXCEEDED"})
    _run(CALLS, statsd, server)
    counted: Any = portal.count()
    lines = statsd.received()
    requests = counted["requests"]
    # Three single calls, one of them twice, and two batches.
    assert requests == 6
    assert _counts(lines, "c") == {
        "company.bitrix24.requests": requests, f"company.bitrix24.requests.{NAME}": requests,
        "company.bitrix24.refusals": 1, f"company.bitrix24.refusals.{NAME}": 1,
    }  # fmt: skip
    waits = [line for line in lines if line.startswith("company.bitrix24.rate_limit_wait:")]
    assert waits
    # In milliseconds, as all times of Airflow.
    assert all(0 < float(line.partition(":")[2].partition("|")[0]) < 10_000 for line in waits)
    assert len(waits) == _counts(lines, "ms")[f"company.bitrix24.rate_limit_wait.{NAME}"]
    assert not [line for line in lines if CANARY in line or "127.0.0.1" in line]


@pytest.mark.parametrize("home", ["airflow.sdk.observability", "airflow.observability"], ids=["tasks", "triggers"])
def test_what_airflow_has_set_up_is_used(home: str, statsd: Statsd, server: SandboxServer) -> None:
    """From 3.2 on there are two of them; a process of tasks or of triggers sets up one, or both."""
    if find_spec("airflow.sdk") is None or find_spec("airflow.sdk.observability") is None:
        pytest.skip("before 3.2, Stats sets itself up")
    _run("\n".join((SET_UP, CHOSEN, CALLS)).format(home), statsd, server)
    assert _counts(statsd.received(), "c")[f"company.bitrix24.requests.{NAME}"] == 5


def test_no_task_fails_for_its_metrics(statsd: Statsd, server: SandboxServer, portal: Portal) -> None:
    _run(UNUSABLE + CALLS, statsd, server)
    counted: Any = portal.count()
    assert counted["requests"] == 5
    assert statsd.received() == []


def test_polls_and_their_waits(statsd: Statsd, server: SandboxServer, portal: Portal) -> None:
    _run(POLLS, statsd, server)
    lines = statsd.received()
    counts = _counts(lines, "c")
    assert counts[f"company.bitrix24.polls.{NAME}"] == counts["company.bitrix24.polls"] == 2
    assert counts[f"company.bitrix24.requests.{NAME}"] == 2
    assert lines.count(f"company.bitrix24.waits_per_poll.{NAME}:7|g") == 2


def test_tags(statsd: Statsd, server: SandboxServer) -> None:
    _run(CALLS, statsd, server, AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED="True")
    assert f"company.bitrix24.requests,conn_id={NAME}:1|c" in statsd.received()


def test_off_where_airflows_are_off(statsd: Statsd, server: SandboxServer, portal: Portal) -> None:
    assert _run(CALLS + LOADED, statsd, server, on=False).splitlines()[-1] == "False"
    counted: Any = portal.count()
    assert counted["requests"] == 5
    assert statsd.received() == []


@pytest.mark.parametrize("conn_id", ["a" * 250, "é#/\\()!:.", "portal=1,b|c@2"])
def test_any_id_makes_a_name_that_airflow_takes(conn_id: str) -> None:
    sent: list[tuple[Any, ...]] = []

    class Kept:
        def incr(self, name: str, *, tags: dict[str, str] | None = None) -> None:
            sent.append((name, tags))

    Metrics(Kept(), conn_id).add_request()
    (plain, tags), (by_id, no_tags) = sent
    assert (plain, no_tags) == ("bitrix24.requests", None)
    assert len(by_id) < 200
    assert set(by_id.removeprefix("bitrix24.requests.")) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    assert tags == {"conn_id": by_id.removeprefix("bitrix24.requests.")}
