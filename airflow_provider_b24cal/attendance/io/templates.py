"""Templates of HTML, and how they write times, days and shares."""

from __future__ import annotations

from datetime import date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Final

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

if TYPE_CHECKING:
    from jinja2 import BaseLoader

    from airflow_provider_b24cal.attendance.io.queries import ComingMeeting

_DAY: Final = timedelta(days=1)
_TO: Final = "\N{EN DASH}"


def environment(*more: BaseLoader) -> Environment:
    """Return an environment that escapes everything, and has this folder's templates and the filters of this module.

    :param more: loaders of further templates.
    """
    loader = ChoiceLoader([*more, PackageLoader(__package__, "")])
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters.update(date=_date, moment=_moment, span=_span, days_until=_days_until, percent=_percent)
    return made


def _date(value: date) -> str:
    return f"{value.day} {value:%b %Y}"


def _moment(value: datetime, zone: tzinfo) -> str:
    local = value.astimezone(zone)
    return f"{_date(local)}, {local:%H:%M}"


def _span(meeting: ComingMeeting, zone: tzinfo) -> str:
    """Return when a meeting takes place, in words."""
    start, end = meeting.occurrence_start, meeting.occurrence_end
    if meeting.all_day:  # it has days, whatever the zone, and ends at midnight after the last one
        days = dict.fromkeys(f"{day:%a} {_date(day)}" for day in (start, max(start, end - _DAY)))
        return f"{f' {_TO} '.join(days)}, all day"
    start, end = start.astimezone(zone), end.astimezone(zone)
    until = f"{_TO}{end:%H:%M}" if start.date() == end.date() else f" {_TO} {end:%a} {_moment(end, zone)}"
    return f"{start:%a} {_moment(start, zone)}{until}"


def _days_until(value: datetime, now: datetime) -> str:
    """Return how many days have passed, in words."""
    days = (now - value).days
    if days < 1:
        return "less than a day"
    return f"{days} days" if days > 1 else "1 day"


def _percent(part: int, whole: int) -> str:
    # Rounded down, so that 100 % is all of them.
    return f"{100 * part // whole} %"
