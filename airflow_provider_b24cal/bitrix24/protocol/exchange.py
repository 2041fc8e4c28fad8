"""The exchange with a portal, written once as generators: pack, send, read, classify, retry.

A generator yields a step (:class:`Send`, :class:`Pause`, ...), is sent the reply or the transport's error, and returns
the result. ``client/dispatcher.py`` runs it over sockets, in a thread or on an event loop; a test runs it over a list.
Retries and token renewal are written nowhere else.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
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
from airflow_provider_b24cal.bitrix24.protocol.replies import REDIRECTS, Reply, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from airflow_provider_b24cal.bitrix24.auth.credentials import Request
    from airflow_provider_b24cal.bitrix24.protocol.call import Call
    from airflow_provider_b24cal.bitrix24.protocol.limits import OperatingMemory

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Send:
    """Send this request; the answer is its :class:`Reply`, or the transport's error is thrown in."""

    request: Request


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait before the next step.

    :param seconds: how long.
    :param error: why.
    """

    seconds: float
    error: Bitrix24Error


@dataclass(frozen=True, slots=True)
class RateLimited:
    """The portal's rate limit is exhausted, even if our own estimate says otherwise."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Renew the access token that the portal has refused; the error is thrown in if that fails.

    The answer is ``True`` if the authorisation server has issued a new one, and ``False`` if a token that another task
    had stored was taken, which may itself be expired.

    :param stale: the endpoint that holds the refused token.
    """

    stale: Endpoint


@dataclass(frozen=True, slots=True)
class Blocking:
    """Call a blocking function: directly in a worker, in a separate thread on an event loop. The answer is its result.

    :param function: takes no arguments; a :class:`Bitrix24Error` that it raises is thrown in.
    """

    function: Callable[[], Any]


Step: TypeAlias = Send | Pause | RateLimited | Renew | Blocking
Steps: TypeAlias = Generator[Step, Any, T]


class EndpointSource(Protocol):
    """The portal and the credential to use for the next request; both may change while exchanges run."""

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint in use."""

    def moved(self, endpoint: Endpoint) -> None:
        """Use the portal's new address from now on, with the credential in use."""


@dataclass(frozen=True, slots=True)
class ExchangeContext:
    """What all exchanges with one portal have in common.

    :param source: holds the endpoint in use. Another exchange may renew its token or find that the portal has moved.
    :param policy: bounds of the retries.
    :param random: draws a number from 0 up to 1, for delays and for the names of a batch's commands.
    :param operating: keeps the operating time that the portal reports: the seconds that it has worked for a method
        within ten minutes. Above 480 it refuses the method.
    """

    source: EndpointSource
    policy: RetryPolicy
    random: Callable[[], float]
    operating: OperatingMemory


def run_call(call: Call[T], context: ExchangeContext) -> Steps[T]:
    """Make one call and return its result.

    :raises Bitrix24Error: the error of the last attempt.
    """
    (outcome,), _ = yield from call_with_retry([call], context, RetryState(context.policy))
    result: T = outcome.unwrap()
    return result


def run_calls(
    calls: Sequence[Call[Any]], context: ExchangeContext, *, packed: bool = False
) -> Steps[list[Outcome[Any]]]:
    """Make any number of calls, fifty to a request, and return an outcome per call in their order.

    :param packed: send a single call as a batch too, so that the parameters of all calls have the same form.
    """
    outcomes: list[Outcome[Any]] = []
    for chunk in in_chunks(calls, CHUNK):
        answers, _ = yield from call_with_retry(chunk, context, RetryState(context.policy), packed=packed)
        outcomes += answers
    return outcomes


def call_with_retry(
    calls: Sequence[Call[Any]], context: ExchangeContext, state: RetryState, *, packed: bool = False
) -> Steps[tuple[list[Outcome[Any]], RetryState]]:
    """Make up to fifty calls; repeat those that failed as the policy allows.

    After an ambiguous failure only calls that change nothing are repeated.

    :param state: how much of the policy is spent.
    :return: an outcome per call, and how much of the policy is spent then.
    """
    packed = packed or len(calls) > 1
    outcomes: dict[int, Outcome[Any]] = {}
    pending = list(range(len(calls)))
    while True:
        answers = yield from call_with_renewal([calls[number] for number in pending], context, packed=packed)
        outcomes.update(zip(pending, answers, strict=True))
        repeatable = {
            number: error
            for number in pending
            if (error := outcomes[number].error)
            and error.permanence is not Permanence.PERMANENT
            and (error.permanence is Permanence.TRANSIENT or not calls[number].writes)
        }
        pending, pause, state = plan_retries(repeatable, state, context.random())
        if pause is None:
            return [outcomes[number] for number in range(len(calls))], state
        yield pause


