"""The package as people get it: built, checked, installed into a fresh environment, and typed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import bitrix24_sandbox
import pytest
import yaml

import airflow_provider_b24cal
from airflow_provider_b24cal.get_provider_info import get_provider_info

ROOT = Path(__file__).parents[2]
PACKAGES = sysconfig.get_paths()["purelib"]

USED = """
import json
from importlib.metadata import entry_points, version
from pathlib import Path
import airflow_provider_b24cal
from airflow_provider_b24cal.bitrix24 import schemas
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
(found,) = [entry for entry in entry_points(group="apache_airflow_provider") if "b24cal" in entry.value]
home = Path(airflow_provider_b24cal.__file__).parent
print("found: " + json.dumps({
    "home": str(home),
    "version": version("airflow-provider-b24cal"),
    "name": found.load()()["package-name"],
    "schemas": bool(schemas.document("connection")),
    "typed": (home / "py.typed").exists(),
    "files": sorted({path.suffix for path in home.rglob("*") if path.is_file()} - {".pyc", ".py"}),
}))
"""
SANDBOX_USED = """
import json
from importlib.metadata import entry_points, version
from pathlib import Path
import bitrix24_sandbox
from bitrix24_sandbox import datafile
home = Path(bitrix24_sandbox.__file__).parent
(command,) = entry_points(group="console_scripts", name="bitrix24-sandbox")
print("found: " + json.dumps({
    "home": str(home),
    "version": version("bitrix24-sandbox"),
    "command": command.load().__module__,
    "example": len(datafile.load(home / "example.yaml").events) > 0,
    "typed": (home / "py.typed").exists(),
    "page": (home / "page.html").exists(),
}))
"""

USERS_DAG = '''
"""A DAG as a user writes it, checked as strictly as mypy can."""
from airflow_provider_b24cal.bitrix24 import MeetingStatus
from airflow_provider_b24cal.decorators.statuses import bitrix24_statuses_task
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor

accept = Bitrix24SetMeetingStatusOperator(task_id="accept", event_id="651", status="Y")
many = Bitrix24SetMeetingStatusOperator(task_id="many", statuses={651: "Y"}, retry_permanent_errors=False)
wait = Bitrix24MeetingStatusSensor(task_id="wait", event_id=651, fail_on_statuses=["N"], deferrable=True)


def decide() -> dict[int, str]:
    with Bitrix24CalendarHook() as hook:
        status: MeetingStatus = hook.get_meeting_status(651)
        outcomes = hook.get_meeting_statuses([651, 653])
        who: str = hook.whoami().name
    return {event: "Y" for event, outcome in outcomes.items() if outcome.ok and who and status}


decided = bitrix24_statuses_task(decide)
'''
COMPUTED_DAG = '''
"""A DAG whose arguments other tasks compute, in all the ways that Airflow has for it."""
from datetime import datetime

from airflow.sdk import DAG, task
from airflow_provider_b24cal.operators.events import Bitrix24ListEventsOperator
from airflow_provider_b24cal.operators.meeting_status import (
    Bitrix24GetMeetingStatusOperator,
    Bitrix24SetMeetingStatusOperator,
)
from airflow_provider_b24cal.sensors.attendees import Bitrix24AttendeesSensor
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor
from airflow_provider_b24cal.transfers.attendance_to_object_storage import Bitrix24AttendanceToObjectStorageOperator
from airflow_provider_b24cal.transfers.attendance_to_sql import Bitrix24AttendanceToSqlOperator


@task
def ids() -> list[int]:
    return [651, 653]


@task
def one() -> int:
    return 651


@task
def statuses() -> dict[int, str]:
    return {651: "Y"}


@task
def text() -> str:
    return "Y"


@task
def moment() -> datetime:
    return datetime.now().astimezone()


with DAG("computed"):
    listed = Bitrix24ListEventsOperator(
        task_id="list", window_start=moment(), window_end="{{ data_interval_end }}", owner_id=one(), sections=ids(),
        statuses=["Q", text()], only_meetings="{{ params.only }}", calendar_type=text(),
    )
    read = Bitrix24GetMeetingStatusOperator(task_id="read", event_ids=listed.output, fail_on=text())
    Bitrix24GetMeetingStatusOperator(task_id="read_one", event_id=one())
    Bitrix24GetMeetingStatusOperator(task_id="read_some", event_ids=[651, one(), "{{ params.id }}"])
    Bitrix24SetMeetingStatusOperator(task_id="set", statuses=statuses())
    Bitrix24SetMeetingStatusOperator(task_id="set_same", statuses=read.output)
    Bitrix24SetMeetingStatusOperator(task_id="set_some", statuses={651: text(), 653: "N"})
    Bitrix24SetMeetingStatusOperator(task_id="set_rendered", statuses="{{ params.statuses }}")
    Bitrix24SetMeetingStatusOperator(task_id="set_many", event_ids=ids(), status=text())
    Bitrix24MeetingStatusSensor(task_id="wait", event_id=one(), target_status=text(), require="60%")
    Bitrix24MeetingStatusSensor(task_id="wait_many", event_ids=ids(), require=one(), fail_on_statuses=[text()])
    Bitrix24AttendeesSensor(task_id="wait_all", event_id=one(), users=ids(), deadline_before_start=one())
    Bitrix24AttendanceToSqlOperator(
        task_id="sync", sql_conn_id="warehouse", calendars=text(), window_start=moment(), window_end=moment()
    )
    Bitrix24AttendanceToSqlOperator(task_id="sync_some", sql_conn_id="warehouse", event_ids=read.output)
    Bitrix24AttendanceToObjectStorageOperator(task_id="files", path=text(), calendars=["user", text()])
'''
MISTAKEN = """
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

