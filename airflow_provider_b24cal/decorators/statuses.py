"""``@task.bitrix24_statuses``: a function decides, the task sets and verifies."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from airflow_provider_b24cal._airflow import (
    DecoratedOperator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)
from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from airflow_provider_b24cal._airflow import Context, TaskDecorator

_DECIDED: Final = ("event_id", "event_ids", "statuses", "status")
"""Arguments of the set operator in whose place the function is."""


class Bitrix24StatusesDecoratedOperator(DecoratedOperator, Bitrix24SetMeetingStatusOperator):
    """
    Call a function for the wanted statuses, and set them as the set operator does.

    .. seealso:: `calendar.meeting.status.set
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-meeting-status-set.html>`__

    :param python_callable: returns the wanted status of each meeting, ``{651: "Y", 653: "N"}``; an empty mapping
        is a success that did nothing.
    :param op_args: its positional arguments. (templated)
    :param op_kwargs: its named arguments. (templated)

    The other arguments are those of
    :class:`~airflow_provider_b24cal.operators.meeting_status.Bitrix24SetMeetingStatusOperator`, without the ones
    that say what to set.
    """

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *Bitrix24SetMeetingStatusOperator.template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        "statuses": "json",
    }
    custom_operator_name = "@task.bitrix24_statuses"
    # The page "Rendered template" shows what the function decided.
    overwrite_rtif_after_execution = True

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        # Airflow 2.11 hands a mapped task the default_args of its DAG as arguments.
        if getattr(self, "_BaseOperator__from_mapped", False):
            kwargs = {name: value for name, value in kwargs.items() if name not in _DECIDED}
        _check(python_callable, kwargs)
        # The outcome is one value, also when the function is annotated to return a dict.
        kwargs["multiple_outputs"] = False
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, **kwargs)
        # These come from default_args, which a DAG may have for its other tasks.
        self.event_id = self.event_ids = self.statuses = self.status = None

    def execute(self, context: Context) -> Any:
        """Call the function, set the statuses that it returned, and return the summary.

        :raises InvalidArgumentError: it returned no mapping of event ids to statuses; nothing is sent.
        """
        # Not the execute of Airflow's decorated operators, which pushes each key of a dict.
        return Bitrix24SetMeetingStatusOperator.execute(self, context)

    def _execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_b24cal.bitrix24.validation import check_wanted_statuses

        context_merge(context, self.op_kwargs)
        arguments = determine_kwargs(self.python_callable, self.op_args, context)
        decided = self.python_callable(*self.op_args, **arguments)
        wanted = check_wanted_statuses(decided, f"return value of {_name_of(self.python_callable)}")
        # Airflow 3.0 cannot show a mapping whose keys are numbers.
        self.statuses = {str(event_id): status.value for event_id, status in wanted.items()}
        return super()._execute(context)


def bitrix24_statuses_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """
    Make a task of a function that returns the wanted status of each meeting.

    In a DAG it is written ``@task.bitrix24_statuses``, bare or with arguments: see :doc:`operators`.

    :param python_callable: the function; returns ``{event_id: "Y" | "N" | "Q"}``.
    :param kwargs: ``fail_on``, ``bitrix24_conn_id`` and whatever tasks take.
    :raises InvalidArgumentError: it is asynchronous or a generator, or an argument says what to set.
    """
    if python_callable is None:
        return cast("TaskDecorator", partial(bitrix24_statuses_task, **kwargs))
    _check(python_callable, kwargs)
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=Bitrix24StatusesDecoratedOperator, **kwargs
    )


def _check(python_callable: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError

    if given := [name for name in _DECIDED if arguments.get(name) is not None]:
        raise InvalidArgumentError(
            f"{Bitrix24StatusesDecoratedOperator.custom_operator_name} takes no {' or '.join(given)}; "
            "the function returns the wanted status of each meeting."
        )
    function = _without_arguments(python_callable)
    called = (function, getattr(type(function), "__call__", None))  # noqa: B004 - of an instance, what its class defines
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    if any(is_kind(one) for is_kind in kinds for one in called):
        raise InvalidArgumentError(
            f"Invalid python_callable {_name_of(python_callable)}: expected a function that returns the statuses; "
            "this one is asynchronous or a generator. Use def and return."
        )


def _without_arguments(python_callable: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(python_callable, partial):
        python_callable = python_callable.func
    return python_callable


def _name_of(python_callable: Callable[..., Any]) -> str:
    function = _without_arguments(python_callable)
    return str(getattr(function, "__name__", type(function).__name__))
