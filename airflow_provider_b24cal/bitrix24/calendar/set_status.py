"""Bringing meetings to the statuses wanted of them, and proving it.

What undoes an answer is another answer: a ``Y`` on a series accepts all its dates, also those that were declined,
and two ids may name one meeting. So nothing counts as proven that was not read after the last write which could
have touched it.
"""

from __future__ import annotations

from collections import Counter
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
    from collections.abc import Mapping, Sequence

    from airflow_provider_b24cal.bitrix24.protocol.exchange import Steps


MAX_SETS: Final = 2
"""Sets of one meeting in one run that the portal may have carried out, at most: each one may notify the organiser."""


@dataclass(frozen=True, slots=True)
class Change(HookResult):
    """What became of setting one meeting's status.

    :param wanted: the status asked for.
    :param previous: the status read before anything was written; ``None`` if it could not be read.
    :param current: the status read after the last write, or ``None`` if none could be read since; equals
        ``wanted`` whenever there is no error.
    :param error: why the wanted status is not proven to be in place.
    """

    event_id: int
    wanted: MeetingStatus
    previous: MeetingStatus | None = None
    current: MeetingStatus | None = None
    error: Bitrix24Error | None = None

    @property
    def changed(self) -> bool:
        """Whether the status is another one now than before."""
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
    """Part meetings into what can be brought to its statuses at once, every ``Y`` before any other answer.

    So few that one request writes and reads them all need no stages, nor do those that are all to have one status.
    """
    items = list(wanted.items())
    if len(items) <= CHUNK // 2:
        return [items]
    order = (MeetingStatus.ACCEPTED, MeetingStatus.DECLINED, MeetingStatus.NOT_ANSWERED)
    stages = ([item for item in items if item[1] is status] for status in order)
    return [stage for stage in stages if stage]


