"""Every public class keeps the promises that Airflow and its users rely on."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from importlib.metadata import entry_points, version
from typing import Any

import pytest

import airflow_provider_b24cal
from airflow_provider_b24cal._airflow import HAS_PLUGIN_PAGES, AirflowPlugin, BaseHook, BaseOperator
from airflow_provider_b24cal.bitrix24 import schemas
from airflow_provider_b24cal.get_provider_info import get_provider_info
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from airflow_provider_b24cal.notifications.bitrix24 import Bitrix24Notifier
from airflow_provider_b24cal.operators.events import Bitrix24ListEventsOperator
from airflow_provider_b24cal.operators.meeting_status import (
    Bitrix24GetMeetingStatusOperator,
    Bitrix24SetMeetingStatusOperator,
)
from airflow_provider_b24cal.operators.notify import Bitrix24NotifyOperator
from airflow_provider_b24cal.sensors.attendees import Bitrix24AttendeesSensor
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor
from airflow_provider_b24cal.transfers.attendance_to_object_storage import Bitrix24AttendanceToObjectStorageOperator
from airflow_provider_b24cal.transfers.attendance_to_sql import Bitrix24AttendanceToSqlOperator
from airflow_provider_b24cal.triggers.attendance import Bitrix24AttendanceTrigger

TASKS: list[type[Any]] = [
    Bitrix24GetMeetingStatusOperator,
    Bitrix24SetMeetingStatusOperator,
    Bitrix24ListEventsOperator,
    Bitrix24NotifyOperator,
    Bitrix24MeetingStatusSensor,
    Bitrix24AttendeesSensor,
    Bitrix24AttendanceToSqlOperator,
    Bitrix24AttendanceToObjectStorageOperator,
]
CLASSES: list[type[Any]] = [*TASKS, Bitrix24AttendanceTrigger, Bitrix24CalendarHook, Bitrix24Notifier]


def _arguments(kind: type[Any]) -> list[str]:
    """Return the arguments that a class and its base classes of this provider take."""
    found: dict[str, None] = {}
    for base in kind.__mro__:
        if base.__module__.startswith("airflow_provider_b24cal.") and "__init__" in vars(base):
            for name, parameter in inspect.signature(base.__init__).parameters.items():
                if name != "self" and parameter.kind not in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}:
                    found[name] = None
    return list(found)


@pytest.mark.parametrize("kind", TASKS)
def test_arguments_are_templated_and_only_stored(kind: type[Any]) -> None:
    """An invalid value is no reason to break the DAG file: it may be a template."""
    arguments = [name for name in _arguments(kind) if name not in {"deferrable", "retry_permanent_errors"}]
    assert set(kind.template_fields) == set(arguments)
    given = {name: object() for name in arguments}
    task = kind(task_id="t", **given)
    assert {name: getattr(task, name) for name in arguments} == given


@pytest.mark.parametrize("kind", TASKS)
def test_what_is_computed_may_come_from_another_task(kind: type[Any]) -> None:
    """Names of connections and of tables are texts; whatever else is templated takes ``.output`` too."""
    parameters = inspect.signature(kind.__init__).parameters
    texts = {name for name in kind.template_fields if name.endswith(("_conn_id", "_table")) or name == "schema"}
    for name in set(kind.template_fields) - texts:
        assert str(parameters[name].annotation).startswith("Templated["), name


@pytest.mark.parametrize("kind", CLASSES)
def test_docstrings_name_every_argument(kind: type[Any]) -> None:
    text = inspect.getdoc(kind) or ""
    documented = dict(re.findall(r":param (\w+): ((?:.|\n)*?)(?=\n:param|\n\n|\Z)", text))
    assert set(documented) == set(_arguments(kind))
    for name in getattr(kind, "template_fields", ()):
        assert documented[name].rstrip().endswith("(templated)"), name
    if kind is not Bitrix24AttendanceTrigger:
        assert "https://apidocs.bitrix24.com/" in text
    assert not (kind.__init__.__doc__ if "__init__" in vars(kind) else None)


@pytest.mark.parametrize("kind", [*CLASSES])
def test_public_methods_are_documented(kind: type[Any]) -> None:
    for name, member in vars(kind).items():
        if not name.startswith("_") and inspect.isfunction(inspect.unwrap(getattr(member, "__func__", member))):
            assert inspect.getdoc(member), f"{kind.__name__}.{name}"


def test_the_notifier_stores_its_arguments_to_be_rendered() -> None:
    given = {name: f"{{{{ {name} }}}}" for name in _arguments(Bitrix24Notifier)}
    notifier = Bitrix24Notifier(**given)
    assert set(Bitrix24Notifier.template_fields) == set(given)
    assert {name: getattr(notifier, name) for name in given} == given


def test_the_trigger_serializes_every_argument() -> None:
    given = {name: object() for name in _arguments(Bitrix24AttendanceTrigger)}
    _, arguments = Bitrix24AttendanceTrigger(**given).serialize()
    assert arguments == given


def test_the_hook_stores_and_does_nothing_else() -> None:
    hook = Bitrix24CalendarHook("there_is_no_such_connection")
    assert isinstance(hook, BaseHook)
    hook.close()
    with pytest.raises(Exception, match="there_is_no_such_connection"):
        hook.whoami()


def test_every_blocking_read_has_an_asynchronous_twin() -> None:
    statuses = ("get_meeting_status", "get_meeting_statuses")
    people = ("get_group_members", "get_department_members", "whoami", "scopes", "notify")
    for name in (*statuses, *people, "get_event", "list_events", "list_sections", "get_accessibility"):
        blocking, twin = getattr(Bitrix24CalendarHook, name), getattr(Bitrix24CalendarHook, f"a{name}")
        assert inspect.iscoroutinefunction(twin)
        assert inspect.signature(blocking) == inspect.signature(twin)


def test_one_version() -> None:
    assert version("airflow-provider-b24cal") == airflow_provider_b24cal.__version__


def test_the_entry_point_gives_the_provider_info() -> None:
    (found,) = (
        entry
        for entry in entry_points(group="apache_airflow_provider")
        if entry.value.startswith("airflow_provider_b24cal")
    )
    assert found.load() is get_provider_info


def test_the_entry_point_of_the_plugin_gives_what_airflow_expects() -> None:
    (found,) = entry_points(group="airflow.plugins", name="b24cal")
    assert issubclass(found.load(), AirflowPlugin)


def test_provider_info_fits_airflows_schema() -> None:
    from importlib.resources import files

    import jsonschema

    whole = json.loads(files("airflow").joinpath("provider.yaml.schema.json").read_text("utf-8"))
    info = get_provider_info()
    connection_types = whole["properties"]["connection-types"]
    jsonschema.validate(info["connection-types"], {**connection_types, "definitions": whole.get("definitions", {})})
    jsonschema.validate(info, json.loads(files("airflow").joinpath("provider_info.schema.json").read_text("utf-8")))
    for kind in ("hooks", "operators", "sensors", "triggers"):
        for entry in info[kind]:
            for module in entry["python-modules"]:
                assert inspect.ismodule(__import__(module, fromlist=["_"]))


def test_links_and_decorators_are_where_airflow_is_reported_they_are() -> None:
    info = get_provider_info()
    paths = [*info["extra-links"], *info["notifications"], *(entry["class-name"] for entry in info["task-decorators"])]
    for module, _, name in (path.rpartition(".") for path in paths):
        assert callable(getattr(__import__(module, fromlist=["_"]), name))
    for kind in TASKS:
        shown = [f"{type(link).__module__}.{type(link).__name__}" for link in kind.operator_extra_links]
        assert shown == info["extra-links"][: 2 if HAS_PLUGIN_PAGES else 1]


def test_the_form_and_the_schema_know_the_same_keys() -> None:
    (connection,) = get_provider_info()["connection-types"]
    assert set(connection["conn-fields"]) == set(schemas.document("connection")["$defs"])
    assert connection["connection-type"] == Bitrix24CalendarHook.conn_type
    assert connection["hook-name"] == Bitrix24CalendarHook.hook_name
    assert Bitrix24CalendarHook.get_ui_field_behaviour()["relabeling"] == connection["ui-field-behaviour"]["relabeling"]


def test_operators_are_airflow_operators() -> None:
    assert all(issubclass(kind, BaseOperator) for kind in TASKS)


HOME = """
import sys
import airflow_provider_b24cal.bitrix24 as home
before = [name for name in sys.modules if name.startswith("airflow_provider_b24cal.bitrix24.")]
for name in dir(home):
    getattr(home, name)
from airflow_provider_b24cal.bitrix24 import Change, MeetingStatus, NotInvitedError, Outcome, RetryPolicy, Window
from airflow_provider_b24cal.bitrix24.protocol.errors import CLASSES
print(before, sorted(CLASSES) == sorted(name for name in dir(home) if name in CLASSES))
"""


def test_what_users_import_has_one_short_home_that_loads_nothing_by_itself() -> None:
    done = subprocess.run([sys.executable, "-c", HOME], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"
