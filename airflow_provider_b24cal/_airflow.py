"""The only module that knows Airflow's versions: 2.11 and 3.0 to 3.3 from one place.

Each name is looked for where the newest Airflow keeps it, and then in its older homes, when it is first asked for. The
compatibility package of Airflow's own providers is not used: those of its releases that would serve cannot be installed
beside the constraint files of the versions supported here.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from functools import cache
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar


class Logger(Protocol):
    """What is used of the log of a task, hook or trigger, which is another class in each version of Airflow."""

    def info(self, message: str, /, *args: Any) -> object:
        """Log what is as it should be."""

    def warning(self, message: str, /, *args: Any) -> object:
        """Log a line that wants attention."""

    def error(self, message: str, /, *args: Any) -> object:
        """Log a failure."""


if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.api_fastapi.core_api.security import requires_access_connection as requires_access_connection
    from airflow.plugins_manager import AirflowPlugin as AirflowPlugin
    from airflow.sdk import Asset as Asset
    from airflow.sdk import AssetAlias as AssetAlias
    from airflow.sdk import BaseHook as BaseHook
    from airflow.sdk import BaseNotifier as BaseNotifier
    from airflow.sdk import BaseOperator as BaseOperator
    from airflow.sdk import BaseOperatorLink as BaseOperatorLink
    from airflow.sdk import BaseSensorOperator as BaseSensorOperator
    from airflow.sdk import Connection
    from airflow.sdk import Context as Context
    from airflow.sdk import ObjectStoragePath as ObjectStoragePath
    from airflow.sdk.bases.decorator import DecoratedOperator as DecoratedOperator
    from airflow.sdk.bases.decorator import TaskDecorator as TaskDecorator
    from airflow.sdk.bases.decorator import determine_kwargs as determine_kwargs
    from airflow.sdk.bases.decorator import task_decorator_factory as task_decorator_factory
    from airflow.sdk.bases.sensor import PokeReturnValue as PokeReturnValue
    from airflow.sdk.configuration import conf as conf
    from airflow.sdk.definitions.context import context_merge as context_merge
    from airflow.sdk.definitions.retry_policy import RetryDecision as RetryDecision
    from airflow.sdk.definitions.retry_policy import RetryPolicy as RetryPolicy
    from airflow.sdk.definitions.xcom_arg import XComArg
    from airflow.sdk.exceptions import AirflowFailException as AirflowFailException
    from airflow.sdk.exceptions import AirflowRescheduleException as AirflowRescheduleException
    from airflow.sdk.exceptions import AirflowSensorTimeout as AirflowSensorTimeout
    from airflow.sdk.exceptions import AirflowSkipException as AirflowSkipException
    from airflow.sdk.exceptions import AirflowTaskTimeout as AirflowTaskTimeout
    from airflow.sdk.lineage import HookLineageCollector
    from airflow.sdk.log import mask_secret as mask_secret
    from airflow.triggers.base import BaseEventTrigger as BaseEventTrigger

    T = TypeVar("T")
    Templated: TypeAlias = T | str | XComArg
    """What a templated argument may be while the DAG file is parsed: a value, a template, another task's result."""

_SDK_EXCEPTIONS: Final = ("airflow.sdk.exceptions", "airflow.exceptions")  # the second before 3.2

_HOMES: Final[Mapping[str, tuple[str, ...]]] = {
    "__version__": ("airflow",),
    "AirflowFailException": _SDK_EXCEPTIONS,
    "AirflowPlugin": ("airflow.sdk.plugins_manager", "airflow.plugins_manager"),  # the second before 3.2
    "AirflowRescheduleException": _SDK_EXCEPTIONS,
    "AirflowSensorTimeout": _SDK_EXCEPTIONS,
    "AirflowSkipException": _SDK_EXCEPTIONS,
    "AirflowTaskTimeout": _SDK_EXCEPTIONS,
    "Asset": ("airflow.sdk", "airflow.datasets:Dataset"),
    "AssetAlias": ("airflow.sdk", "airflow.datasets:DatasetAlias"),
    # 2.11 has no assets that wait for triggers.
    "BaseEventTrigger": ("airflow.triggers.base", "airflow.triggers.base:BaseTrigger"),
    "BaseHook": ("airflow.sdk", "airflow.hooks.base"),  # the second before 3.1
    "BaseNotifier": ("airflow.sdk", "airflow.notifications.basenotifier"),
    "BaseOperator": ("airflow.sdk", "airflow.models.baseoperator"),
    "BaseOperatorLink": ("airflow.sdk", "airflow.models.baseoperatorlink"),
    "BaseSensorOperator": ("airflow.sdk", "airflow.sensors.base"),
    "DecoratedOperator": ("airflow.sdk.bases.decorator", "airflow.decorators.base"),
    "ObjectStoragePath": ("airflow.sdk", "airflow.io.path"),
    "PokeReturnValue": ("airflow.sdk.bases.sensor", "airflow.sensors.base"),
    "RetryDecision": ("airflow.sdk", "builtins:object"),  # new in 3.3
    "RetryPolicy": ("airflow.sdk", "builtins:object"),
    "TaskDeferralError": _SDK_EXCEPTIONS,
    "TaskDeferralTimeout": _SDK_EXCEPTIONS,  # not in 2.11
    "XCom": ("airflow.sdk.execution_time.xcom", "airflow.models.xcom"),
    "conf": ("airflow.sdk.configuration", "airflow.configuration"),  # the second before 3.2
    "context_merge": ("airflow.sdk.definitions.context", "airflow.utils.context"),  # the second before 3.1
    "determine_kwargs": ("airflow.sdk.bases.decorator", "airflow.utils.operator_helpers"),  # the second before 3.2
    "get_hook_lineage_collector": ("airflow.sdk.lineage", "airflow.lineage.hook"),  # the second before 3.2
    # The second in 3.0.0.
    "mask_secret": (
        "airflow.sdk.log",
        "airflow.sdk.execution_time.secrets_masker",
        "airflow.utils.log.secrets_masker",
    ),
    "requires_access_connection": ("airflow.api_fastapi.core_api.security",),  # of the API server, no promised API
    "task_decorator_factory": ("airflow.sdk.bases.decorator", "airflow.decorators.base"),
}
"""Modules that have a name, the newest first; after a colon the other name that it has there."""


