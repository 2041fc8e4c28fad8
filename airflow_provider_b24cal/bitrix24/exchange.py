"""The exchanges with a portal, written once as generators.

A generator yields what it wants done (:class:`Send`, :class:`Pause`, ...), is given the reply or the
transport's error, and returns the result. The drivers in ``transport/drive.py`` run it over sockets, in a
thread or on an event loop; a test runs it over a list. Repeating and reading back exist in no other place.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from airflow_provider_b24cal.bitrix24.batch import CHUNK, Outcome, pack
from airflow_provider_b24cal.bitrix24.credentials import AccessToken, Endpoint
from airflow_provider_b24cal.bitrix24.errors import (
    Bitrix24Error,
    OperatingLimitError,
    OrganiserError,
    Permanence,
    RateLimitError,
    SetNotKeptError,
    TokenError,
    error_from_dict,
)
from airflow_provider_b24cal.bitrix24.limits import Patience, RetryPolicy
from airflow_provider_b24cal.bitrix24.methods import STATUS_SET, Call, get_status, set_status
from airflow_provider_b24cal.bitrix24.oauth import TOKEN_METHOD
from airflow_provider_b24cal.bitrix24.replies import Reply, is_redirect, read
from airflow_provider_b24cal.bitrix24.status import MeetingStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from airflow_provider_b24cal.bitrix24.credentials import Request
    from airflow_provider_b24cal.bitrix24.limits import OperatingMemory

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Send:
    """Carry this request to the portal and come back with the :class:`Reply`, or throw the error in."""

    request: Request


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait before going on.

    :param seconds: how long.
    :param error: why.
    """

    seconds: float
    error: Bitrix24Error


@dataclass(frozen=True, slots=True)
class Refused:
    """Take note that the portal's bucket is full, whatever was modelled."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Have the access token replaced that the portal has refused, or throw the error in.

    :param stale: the endpoint that holds it.
    """

    stale: Endpoint


@dataclass(frozen=True, slots=True)
class Moved:
    """Note that the portal is to be found elsewhere.

    :param endpoint: where; the same credential is good there.
    """

    endpoint: Endpoint


Steps: TypeAlias = Generator[Send | Pause | Refused | Renew | Moved, Any, T]

Repeating: TypeAlias = Generator[
    "Sequence[Call[Any]] | Pause", "Sequence[Outcome[Any]] | None", tuple[list[Outcome[Any]], Patience]
]


@dataclass(frozen=True, slots=True)
class Terms:
    """What every exchange with one portal has in common.

    :param endpoint: the portal and the credential.
    :param chance: draws a number from 0 up to 1; given from outside, so that the exchange stays pure.
    :param operating: remembers what the portal tells of operating time; given from outside as well.
    :param present: returns what has become of the endpoint since; an exchange beside this one may have had its
        token renewed, or found that the portal has moved.
    """

    endpoint: Endpoint
    policy: RetryPolicy
    chance: Callable[[], float]
    operating: OperatingMemory
    present: Callable[[], Endpoint] | None = None

    def latest(self) -> Endpoint:
        """Return the endpoint to use for the next request."""
        return self.endpoint if self.present is None else self.present()


@dataclass(frozen=True, slots=True)
class Change:
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

    def unwrap(self) -> Change:
        """Return the change itself, or raise its error."""
        if self.error is not None:
            raise self.error
        return self


def ask(call: Call[T], terms: Terms) -> Steps[T]:
    """Make one call, repeated where that is safe and the policy allows.

    :raises Bitrix24Error: the last error.
    """
    outcomes = yield from ask_many([call], terms)
    answer: T = outcomes[0].unwrap()
    return answer


def ask_many(calls: Sequence[Call[Any]], terms: Terms, *, packed: bool = False) -> Steps[list[Outcome[Any]]]:
    """Make any number of calls, fifty to a request, and return an outcome per call in their order.

    What failed in passing is repeated, alone, within the policy. What may have run already is repeated
    only if the call changes nothing.

    :param packed: send also a single call as a batch, so that all parameters travel in the same form.
    """
    outcomes: list[Outcome[Any]] = []
    for chunk in in_chunks(calls, CHUNK):
        answers, _ = yield from _insist(chunk, terms, Patience(terms.policy), packed=packed)
        outcomes += answers
    return outcomes


