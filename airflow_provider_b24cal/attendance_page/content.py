"""What each page shows, read from the tables; plain values for the templates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_b24cal.attendance.io import page_queries, queries
from airflow_provider_b24cal.attendance.io.page_queries import Filters, Slice
from airflow_provider_b24cal.attendance.io.queries import Days
from airflow_provider_b24cal.attendance.io.report_page import check_tables
from airflow_provider_b24cal.attendance_page.parameters import PERIODS, monday_of
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from airflow_provider_b24cal.bitrix24.validation import invalid, is_digits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import date

    from sqlalchemy.engine import Connection

    from airflow_provider_b24cal.attendance.io.page_queries import KnownMeeting
    from airflow_provider_b24cal.attendance.io.queries import ComingMeeting
    from airflow_provider_b24cal.attendance.io.tables import Tables
    from airflow_provider_b24cal.attendance_page.parameters import Parameters

STALE: Final = timedelta(days=1)
"""How old a sync may be before the page says that its data is stale."""
WEEKS: Final = 2
"""How many weeks of meetings are shown at a time."""
CHANGES: Final = timedelta(weeks=12)
"""How far back changes are shown."""
ROWS: Final = 50
MEETINGS: Final = 25
PEOPLE: Final = 20
"""How many people with one answer are shown of each meeting."""
PEOPLE_OF_ONE: Final = 500
"""The same of a meeting that is shown alone."""
_WEEK: Final = timedelta(weeks=1)
_LAST: Final = timedelta(days=6)


def meetings_content(connection: Connection, tables: Tables, asked: Parameters, now: datetime) -> dict[str, Any]:
    """Return what the page of meetings shows."""
    content, portal, has_names = _frame(connection, tables, asked, now)
    if portal is None:
        return content
    first = asked.first_day(now)
    days = Days(first, first + WEEKS * _WEEK, asked.zone)
    chosen = _chosen(asked, has_names)
    # A task's meetings are shown whenever they take place.
    within = None if chosen.event_ids else days
    found, more = _part(
        lambda part: page_queries.meetings(connection, tables, portal, within, chosen, part), asked.page, MEETINGS
    )
    alone = len(found) == 1
    limit = PEOPLE_OF_ONE if alone else PEOPLE
    answers = page_queries.answers(connection, tables, portal, [meeting.key for meeting in found], limit)
    content.update(
        days=days,
        last_day=days.end - timedelta(days=1),
        weeks=_by_week(found, asked, now) if within else [("", found)] if found else [],
        answers=answers,
        alone=alone,
        more=more,
        calendars=page_queries.calendars(connection, tables, portal, days),
        earlier=first - WEEKS * _WEEK,
        later=first + WEEKS * _WEEK,
        person=_names(
            connection, tables, portal,
            [
                *(meeting.host_id for meeting in found),
                *(answer.user_id for groups in answers.values() for group in groups for answer in group.answers),
            ],
            has_names=has_names,
        ),
    )  # fmt: skip
    return content


def people_content(connection: Connection, tables: Tables, asked: Parameters, now: datetime) -> dict[str, Any]:
    """Return what the page of people shows."""
    content, portal, has_names = _frame(connection, tables, asked, now)
    if portal is None:
        return content
    _, first, end = PERIODS[asked.period]
    monday = monday_of(now.astimezone(asked.zone).date())
    days = Days(monday + first * _WEEK, monday + end * _WEEK, asked.zone)
    chosen = _chosen(asked, has_names)
    found, more = _part(
        lambda part: page_queries.people(connection, tables, portal, days, chosen, part), asked.page, ROWS
    )
    content.update(
        days=days,
        last_day=days.end - timedelta(days=1),
        periods={key: name for key, (name, _, _) in PERIODS.items()},
        people=found,
        more=more,
        calendars=page_queries.calendars(connection, tables, portal, days),
        person=_names(connection, tables, portal, [one.user_id for one in found], has_names=has_names),
    )
    return content


def changes_content(connection: Connection, tables: Tables, asked: Parameters, now: datetime) -> dict[str, Any]:
    """Return what the page of changes shows."""
    content, portal, has_names = _frame(connection, tables, asked, now)
    if portal is None:
        return content
    check_tables(connection, tables, ["changes"])
    since, chosen = now - CHANGES, _chosen(asked, has_names)
    found, more = _part(
        lambda part: page_queries.changes(connection, tables, portal, since, chosen, part), asked.page, ROWS
    )
    content.update(
        since=since.astimezone(asked.zone).date(),
        changes=found,
        more=more,
        person=_names(connection, tables, portal, [one.user_id for one in found], has_names=has_names),
    )
    return content


def known_meetings(connection: Connection, tables: Tables, asked: Parameters, now: datetime) -> dict[int, KnownMeeting]:
    """Return the meetings whose ids are asked for."""
    _, portal, _ = _frame(connection, tables, asked, now)
    ids = asked.filters.event_ids
    return page_queries.known_meetings(connection, tables, portal, ids) if portal and ids else {}


def _frame(
    connection: Connection, tables: Tables, asked: Parameters, now: datetime
) -> tuple[dict[str, Any], str | None, bool]:
    """Return what every page shows, the portal, ``None`` if the tables are empty, and whether there are names."""
    has_names = check_tables(connection, tables)
    portals = queries.portals(connection, tables)
    if asked.portal and asked.portal not in portals:
        raise invalid("portal", asked.portal, f"one of those in the tables: {', '.join(portals) or 'they are empty'}")
    portal = asked.portal or next(iter(portals), None)
    synced = None if portal is None else queries.last_sync(connection, tables, portal)
    content = {
        "portal": portal, "portals": portals, "last_sync": synced, "now": now.astimezone(asked.zone),
        "stale": synced is not None and now - synced > STALE, "has_names": has_names,
    }  # fmt: skip
    return content, portal, has_names


def _chosen(asked: Parameters, has_names: bool) -> Filters:
    """Return the filters.

    :raises InvalidArgumentError: they need the names of people, which the tables do not have.
    """
    person = asked.filters.person
    if person and not has_names and not is_digits(person):
        raise InvalidArgumentError(
            f"Invalid person {person!a}: expected a user id. The tables have no names of people."
        )
    return asked.filters


def _part(read: Callable[[Slice], tuple[Any, ...]], page: int, rows: int) -> tuple[tuple[Any, ...], bool]:
    """Return the rows of a part, and whether more come after it."""
    found = read(Slice(rows + 1, (page - 1) * rows))
    return found[:rows], len(found) > rows


def _by_week(found: Sequence[ComingMeeting], asked: Parameters, now: datetime) -> list[tuple[str, list[ComingMeeting]]]:
    """Return the meetings of each week, under its name."""
    weeks: dict[date, list[ComingMeeting]] = {}
    for meeting in found:
        zone = UTC if meeting.all_day else asked.zone
        weeks.setdefault(monday_of(meeting.occurrence_start.astimezone(zone).date()), []).append(meeting)
    this = monday_of(now.astimezone(asked.zone).date())
    names = {this - _WEEK: "Last week", this: "This week", this + _WEEK: "Next week"}
    return [
        (f"{names.get(monday, 'Week')}, {_day(monday)} \N{EN DASH} {_day(monday + _LAST)}", meetings)
        for monday, meetings in weeks.items()
    ]


def _day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"


def _names(
    connection: Connection, tables: Tables, portal: str, user_ids: Iterable[int | None], *, has_names: bool
) -> Callable[[int], str]:
    """Return the function that names a person: by name, or by id where there is none."""
    wanted = sorted({user_id for user_id in user_ids if user_id is not None})
    names = queries.people_names(connection, tables.people, portal, wanted) if has_names else {}
    return lambda user_id: names.get(user_id, f"User {user_id}")
