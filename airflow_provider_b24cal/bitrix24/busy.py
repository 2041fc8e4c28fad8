"""When people are busy, from the rows of ``calendar.accessibility.get``.

These rows have no time in fixed English. What they have is written in the portal's culture, of which nothing
is told, so a time such as ``03/04/2026`` is read in every way there is. What tells the right one are the other rows of
the answer, which are written in the same way, then the window that was asked for, and after that
``DATE_FROM_TS_UTC``, which can be hours off but not a month.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_b24cal.bitrix24.rows import DAY, YEARS, RowError, instant, number, text, truth
from airflow_provider_b24cal.bitrix24.serialization import HookResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from airflow_provider_b24cal.bitrix24.window import Window

_DAYS: Final = (
    r"(?P<d>[0-9]{1,2})\.(?P<m>[0-9]{1,2})\.(?P<y>[0-9]{4})",
    r"(?P<y>[0-9]{4})[-/.](?P<m>[0-9]{1,2})[-/.](?P<d>[0-9]{1,2})",
    r"(?P<m>[0-9]{1,2})/(?P<d>[0-9]{1,2})/(?P<y>[0-9]{4})",
    r"(?P<d>[0-9]{1,2})[-/](?P<m>[0-9]{1,2})[-/](?P<y>[0-9]{4})",
)
_CLOCK: Final = r"(?: (?P<H>[0-9]{1,2}):(?P<M>[0-9]{2})(?::(?P<S>[0-9]{2}))?(?: ?(?P<half>[ap]m))?)?"
_FORMS: Final = tuple(re.compile(day + _CLOCK, re.IGNORECASE) for day in _DAYS)
_EVENT: Final = ("DATE_FROM", "DATE_TO")
_ABSENCE: Final = ("DT_FROM", "DT_TO")


@dataclass(frozen=True, slots=True)
class Busy(HookResult):
    """Time that somebody has no time.

    :param event_id: the event; for what a personnel department has entered, the id of the absence.
    :param start: when it begins, in UTC; whole days begin at midnight UTC of the first.
    :param end: when it ends, in UTC; whole days end at midnight UTC after the last.
    :param all_day: whether it is told in days.
    :param kind: ``busy``, ``quest`` (perhaps) or ``absent``.
    :param name: the event's name, or a label of the portal's where the acting user may not see it.
    """

    event_id: int
    start: datetime
    end: datetime
    all_day: bool
    kind: str
    name: str | None


def forms_of(rows: Iterable[object]) -> tuple[re.Pattern[str], ...]:
    """Return the ways of writing a time in which every row of an answer can be read; all ways if there is none."""
    pairs = [
        (row[first], row[last])
        for row in rows
        if isinstance(row, dict)
        for first, last in (_EVENT, _ABSENCE)
        if first in row and last in row
    ]
    return tuple(form for form in _FORMS if all(_fits(form, *pair) for pair in pairs)) or _FORMS


def _fits(form: re.Pattern[str], first: object, last: object) -> bool:
    start, end = _wall_clock(form, first), _wall_clock(form, last)
    return start is not None and end is not None and start <= end


def read_busy(row: Mapping[str, Any], asked: Window, forms: Sequence[re.Pattern[str]] = _FORMS) -> Busy:
    """Return what a row says, read as what fits the window it was an answer for.

    :param forms: ways of writing a time that come into question.
    :raises RowError: a field that every row has is missing, or one cannot be read in one way only.
    """
    absence = truth(row, "FROM_HR")
    all_day = absence or truth(row, "DT_SKIP_TIME")
    fields = _ABSENCE if absence else _EVENT
    spans = set(_spans(row, fields, forms, all_day=all_day))
    if len(spans) > 1:
        spans = {span for span in spans if span[0] < asked.end + 2 * DAY and span[1] > asked.start - 2 * DAY}
    stamp = number(row, "DATE_FROM_TS_UTC")
    if len(spans) > 1 and stamp is not None:
        spans = {span for span in spans if abs(span[0].timestamp() - stamp) <= DAY.total_seconds()}
    if len(spans) != 1:
        raise RowError(fields[0], "a time that can be read in one way", row.get(fields[0]))
    ((start, end),) = spans
    return Busy(
        event_id=number(row, "ID") or 0,
        start=start,
        end=end,
        all_day=all_day,
        kind=text(row, "ACCESSIBILITY") or ("absent" if absence else "busy"),
        name=text(row, "NAME"),
    )


def _spans(
    row: Mapping[str, Any], fields: tuple[str, str], forms: Sequence[re.Pattern[str]], *, all_day: bool
) -> Iterator[tuple[datetime, datetime]]:
    """Yield start and end in every way of reading both."""
    for form in forms:
        first, last = (_wall_clock(form, row.get(field)) for field in fields)
        if first is None or last is None or last < first:
            continue
        if all_day:
            yield _midnight(first), _midnight(last) + DAY
        else:
            start = instant(first, row, "FROM")
            yield start, max(start, instant(last, row, "TO"))


def _midnight(wall: datetime) -> datetime:
    return wall.replace(hour=0, minute=0, second=0)


def _wall_clock(form: re.Pattern[str], value: object) -> datetime | None:
    found = form.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found["y"]) not in YEARS:
        return None
    hour, half = int(found["H"] or 0), (found["half"] or "").lower()
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    try:
        day = datetime(int(found["y"]), int(found["m"]), int(found["d"]), tzinfo=UTC)
        return day.replace(hour=hour, minute=int(found["M"] or 0), second=int(found["S"] or 0))
    except ValueError:
        return None
