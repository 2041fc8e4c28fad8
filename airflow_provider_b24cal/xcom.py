"""The size of what goes to XCom: letters of very many events are counted instead of listed."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

XCOM_LIMIT: Final = 48 * 1024
"""Bytes that a task's result may have in XCom; databases bear more, but pages and backends do not like to."""


def size_of(value: Any) -> int:
    """Return how many bytes a JSON value takes in XCom."""
    return len(json.dumps(value))


def cap_size(summary: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return a summary that XCom bears.

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
