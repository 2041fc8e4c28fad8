"""The plain form of what the hook returns: values that JSON, and so Airflow's XCom, can hold."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from enum import Enum
from typing import Any, NoReturn

from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error


class HookResult:
    """A result of the hook, a dataclass that has a plain form."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values: times as ISO texts, statuses as letters, errors as their own fields."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]  # subclasses are dataclasses

    def serialize(self) -> NoReturn:
        """Refuse to be stored in XCom; Airflow calls this when a task returns the object.

        Airflow would store it, and the next task could not load it: only classes that a deployment names in
        ``allowed_deserialization_classes`` can be loaded.

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
