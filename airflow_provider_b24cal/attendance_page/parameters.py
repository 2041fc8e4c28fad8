"""What the address of a page asks for: the time zone, the days, the filters, the part of the rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from airflow_provider_b24cal.attendance.io.page_queries import Filters
from airflow_provider_b24cal.bitrix24.validation import check_event_id, invalid, is_digits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PERIODS: Final = {
    "coming": ("The coming 4 weeks", 0, 4),
    "past": ("The past 4 weeks", -4, 0),
    "quarter": ("The past 12 weeks", -12, 0),
    "around": ("4 weeks back and ahead", -4, 4),
}
"""Periods of the page of people: their names, and the first week and the week after the last one from this week on."""
_EVENT_IDS: Final = 100
_LAST_PAGE: Final = 1000
_TEXT: Final = 200
_FIRST_DAY, _LAST_DAY = date(1971, 1, 1), date(2999, 12, 31)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of an address, checked.

    :param zone: the time zone of days and times, ``tz``.
    :param portal: empty for the first portal in the tables.
    :param monday: the first day of the first week to show; ``None`` for the current week.
    :param period: a key of :data:`PERIODS`.
    :param page: number of the part of the rows, from 1.
    """

    zone: tzinfo
    portal: str
    monday: date | None
    period: str
    page: int
    filters: Filters

    def first_day(self, now: datetime) -> date:
        """Return the first day of the first week to show."""
        return self.monday or monday_of(now.astimezone(self.zone).date())

    def address(self, path: str, **changes: str | int | date | None) -> str:
        """Return the address of a page, relative to the others, with these parameters but for changes.

        Without changes, what is particular to a page is left out: the week, the period, the ids, the start and the
        part.

        :param changes: values by the name in the address; ``None`` leaves one out.
        """
        own, filters = self.zone, self.filters
        values: dict[str, object] = {
            "tz": None if own is UTC else str(own), "portal": self.portal, "person": filters.person,
            "calendar": filters.calendar, "text": filters.text,
        }  # fmt: skip
        if changes:
            values |= {"week": self.monday, "period": self.period if self.period != "around" else None}
            values |= {"event_id": ",".join(map(str, filters.event_ids)), "start": filters.start, **changes}
        given = {name: str(value) for name, value in values.items() if value}
        return f"{path}?{urlencode(given)}" if given else path


def read_parameters(query: Iterable[tuple[str, str]]) -> Parameters:
    """Return the parameters of an address; those that are not known or empty are ignored.

    :param query: names and values, in order.
    :raises InvalidArgumentError: a value is invalid.
    """
    several = [value for name, values in query if name == "event_id" for value in values.split(",")]
    single = {name: value.strip() for name, value in query if value.strip()}
    return Parameters(
        zone=_zone(single.get("tz", "UTC")),
        portal=_text(single, "portal"),
        monday=_monday(single),
        period=_period(single.get("period", "around")),
        page=_page(single.get("page", "1")),
        filters=Filters(
            _person(single), _text(single, "calendar"), _text(single, "text"), _event_ids(several), _start(single)
        ),
    )


def monday_of(day: date) -> date:
    """Return the first day of the week of a day."""
    return day - timedelta(days=day.weekday())


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise invalid("tz", name, "the name of a time zone, such as Europe/Berlin") from None


def _monday(single: Mapping[str, str]) -> date | None:
    if "week" not in single:
        return None
    try:
        day = date.fromisoformat(single["week"])
    except ValueError:
        day = date.min
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise invalid("week", single["week"], "a day of the week, such as 2026-11-30")
    return monday_of(day)


def _start(single: Mapping[str, str]) -> datetime | None:
    if "start" not in single:
        return None
    try:
        moment = datetime.fromisoformat(single["start"])
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise invalid("start", single["start"], "the start of a meeting, such as 2026-11-30T09:00:00Z") from None


def _period(name: str) -> str:
    if name not in PERIODS:
        raise invalid("period", name, f"one of {', '.join(PERIODS)}")
    return name


def _page(number: str) -> int:
    if not (is_digits(number) and len(number) < 5 and 1 <= int(number) <= _LAST_PAGE):
        raise invalid("page", number, f"a whole number from 1 to {_LAST_PAGE}")
    return int(number)


def _person(single: Mapping[str, str]) -> str:
    person = _text(single, "person")
    return str(check_event_id(person, "person")) if is_digits(person) else person


def _text(single: Mapping[str, str], name: str) -> str:
    text = single.get(name, "")
    if len(text) > _TEXT or not text.isprintable():
        raise invalid(name, text, f"a text of at most {_TEXT} characters, without control characters")
    return text


def _event_ids(values: list[str]) -> tuple[int, ...]:
    ids = tuple(dict.fromkeys(check_event_id(value.strip()) for value in values if value.strip()))
    if len(ids) > _EVENT_IDS:
        raise invalid("event_id", f"{len(ids)} ids", f"at most {_EVENT_IDS} ids")
    return ids
