"""Setting statuses: read, write what differs, verify, retry.

A set can undo another one: a ``Y`` on a series accepts all its dates, also those that were declined, and two ids may
name one meeting. So a status counts as verified only if it was read after the last write that could have changed it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_b24cal.bitrix24.calendar.methods import STATUS_SET, get_status, set_status
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol.batch import CHUNK, Outcome
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    AuthServerError,
    Bitrix24Error,
    ConnectError,
    OperatingLimitError,
    OrganiserError,
    Permanence,
    RateLimitError,
    StatusNotAppliedError,
    TokenError,
    TokenStoreError,
)
from airflow_provider_b24cal.bitrix24.protocol.exchange import (
    ExchangeContext,
    call_with_renewal,
    call_with_retry,
    in_chunks,
    plan_retries,
)
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryState
from airflow_provider_b24cal.bitrix24.serialization import HookResult

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from airflow_provider_b24cal.bitrix24.protocol.exchange import Steps


MAX_SETS: Final = 2
"""Sets of one meeting in one run that the portal may have carried out, at most: each may notify the organiser."""


@dataclass(frozen=True, slots=True)
class Change(HookResult):
    """The result of setting one meeting's status.

    :param wanted: the status to set.
    :param previous: the status before the first write; ``None`` if it could not be read.
    :param current: the status read after the last write, or ``None`` if it could not be read; equals ``wanted``
        if there is no error.
    :param error: why the wanted status is not verified.
    """

    event_id: int
    wanted: MeetingStatus
    previous: MeetingStatus | None = None
    current: MeetingStatus | None = None
    error: Bitrix24Error | None = None

    @property
    def changed(self) -> bool:
        """Whether the status is verified and differs from the previous one."""
        return self.error is None and self.previous != self.current

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and ``changed`` as JSON values."""
        return {**HookResult.to_dict(self), "changed": self.changed}

    def unwrap(self) -> Change:
        """Return the change itself, or raise its error."""
        if self.error is not None:
            raise self.error
        return self


def order_writes(wanted: Mapping[int, MeetingStatus]) -> list[list[tuple[int, MeetingStatus]]]:
    """Split meetings into stages that run one after the other: every ``Y`` before any other status.

    Meetings that fit into one request need one stage only, in the same order.
    """
    order = (MeetingStatus.ACCEPTED, MeetingStatus.DECLINED, MeetingStatus.NOT_ANSWERED)
    stages = [[item for item in wanted.items() if item[1] is status] for status in order]
    if len(wanted) <= CHUNK // 2:
        return [[item for stage in stages for item in stage]]
    return [stage for stage in stages if stage]


def to_recheck(stages: Sequence[Sequence[tuple[int, MeetingStatus]]], changes: Mapping[int, Change]) -> list[int]:
    """Return the verified meetings of earlier stages, if a later stage may have changed them."""
    *earlier, last = [[changes[event_id] for event_id, _ in stage] for stage in stages]
    later = [change for stage in (*earlier[1:], last) for change in stage]
    if not any(change.changed or change.error for change in later):
        return []
    return [change.event_id for stage in earlier for change in stage if change.error is None]


def recheck(changes: Mapping[int, Change], outcomes: Mapping[int, Outcome[MeetingStatus]]) -> dict[int, Change]:
    """Return the changes of meetings that were verified, after their status was read once more."""
    return {event_id: _recheck(changes[event_id], outcome) for event_id, outcome in outcomes.items()}


def _recheck(change: Change, outcome: Outcome[MeetingStatus]) -> Change:
    seen = _after_reading(change, outcome)
    return _undone(seen) if _differs(seen) else seen


@dataclass(slots=True, eq=False)
class _Meeting:
    """A meeting while its status is set.

    :param sets: how many sets the portal may have carried out.
    :param failure: the last error after which the set may be repeated.
    """

    change: Change
    sets: int = 0
    failure: Bitrix24Error | None = None


