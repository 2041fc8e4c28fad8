"""What our operators and sensors add to the parsing of a DAG file, beside an official provider's.

Each figure is the median over fresh interpreters of: time of ``import <module>`` after
``from airflow.sdk import DAG``. Run: ``make bench`` or ``python benchmarks/import_time.py``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile

RUNS = 7
LIMIT_MS = 15.0
OURS = ("airflow_provider_b24cal.operators.meeting_status", "airflow_provider_b24cal.sensors.meeting_status")
THEIRS = ("airflow.providers.http.operators.http",)
HEAVY = {"requests", "httpx", "jsonschema", "starlette"}

PROBE = """
import importlib, json, sys, time
from airflow.sdk import DAG
before = set(sys.modules)
began = time.perf_counter()
for name in sys.argv[1:]:
    importlib.import_module(name)
took = time.perf_counter() - began
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(json.dumps({"ms": took * 1000, "new": sorted(new)}))
"""


def measure(modules: tuple[str, ...]) -> tuple[float, set[str]]:
    """Return the median of milliseconds and the top-level packages that came in."""
    took: list[float] = []
    new: set[str] = set()
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "AIRFLOW_HOME": home}
        for run in range(RUNS + 1):  # the first fills the file cache and is not counted
            done = subprocess.run(
                [sys.executable, "-c", PROBE, *modules], env=environment, capture_output=True, text=True, check=True
            )
            reported = json.loads(done.stdout.splitlines()[-1])
            new = set(reported["new"])
            took += [reported["ms"]] if run else []
    return statistics.median(took), new


def main() -> int:
    """Print the figures; return 1 when the bound is missed."""
    ours, new = measure(OURS)
    print(f"our operators and sensors   {ours:7.1f} ms   (bound {LIMIT_MS:.0f} ms)")
    heavy = sorted(new & HEAVY)
    print(f"heavy packages they load    {', '.join(heavy) or 'none'}   (of {', '.join(sorted(HEAVY))})")
    try:
        theirs, _ = measure(THEIRS)
    except subprocess.CalledProcessError:
        print(f"{THEIRS[0]}: not installed, not compared")
    else:
        print(f"{THEIRS[0]}   {theirs:7.1f} ms   ours is {ours / theirs:.2f} of it")
    return int(ours > LIMIT_MS or bool(heavy))


if __name__ == "__main__":
    sys.exit(main())
