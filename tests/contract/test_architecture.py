"""The house: who may import whom. Data flows one way, and imports are narrower still."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_b24cal._airflow import HAS_PLUGIN_PAGES

SANDBOX = Path(__file__).parents[2] / "sandbox" / "bitrix24_sandbox"
PACKAGE = "airflow_provider_b24cal"
ROOT = Path(__file__).parents[2] / PACKAGE
STANDARD = frozenset(sys.stdlib_module_names)
PURE = STANDARD - {
    "_thread", "asyncio", "concurrent", "http", "logging", "multiprocessing", "os", "queue", "random",
    "secrets", "select", "selectors", "signal", "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "time",
    "uuid",
}  # fmt: skip

# Room -> what its modules may import: own rooms by name, other packages by name. A room inside another one has a rule
# of its own; the longest name that fits a module counts.
RULES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "": (frozenset(), frozenset()),
    "get_provider_info": (frozenset(), frozenset()),
    "_airflow": (frozenset(), STANDARD | {"airflow", "asgiref"}),
    # The labels of the connection form are data, which imports nothing.
    "bitrix24": (frozenset({"bitrix24", "get_provider_info"}), PURE | {"jsonschema"}),
    "clock": (frozenset(), STANDARD),
    "waiting": (frozenset({"bitrix24", "waiting"}), PURE),
    "attendance": (frozenset({"bitrix24", "attendance"}), PURE),
    "attendance/io": (
        frozenset({"_airflow", "assets", "bitrix24", "client", "clock", "hooks", "attendance", "attendance/io"}),
        STANDARD | {"jinja2", "pyarrow", "sqlalchemy"},
    ),
    "attendance_page": (
        frozenset({"_airflow", "attendance/io", "attendance_page", "bitrix24", "clock"}),
        STANDARD | {"fastapi", "jinja2", "sqlalchemy", "starlette"},
    ),
    "plugin": (frozenset({"_airflow", "attendance_page"}), STANDARD),
    "views": (frozenset({"attendance/io"}), STANDARD),
    "report": (frozenset({"_airflow", "attendance/io", "bitrix24", "clock"}), STANDARD),
    "metrics": (frozenset(), STANDARD),
    "client": (
        frozenset({"", "_airflow", "bitrix24", "client", "clock", "metrics"}),
        STANDARD | {"airflow.providers.redis.hooks.redis", "asgiref", "httpx", "redis", "requests", "urllib3"},
    ),
    "hooks": (
        frozenset({"_airflow", "get_provider_info", "bitrix24", "client", "hooks"}),
        # The form's libraries are imported when Airflow before 3.2 draws the form.
        STANDARD | {"asgiref", "requests", "flask_appbuilder", "flask_babel", "wtforms"},
    ),
    "oauth": (frozenset({"bitrix24", "client"}), STANDARD),
    "retry_policy": (frozenset({"_airflow", "bitrix24"}), STANDARD),
    "links": (frozenset({"_airflow", "bitrix24", "plugin"}), STANDARD),
    "operators": (
        frozenset({"_airflow", "bitrix24", "hooks", "links", "operators"}),
        STANDARD,
    ),
    "notifications": (frozenset({"_airflow", "bitrix24", "hooks", "operators"}), STANDARD),
    "decorators": (frozenset({"_airflow", "bitrix24", "operators"}), STANDARD),
    "sensors": (
        frozenset({"_airflow", "bitrix24", "clock", "hooks", "operators", "waiting", "triggers", "sensors"}),
        STANDARD,
    ),
    # The base class of triggers is in the same place in all versions.
    "triggers": (
        frozenset({"_airflow", "bitrix24", "clock", "hooks", "metrics", "waiting", "attendance", "triggers"}),
        STANDARD | {"airflow.triggers.base"},
    ),
    "assets": (frozenset({"_airflow"}), STANDARD | {"airflow.providers.common.compat.openlineage.facet"}),
    "transfers": (
        frozenset(
            {
                "_airflow", "assets", "attendance", "attendance/io", "bitrix24", "hooks", "operators", "transfers",
            }
        ),
        STANDARD | {"sqlalchemy"},
    ),
}  # fmt: skip


def _room(module: str) -> str:
    """Return the room of a module named by its path inside the package."""
    parts = module.split(".")
    return next((name for count in (2, 1) if (name := "/".join(parts[:count])) in RULES), parts[0])


def _modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield ("" if module == "__init__" else _room(module)), path


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            # A module that is imported from the top of the package, or a name of the package itself.
            rooms = [name.name for name in node.names if node.module == PACKAGE and name.name in RULES]
            yield from ((node.lineno, f"{PACKAGE}.{room}") for room in rooms)
            if not rooms:
                yield node.lineno, node.module or ""


@pytest.mark.parametrize(("room", "path"), list(_modules()), ids=lambda value: str(value).removeprefix(str(ROOT)))
def test_imports_follow_the_rules(room: str, path: Path) -> None:
    rooms, packages = RULES[room]
    for line, module in _imports(path):
        where = f"{path.relative_to(ROOT)}:{line} imports {module}"
        if module == PACKAGE or module.startswith(f"{PACKAGE}."):
            assert ("" if module == PACKAGE else _room(module.removeprefix(f"{PACKAGE}."))) in rooms, where
        elif module != "__future__":
            assert module in packages or module.split(".")[0] in packages, where


@pytest.mark.parametrize("path", sorted((ROOT / "bitrix24").rglob("*.py")), ids=lambda path: path.stem)
def test_the_language_has_no_clock(path: Path) -> None:
    """Dates are values there; what time it is comes from outside."""
    clocks = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}
    ]
    assert not clocks, f"{path.name}:{clocks}"


@pytest.mark.parametrize("path", sorted(SANDBOX.rglob("*.py")), ids=lambda path: path.stem)
def test_the_sandbox_imports_no_client(path: Path) -> None:
    """It shares no code with the provider, so a mistake cannot be made on both sides at once."""
    # Only the check of a portal is a client itself.
    more = {"httpx"} if path.parent.name == "check" else {"starlette", "uvicorn", "yaml"}
    for line, module in _imports(path):
        first = module.split(".")[0]
        assert first in {"__future__", "bitrix24_sandbox"} | more | STANDARD, f"{path}:{line}"


def test_every_room_has_a_rule() -> None:
    assert {room for room, _ in _modules()} == set(RULES)


BLOCKED = """
import sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"airflow", "requests", "httpx", "urllib3", "starlette", "asgiref"}:
            raise ImportError("walled off: " + name)

