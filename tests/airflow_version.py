"""The version of Airflow that the tests run on."""

from __future__ import annotations

from importlib.metadata import version

AIRFLOW = version("apache-airflow")
