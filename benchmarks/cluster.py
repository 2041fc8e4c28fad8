"""Processes that share no folder, as pods, and one portal: with Redis and without it.

The sandbox plays a cloud portal with a bucket of 50 requests that leaks 2 a second, 120 ms a request and 15 ms a
command. Every pod is a process with a temporary folder of its own, forked from one that has imported everything. The
wall time is from the first request to the last reply, the bound ``(requests - 50) / 2``.

``python benchmarks/cluster.py [with|without] [16x500] [48x100] [200x50] [latency]``; all by default, some ten minutes.
With Redis, ``redis-server`` must be installed; it is started on a free port.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from _portal import counters, portal

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST = 100_001
SIZES = {"16x500": (16, 500), "48x100": (48, 100), "200x50": (200, 50)}
WANTED = {True: (1.10, dict.fromkeys(SIZES, 0.0)), False: (1.6, {"16x500": 1.0, "48x100": 1.0, "200x50": 1.4})}
"""With and without Redis: the ratio to the bound, and refusals for each needed request."""


@contextmanager
def redis_server() -> Iterator[int]:
    """Start a Redis server of its own and yield its port."""
    binary = shutil.which("redis-server")
    if binary is None:
        raise SystemExit("redis-server is not installed; without Redis: cluster.py without")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        time.sleep(1.0)
        try:
            yield port
        finally:
            process.terminate()


def warm_up() -> None:
    """Import what a pod needs, once: two cores would take minutes to do it in each of two hundred pods."""
    import_module("airflow.providers.redis.hooks.redis")
    with portal("--meetings", "100") as (_, connection):
        os.environ["AIRFLOW_CONN_BITRIX24_DEFAULT"] = json.dumps(connection)
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

        with Bitrix24CalendarHook() as hook:
            hook.get_meeting_statuses([FIRST, FIRST + 1])


def _pod(folder: str, events: range, began: int, report: int) -> None:
    """Be one pod: wait for the start, read the statuses, and report when it began and ended."""
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

    os.read(began, 1)
    first = time.monotonic()
    try:
        with Bitrix24CalendarHook() as hook:
            outcomes = hook.get_meeting_statuses(events)
        failed = sum(not outcome.ok for outcome in outcomes.values())
    except Exception as error:  # noqa: BLE001 - whatever a pod dies of counts
        print(f"a pod died: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        failed = len(events)
    os.write(report, f"{first} {time.monotonic()} {failed}\n".encode())


def run(size: str, *, with_redis: bool) -> bool:
    """Run pods against a portal of their own, print what came of it, and return whether that is as wanted."""
    pods, statuses = SIZES[size]
    requests = pods * statuses // 50
    options = ("--meetings", "25000", "--plan", "standard", "--latency-ms", "120", "--command-ms", "15")
    with tempfile.TemporaryDirectory() as folder, portal(*options) as (url, connection):
        connection["extra"] = {**connection.get("extra", {}), "plan": "standard"}
        if with_redis:
            connection["extra"]["rate_limit_conn_id"] = "cluster_redis"
        os.environ["AIRFLOW_CONN_BITRIX24_DEFAULT"] = json.dumps(connection)
        start, go = os.pipe()
        reports, report = os.pipe()
        children = []
        for number in range(pods):
            own = Path(folder, str(number))
            own.mkdir()
            first = FIRST + number * statuses % 25_000
            child = os.fork()
            if child == 0:
                try:
                    os.close(go)
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                    _pod(str(own), range(first, first + statuses), start, report)
                finally:
                    os._exit(0)
            children.append(child)
        os.write(go, b"x" * pods)
        for child in children:
            os.waitpid(child, 0)
        os.close(report)
        with os.fdopen(reports) as lines:
            ends = [tuple(map(float, line.split())) for line in lines]
        os.close(start)
        os.close(go)
        seen = counters(url)
    wall = max(end for _, end, _ in ends) - min(began for began, _, _ in ends)
    failed = sum(failed for *_, failed in ends)
    bound, refused = (requests - 50) / 2.0, sum(seen["refusals"].values())
    ratio, share = wall / bound, refused / requests
    wanted_ratio, wanted_share = WANTED[with_redis][0], WANTED[with_redis][1][size]
    print(
        f"{size:7} {'with Redis   ' if with_redis else 'without Redis'} {wall:6.1f} s   bound {bound:5.1f} s"
        f"   ratio {ratio:4.2f} (wanted {wanted_ratio})   {requests} requests needed, {refused} refused"
        f" ({share:4.2f} for each, wanted {wanted_share})   {failed:.0f} statuses failed",
        flush=True,
    )
    return not failed and ratio <= wanted_ratio and share <= wanted_share


def latency(port: int) -> bool:
    """Print what a place costs in Redis and in a file, in one process."""
    from airflow_provider_b24cal.bitrix24.protocol.limits import Plan
    from airflow_provider_b24cal.client.rate_limiter import RateLimiter
    from airflow_provider_b24cal.client.redis_state import RedisState

    plan = Plan(1000.0, 100_000.0)

    def cost(limiter: RateLimiter) -> float:
        began = time.perf_counter()
        limiter.reserve()
        return (time.perf_counter() - began) * 1000

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        state = RedisState("cluster_redis")
        state.connect()
        shared = RateLimiter(f"http://127.0.0.1:{port}", plan, Path(folder, "state"), state, "latency")
        shared.reserve()
        first = (time.perf_counter() - began) * 1000
        in_redis = median(cost(shared) for _ in range(2000))
        in_file = median(cost(RateLimiter("http://file", plan, Path(folder, "state"))) for _ in range(2000))
    added = in_redis - in_file
    print(
        f"a place in Redis: first {first:.0f} ms (imports and connection), then {in_redis:.3f} ms; in a file"
        f" {in_file:.3f} ms: {added:.3f} ms more (wanted 2)",
        flush=True,
    )
    return added <= 2.0


def main(names: list[str]) -> int:
    """Run what is named; return 1 when a bound is missed."""
    ways = [name == "with" for name in ("with", "without") if name in names or not {"with", "without"} & {*names}]
    sizes = [name for name in SIZES if name in names]
    if not sizes and "latency" not in names:
        sizes = list(SIZES)
    kept = []
    with tempfile.TemporaryDirectory() as home:
        os.environ.setdefault("AIRFLOW_HOME", home)
        if True in ways:
            with redis_server() as port:
                connection = {"conn_type": "redis", "host": "127.0.0.1", "port": port}
                os.environ["AIRFLOW_CONN_CLUSTER_REDIS"] = json.dumps(connection)
                if not names or "latency" in names:
                    kept.append(latency(port))
                warm_up()
                kept.extend(run(size, with_redis=True) for size in sizes)
        if False in ways:
            warm_up()
            kept.extend(run(size, with_redis=False) for size in sizes)
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