sys.meta_path.insert(0, Wall())
import importlib, pkgutil
import airflow_provider_b24cal.bitrix24 as language
for module in pkgutil.walk_packages(language.__path__, language.__name__ + "."):
    importlib.import_module(module.name)
import airflow_provider_b24cal.waiting, airflow_provider_b24cal.attendance.reconcile
import airflow_provider_b24cal.attendance.calendars
print("pure")
"""


def test_the_language_lives_without_airflow_and_sockets() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "pure", done.stderr


LIGHT = """
import sys
import airflow_provider_b24cal, airflow_provider_b24cal.get_provider_info
print(sorted(name for name in sys.modules if name.split(".")[0] in {"airflow", "requests", "httpx", "jsonschema"}
      or name.startswith("airflow_provider_b24cal.")))
"""


def test_what_airflow_loads_while_it_is_imported_is_light() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['airflow_provider_b24cal.get_provider_info']"


PARSED = """
import sys
from airflow_provider_b24cal._airflow import BaseOperator, BaseSensorOperator
before = set(sys.modules)
import airflow_provider_b24cal.decorators.statuses, airflow_provider_b24cal.links.bitrix24
import airflow_provider_b24cal.operators.events, airflow_provider_b24cal.report, airflow_provider_b24cal.retry_policy
import airflow_provider_b24cal.notifications.bitrix24, airflow_provider_b24cal.operators.notify
import airflow_provider_b24cal.transfers.attendance_to_sql
import airflow_provider_b24cal.transfers.attendance_to_object_storage, airflow_provider_b24cal.views
import airflow_provider_b24cal.operators.meeting_status, airflow_provider_b24cal.sensors.meeting_status
print(sorted({name.split(".")[0] for name in set(sys.modules) - before}
      & {"requests", "httpx", "jsonschema", "starlette", "uvicorn", "yaml", "sqlalchemy", "pyarrow"}))
"""


def test_a_dag_file_loads_no_http_library() -> None:
    done = subprocess.run([sys.executable, "-c", PARSED], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


PLUGIN = """
import sys
from airflow_provider_b24cal._airflow import {before}
before = set(sys.modules)
from airflow_provider_b24cal.plugin import B24CalPlugin
plugin = B24CalPlugin()
print(plugin.fastapi_apps if {asked} else [], plugin.external_views, plugin.name)
new = set(sys.modules) - before
print(sorted(name for name in new if name.startswith("airflow_provider_b24cal.")))
print(sorted({{name.split(".")[0] for name in new}} & {{"fastapi", "starlette", "jinja2", "sqlalchemy"}}))
"""


@pytest.mark.parametrize("conn_id", ["", "warehouse"], ids=["off", "on"])
def test_the_plugin_of_airflow_loads_nothing_of_the_page(conn_id: str) -> None:
    """Every task's process imports it; only the API server asks it for the application."""
    environment = {**os.environ, "AIRFLOW__BITRIX24__ATTENDANCE_PAGE_CONN_ID": conn_id}
    code = PLUGIN.format(before="AirflowPlugin, BaseOperator, conf", asked=not conn_id)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    shown, own, libraries = done.stdout.splitlines()[-3:]
    there = conn_id != "" and HAS_PLUGIN_PAGES
    assert shown.startswith("[] [{'name': 'Attendance'" if there else "[] [] b24cal"), shown
    assert (own, libraries) == ("['airflow_provider_b24cal.plugin']", "[]")


TASK = """
import sys
try:
    from airflow.sdk.plugins_manager import integrate_macros_plugins
except ImportError:
    from airflow.plugins_manager import integrate_macros_plugins
integrate_macros_plugins()
print(sorted(name for name in sys.modules if name.startswith("airflow_provider_b24cal.")))
"""


def test_a_task_loads_the_plugin_and_nothing_of_the_page() -> None:
    """Airflow loads all plugins before it renders the templates of a task."""
    environment = {**os.environ, "AIRFLOW__BITRIX24__ATTENDANCE_PAGE_CONN_ID": "warehouse"}
    done = subprocess.run([sys.executable, "-c", TASK], env=environment, capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout.splitlines()[-1]))
    assert "airflow_provider_b24cal.plugin" in loaded
    assert loaded <= {f"airflow_provider_b24cal.{name}" for name in ("_airflow", "plugin", "get_provider_info")}


@pytest.mark.parametrize("folder", ["tests", "sandbox/tests"])
def test_nothing_imports_from_a_conftest(folder: str) -> None:
    """What tests import is in a module that is named for it; a conftest has fixtures only."""
    for path in sorted((Path(__file__).parents[2] / folder).rglob("*.py")):
        assert not [module for _, module in _imports(path) if module.split(".")[-1] == "conftest"], path
