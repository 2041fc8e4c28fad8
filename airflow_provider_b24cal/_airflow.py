"""The only module that knows Airflow's versions: 2.11 and 3.0 to 3.3 from one place.

Each name is looked for where the newest Airflow keeps it, and then in its older homes. The compatibility
package of Airflow's own providers is not used: those of its releases that would serve cannot be installed
beside the constraint files of the versions supported here.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar


class Logger(Protocol):
    """What is used of the log of a task, hook or trigger, which is another class in each version of Airflow."""

    def info(self, message: str, /, *args: Any) -> object:
        """Log what is as it should be."""

    def warning(self, message: str, /, *args: Any) -> object:
        """Log a line that wants attention."""

    def error(self, message: str, /, *args: Any) -> object:
        """Log a failure."""


if TYPE_CHECKING:
    from airflow.sdk import Asset as Asset  # noqa: PLC0414
    from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink, BaseSensorOperator, Connection
    from airflow.sdk import Context as Context  # noqa: PLC0414 - exported for annotations only
    from airflow.sdk import ObjectStoragePath as ObjectStoragePath  # noqa: PLC0414
    from airflow.sdk.bases.decorator import DecoratedOperator as DecoratedOperator  # noqa: PLC0414
    from airflow.sdk.bases.decorator import TaskDecorator as TaskDecorator  # noqa: PLC0414 - for annotations only
    from airflow.sdk.bases.decorator import determine_kwargs as determine_kwargs  # noqa: PLC0414
    from airflow.sdk.bases.decorator import task_decorator_factory as task_decorator_factory  # noqa: PLC0414
    from airflow.sdk.bases.sensor import PokeReturnValue
    from airflow.sdk.configuration import conf
    from airflow.sdk.definitions.context import context_merge as context_merge  # noqa: PLC0414
    from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy
    from airflow.sdk.definitions.xcom_arg import XComArg
    from airflow.sdk.exceptions import (
        AirflowFailException,
        AirflowRescheduleException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferralError,
    )
    from airflow.sdk.exceptions import TaskDeferralTimeout as _TaskDeferralTimeout
    from airflow.sdk.lineage import HookLineageCollector
    from airflow.triggers.base import BaseEventTrigger as BaseEventTrigger  # noqa: PLC0414

    T = TypeVar("T")
    Templated: TypeAlias = T | str | XComArg
    """What a templated argument may be while the DAG file is parsed: a value, a template, another task's result."""

    TaskDeferralTimeout: type[_TaskDeferralTimeout] | None
    HAS_RETRY_POLICIES: bool
else:
    try:
        from airflow.sdk import BaseOperator, BaseOperatorLink, BaseSensorOperator
        from airflow.sdk.bases.sensor import PokeReturnValue
    except ImportError:  # 2.11
        from airflow.models.baseoperator import BaseOperator
        from airflow.models.baseoperatorlink import BaseOperatorLink
        from airflow.sensors.base import BaseSensorOperator, PokeReturnValue
    try:
        from airflow.sdk import RetryDecision, RetryPolicy
    except ImportError:  # before 3.3
        RetryDecision = None
        RetryPolicy = object
    HAS_RETRY_POLICIES = RetryDecision is not None
    try:
        from airflow.sdk import BaseHook
    except ImportError:  # 2.11, 3.0
        from airflow.hooks.base import BaseHook
    try:
        from airflow.sdk.configuration import conf
    except ImportError:  # 2.11, 3.0, 3.1
        from airflow.configuration import conf
    try:
        from airflow.sdk import exceptions as _exceptions
    except ImportError:  # 2.11
        _exceptions = None
    if not hasattr(_exceptions, "TaskDeferralError"):  # 2.11, 3.0, 3.1
        from airflow import exceptions as _exceptions
    AirflowFailException = _exceptions.AirflowFailException
    AirflowRescheduleException = _exceptions.AirflowRescheduleException
    AirflowSensorTimeout = _exceptions.AirflowSensorTimeout
    AirflowSkipException = _exceptions.AirflowSkipException
    AirflowTaskTimeout = _exceptions.AirflowTaskTimeout
    TaskDeferralError = _exceptions.TaskDeferralError
    TaskDeferralTimeout = getattr(_exceptions, "TaskDeferralTimeout", None)

    # Loaded by whoever asks for them, and not by every DAG file.
    _HOMES = {
        "Asset": (("airflow.sdk", "Asset"), ("airflow.datasets", "Dataset")),
        "ObjectStoragePath": (("airflow.sdk", "ObjectStoragePath"), ("airflow.io.path", "ObjectStoragePath")),
        # 2.11 has no assets that wait for triggers.
        "BaseEventTrigger": (
            ("airflow.triggers.base", "BaseEventTrigger"),
            ("airflow.triggers.base", "BaseTrigger"),
        ),
        "DecoratedOperator": (
            ("airflow.sdk.bases.decorator", "DecoratedOperator"),
            ("airflow.decorators.base", "DecoratedOperator"),
        ),
        "task_decorator_factory": (
            ("airflow.sdk.bases.decorator", "task_decorator_factory"),
            ("airflow.decorators.base", "task_decorator_factory"),
        ),
        "context_merge": (
            ("airflow.sdk.definitions.context", "context_merge"),
            ("airflow.utils.context", "context_merge"),  # 2.11, 3.0
        ),
        "determine_kwargs": (
            ("airflow.sdk.bases.decorator", "determine_kwargs"),
            ("airflow.utils.operator_helpers", "determine_kwargs"),  # 2.11, 3.0, 3.1
        ),
    }

    def __getattr__(name):
        for module, member in _HOMES.get(name, ()):
            try:
                return getattr(import_module(module), member)
            except (ImportError, AttributeError):
                continue
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "HAS_RETRY_POLICIES",
    "AirflowFailException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "PokeReturnValue",
    "RetryDecision",
    "RetryPolicy",
    "conf",
    "deferral_timed_out",
    "get_async_connection",
    "mask_secret",
    "read_variable",
    "read_xcom",
    "task_memory",
    "write_variable",
]


