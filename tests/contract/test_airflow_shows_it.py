"""Airflow's own commands show the provider, its hook and its form."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

AIRFLOW = str(Path(sys.executable).with_name("airflow"))


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (("list",), {"package_name": "airflow-provider-b24cal"}),
        (("get", "airflow-provider-b24cal"), {"Provider": "airflow-provider-b24cal"}),
        (("hooks",), {"connection_type": "bitrix24", "hook_name": "Bitrix24"}),
        (("behaviours",), {"field_behaviours": "bitrix24"}),
        (("triggers",), {"class": "airflow_provider_b24cal.triggers.attendance"}),
        (("links",), {"extra_link_class_name": "airflow_provider_b24cal.links.bitrix24.Bitrix24Link"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_airflow_providers(command: tuple[str, ...], wanted: dict[str, str]) -> None:
    if (
        command == ("behaviours",)
        and version("apache-airflow").startswith(("3.0.", "3.1."))
        and not find_spec("wtforms")
    ):
        pytest.skip("Airflow 3.0 and 3.1 show no behaviours of any provider without wtforms, which is not installed")
    done = subprocess.run([AIRFLOW, "providers", *command, "-o", "json"], capture_output=True, text=True, check=True)
    rows = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("[{")))
    assert any(wanted.items() <= row.items() for row in rows), rows
    assert "airflow_provider_b24cal" not in done.stderr, "a warning about this provider"
