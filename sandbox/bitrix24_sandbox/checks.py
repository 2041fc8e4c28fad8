"""Checks of what a person typed into a data file or a control request.

Every failure names the field, what was found there and what is accepted.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection


MAX_ID = 2**31 - 1


class BadInputError(ValueError):
    """A field holds something that is not accepted.

    :param field: path of the field, such as ``events[3].host``.
    :param value: what was found.
    :param accepted: what would be accepted, in words.
    """

    def __init__(self, field: str, value: object, accepted: str) -> None:
        super().__init__(f"{field}: got {value!r}; accepted: {accepted}")
        self.field = field
        self.value = value
        self.accepted = accepted


def unique(values: Collection[int] | Collection[str], field: str, key: str) -> None:
    """Check that no value of a key is there twice.

    :param field: the list that has the key in its items.
    """
    seen: set[int | str] = set()
    for value in values:
        if value in seen:
            raise BadInputError(field, value, f"every {key} once")
        seen.add(value)


def mapping(value: object, field: str, keys: Collection[str], required: Collection[str] = ()) -> dict[str, object]:
    """Return a mapping with known keys only.

    :param keys: all accepted keys.
    :param required: those that must be there.
    """
    if not isinstance(value, dict):
        raise BadInputError(field, value, f"a mapping with the keys {', '.join(keys)}")
    prefix = f"{field}." if field else ""
    for name in value:
        if name not in keys:
            raise BadInputError(f"{prefix}{name}", value[name], f"one of the keys {', '.join(keys)}")
    for name in required:
        if name not in value:
            raise BadInputError(f"{prefix}{name}", None, "a value; it is required")
    return value


def sequence(value: object, field: str) -> list[object]:
    """Return a list."""
    if not isinstance(value, list):
        raise BadInputError(field, value, "a list")
    return value


def text(value: object, field: str) -> str:
    """Return text, which may be empty."""
    if not isinstance(value, str):
        raise BadInputError(field, value, "text")
    return value


def choice(value: object, field: str, accepted: Collection[str]) -> str:
    """Return one of the accepted words."""
    if not isinstance(value, str) or value not in accepted:
        raise BadInputError(field, value, ", ".join(accepted))
    return value


def flag(value: object, field: str) -> bool:
    """Return a boolean."""
    if not isinstance(value, bool):
        raise BadInputError(field, value, "true or false")
    return value


def integer(value: object, field: str, minimum: int, maximum: int | None = None) -> int:
    """Return a whole number within bounds."""
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or value < minimum
        or (maximum is not None and value > maximum)
    ):
        bounds = f"from {minimum}" + ("" if maximum is None else f" to {maximum}")
        raise BadInputError(field, value, f"a whole number {bounds}")
    return value


def number(value: object, field: str) -> float:
    """Return a number that is not negative, up to a million."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1_000_000:
        raise BadInputError(field, value, "a number from 0 to 1000000")
    return float(value)


def seconds(value: object, field: str) -> float:
    """Return a time span of up to ten minutes."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 600:
        raise BadInputError(field, value, "seconds, 0 to 600")
    return float(value)


def day(value: object, field: str) -> date:
    """Return a date, given as such (YAML) or as ``2026-09-16``."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(text(value, field))
    except ValueError:
        raise BadInputError(field, value, "a date such as 2026-09-16") from None


def wall_clock(value: object, field: str) -> datetime:
    """Return a date and time without offset, given as such (YAML) or as ``2026-09-16T10:00``."""
    accepted = "a date and time without offset, such as 2026-09-16T10:00"
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(text(value, field))
    except ValueError:
        raise BadInputError(field, value, accepted) from None
    if moment.tzinfo is not None or moment.microsecond:
        raise BadInputError(field, value, accepted)
    return moment


def zone(value: object, field: str) -> str:
    """Return the name of a known time zone."""
    try:
        return ZoneInfo(text(value, field)).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadInputError(field, value, "the name of a time zone, such as Europe/Berlin") from None