def plan_retries(
    failed: Mapping[int, Bitrix24Error], state: RetryState, jitter: float
) -> tuple[list[int], Pause | None, RetryState]:
    """Return which of the failed calls to repeat, the pause before that, and how much of the policy is spent then.

    All of them share the shortest pause; a call that needs a longer one may be refused again.
    """
    plans = {key: plan for key, error in failed.items() if (plan := state.spend(error, jitter))}
    if not plans:
        return [], None, state
    first = min(plans, key=lambda key: plans[key][0])
    seconds, state = plans[first]
    return list(plans), Pause(seconds, failed[first]), state


def call_with_renewal(
    calls: Sequence[Call[Any]], context: ExchangeContext, *, packed: bool
) -> Steps[list[Outcome[Any]]]:
    """Make up to fifty calls; those refused for an expired access token are made again with a new one."""
    endpoint = context.source.endpoint
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
        # A read after a refused write came too early: it is repeated after that write.
        again = [number for number in range(expired[0], len(calls)) if number in expired or not calls[number].writes]
        endpoint = context.source.endpoint
        answers = yield from send_calls([calls[number] for number in again], endpoint, context, packed=packed)
        for number, answer in zip(again, answers, strict=True):
            outcomes[number] = answer
        if is_new:
            break
    return outcomes


def send_calls(
    calls: Sequence[Call[Any]], endpoint: Endpoint, context: ExchangeContext, *, packed: bool
) -> Steps[list[Outcome[Any]]]:
    """Make up to fifty calls in one request; an error of the request is the outcome of each of them."""
    # No other batch has the same names: the reply to another one answers none of these commands.
    call = pack(calls, f"c{int(context.random() * 2**52):013x}") if packed else calls[0]
    outcomes: list[Outcome[Any]]
    try:
        reply: Reply = yield Send(endpoint.request(call.method, call.params, call.max_reply_bytes))
        if reply.http_status in REDIRECTS and (moved := endpoint.renamed(reply.location)):
            # A portal that redirects has not executed the request, so writes are repeated too.
            context.source.moved(moved)
            reply = yield Send(moved.request(call.method, call.params, call.max_reply_bytes))
        result = read(call, reply, endpoint.scrub, context.operating.note)
        outcomes = result if packed else [Outcome(result)]
    except Bitrix24Error as error:
        outcomes = [Outcome(error=error.with_traceback(None))] * len(calls)
    if context.operating.unshared:
        yield Blocking(context.operating.share)
    if any(isinstance(outcome.error, OperatingLimitError) for outcome in outcomes):
        outcomes = yield Blocking(partial(_with_releases, outcomes, context.operating))
    if any(isinstance(outcome.error, RateLimitError) for outcome in outcomes):
        yield RateLimited()
    return outcomes


def _with_releases(outcomes: Sequence[Outcome[Any]], operating: OperatingMemory) -> list[Outcome[Any]]:
    """Return the outcomes; each error of used up operating time says when the method can be called again."""
    # An error of a whole request stays one object for all of its calls.
    unique = {id(outcome): outcome for outcome in outcomes}
    complete = {key: _with_release(outcome, operating) for key, outcome in unique.items()}
    return [complete[id(outcome)] for outcome in outcomes]


def _with_release(outcome: Outcome[T], operating: OperatingMemory) -> Outcome[T]:
    error = outcome.error
    if not isinstance(error, OperatingLimitError) or error.method is None:
        return outcome
    release = operating.release(error.method)
    text = f"It can be called again {'at' if release.known else 'by'} {release.at:%Y-%m-%d %H:%M:%S} UTC."
    fields = {**error.to_dict(), "message": f"{text} {error.message}", "retry_after": release.seconds}
    return Outcome(error=error_from_dict(fields))


def in_chunks(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Cut a sequence into parts that fit into one request each."""
    return (items[start : start + size] for start in range(0, len(items), size))


_MAX_RENEWALS: Final = 2
"""The first may find a token that another task has stored, which may be expired as well."""

_REQUEST_METHODS: Final = frozenset({"batch", TOKEN_METHOD})
"""The methods in errors that are those of a whole request."""


class ItemResult(Protocol):
    """The result of one call or change."""

    @property
    def error(self) -> Bitrix24Error | None:
        """Why there is no result."""


def fatal_error(results: Sequence[ItemResult]) -> Bitrix24Error | None:
    """Return the error that every further request would get too, if these results show one.

    It is an error of a whole request, not of the calls in it: a permanent one such as an invalid webhook, or a
    transient one that has exhausted the retries.
    """
    error = results[0].error if results else None
    if error is None or error.method not in _REQUEST_METHODS or error.permanence is Permanence.AMBIGUOUS:
        return None
    return error if all(result.error is error for result in results) else None
