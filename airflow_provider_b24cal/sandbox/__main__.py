"""``python -m airflow_provider_b24cal.sandbox``."""

from __future__ import annotations

import sys
from importlib.util import find_spec

MISSING = "The sandbox needs {}. Install it with: pip install 'airflow-provider-b24cal[sandbox]'"


def run() -> int:
    """Start the command line, or say what is not installed."""
    missing = [name for name in ("starlette", "uvicorn", "yaml") if find_spec(name) is None]
    if missing:
        print(MISSING.format(", ".join(missing)), file=sys.stderr)
        return 1
    from airflow_provider_b24cal.sandbox.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