def change_statuses(items: Iterable[tuple[int, MeetingStatus]], context: ExchangeContext) -> Steps[list[Change]]:
    """Set the statuses of the meetings of one stage, and verify them.

    A stage with different statuses has twenty-five meetings at most, see :func:`order_writes`.

    Each status is read first and not written if it is in place: a portal notifies the organiser of every set. The
    others are written and read back in one request. After an ambiguous error the status is read before the set is
    repeated. No meeting is set more than :data:`MAX_SETS` times; a set that was refused before it ran does not count.

    :param items: pairs of event id and wanted status, each event once; at most fifty, in the order of
        :func:`order_writes`.
    :return: one change per event, in the order given.
    """
    meetings = {event_id: _Meeting(Change(event_id, status)) for event_id, status in items}
    state = RetryState(context.policy)
    to_read = list(meetings.values())
    while to_read or any(_differs(meeting.change) for meeting in meetings.values()):
        if to_read:
            calls = [get_status(meeting.change.event_id) for meeting in to_read]
            outcomes, state = yield from call_with_retry(calls, context, state)
            for meeting, outcome in zip(to_read, outcomes, strict=True):
                meeting.change = _after_reading(meeting.change, outcome)
        to_write = _writable(meeting for meeting in meetings.values() if _differs(meeting.change))
        verified: list[_Meeting] = []
        for chunk in in_chunks(to_write, CHUNK // 2):
            verified += yield from _write_and_verify(chunk, meetings.values(), context)
        failed = {
            meeting.change.event_id: meeting.change.error
            for meeting in verified
            if meeting.change.error and meeting.change.error.permanence is not Permanence.PERMANENT
        }
        for event_id, error in failed.items():
            meetings[event_id].failure = error
        retried, pause, state = plan_retries(failed, state, context.random())
        to_read = [meetings[event_id] for event_id in retried]
        if pause is not None:
            yield pause
    return [meeting.change for meeting in meetings.values()]


def _writable(meetings: Iterable[_Meeting]) -> list[_Meeting]:
    """Return the meetings that may be set once more; the others get an error."""
    writable = []
    for meeting in meetings:
        if meeting.sets < MAX_SETS:
            writable.append(meeting)
        else:
            failure = meeting.failure
            meeting.change = replace(meeting.change, error=failure) if failure else _not_applied(meeting.change)
    return writable


def _write_and_verify(
    meetings: Sequence[_Meeting], all_meetings: Collection[_Meeting], context: ExchangeContext
) -> Steps[list[_Meeting]]:
    """Write statuses and read them back, and with them the statuses in place that these writes may undo.

    :return: the meetings that were read. One that differs without an error is to be written.
    """
    mixed = len({meeting.change.wanted for meeting in all_meetings}) > 1
    beside = [other for other in all_meetings if mixed and other.change.error is None and other not in meetings]
    # All sets come before all gets: two ids may name the same meeting, and each must show the last write.
    sets = [set_status(meeting.change.event_id, meeting.change.wanted) for meeting in meetings]
    gets = [get_status(meeting.change.event_id) for meeting in (*meetings, *beside)]
    outcomes = yield from call_with_renewal([*sets, *gets], context, packed=True)
    written, seen = outcomes[: len(sets)], outcomes[len(sets) :]
    for meeting, done, outcome in zip(meetings, written, seen, strict=False):
        meeting.sets += not isinstance(done.error, _NOT_RUN)
        meeting.change = _after_writing(meeting.change, done, outcome)
    for other, outcome in zip(beside, seen[len(sets) :], strict=True):
        other.change = _recheck(other.change, outcome) if other.sets else _after_reading(other.change, outcome)
    return [*meetings, *beside]


def _differs(change: Change) -> bool:
    return change.error is None and change.current != change.wanted


def _after_reading(change: Change, outcome: Outcome[MeetingStatus]) -> Change:
    if outcome.error is not None:
        return replace(change, current=None, error=outcome.error)
    status = outcome.unwrap()
    seen = replace(change, previous=change.previous or status, current=status, error=None)
    return _organiser(seen) if status is MeetingStatus.ORGANISER else seen


def _after_writing(change: Change, written: Outcome[bool], seen: Outcome[MeetingStatus]) -> Change:
    # The status read before the write is no longer valid.
    change = replace(change, current=None)
    if seen.error is None:
        change = replace(change, current=seen.unwrap(), error=None)
        if change.current == change.wanted:
            return change
        if change.current is MeetingStatus.ORGANISER:
            return _organiser(change)
    error = written.error or seen.error
    return replace(change, error=error) if error else _not_applied(change)


_NOT_RUN: Final = (
    AuthServerError, ConnectError, OperatingLimitError, RateLimitError, TokenError, TokenStoreError,
)  # fmt: skip
"""Errors after which it is certain that a set was not carried out."""


def _failed(change: Change, text: str, kind: type[Bitrix24Error] = StatusNotAppliedError) -> Change:
    return replace(change, error=kind(text, method=STATUS_SET, event_id=change.event_id))


def _not_applied(change: Change) -> Change:
    return _failed(
        change,
        f"{change.wanted.value} was set, but reading back shows {change.current}. Run the task again: somebody may "
        "have answered at the same moment.",
    )


def _undone(change: Change) -> Change:
    return _failed(
        change,
        f"{change.wanted.value} was in place, until another answer of the same run changed it to {change.current}: "
        "two of its ids name one meeting, or a series and its date.",
    )


def _organiser(change: Change) -> Change:
    text = "The acting user is the organiser of this meeting. Leave it out: an organiser's status is always H."
    return _failed(change, text, OrganiserError)