@cache
def _find(name: str) -> Any:
    """Return what a name stands for in this version of Airflow; loaded when it is first asked for."""
    for home in _HOMES.get(name, ()):
        module, _, other_name = home.partition(":")
        with suppress(ImportError, AttributeError):
            return getattr(import_module(module), other_name or name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if not TYPE_CHECKING:
    __getattr__ = _find

_VERSION: Final = tuple(map(int, re.findall(r"\d+", _find("__version__"))[:3]))
HAS_PLUGIN_PAGES: Final[bool] = _VERSION >= (3, 1, 1)
"""Whether a plugin's page in the web UI knows who looks at it."""
HAS_RETRY_POLICIES: Final[bool] = _find("RetryPolicy") is not object
METRICS_ON: Final[bool] = any(
    _find("conf").getboolean("metrics", switch, fallback=False)
    for switch in ("statsd_on", "statsd_datadog_enabled", "otel_on")
)


def task_memory(context: Context) -> Any:
    """Return the store in which a task instance keeps values between its processes; ``None`` before 3.3."""
    return context.get("task_state_store")


@cache
def stats() -> Any:
    """Return what sends metrics, with the methods of ``Stats``; loaded where ``METRICS_ON``."""
    for home in ("airflow.sdk.observability.stats", "airflow.observability.stats"):
        with suppress(ImportError):
            found = import_module(home).Stats
            # Whoever runs tasks sets up the first one, whoever runs triggers the second; the other one sends nothing.
            if getattr(found, "factory", None) or getattr(sys.modules[found.__module__], "_factory", None):
                return found
    with suppress(ImportError):
        # In a script nobody does. In 3.2 the factory wants to know for which class it is.
        choose = import_module("airflow.sdk.observability.metrics.stats_utils").get_stats_factory
        return choose(found)() if signature(choose).parameters else choose()()
    # Before 3.2 it sets itself up.
    return import_module("airflow.stats").Stats


def lineage_collector() -> HookLineageCollector:
    """Return what takes the inputs and outputs of a task for lineage; it does nothing where nobody listens."""
    collector: HookLineageCollector = _find("get_hook_lineage_collector")()
    return collector


def read_from(hook: Any, uri: str) -> None:
    """Report to lineage where a task's rows come from."""
    collector: Any = lineage_collector()
    # Airflow 2.11 calls assets datasets.
    add = collector.add_input_asset if hasattr(collector, "add_input_asset") else collector.add_input_dataset
    add(hook, uri=uri)


def written_to(hook: Any, uri: str) -> None:
    """Report to lineage where a task's rows went."""
    collector: Any = lineage_collector()
    add = collector.add_output_asset if hasattr(collector, "add_output_asset") else collector.add_output_dataset
    add(hook, uri=uri)


def variables() -> Any:
    """Return the class of Airflow's variables; its methods block.

    A task or a triggerer of Airflow 3 has no access to the database, and asks its supervisor.
    """
    supervised = hasattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS")
    return import_module("airflow.sdk" if supervised else "airflow.models").Variable


async def get_async_connection(conn_id: str) -> Connection:
    """Read a connection without blocking the event loop.

    The asynchronous call of 3.1 to 3.3.1 masks with a blocking one and can then end in a deadlock error;
    there, and where there is none, the blocking call runs in a thread.
    """
    from asgiref.sync import sync_to_async

    hook = _find("BaseHook")
    found: Connection
    if hasattr(hook, "aget_connection") and hasattr(import_module("airflow.sdk").Connection, "aextra_dejson"):
        found = await hook.aget_connection(conn_id)
    else:
        found = await sync_to_async(hook.get_connection)(conn_id)
    return found


def read_xcom(ti_key: Any, key: str) -> Any:
    """Return what a task instance has pushed under a key, or ``None``; in a worker, or in 2.11's web server."""
    return _find("XCom").get_value(ti_key=ti_key, key=key)


def deferral_timed_out(error: Exception) -> bool:
    """Return whether a deferred task came back because its time was up."""
    with suppress(AttributeError):
        return isinstance(error, _find("TaskDeferralTimeout"))
    # 2.11 has no class of its own for it; this is the text that its scheduler writes.
    return isinstance(error, _find("TaskDeferralError")) and str(error) == "Trigger/execution timeout"