def change_statuses(wanted: Mapping[int, MeetingStatus], terms: Terms) -> Steps[list[Change]]:
    """Bring meetings to the wanted statuses, and prove it.

    Each status is read first and left alone where it is as wanted, for a portal notifies the organiser of
    every set. The others are written and read back in one request. After a write whose end is unknown the
    status is read again before anything is repeated.

    :return: one change per event, in the order given.
    """
    changes = {event_id: Change(event_id, status) for event_id, status in wanted.items()}
    pending = list(changes)
    patience = Patience(terms.policy)
    while pending:
        unequal: list[int] = []
        for chunk in in_chunks(pending, CHUNK):
            outcomes, patience = yield from _insist(list(map(get_status, chunk)), terms, patience)
            for event_id, outcome in zip(chunk, outcomes, strict=True):
                changes[event_id], differs = _after_reading(changes[event_id], outcome)
                if differs:
                    unequal.append(event_id)
        pending = []
        for chunk in in_chunks(unequal, CHUNK // 2):
            for change in (yield from _write_and_read_back([changes[event_id] for event_id in chunk], terms)):
                changes[change.event_id] = change
                if change.error is not None and change.error.permanence is not Permanence.PERMANENT:
                    pending.append(change.event_id)
        if pending:
            error = changes[pending[0]].error
            assert error is not None
            spent = patience.spend(error, terms.chance())
            if spent is None:
                break
            seconds, patience = spent
            yield Pause(seconds, error)
    return list(changes.values())


def _after_reading(change: Change, outcome: Outcome[MeetingStatus]) -> tuple[Change, bool]:
    """Note what was read before writing; tell whether there is something to write."""
    if outcome.error is not None:
        return replace(change, current=None, error=outcome.error), False
    status = outcome.unwrap()
    previous = status if change.previous is None else change.previous
    seen = replace(change, previous=previous, current=status, error=None)
    if status is MeetingStatus.ORGANISER:
        return replace(seen, error=_organiser(change.event_id)), False
    return seen, status != change.wanted


def _write_and_read_back(changes: Sequence[Change], terms: Terms) -> Steps[list[Change]]:
    # All sets come before all gets: two ids may name the same meeting, and each must see the last write.
    sets = [set_status(change.event_id, change.wanted) for change in changes]
    gets = [get_status(change.event_id) for change in changes]
    outcomes = yield from _attempt([*sets, *gets], terms, packed=True)
    return [
        _after_writing(change, written, seen)
        for change, written, seen in zip(changes, outcomes[: len(sets)], outcomes[len(sets) :], strict=True)
    ]


def _after_writing(change: Change, written: Outcome[bool], seen: Outcome[MeetingStatus]) -> Change:
    # What was read before the write says nothing any more.
    change = replace(change, current=None)
    if seen.error is None:
        change = replace(change, current=seen.unwrap(), error=None)
        if change.current == change.wanted:
            return change
        if change.current is MeetingStatus.ORGANISER:
            return replace(change, error=_organiser(change.event_id))
    error = written.error or seen.error
    if error is None:
        error = SetNotKeptError(
            f"The portal confirmed {change.wanted.value}, but reading back shows {change.current}.",
            method=STATUS_SET,
            event_id=change.event_id,
        )
    return replace(change, error=error)


def _organiser(event_id: int) -> OrganiserError:
    return OrganiserError(
        "The acting user is the organiser of this meeting; an organiser's status is always H.",
        method=STATUS_SET,
        event_id=event_id,
    )


def _insist(
    calls: Sequence[Call[Any]], terms: Terms, patience: Patience, *, packed: bool = False
) -> Steps[tuple[list[Outcome[Any]], Patience]]:
    """Make up to fifty calls, repeated within the patience; return the outcomes and the patience left."""
    repeating = repeat(calls, patience, terms.chance)
    alone = len(calls) == 1 and not packed
    step = next(repeating)
    while True:
        if isinstance(step, Pause):
            yield step
            answers = None
        else:
            answers = yield from _attempt(step, terms, packed=not alone)
            if any(isinstance(outcome.error, RateLimitError) for outcome in answers):
                yield Refused()
        try:
            step = repeating.send(answers)
        except StopIteration as end:
            result: tuple[list[Outcome[Any]], Patience] = end.value
            return result


def repeat(calls: Sequence[Call[Any]], patience: Patience, chance: Callable[[], float]) -> Repeating:
    """Decide what of some calls is made again, and when, without knowing how calls are made.

    Yields the calls to make now and is sent an outcome for each; yields a :class:`Pause` in between. What
    failed in passing is made again, alone, within the patience; what may have run already only if it
    changes nothing.

    :return: an outcome per call, and the patience left.
    """
    outcomes: list[Outcome[Any]] = [Outcome()] * len(calls)
    pending = list(range(len(calls)))
    while True:
        answers = yield [calls[number] for number in pending]
        assert answers is not None
        for number, outcome in zip(pending, answers, strict=True):
            outcomes[number] = outcome
        pending = [number for number in pending if _may_repeat(calls[number], outcomes[number].error)]
        if not pending:
            return outcomes, patience
        # The shortest wait of all: what needs a longer one is asked again with the others.
        troubles = [error for number in pending if (error := outcomes[number].error)]
        error = min(troubles, key=lambda trouble: trouble.retry_after or 0.0)
        spent = patience.spend(error, chance())
        if spent is None:
            return outcomes, patience
        seconds, patience = spent
        yield Pause(seconds, error)


def _may_repeat(call: Call[Any], error: Bitrix24Error | None) -> bool:
    if error is None or error.permanence is Permanence.PERMANENT:
        return False
    return error.permanence is Permanence.TRANSIENT or not call.writes


def _attempt(calls: Sequence[Call[Any]], terms: Terms, *, packed: bool) -> Steps[list[Outcome[Any]]]:
    """Make up to fifty calls; those that a worn access token kept from running are made once more with a new one."""
    endpoint = terms.latest()
    outcomes = yield from _request(calls, endpoint, terms, packed=packed)
    worn = [number for number, outcome in enumerate(outcomes) if isinstance(outcome.error, TokenError)]
    if not worn or not isinstance(endpoint.credential, AccessToken):
        return outcomes
    answers: list[Outcome[Any]]
    try:
        yield Renew(endpoint)
    except Bitrix24Error as error:
        again, answers = worn, [Outcome(error=error.with_traceback(None))] * len(worn)
    else:
        # Reads are repeated together with the writes before them that have not run until now.
        again = [number for number in range(worn[0], len(calls)) if number in worn or not calls[number].writes]
        answers = yield from _request([calls[number] for number in again], terms.latest(), terms, packed=packed)
    for number, answer in zip(again, answers, strict=True):
        outcomes[number] = answer
    return outcomes


def _request(
    calls: Sequence[Call[Any]], endpoint: Endpoint, terms: Terms, *, packed: bool
) -> Steps[list[Outcome[Any]]]:
    """Make up to fifty calls in one request; what befalls the request befalls each of them."""
    together = pack(calls) if packed else None
    try:
        if together is None:
            return [Outcome((yield from _once(calls[0], endpoint, terms)))]
        outcomes = yield from _once(together, endpoint, terms)
    except Bitrix24Error as error:
        return [Outcome(error=_with_release(error, terms))] * len(calls)
    return [
        outcome if outcome.error is None else Outcome(error=_with_release(outcome.error, terms)) for outcome in outcomes
    ]


def _once(call: Call[T], endpoint: Endpoint, terms: Terms) -> Steps[T]:
    reply: Reply = yield Send(endpoint.request(call.method, call.params))
    moved = endpoint.renamed(reply.location) if is_redirect(reply) else None
    if moved is not None:
        # Whoever redirects has not executed, so writes are repeated too.
        yield Moved(moved)
        reply = yield Send(moved.request(call.method, call.params))
    return read(call, reply, endpoint.scrub, terms.operating.note)


def _with_release(error: Bitrix24Error, terms: Terms) -> Bitrix24Error:
    """Return the error, and if it is one of used up operating time, with the time at which it will be over."""
    if not isinstance(error, OperatingLimitError) or error.method is None:
        return error.with_traceback(None)
    release = terms.operating.release(error.method)
    when = f"It can be called again {'at' if release.known else 'by'} {release.at:%Y-%m-%d %H:%M:%S} UTC."
    return error_from_dict({**error.to_dict(), "message": f"{when} {error.message}", "retry_after": release.seconds})


def in_chunks(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Cut a sequence into parts that fit into one request each."""
    return (items[start : start + size] for start in range(0, len(items), size))


_WHOLE: Final = frozenset({"batch", TOKEN_METHOD})


def doom(answers: Sequence[Outcome[Any] | Change]) -> Bitrix24Error | None:
    """Return the error that the next request would meet too, if these answers show one.

    That is a permanent refusal of a whole request, such as a webhook that is not accepted, rather than of
    the calls in it.
    """
    error = answers[0].error if answers else None
    if error is None or error.method not in _WHOLE or error.permanence is not Permanence.PERMANENT:
        return None
    return error if all(answer.error is error for answer in answers) else None
