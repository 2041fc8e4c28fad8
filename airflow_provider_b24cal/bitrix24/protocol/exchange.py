"""The exchanges with a portal, written once as generators.

A generator yields what it wants done (:class:`Send`, :class:`Pause`, ...), is given the reply or the
transport's error, and returns the result. The drivers in ``client/runner.py`` run it over sockets, in a
thread or on an event loop; a test runs it over a list. Repeating and reading back exist in no other place.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

from airflow_provider_b24cal.bitrix24.auth.credentials import TOKEN_METHOD, AccessToken, Endpoint
from airflow_provider_b24cal.bitrix24.protocol.batch import CHUNK, Outcome, pack
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    Bitrix24Error,
    OperatingLimitError,
    Permanence,
    RateLimitError,
    TokenError,
    error_from_dict,
)
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy, RetryState
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply, is_redirect, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from airflow_provider_b24cal.bitrix24.auth.credentials import Request
    from airflow_provider_b24cal.bitrix24.protocol.call import Call
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
class RateLimited:
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


Steps: TypeAlias = Generator[Send | Pause | RateLimited | Renew | Moved, Any, T]

RetryLoop: TypeAlias = Generator[
    "Sequence[Call[Any]] | Pause", "Sequence[Outcome[Any]] | None", tuple[list[Outcome[Any]], RetryState]
]


@dataclass(frozen=True, slots=True)
class ExchangeContext:
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
    jitter: Callable[[], float]
    operating: OperatingMemory
    present: Callable[[], Endpoint] | None = None

    def latest(self) -> Endpoint:
        """Return the endpoint to use for the next request."""
        return self.endpoint if self.present is None else self.present()


def run_call(call: Call[T], context: ExchangeContext) -> Steps[T]:
    """Make one call, repeated where that is safe and the policy allows.

    :raises Bitrix24Error: the last error.
    """
    outcomes = yield from run_calls([call], context)
    answer: T = outcomes[0].unwrap()
    return answer


def run_calls(
    calls: Sequence[Call[Any]], context: ExchangeContext, *, packed: bool = False
) -> Steps[list[Outcome[Any]]]:
    """Make any number of calls, fifty to a request, and return an outcome per call in their order.

    What failed in passing is repeated, alone, within the policy. What may have run already is repeated
    only if the call changes nothing.

    :param packed: send also a single call as a batch, so that all parameters travel in the same form.
    """
    outcomes: list[Outcome[Any]] = []
    for chunk in in_chunks(calls, CHUNK):
        answers, _ = yield from call_with_retry(chunk, context, RetryState(context.policy), packed=packed)
        outcomes += answers
    return outcomes


def call_with_retry(
    calls: Sequence[Call[Any]], context: ExchangeContext, state: RetryState, *, packed: bool = False
) -> Steps[tuple[list[Outcome[Any]], RetryState]]:
    """Make up to fifty calls, repeated within the patience; return the outcomes and the patience left."""
    repeating = retry_loop(calls, state, context.jitter)
    alone = len(calls) == 1 and not packed
    step = next(repeating)
    while True:
        if isinstance(step, Pause):
            yield step
            answers = None
        else:
            answers = yield from call_with_renewal(step, context, packed=not alone)
        try:
            step = repeating.send(answers)
        except StopIteration as end:
            result: tuple[list[Outcome[Any]], RetryState] = end.value
            return result


def retry_loop(calls: Sequence[Call[Any]], state: RetryState, jitter: Callable[[], float]) -> RetryLoop:
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
        pending, pause, state = plan_retries(troubles, state, jitter())
        if pause is None:
            return outcomes, state
        yield pause


def plan_retries(
    troubles: Mapping[int, Bitrix24Error], state: RetryState, jitter: float
) -> tuple[list[int], Pause | None, RetryState]:
    """Return which of what failed is tried again, the pause before it, and the patience left.

    Each error ends the patience for what it befell only. The pause is the shortest of all: what needs a longer one
    is tried again with the others.
    """
    spent = {key: after for key, error in troubles.items() if (after := state.spend(error, jitter))}
    if not spent:
        return [], None, state
    first = min(spent, key=lambda key: spent[key][0])
    seconds, left = spent[first]
    return list(spent), Pause(seconds, troubles[first]), left


def _may_repeat(call: Call[Any], error: Bitrix24Error) -> bool:
    if error.permanence is Permanence.PERMANENT:
        return False
    return error.permanence is Permanence.TRANSIENT or not call.writes


def call_with_renewal(
    calls: Sequence[Call[Any]], context: ExchangeContext, *, packed: bool
) -> Steps[list[Outcome[Any]]]:
    """Make up to fifty calls; those that an expired access token kept from running are made again with a new one."""
    endpoint = context.latest()
    outcomes = yield from send_calls(calls, endpoint, context, packed=packed)
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
        endpoint = context.latest()
        answers = yield from send_calls([calls[number] for number in again], endpoint, context, packed=packed)
        for number, answer in zip(again, answers, strict=True):
            outcomes[number] = answer
        if is_new:
            break
    return outcomes


def send_calls(
    calls: Sequence[Call[Any]], endpoint: Endpoint, context: ExchangeContext, *, packed: bool
) -> Steps[list[Outcome[Any]]]:
    """Make up to fifty calls in one request; what befalls the request befalls each of them."""
    together = pack(calls, _fresh_prefix(context.jitter())) if packed else None
    outcomes: list[Outcome[Any]]
    try:
        if together is None:
            outcomes = [Outcome((yield from send_once(calls[0], endpoint, context)))]
        else:
            outcomes = yield from send_once(together, endpoint, context)
    except Bitrix24Error as error:
        outcomes = [Outcome(error=_with_release(error, context))] * len(calls)
    else:
        outcomes = [
            outcome if outcome.error is None else Outcome(error=_with_release(outcome.error, context))
            for outcome in outcomes
        ]
    if any(isinstance(outcome.error, RateLimitError) for outcome in outcomes):
        yield RateLimited()
    return outcomes


def _fresh_prefix(jitter: float) -> str:
    """Return a name for the commands of one batch that no other batch has."""
    return f"c{int(jitter * 2**52):013x}"


def send_once(call: Call[T], endpoint: Endpoint, context: ExchangeContext) -> Steps[T]:
    reply: Reply = yield Send(endpoint.request(call.method, call.params, call.max_reply_bytes))
    moved = endpoint.renamed(reply.location) if is_redirect(reply) else None
    if moved is not None:
        # Whoever redirects has not executed, so writes are repeated too.
        yield Moved(moved)
        reply = yield Send(moved.request(call.method, call.params, call.max_reply_bytes))
    return read(call, reply, endpoint.scrub, context.operating.note)


def _with_release(error: Bitrix24Error, context: ExchangeContext) -> Bitrix24Error:
    """Return the error, and if it is one of used up operating time, with the time at which it will be over."""
    if not isinstance(error, OperatingLimitError) or error.method is None:
        return error.with_traceback(None)
    release = context.operating.release(error.method)
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


def fatal_error(answers: Sequence[Answer]) -> Bitrix24Error | None:
    """Return the error that the next request would meet too, if these answers show one.

    That is what befell a whole request rather than the calls in it: a permanent refusal, such as a webhook that is
    not accepted, or a portal that let nobody in for as long as there was patience.
    """
    error = answers[0].error if answers else None
    if error is None or error.method not in _WHOLE or error.permanence is Permanence.AMBIGUOUS:
        return None
    return error if all(answer.error is error for answer in answers) else None