def change_statuses(wanted: Mapping[int, MeetingStatus], context: ExchangeContext) -> Steps[list[Change]]:
    """Bring the meetings of one stage to the wanted statuses, and prove it.

    Of different statuses it takes twenty-five meetings at most, see :func:`order_writes`.

    Each status is read first and left alone where it is as wanted, for a portal notifies the organiser of
    every set. The others are written and read back in one request. After a write whose end is unknown the
    status is read again before anything is repeated. Whatever the answers say, no meeting is set more than twice;
    a set that was refused before it ran does not count.

    :return: one change per event, in the order given.
    """
    changes = {event_id: Change(event_id, status) for event_id, status in wanted.items()}
    sent: Counter[int] = Counter()
    failed: dict[int, Bitrix24Error] = {}
    state = RetryState(context.policy)
    to_read, to_write = list(changes), list[int]()
    while to_read or to_write:
        for chunk in in_chunks(to_read):
            outcomes, state = yield from call_with_retry(list(map(get_status, chunk)), context, state)
            read = list(map(_after_reading, map(changes.__getitem__, chunk), outcomes))
            changes |= {change.event_id: change for change in read}
            to_write += [change.event_id for change in read if _differs(change)]
        spent = [event_id for event_id in to_write if sent[event_id] >= MAX_SETS]
        changes |= {
            event_id: replace(changes[event_id], error=failed.get(event_id) or _not_kept(changes[event_id]))
            for event_id in spent
        }
        to_write = [event_id for event_id in to_write if event_id not in spent]
        to_write.sort(key=lambda event_id: wanted[event_id] is not MeetingStatus.ACCEPTED)
        troubles: dict[int, Bitrix24Error] = {}
        undone: list[int] = []
        for chunk in in_chunks(to_write, CHUNK // 2):
            seen = yield from _write_and_read(chunk, changes, sent, context)
            changes |= {change.event_id: change for change in seen}
            undone += [change.event_id for change in seen if _differs(change)]
            troubles |= {
                change.event_id: change.error
                for change in seen
                if change.error and change.error.permanence is not Permanence.PERMANENT
            }
        to_write, failed = undone, failed | troubles
        to_read, pause, state = plan_retries(troubles, state, context.jitter())
        if pause is not None:
            yield pause
    return list(changes.values())


def recheck(change: Change, outcome: Outcome[MeetingStatus]) -> Change:
    """Return a change that was proven, after its status was read once more."""
    if outcome.error is not None:
        return replace(change, current=None, error=outcome.error)
    seen = replace(change, current=outcome.unwrap())
    return _undo(seen) if _differs(seen) else seen


def _differs(change: Change) -> bool:
    return change.error is None and change.current != change.wanted


def _after_reading(change: Change, outcome: Outcome[MeetingStatus]) -> Change:
    if outcome.error is not None:
        return replace(change, current=None, error=outcome.error)
    status = outcome.unwrap()
    seen = replace(change, previous=change.previous or status, current=status, error=None)
    return replace(seen, error=_organiser(change)) if status is MeetingStatus.ORGANISER else seen


def _write_and_read(
    event_ids: Sequence[int], changes: Mapping[int, Change], sent: Counter[int], context: ExchangeContext
) -> Steps[list[Change]]:
    """Write statuses and read them back, and with them those in place that another answer may have undone.

    :param sent: how many sets of each meeting the portal may have carried out; these are added.
    :return: what became of all that were read. What differs without an error is to be written, once.
    """
    mixed = len({change.wanted for change in changes.values()}) > 1
    beside = [change for key, change in changes.items() if mixed and change.error is None and key not in event_ids]
    # All sets come before all gets: two ids may name the same meeting, and each must see the last write.
    sets = [set_status(event_id, changes[event_id].wanted) for event_id in event_ids]
    gets = [get_status(event_id) for event_id in (*event_ids, *(change.event_id for change in beside))]
    outcomes = yield from call_with_renewal([*sets, *gets], context, packed=True)
    confirmed, seen = outcomes[: len(sets)], outcomes[len(sets) :]
    ran = (not isinstance(done.error, _NOT_RUN) for done in confirmed)
    sent.update(dict(zip(event_ids, map(int, ran), strict=True)))
    again = list(map(_after_reading, beside, seen[len(sets) :]))
    return [
        *map(_after_writing, map(changes.__getitem__, event_ids), confirmed, seen),
        *(_undo(change) if change.event_id in sent and _differs(change) else change for change in again),
    ]


def _after_writing(change: Change, written: Outcome[bool], seen: Outcome[MeetingStatus]) -> Change:
    # What was read before the write says nothing any more.
    change = replace(change, current=None)
    if seen.error is None:
        change = replace(change, current=seen.unwrap(), error=None)
        if change.current == change.wanted:
            return change
        if change.current is MeetingStatus.ORGANISER:
            return replace(change, error=_organiser(change))
    error = written.error or seen.error
    return replace(change, error=error or _not_kept(change))


_NOT_RUN: Final = (
    AuthServerError, ConnectError, OperatingLimitError, RateLimitError, TokenError, TokenStoreError,
)  # fmt: skip
"""Errors by which the portal itself, or the lack of a connection, says that a set was not carried out."""


def _not_kept(change: Change) -> StatusNotAppliedError:
    return StatusNotAppliedError(
        f"{change.wanted.value} was set, but reading back shows {change.current}. Run the task again: somebody may "
        "have answered at the same moment.",
        method=STATUS_SET,
        event_id=change.event_id,
    )


def _undo(change: Change) -> Change:
    error = StatusNotAppliedError(
        f"{change.wanted.value} was in place, until another answer of the same run changed it to {change.current}: "
        "two of its ids name one meeting, or a series and its date.",
        method=STATUS_SET,
        event_id=change.event_id,
    )
    return replace(change, error=error)


def _organiser(change: Change) -> OrganiserError:
    return OrganiserError(
        "The acting user is the organiser of this meeting. Leave it out: an organiser's status is always H.",
        method=STATUS_SET,
        event_id=change.event_id,
    )
