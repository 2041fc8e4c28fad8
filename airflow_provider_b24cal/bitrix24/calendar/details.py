"""What a row says of an event besides its time and its attendees: where it is, how it repeats, what it is about.

Nothing here makes a row unreadable. A detail that is not in a known form is left out.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_b24cal.bitrix24.calendar.fields import clean_text, is_empty

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DETAIL_LENGTH: Final = 1000
"""Maximum characters of a location and of a recurrence rule."""
CRM_TYPE_LENGTH: Final = 20
"""Maximum characters of the prefix of a CRM item."""

_RULE: Final = ("FREQ", "INTERVAL", "COUNT", "BYDAY")
_WEEKDAYS: Final = frozenset(("MO", "TU", "WE", "TH", "FR", "SA", "SU"))
_FOREVER: Final = datetime(2037, 12, 31, tzinfo=UTC).timestamp()
_LINK: Final = re.compile(rf"[A-Za-z0-9]{{1,{CRM_TYPE_LENGTH}}}_[0-9]{{1,18}}")


def location(row: Mapping[str, Any]) -> str | None:
    """Return where an event takes place; a booked room is ``calendar_`` and two numbers."""
    return _words(row.get("LOCATION"))


def recurrence_rule(row: Mapping[str, Any], read_date: Callable[[object], datetime | None]) -> str | None:
    """Return how a series repeats, as a rule of iCalendar such as ``FREQ=WEEKLY;INTERVAL=1;BYDAY=MO,WE``.

    A portal writes the first day of 2038 as the end of a series without one. A rule whose end cannot be read is left
    out: without it the series would be endless.

    :param read_date: returns a date in the format of the portal's culture, or ``None`` if it is ambiguous.
    """
    rule = row.get("RRULE")
    if not isinstance(rule, dict):
        return _words(rule)
    until, last_day = rule.get("UNTIL_TS"), rule.get("~UNTIL")
    # Older modules write the end as a date only, empty for a series without one.
    if type(until) is not int and not is_empty(last_day) and last_day != "null" and not _listed(rule.get("COUNT")):
        day = read_date(last_day)
        if day is None:
            return None
        until = int(day.timestamp())
    return _rule(json.dumps({**rule, "UNTIL_TS": until}))


@lru_cache(maxsize=1024)
def _rule(as_json: str) -> str | None:
    """Return the rule of a series; its dates have the same one."""
    rule = json.loads(as_json)
    parts = {name: _listed(_days(rule.get(name)) if name == "BYDAY" else rule.get(name)) for name in _RULE}
    until = rule["UNTIL_TS"]
    # Portals write the last day of a counted series too; iCalendar has one of both.
    if type(until) is int and 0 < until < _FOREVER and not parts["COUNT"]:
        parts["UNTIL"] = f"{datetime.fromtimestamp(until, UTC):%Y%m%d}"
    return _words(";".join(f"{name}={value}" for name, value in parts.items() if value))


def _days(value: object) -> object:
    """Return the days of a week: the keys where they are named so, with a number or the same name as the value."""
    if not isinstance(value, dict):
        return value
    return [name if name in _WEEKDAYS else one for name, one in value.items()]


def crm_links(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the CRM items that an event is linked to, such as ``D_12``, in order; ``None`` if the row hides them."""
    if "UF_CRM_CAL_EVENT" not in row:
        return None
    links = row["UF_CRM_CAL_EVENT"]
    found = links.values() if isinstance(links, dict) else links if isinstance(links, list) else (links,)
    return tuple(sorted({link for link in found if isinstance(link, str) and _LINK.fullmatch(link)}))


def _listed(value: object) -> str:
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else (value,)
    return ",".join(str(one) for one in values if isinstance(one, str | int) and not is_empty(one))


def _words(value: object) -> str | None:
    return clean_text(value, DETAIL_LENGTH) if isinstance(value, str) and value not in ("", "null") else None