def task_memory(context: Context) -> Any:
    """Return the store in which a task instance keeps values between its processes; ``None`` before 3.3."""
    return context.get("task_state_store")


def lineage_collector() -> HookLineageCollector:
    """Return what takes the inputs and outputs of a task for lineage; it does nothing where nobody listens."""
    try:
        from airflow.sdk.lineage import get_hook_lineage_collector
    except ImportError:  # 2.11, 3.0, 3.1
        get_hook_lineage_collector = import_module("airflow.lineage.hook").get_hook_lineage_collector
    return get_hook_lineage_collector()


def read_from(hook: Any, uri: str) -> None:
    """Tell lineage where a task's rows come from."""
    collector: Any = lineage_collector()
    # Airflow 2.11 calls assets datasets.
    add = collector.add_input_asset if hasattr(collector, "add_input_asset") else collector.add_input_dataset
    add(hook, uri=uri)


def written_to(hook: Any, uri: str) -> None:
    """Tell lineage where a task's rows went."""
    collector: Any = lineage_collector()
    add = collector.add_output_asset if hasattr(collector, "add_output_asset") else collector.add_output_dataset
    add(hook, uri=uri)


def mask_secret(secret: str) -> None:
    """Register a text with Airflow's log masker; blocking, so not for an event loop."""
    try:
        from airflow.sdk.log import mask_secret as register
    except ImportError:  # 2.11
        register = import_module("airflow.utils.log.secrets_masker").mask_secret
    register(secret)


def read_variable(key: str) -> str | None:
    """Return the text of an Airflow variable, or ``None``; blocking, and masked by Airflow if the key says so."""
    if _runs_beside_supervisor():
        from airflow.sdk import Variable as Remote

        found: str | None = Remote.get(key, default=None)
    else:
        from airflow.models import Variable as Local

        found = Local.get(key, default_var=None)
    return found


def write_variable(key: str, text: str, description: str) -> None:
    """Store the text of an Airflow variable, which Airflow encrypts; blocking, and not masked."""
    if _runs_beside_supervisor():
        from airflow.sdk import Variable as Remote

        Remote.set(key, text, description=description)
    else:
        from airflow.models import Variable as Local

        Local.set(key, text, description=description)


def _runs_beside_supervisor() -> bool:
    """Tell whether this is a task or a triggerer of Airflow 3, which have no access to the database."""
    return hasattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS")


async def get_async_connection(conn_id: str) -> Connection:
    """Read a connection without blocking the event loop.

    The asynchronous call of 3.1 to 3.3.1 masks with a blocking one and can then end in a deadlock error;
    there, and where there is none, the blocking call runs in a thread.
    """
    if hasattr(BaseHook, "aget_connection"):
        from airflow.sdk import Connection as Stored

        if hasattr(Stored, "aextra_dejson"):
            return await BaseHook.aget_connection(conn_id)
    from asgiref.sync import sync_to_async

    found: Connection = await sync_to_async(BaseHook.get_connection)(conn_id)
    return found


def read_xcom(ti_key: Any, key: str) -> Any:
    """Return what a task instance has pushed under a key, or ``None``; in a worker, or in 2.11's web server."""
    try:
        from airflow.sdk.execution_time.xcom import XCom
    except ImportError:  # 2.11
        XCom = import_module("airflow.models.xcom").XCom  # noqa: N806 - the class's own name
    return XCom.get_value(ti_key=ti_key, key=key)


def deferral_timed_out(error: Exception) -> bool:
    """Tell whether a deferred task came back because its time was up."""
    if TaskDeferralTimeout is not None:
        return isinstance(error, TaskDeferralTimeout)
    # 2.11 has no class of its own for it; this is the text that its scheduler writes.
    return isinstance(error, TaskDeferralError) and str(error) == "Trigger/execution timeout"
