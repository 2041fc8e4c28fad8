"""JSON values for results, so that XCom can hold them: letters of very many events are counted instead of listed."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NoReturn

from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error

if TYPE_CHECKING:
    from collections.abc import Mapping

XCOM_LIMIT: Final = 48 * 1024
"""Bytes that a task's result may have in XCom. Larger values slow the web UI, and some XCom backends refuse them."""


class HookResult:
    """A result of the hook, a dataclass that converts to JSON values."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values: times as ISO texts, statuses as letters, errors as their own fields."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]  # subclasses are dataclasses

    def serialize(self) -> NoReturn:
        """Raise an error when a task returns the object, before Airflow stores it in XCom.

        The next task could not load it, unless ``allowed_deserialization_classes`` names its class.

        :raises TypeError: always.
        """
        raise TypeError(f"Invalid task result {type(self).__name__}: expected JSON values. Return its to_dict().")


def _plain(value: Any) -> Any:
    if isinstance(value, HookResult | Bitrix24Error):
        return value.to_dict()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def size_of(value: Any) -> int:
    """Return how many bytes a JSON value takes in XCom."""
    return len(json.dumps(value))


def cap_size(summary: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return a summary that fits into XCom.

    :param summary: JSON values.
    :param names: its entries that are letters by id, ``{"651": "Y"}``. When the whole is too large, each of
        them becomes its counts, ``{"counts": {"Y": 5000}}``.
    """
    if size_of(summary) <= XCOM_LIMIT:
        return dict(summary)
    return {**summary, **{name: {"counts": dict(Counter(summary[name].values()))} for name in names}}


def cap_letters(letters: Mapping[str, str]) -> dict[str, Any]:
    """Return letters by id, ``{"651": "Y"}``, or ``{"counts": {"Y": 5000}}`` when they are too many for XCom."""
    guarded: dict[str, Any] = cap_size({"letters": letters}, "letters")["letters"]
    return dict(guarded)
