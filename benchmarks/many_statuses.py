"""Thousands of statuses at the portal's own limit, beside the official SDK and fast_bitrix24.

The sandbox plays a cloud portal: a bucket of 50 requests that leaks 2 a second (Enterprise: 250 and 5), 120 ms a
request and 15 ms a command. The bound is arithmetic: of N requests the last may be sent (N - 50) / 2 seconds after the
first. Each contender has a portal of its own in a process of its own, and a bucket that nobody else has used.

``python benchmarks/many_statuses.py [get] [enterprise] [set] [processes] [sdk] [fast] [overhead] [memory]``; all by
default. The whole takes about seven minutes.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from _portal import counters, portal

if TYPE_CHECKING:
    from collections.abc import Callable

    Contender = Callable[[str, dict[str, Any]], Callable[[], None]]
    """Makes everything ready for a portal, imports included, and returns what is to be timed."""

FIRST, EVENTS = 100_001, 5_000
PLANS = {"standard": (50, 2.0), "enterprise": (250, 5.0)}
LATENCY = ("--latency-ms", "120", "--command-ms", "15")


def timed(
    title: str,
    requests: int,
    contender: Contender,
    factor: float | None,
    *,
    plan: str = "standard",
    connections: int | None = None,
) -> bool:
    """Run one contender against a portal of its own and print what came of it.

    :param requests: how many it needs.
    :param factor: by how much it may miss the bound; ``None`` for somebody else's.
    :param connections: how many it may open.
    """
    with portal("--meetings", "25000", "--plan", plan, *LATENCY) as (url, connection):
        connection["extra"] = {**connection.get("extra", {}), "plan": plan}
        run = contender(url, connection)
        began = time.monotonic()
        try:
            run()
            fate = ""
        except Exception as error:  # noqa: BLE001 - whatever a contender dies of is its result
            fate = f"   died: {type(error).__name__}: {str(error).splitlines()[0][:60]}"
        took = time.monotonic() - began
        seen = counters(url)
    burst, rate = PLANS[plan]
    # The last of so many requests cannot be sent earlier.
    least = (requests - burst) / rate
    print(
        f"{title:34} {took:7.2f} s   bound {least:6.2f} s   ratio {' none' if fate else f'{took / least:5.2f}'}"
        + (f" (wanted {factor})" if factor else "")
        + f"   {seen['requests']} requests, {sum(seen['refusals'].values())} refused,"
        f" {seen['connections']['seen'] - 1} connections{fate}",
        flush=True,
    )
    if factor is None:
        return True
    opened = seen["connections"]["seen"] - 1
    kept = connections is None or opened <= connections
    return kept and not fate and not sum(seen["refusals"].values()) and took <= factor * least


def _hook(connection: dict[str, Any]) -> Any:
    os.environ["AIRFLOW_CONN_BITRIX24_DEFAULT"] = json.dumps(connection)
    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

    return Bitrix24CalendarHook()


def get_all(_url: str, connection: dict[str, Any], events: int = EVENTS) -> Callable[[], None]:
    """Read every status with the hook."""
    hook = _hook(connection)

    def run() -> None:
        with hook:
            outcomes = hook.get_meeting_statuses(range(FIRST, FIRST + events))
        assert {outcome.unwrap().value for outcome in outcomes.values()} == {"Q"}
        assert len(outcomes) == events

    return run


def set_all(_url: str, connection: dict[str, Any]) -> Callable[[], None]:
    """Set every status with the hook; each is read, written and read back."""
    hook = _hook(connection)

    def run() -> None:
        with hook:
            changes = hook.set_meeting_statuses(dict.fromkeys(range(FIRST, FIRST + EVENTS), "Y"))
        assert all(change.unwrap().changed for change in changes.values())

    return run


WORKER = """
import sys
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
first = int(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
with Bitrix24CalendarHook() as hook:
    outcomes = hook.get_meeting_statuses(range(first, first + 500))
assert all(outcome.ok for outcome in outcomes.values()), [o.error for o in outcomes.values() if not o.ok][:1]
"""


def sixteen_processes(_url: str, connection: dict[str, Any]) -> Callable[[], None]:
    """Let sixteen processes read five hundred statuses each, as sixteen tasks do.

    They are bare processes without a scheduler, and begin together when all have imported Airflow, which takes two
    cores half a minute.
    """
    environment = {**os.environ, "AIRFLOW_CONN_BITRIX24_DEFAULT": json.dumps(connection)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(FIRST + number % 10 * 500)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(16)
    ]
    for worker in workers:
        assert worker.stdout is not None
        while "ready" not in (line := worker.stdout.readline()):
            if not line:
                raise RuntimeError("a process ended before it began")

    def run() -> None:
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        failed = sum(worker.wait() != 0 for worker in workers)
        if failed:
            raise RuntimeError(f"{failed} of 16 processes failed")

    return run


def with_sdk(url: str, connection: dict[str, Any]) -> Callable[[], None]:
    """Read every status with the official SDK's ``call_batches``.

    The SDK supports only https; the portal here uses http, so its one base address is replaced. Nothing else is.
    """
    from b24pysdk import BitrixWebhook, Client

    # The package exports a function of the same name as this module.
    caller = import_module("b24pysdk.api.callers.call_method")._MethodCaller
    caller._base_url = property(lambda _: f"{url}/rest")
    client = Client(BitrixWebhook(domain=url.split("//")[1], webhook_token=f"1/{connection['password']}"))

    def run() -> None:
        status = client.calendar.meeting.status
        calls = {str(event): status.get(event_id=event) for event in range(FIRST, FIRST + EVENTS)}
        assert len(client.call_batches(calls).result.result) == EVENTS

    return run


def with_fast(url: str, connection: dict[str, Any]) -> Callable[[], None]:
    """Read every status with fast_bitrix24 and its defaults."""
    from fast_bitrix24 import Bitrix

    logging.disable()  # it logs every argument of every call

    portal_ = Bitrix(f"{url}/rest/1/{connection['password']}/", verbose=False)

    def run() -> None:
        calls = [{"eventId": FIRST + number} for number in range(EVENTS)]
        assert len(portal_.call("calendar.meeting.status.get", calls)) == EVENTS

    return run


def overhead() -> bool:
    """CPU of a batch of fifty through the hook, beside requests and json alone."""
    import requests

    with portal("--meetings", "1000") as (url, connection):
        # With a bucket to keep account of, but one that is never full.
        connection["extra"] |= {"plan": "standard", "requests_per_second": 1000, "burst": 100_000}
        hook = _hook(connection)
        session = requests.Session()
        ids = list(range(FIRST, FIRST + 50))
        address = f"{url}/rest/1/{connection['password']}/batch"
        body = {
            "halt": 0,
            "cmd": {f"c{n}": f"calendar.meeting.status.get?eventId={event}" for n, event in enumerate(ids)},
        }

        def cpu(call: Callable[[], object]) -> float:
            began = time.process_time()
            for _ in range(5):
                call()
            return (time.process_time() - began) * 200_000

        def ours() -> object:
            return hook.get_meeting_statuses(ids)

        def bare() -> object:
            return json.loads(session.post(address, json=body, timeout=70).content)

        ours(), bare()
        # By short turns, and the median of each: a machine that others use as well is now faster and now slower.
        mine, plain = map(median, zip(*((cpu(ours), cpu(bare)) for _ in range(400)), strict=True))
        hook.close()
    ratio: float = mine / plain
    print(f"batch of 50: hook {mine:.0f} us CPU, requests + json {plain:.0f} us, ratio {ratio:.2f} (wanted 1.3)")
    return ratio <= 1.3


def resident(what: str) -> int:
    """Return this process's memory in KiB: ``VmRSS`` now, ``VmHWM`` at its peak."""
    found = re.search(rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"), re.MULTILINE)
    assert found is not None
    return int(found[1])


def memory() -> bool:
    """Memory of fifty thousand outcomes above what the imports take, beside that of five thousand."""
    with portal("--meetings", "50000") as (_, connection):
        hook = _hook(connection)
        hook.get_meeting_statuses([FIRST])
        small, large = (_added(hook, count) for count in (5_000, 50_000))
    print(f"50,000 outcomes: {large:.0f} MB above the imports (wanted 150); 5,000: {small:.0f} MB")
    return large <= 150


def _added(hook: Any, count: int) -> float:
    """Return by how many MB the memory grows at most while so many statuses are read."""
    before = resident("VmRSS")
    # The peak so far is that of the imports; from here on a new one is kept (Linux).
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    outcomes = hook.get_meeting_statuses(range(FIRST, FIRST + count))
    assert len(outcomes) == count
    assert all(outcome.ok for outcome in outcomes.values())
    return (resident("VmHWM") - before) / 1024


RUNS: dict[str, Callable[[], bool]] = {
    "memory": memory,
    "overhead": overhead,
    "get": lambda: timed("5,000 gets, hook", EVENTS // 50, get_all, 1.05, connections=4),
    "enterprise": lambda: timed(
        "25,000 gets, hook, Enterprise", 25_000 // 50, partial(get_all, events=25_000), 1.05, plan="enterprise"
    ),
    # Each event takes three commands, read, write and read back; fifty commands fit into a request.
    "set": lambda: timed("5,000 sets, hook", 3 * EVENTS // 50, set_all, 1.05),
    "processes": lambda: timed("16 processes, 500 gets each, hook", 16 * 10, sixteen_processes, 1.2),
    "sdk": lambda: timed("5,000 gets, b24pysdk call_batches", EVENTS // 50, with_sdk, None),
    "fast": lambda: timed("5,000 gets, fast_bitrix24", EVENTS // 50, with_fast, None),
}


def main() -> int:
    """Run what is named; return 1 when a bound is missed."""
    with tempfile.TemporaryDirectory() as folder:
        # The shared bucket's state lies in the temporary folder; this run begins with an empty one.
        os.environ.update(AIRFLOW_HOME=folder, TMPDIR=folder)
        tempfile.tempdir = None
        kept = [RUNS[name]() for name in (sys.argv[1:] or RUNS)]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
