"""Fields of the rows of events and absences in a portal's replies.

Portals write numbers as text, and an empty field as ``""``, ``false``, ``null`` or ``[]``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

DAY: Final = timedelta(days=1)
YEARS: Final = range(1900, 9000)
"""Plausible years; a few days and any offset can be added without leaving the range of a datetime."""

NAME_LENGTH: Final = 16_383
"""Maximum characters of a name: a text column of MySQL holds 65,535 bytes, and a character has up to four."""
ZONE_LENGTH: Final = 64
TYPE_LENGTH: Final = 40
"""Maximum characters of a calendar's type, which is stored with the owner's id in 64 characters."""

_EMPTY: Final[tuple[object, ...]] = ("", None, [], {})
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")
_LARGEST: Final = 10**18
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


class RowError(ValueError):
    """A field of a row cannot be read.

    :param field: its name.
    :param expected: what is expected, in words.
    :param value: its value as it came; must be scrubbed before it is shown.
    """

    def __init__(self, field: str, expected: str, value: object) -> None:
        super().__init__(f"{field} is not {expected}")
        self.field = field
        self.expected = expected
        self.value = value


def is_empty(value: object) -> bool:
    """Return whether a field is empty, in any of the forms of that; ``0`` is not empty."""
    return value is False or value in _EMPTY


def clean_text(value: str, length: int = NAME_LENGTH) -> str:
    """Return a portal's text in a form that databases, files and XCom can store.

    NUL and lone surrogates become the replacement character; the text is cut to the length of the narrowest column.
    """
    return _UNSTORABLE.sub("\ufffd", value)[:length]


def text(row: Mapping[str, Any], field: str, length: int = NAME_LENGTH) -> str | None:
    """Return a text, or ``None`` for an empty field.

    :param length: maximum number of characters.
    """
    value = row.get(field)
    if is_empty(value):
        return None
    if not isinstance(value, str):
        raise RowError(field, "a text", value)
    return clean_text(value, length)


def number(row: Mapping[str, Any], field: str) -> int | None:
    """Return a whole number of at most 18 digits, written as such or as text, or ``None`` for an empty field."""
    value = row.get(field)
    if type(value) is int and abs(value) < _LARGEST:
        return value
    if type(value) is str and _WHOLE.fullmatch(value):
        return int(value)
    if is_empty(value):
        return None
    raise RowError(field, "a whole number", value)


def positive_number(row: Mapping[str, Any], field: str) -> int | None:
    """Return a positive whole number, or ``None`` for any other: portals write ``0`` for none."""
    found = number(row, field)
    return found if found is not None and found > 0 else None


def needed_number(row: Mapping[str, Any], field: str) -> int:
    """Return a positive whole number."""
    found = positive_number(row, field)
    if found is None:
        raise RowError(field, "a positive whole number", row.get(field))
    return found


def truth(row: Mapping[str, Any], field: str) -> bool:
    """Return whether a field is true: ``true``, ``1``, ``"1"`` or ``"Y"``."""
    return row.get(field) in (True, "1", "Y")


def zone(row: Mapping[str, Any], side: str) -> tzinfo:
    """Return the time zone of a row's start or end.

    :param side: ``FROM`` or ``TO``.
    """
    name = text(row, f"TZ_{side}") or text(row, "TZ_FROM")
    if name is not None:
        try:
            return ZoneInfo(name)
        except (KeyError, OSError, ValueError):  # not in this machine's time zone tables, or invalid
            pass
    offset = number(row, f"TZ_OFFSET_{side}")
    if offset is None or abs(offset) >= DAY.total_seconds():
        raise RowError(f"TZ_{side}", "a known time zone, and has no offset", row.get(f"TZ_{side}"))
    return timezone(timedelta(seconds=offset))


def instant(wall: datetime, row: Mapping[str, Any], side: str) -> datetime:
    """Return the instant, in UTC, of a wall clock time at a row's start or end."""
    return wall.replace(tzinfo=zone(row, side)).astimezone(UTC)