number: int = Bitrix24CalendarHook().get_meeting_status(651)
"""


DISTRIBUTIONS = {"airflow_provider_b24cal": ROOT, "bitrix24_sandbox": ROOT / "sandbox"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("build", reason="the packages are built beside the newest Airflow only")
    folder = tmp_path_factory.mktemp("dist")
    for source in DISTRIBUTIONS.values():
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)]
        subprocess.run(command, check=True, capture_output=True)
    return folder


def test_what_is_built_passes_the_index_s_check(built: Path) -> None:
    versions = {
        "airflow_provider_b24cal": airflow_provider_b24cal.__version__,
        "bitrix24_sandbox": bitrix24_sandbox.__version__,
    }
    wanted = {
        f"{name}-{version}{end}" for name, version in versions.items() for end in ("-py3-none-any.whl", ".tar.gz")
    }
    assert {path.name for path in built.iterdir()} == wanted
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_wheel_holds_its_package_and_the_licence_only(name: str, built: Path) -> None:
    (wheel,) = built.glob(f"{name}-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {path.partition("/")[0] for path in names if ".dist-info/" not in path} == {name}
    assert any(path.endswith(".dist-info/licenses/LICENSE") for path in names)
    assert not [path for path in names if "sandbox" in path and name != "bitrix24_sandbox"]
    (source,) = built.glob(f"{name}-*.tar.gz")
    with tarfile.open(source) as archive:
        assert any(path.endswith("/LICENSE") for path in archive.getnames())


SDIST = {
    "airflow_provider_b24cal": [
        ".airflow-registry.yaml", ".ci", ".editorconfig", ".github", ".gitignore", ".pre-commit-config.yaml",
        "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "PKG-INFO", "README.md", "SECURITY.md",
        "airflow_provider_b24cal", "benchmarks", "dags_examples", "dev", "docs", "pyproject.toml", "sandbox", "tests",
    ],
    "bitrix24_sandbox": [".gitignore", "LICENSE", "PKG-INFO", "README.md", "bitrix24_sandbox", "pyproject.toml",
                         "tests"],
}  # fmt: skip
"""What is at the top of each sdist."""


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_what_is_built_holds_what_is_listed(name: str, built: Path) -> None:
    package = DISTRIBUTIONS[name] / name
    files = {path.relative_to(package.parent) for path in package.rglob("*") if path.is_file()}
    sources = {str(path) for path in files if path.suffix != ".pyc"}
    (wheel,) = built.glob(f"{name}-*.whl")
    paths = zipfile.ZipFile(wheel).namelist()
    assert {path for path in paths if ".dist-info/" not in path} == sources
    about = sorted(path.partition(".dist-info/")[2] for path in paths if ".dist-info/" in path)
    assert about == sorted(["METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"])
    (source,) = built.glob(f"{name}-*.tar.gz")
    with tarfile.open(source) as archive:
        inside = [path.partition("/")[2] for path in archive.getnames()]
    assert sorted({path.partition("/")[0] for path in inside}) == SDIST[name]
    assert sources <= set(inside)
    made = re.compile(r"(^|/)(__pycache__|node_modules|_build|dist|\.venv|\.cache)(/|$)|\.pyc$")
    assert [path for path in inside if made.search(path)] == []


@pytest.mark.parametrize("kind", ["whl", "tar.gz"])
@pytest.mark.parametrize(
    ("name", "used"),
    [("airflow_provider_b24cal", USED), ("bitrix24_sandbox", SANDBOX_USED)],
    ids=["provider", "sandbox"],
)
def test_it_installs_into_a_fresh_environment(name: str, used: str, kind: str, built: Path, tmp_path: Path) -> None:
    """What it depends on is lent by the environment of the tests; the package itself is not."""
    venv.create(tmp_path / "fresh", symlinks=True)
    python = tmp_path / "fresh" / "bin" / "python"
    (package,) = built.glob(f"{name}-*.{kind}")
    lent = {**os.environ, "PYTHONPATH": PACKAGES}
    install = [Path(sys.executable).with_name("uv"), "pip", "install", "--offline", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--python", python, package], env=lent, check=True, capture_output=True)
    done = subprocess.run([python, "-c", used], env=lent, cwd=tmp_path, check=True, capture_output=True, text=True)
    found: dict[str, Any] = yaml.safe_load(done.stdout.split("found: ", 1)[1])
    assert Path(found.pop("home")).is_relative_to(tmp_path)
    if name == "airflow_provider_b24cal":
        assert found == {
            "version": airflow_provider_b24cal.__version__, "name": "airflow-provider-b24cal",
            "schemas": True, "typed": True, "files": [".css", ".html", ".js", ".json", ".typed"],
        }  # fmt: skip
        return
    assert found == {
        "version": bitrix24_sandbox.__version__, "command": "bitrix24_sandbox.cli", "example": True, "typed": True,
        "page": True,
    }  # fmt: skip
    command = tmp_path / "fresh" / "bin" / "bitrix24-sandbox"
    shown = subprocess.run([command, "--help"], env=lent, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "usage: bitrix24-sandbox" in shown.stdout


def test_all_say_the_same_of_python() -> None:
    """Both packages, and what a reader is shown."""
    found = []
    for source in DISTRIBUTIONS.values():
        project = tomllib.loads((source / "pyproject.toml").read_text("utf-8"))["project"]
        found.append([name for name in project["classifiers"] if "Python :: 3." in name])
        assert project["requires-python"] == ">=3.11"
    versions = [name.rpartition(" ")[2] for name in found[0]]
    assert found[0] == found[1]
    assert f"- Python {versions[0]} to {versions[-1]}" in (ROOT / "README.md").read_text("utf-8")
    assert f"Python {versions[0]} to {versions[-1]}," in (ROOT / "sandbox" / "README.md").read_text("utf-8")
    page = (ROOT / "docs" / "compatibility.rst").read_text("utf-8")
    assert f"- {', '.join(versions[:-1])} and {versions[-1]}," in page


def test_a_users_dag_is_checked_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="types are checked beside the newest Airflow only")
    (tmp_path / "users_dag.py").write_text(USERS_DAG, "utf-8")
    (tmp_path / "computed_dag.py").write_text(COMPUTED_DAG, "utf-8")
    (tmp_path / "mistaken.py").write_text(MISTAKEN, "utf-8")
    options = ["--strict", "--config-file=", f"--cache-dir={tmp_path}/cache"]
    command = [sys.executable, "-m", "mypy", *options, "users_dag.py", "computed_dag.py", "mistaken.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    (error,) = (line for line in done.stdout.splitlines() if ": error: " in line)
    assert error.startswith("mistaken.py:"), done.stdout
    assert 'expression has type "MeetingStatus"' in error


def test_the_registry_s_file_names_what_there_is() -> None:
    registry = yaml.safe_load((ROOT / ".airflow-registry.yaml").read_text("utf-8"))
    info = get_provider_info()
    assert (registry["package-name"], registry["display-name"]) == (info["package-name"], info["name"])
    for kind in ("hooks", "operators", "sensors", "triggers"):
        modules = {module for entry in info[kind] for module in entry["python-modules"]}
        assert {entry["module"].rpartition(".")[0] for entry in registry[kind]} == modules
    assert [entry["module"].rpartition(".")[0] for entry in registry["transfers"]] == [
        entry["python-module"] for entry in info["transfers"]
    ]
    for kind in ("hooks", "operators", "transfers", "sensors", "triggers", "decorators", "other"):
        for entry in registry[kind]:
            module, _, name = entry["module"].rpartition(".")
            assert hasattr(import_module(module), name), entry
