"""Validation of arguments: event ids, statuses, method names and parameters; and the errors for all invalid input.

A portal is too lenient: it reads ``True`` or a list as event 1 and ``"651abc"`` as event 651, and it returns ``true``
for a set that it dropped. So ambiguous values are refused here, before anything is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from math import inf, isfinite
from operator import index
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_b24cal.bitrix24 import schemas
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError, InvalidConnectionError
from airflow_provider_b24cal.get_provider_info import CONNECTION_FIELDS, FIELD_LABELS

if TYPE_CHECKING:
    from collections.abc import Sequence

_LARGEST: Final = 2**63
_TEXT_HINT: Final = (
    " If a template rendered this text, set render_template_as_native_obj=True on the DAG, or pass the .output of the "
    "task before."
)


def invalid(argument: str, value: object, expected: str, *, text: bool = True) -> InvalidArgumentError:
    """Return the error for an argument: its name, the value, and what is expected.

    :param text: ``False`` for an argument that is never text: a text is nearly always a list, a mapping or a flag that
        a template has rendered, and the error says how to avoid that.
    """
    hint = _TEXT_HINT if isinstance(value, str) and not text else ""
    return InvalidArgumentError(f"Invalid {argument} {ascii(value)[:80]}: expected {expected}.{hint}")


def field_name(field: str) -> str:
    """Return the name of a connection's field in a message: its label in the form, and in brackets its key in JSON.

    :param field: ``host``, ``login``, ``password``, ``port`` or a key of ``extra``; anything else, such as an option
        of a command, is returned as it is.
    """
    if field in CONNECTION_FIELDS:
        return f"{_without_note(str(CONNECTION_FIELDS[field]['label']))} (extra key {field})"
    return f"{_without_note(FIELD_LABELS[field])} ({field})" if field in FIELD_LABELS else field


def _without_note(label: str) -> str:
    return label.partition(" (")[0]


def invalid_field(field: str, expected: str, advice: str = "", *, value: object = None) -> InvalidConnectionError:
    """Return the error for a field of the connection, or for an option of a command.

    :param advice: what to do, as whole sentences.
    :param value: shown unless ``None``, so it must not be secret.
    """
    kind = "" if field.startswith("-") else "connection field "
    shown = "" if value is None else f" {ascii(value)[:200]}"
    return InvalidConnectionError(f"Invalid {kind}{field_name(field)}{shown}: expected {expected}. {advice}".strip())


def check_name(value: object, argument: str, expected: str) -> str:
    """Return a name.

    :raises InvalidArgumentError: it is not text, blank, has space around it, or is ``None`` as a template renders it.
    """
    if not isinstance(value, str) or not value or value != value.strip() or value == "None":
        raise invalid(argument, value, expected)
    return value


def check_conn_id(value: object, argument: str = "bitrix24_conn_id") -> str:
    """Return the id of a connection.

    :raises InvalidArgumentError: the value is invalid.
    """
    return check_name(value, argument, "the id of an Airflow connection")


def _check(value: Any, part: str, argument: str) -> Any:
    # JSON Schema accepts 651.0 as a whole number; beyond 2**53 such a number is inexact.
    if isinstance(value, float) or schemas.mismatch(value, "inputs", part) is not None:
        raise invalid(argument, value, schemas.expected("inputs", part))
    return value


def _as_plain_integer(value: Any) -> Any:
    # Whole numbers of other libraries, such as a data frame's ids, have __index__.
    if isinstance(value, bool | int | str):
        return value
    try:
        return index(value)
    except TypeError:
        return value


def check_event_id(value: object, argument: str = "event_id") -> int:
    """Return an event id as a number.

    :param value: a positive whole number, or its decimal text.
    :param argument: the argument's name, for the error.
    :raises InvalidArgumentError: the value is anything else.
    """
    # The common case needs no schema, which would take most of the time of a large run.
    if type(value) is int and 0 < value < _LARGEST:
        return value
    return int(_check(_as_plain_integer(value), "event_id", argument))


def check_ids(values: object, argument: str = "event_ids") -> list[int]:
    """Return event ids as numbers, each once, in the order given.

    :param values: an iterable of ids; text is refused, since it would be split into characters.
    :raises InvalidArgumentError: the value is not such an iterable, or one of them is not an id.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise invalid(argument, values, "a list of ids", text=False)
    return list(dict.fromkeys(check_event_id(value, argument) for value in values))


def is_digits(text: str) -> bool:
    """Return whether a text has the digits 0 to 9 only, at least one: other digits, such as ``²``, are no numbers."""
    return text.isascii() and text.isdigit()


def check_some_ids(values: object, argument: str) -> list[int]:
    """Return ids as :func:`check_ids` does, at least one.

    :raises InvalidArgumentError: there is none; an empty list could be mistaken for ``None``, which means all.
    """
    ids = check_ids(values, argument)
    if not ids:
        raise invalid(argument, values, "a list of at least one id, or None for all", text=False)
    return ids


def exactly_one(**arguments: object) -> None:
    """Check that exactly one of some arguments is given.

    :raises InvalidArgumentError: none or several are.
    """
    given = [name for name, value in arguments.items() if value is not None]
    if len(given) != 1:
        found = f"got {' and '.join(given)}" if given else "got none"
        raise InvalidArgumentError(f"Invalid arguments: expected exactly one of {', '.join(arguments)}; {found}.")


