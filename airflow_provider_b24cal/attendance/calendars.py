"""Names of calendars, and parts of windows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.bitrix24.calendar.listing import MAX_CALL_SPAN
from airflow_provider_b24cal.bitrix24.calendar.window import MARGIN, Window
from airflow_provider_b24cal.bitrix24.validation import check_event_id, invalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

COMPANY: Final = "company_calendar"
PART: Final = MAX_CALL_SPAN - 2 * MARGIN
"""The longest part of a window that one request reads; margins are added around it."""

_PORTAL: Final = re.compile(r"[^\s/@?#]{1,255}")
_EXPECTED: Final = "user (the acting user's), user:7, group:7 or company_calendar"


@dataclass(frozen=True, slots=True)
class Calendar:
    """One calendar.

    :param kind: ``user``, ``group`` or ``company_calendar``.
    :param owner_id: user or group; 0 for the company, ``None`` for the acting user.
    """

    kind: str
    owner_id: int | None

    def __str__(self) -> str:
        return f"{self.kind}:{self.owner_id}" if self.owner_id else self.kind


def check_calendars(value: object, argument: str = "calendars") -> list[Calendar]:
    """Return calendars, each once, in the order given.

    :param value: a list of names such as ``user:7``, or one name.
    :raises InvalidArgumentError: it is neither, is empty, or holds a name of another form.
    """
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple | set | frozenset) or not names:
        raise invalid(argument, value, f"a list of names: {_EXPECTED}", text=False)
    if isinstance(value, str) and value.lstrip().startswith(("[", "(", "{")):
        raise invalid(argument, value, f"a list, or one name: {_EXPECTED}", text=False)
    return list(dict.fromkeys(check_calendar(name, argument) for name in names))


def check_calendar(name: object, argument: str = "calendar") -> Calendar:
    """Return one calendar.

    :raises InvalidArgumentError: the value is not the name of a calendar.
    """
    kind, colon, owner = name.partition(":") if isinstance(name, str) else ("", "", "")
    if kind == COMPANY and not colon:
        return Calendar(COMPANY, 0)
    if kind == "user" and not colon:
        return Calendar("user", None)
    if kind in ("user", "group") and colon:
        return Calendar(kind, check_event_id(owner, argument))
    raise invalid(argument, name, _EXPECTED)


def check_portal(value: object) -> str | None:
    """Return the name of a portal, or ``None``.

    :raises InvalidArgumentError: the value is anything else.
    """
    if value is None or (isinstance(value, str) and _PORTAL.fullmatch(value) and value.isprintable()):
        return value
    raise invalid("portal", value, "a host such as example.bitrix24.com, of at most 255 characters")


def parts(window: Window) -> Iterator[Window]:
    """Yield adjacent parts of a window, each as long as one request can read."""
    start = window.start
    while start < window.end:
        end = min(window.end.astimezone(UTC), start.astimezone(UTC) + PART).astimezone(window.start.tzinfo)
        yield Window(start, end)
        start = end


def whole_days(window: Window) -> Window:
    """Return the window in whole days of UTC."""
    return Window(_midnight(window.start), _midnight(window.end - timedelta(microseconds=1)) + timedelta(days=1))


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
