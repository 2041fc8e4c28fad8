"""The exchanges with a portal, written once as generators.

A generator yields what it wants done (:class:`Send`, :class:`Pause`, ...), is given the reply or the
transport's error, and returns the result. The drivers in ``client/runner.py`` run it over sockets, in a
thread or on an event loop; a test runs it over a list. Repeating and reading back exist in no other place.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

from airflow_provider_b24cal.bitrix24.auth.credentials import AccessToken, Endpoint
from airflow_provider_b24cal.bitrix24.auth.oauth import TOKEN_METHOD
from airflow_provider_b24cal.bitrix24.protocol.batch import CHUNK, Outcome, pack
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    Bitrix24Error,
    OperatingLimitError,
    Permanence,
    RateLimitError,
    TokenError,
    error_from_dict,
)
from airflow_provider_b24cal.bitrix24.protocol.limits import Patience, RetryPolicy
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply, is_redirect, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from airflow_provider_b24cal.bitrix24.auth.credentials import Request
    from airflow_provider_b24cal.bitrix24.calendar.methods import Call
    from airflow_provider_b24cal.bitrix24.protocol.limits import OperatingMemory

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

    Come back with whether the authorisation server has just given the new one. One that another task had stored may
    have run out too.

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
    :param chance: draws a number from 0 up to 1, for waits and for the names of a batch's commands; given from
        outside, so that the exchange stays pure.
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
        answers, _ = yield from insist(chunk, terms, Patience(terms.policy), packed=packed)
        outcomes += answers
    return outcomes


def insist(
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
            answers = yield from attempt(step, terms, packed=not alone)
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
        troubles = {
            number: error
            for number in pending
            if (error := outcomes[number].error) and _may_repeat(calls[number], error)
        }
        pending, pause, patience = be_patient(troubles, patience, chance())
        if pause is None:
            return outcomes, patience
        yield pause


def be_patient(
    troubles: Mapping[int, Bitrix24Error], patience: Patience, chance: float
) -> tuple[list[int], Pause | None, Patience]:
    """Return which of what failed is tried again, the pause before it, and the patience left.

    Each error ends the patience for what it befell only. The pause is the shortest of all: what needs a longer one
    is tried again with the others.
    """
    spent = {key: after for key, error in troubles.items() if (after := patience.spend(error, chance))}
    if not spent:
        return [], None, patience
    first = min(spent, key=lambda key: spent[key][0])
    seconds, left = spent[first]
    return list(spent), Pause(seconds, troubles[first]), left


def _may_repeat(call: Call[Any], error: Bitrix24Error) -> bool:
    if error.permanence is Permanence.PERMANENT:
        return False
    return error.permanence is Permanence.TRANSIENT or not call.writes


def attempt(calls: Sequence[Call[Any]], terms: Terms, *, packed: bool) -> Steps[list[Outcome[Any]]]:
    """Make up to fifty calls; those that an expired access token kept from running are made again with a new one."""
    endpoint = terms.latest()
    outcomes = yield from _request(calls, endpoint, terms, packed=packed)
    for _ in range(_MAX_RENEWALS):
        expired = [number for number, outcome in enumerate(outcomes) if isinstance(outcome.error, TokenError)]
        if not expired or not isinstance(endpoint.credential, AccessToken):
            break
        try:
            is_new = yield Renew(endpoint)
        except Bitrix24Error as error:
            failed: Outcome[Any] = Outcome(error=error.with_traceback(None))
            return [failed if number in expired else outcome for number, outcome in enumerate(outcomes)]
        # Reads are repeated together with the writes before them that have not run until now.
        again = [number for number in range(expired[0], len(calls)) if number in expired or not calls[number].writes]
        endpoint = terms.latest()
        answers = yield from _request([calls[number] for number in again], endpoint, terms, packed=packed)
        for number, answer in zip(again, answers, strict=True):
            outcomes[number] = answer
        if is_new:
            break
    return outcomes


def _request(
    calls: Sequence[Call[Any]], endpoint: Endpoint, terms: Terms, *, packed: bool
) -> Steps[list[Outcome[Any]]]:
    """Make up to fifty calls in one request; what befalls the request befalls each of them."""
    together = pack(calls, _fresh_prefix(terms.chance())) if packed else None
    outcomes: list[Outcome[Any]]
    try:
        if together is None:
            outcomes = [Outcome((yield from _once(calls[0], endpoint, terms)))]
        else:
            outcomes = yield from _once(together, endpoint, terms)
    except Bitrix24Error as error:
        outcomes = [Outcome(error=_with_release(error, terms))] * len(calls)
    else:
        outcomes = [
            outcome if outcome.error is None else Outcome(error=_with_release(outcome.error, terms))
            for outcome in outcomes
        ]
    if any(isinstance(outcome.error, RateLimitError) for outcome in outcomes):
        yield Refused()
    return outcomes


def _fresh_prefix(chance: float) -> str:
    """Return a name for the commands of one batch that no other batch has."""
    return f"c{int(chance * 2**52):013x}"


def _once(call: Call[T], endpoint: Endpoint, terms: Terms) -> Steps[T]:
    reply: Reply = yield Send(endpoint.request(call.method, call.params, call.max_reply_bytes))
    moved = endpoint.renamed(reply.location) if is_redirect(reply) else None
    if moved is not None:
        # Whoever redirects has not executed, so writes are repeated too.
        yield Moved(moved)
        reply = yield Send(moved.request(call.method, call.params, call.max_reply_bytes))
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


_MAX_RENEWALS: Final = 2
"""The first may find a token that another task has stored, which may have run out as well."""

_WHOLE: Final = frozenset({"batch", TOKEN_METHOD})


class Answer(Protocol):
    """What became of one call or change."""

    @property
    def error(self) -> Bitrix24Error | None:
        """Why there is nothing else."""


def doom(answers: Sequence[Answer]) -> Bitrix24Error | None:
    """Return the error that the next request would meet too, if these answers show one.

    That is what befell a whole request rather than the calls in it: a permanent refusal, such as a webhook that is
    not accepted, or a portal that let nobody in for as long as there was patience.
    """
    error = answers[0].error if answers else None
    if error is None or error.method not in _WHOLE or error.permanence is Permanence.AMBIGUOUS:
        return None
    return error if all(answer.error is error for answer in answers) else None
