"""Leaves people out: of what was read, and of counts that are stored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.attendance.calendars import Calendar
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from airflow_provider_b24cal.bitrix24.validation import check_ids

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from airflow_provider_b24cal.attendance.models import Attendance, Meeting, Snapshot
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent

UNNAMED: Final = "user"
"""What the calendar of a person is called who is left out."""


def check_excluded(value: object) -> frozenset[int]:
    """Return the ids of people to leave out; ``None`` is nobody.

    :raises InvalidArgumentError: the value is not a list of ids.
    """
    return frozenset() if value is None else frozenset(check_ids(value, "exclude_users"))


def calendars_of(user_ids: Iterable[int]) -> frozenset[str]:
    """Return the calendars of people, such as ``user:7``."""
    return frozenset(str(Calendar("user", user_id)) for user_id in user_ids)


def without_users(snapshot: Snapshot, user_ids: Collection[int]) -> Snapshot:
    """Return a snapshot without some people: as attendees, as organisers, and in names of calendars.

    The counts of its meetings leave them out too: beside the rows of the others, a count would show their answers.

    :raises InvalidArgumentError: the calendar of one of them was read.
    """
    if not user_ids:
        return snapshot
    own = calendars_of(user_ids)
    if read := sorted(own & snapshot.calendars):
        raise InvalidArgumentError(
            f"Invalid calendars: expected none of exclude_users; {read[0]} is the calendar of such a person."
        )
    return replace(
        snapshot,
        seen=tuple(
            (UNNAMED if calendar in own else calendar, _event_without(event, user_ids))
            for calendar, event in snapshot.seen
        ),
        by_id=tuple(_event_without(event, user_ids) for event in snapshot.by_id),
    )


def _event_without(event: CalendarEvent, user_ids: Collection[int]) -> CalendarEvent:
    host_id = None if event.host_id in user_ids else event.host_id
    if event.attendees is None:
        return replace(event, host_id=host_id)
    kept = tuple(attendee for attendee in event.attendees if attendee.user_id not in user_ids)
    return replace(event, host_id=host_id, attendees=kept)


def without_answers(row: Meeting, answers: Iterable[Attendance]) -> Meeting:
    """Return a stored meeting whose counts leave some of its answers out."""
    if row.total is None or row.accepted is None or row.declined is None or row.silent is None:
        return row
    # Others are not counted: the organiser, and who was no longer invited.
    left_out = [one.status for one in answers if not one.is_host and one.vanished_at == row.vanished_at]
    total, accepted = row.total - len(left_out), row.accepted - left_out.count(MeetingStatus.ACCEPTED)
    return row._replace(
        total=total,
        accepted=accepted,
        declined=row.declined - left_out.count(MeetingStatus.DECLINED),
        silent=row.silent - left_out.count(MeetingStatus.NOT_ANSWERED),
        share=accepted / total if total else None,
    )