def check_wanted_statuses(values: object, argument: str = "statuses") -> dict[int, MeetingStatus]:
    """Return the wanted status by event id.

    :raises InvalidArgumentError: the value is not a mapping of ids to statuses, or has two statuses for one event.
    """
    if not isinstance(values, Mapping):
        raise invalid(argument, values, 'a mapping such as {651: "Y"}', text=False)
    wanted: dict[int, MeetingStatus] = {}
    for event_id, status in values.items():
        checked, letter = check_event_id(event_id, argument), check_wanted_status(status, argument)
        if wanted.setdefault(checked, letter) != letter:
            raise InvalidArgumentError(f"Invalid {argument}: expected one status for event {checked}; got two.")
    return wanted


def check_choice(value: object, choices: Sequence[str], argument: str) -> str:
    """Return one of a few texts.

    :raises InvalidArgumentError: the value is not one of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise invalid(argument, value, ", ".join(choices))
    return value


def check_wanted_status(value: object, argument: str = "status") -> MeetingStatus:
    """Return a status that can be set or waited for.

    :param value: ``Y``, ``N`` or ``Q`` in any case, or the member of :class:`MeetingStatus`.
    :param argument: the argument's name, for the error.
    :raises InvalidArgumentError: the value is anything else, such as ``H`` (organiser).
    """
    return MeetingStatus(_check(value, "wanted_status", argument).upper())


def check_letters(value: object, argument: str = "statuses") -> frozenset[MeetingStatus]:
    """Return statuses to filter by.

    :param value: an iterable of ``Y``, ``N``, ``Q`` and ``H`` in any case; not an empty one.
    :raises InvalidArgumentError: the value is anything else.
    """
    if isinstance(value, str):
        raise invalid(argument, value, schemas.expected("inputs", "letters"), text=False)
    if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
        value = list(value)
    return frozenset(MeetingStatus(letter.upper()) for letter in _check(value, "letters", argument))


def check_calendar_type(value: object, argument: str = "calendar_type") -> str:
    """Return the type of a calendar.

    :raises InvalidArgumentError: the portal has no such type.
    """
    return str(_check(value, "calendar_type", argument))


def check_flag(value: object, argument: str) -> bool:
    """Return a flag; text is refused, since ``"False"`` would be true.

    :raises InvalidArgumentError: the value is anything else.
    """
    if not isinstance(value, bool):
        raise invalid(argument, value, "True or False", text=False)
    return value


def check_number(value: object, argument: str, least: float, most: float, *, whole: bool = False) -> float:
    """Return a number within bounds.

    :param value: a number; not text, not a flag.
    :param least: the minimum, inclusive.
    :param most: the maximum, inclusive.
    :param whole: accept whole numbers only; the result is an ``int`` then.
    :raises InvalidArgumentError: the value is anything else.
    """
    number = _as_plain_integer(value)
    kinds = int if whole else (int, float)
    if isinstance(number, bool) or not isinstance(number, kinds) or not least <= number <= most:
        kind = "whole number" if whole else "number"
        raise invalid(argument, value, f"a {kind} from {least:,} to {most:,}", text=False)
    return number


def check_seconds(value: object, argument: str) -> float | None:
    """Return a duration in seconds; ``None`` for none.

    :param value: a ``timedelta``, a finite number of seconds, or its text.
    :raises InvalidArgumentError: the value is anything else.
    """
    if value is None:
        return None
    try:
        seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)  # type: ignore[arg-type]  # tried
    except (TypeError, ValueError, OverflowError):
        seconds = inf
    if isinstance(value, bool) or not isfinite(seconds):
        raise invalid(argument, value, "a timedelta or a number of seconds")
    return seconds


def check_sections(values: object, argument: str = "sections") -> tuple[int, ...]:
    """Return ids of sections, each once; ``None`` is all sections, as an empty tuple.

    :param values: an iterable of ids; an empty one is refused, since a portal reads it as all sections.
    :raises InvalidArgumentError: the value is anything else.
    """
    return () if values is None else tuple(check_some_ids(values, argument))


def check_method(value: object, argument: str = "method") -> str:
    """Return the name of a REST method.

    :raises InvalidArgumentError: the value is not a method name.
    """
    return str(_check(value, "method", argument))


def check_calls(values: object, argument: str = "calls") -> list[tuple[str, dict[str, Any]]]:
    """Return the methods and parameters of raw calls.

    :param values: an iterable of pairs; parameters may be ``None`` for none.
    :raises InvalidArgumentError: the value is anything else.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise invalid(argument, values, "a list of pairs of method and params", text=False)
    checked = []
    for number, pair in enumerate(values):
        name = f"{argument}[{number}]"
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            expected = 'a pair of method and params, such as ("calendar.section.get", {"type": "user"})'
            raise invalid(name, pair, expected)
        method, params = pair[0], {} if pair[1] is None else pair[1]
        checked.append((check_method(method, f"method of {name}"), check_params(params, f"params of {name}")))
    return checked


def check_params(value: object, argument: str = "params") -> dict[str, Any]:
    """Return the parameters of a raw call.

    :raises InvalidArgumentError: the value is not a mapping, or holds other values than JSON's.
    """
    params = dict(_check(value, "params", argument))
    try:
        json.dumps(params, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as problem:
        reason = f"{type(problem).__name__}: {problem}"
    else:
        return params
    raise InvalidArgumentError(
        f"Invalid {argument}: expected {schemas.expected('inputs', 'params')}; got {ascii(reason)[1:-1][:120]}."
    )
