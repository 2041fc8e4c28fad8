"""JSON values for results of the hook, so that XCom can hold them."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from enum import Enum
from typing import Any, NoReturn

from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error


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
