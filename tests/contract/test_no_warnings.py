"""No version of Airflow has a warning for this package: nothing it uses is on its way out."""

from __future__ import annotations

import json
import subprocess
import sys

# Airflow is imported first: what it says of itself is not ours. Warnings are kept with the place that they name,
# and with ours if any frame below the import is.
WATCHED = """
import importlib, importlib.util, json, pkgutil, sys, traceback, warnings
import airflow
from airflow_provider_b24cal._airflow import BaseHook, BaseOperator, BaseSensorOperator
import airflow.triggers.base
import airflow_provider_b24cal

reported = []
def keep(message, category, filename, lineno, file=None, line=None):
    frames = [frame.filename for frame in traceback.extract_stack()[:-1] if not frame.filename.startswith("<frozen")]
    nearest = next(name for name in reversed(frames) if not name.endswith(("warnings.py", "lazy_compat.py")))
    if "airflow_provider_b24cal" in filename or "airflow_provider_b24cal" in nearest:
        reported.append(f"{filename}:{lineno}: {category.__name__}: {message}")

warnings.simplefilter("always")
warnings.showwarning = keep
for name in [name for name in sys.modules if name.startswith("airflow_provider_b24cal")]:
    del sys.modules[name]
# The page in the web UI is loaded by the API server alone, and Airflow 2 has none.
has_pages = importlib.util.find_spec("fastapi") is not None
for module in pkgutil.walk_packages(__import__("airflow_provider_b24cal").__path__, "airflow_provider_b24cal."):
    if not module.name.endswith("__main__") and (has_pages or ".attendance_page." not in module.name):
        importlib.import_module(module.name)
print("warnings: " + json.dumps(reported))
"""


def test_importing_warns_of_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True, check=True)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("warnings: "))
    assert json.loads(line.removeprefix("warnings: ")) == []
