"""A portal's limits, and how long to wait for them, as arithmetic: no clock, no chance of its own.

https://apidocs.bitrix24.com/limits.html
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil, floor, isfinite
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error


@dataclass(frozen=True, slots=True)
class Plan:
    """A portal's leaky bucket, per portal and source address.

    :param rate: requests that leak away per second.
    :param burst: requests that it holds; one more is refused.
    """

    rate: float
    burst: float


PLANS: Final[Mapping[str, Plan | None]] = {
    "standard": Plan(2.0, 50.0),
    "enterprise": Plan(5.0, 250.0),
    # A portal on one's own server has the limits that its owner has set; by default none.
    "self_hosted": None,
}
"""The plans by the name that a connection gives them."""

_FULL_REQUEST: Final = 0.9
"""Seconds that a portal takes for a request of fifty calls, or somewhat more."""
_IN_FLIGHT_WITHOUT_LIMITS: Final = 4
MOST_IN_FLIGHT: Final = 32
"""What a connection may ask for at most."""


def in_flight(plan: Plan | None) -> int:
    """Return how many requests under way at once a plan asks for.

    So many that twice its rate is reached: then a burst is used up in the time in which it refills, and a run of twice
    as many requests ends when the bucket lets it. More would wait for their turn.
    """
    if plan is None:
        return _IN_FLIGHT_WITHOUT_LIMITS
    return min(MOST_IN_FLIGHT, max(1, ceil(2.0 * plan.rate * _FULL_REQUEST)))


HEADROOM: Final = 0.25
"""Part of a request by which the modelled bucket is smaller than the portal's.

Requests do not arrive exactly as far apart as they were sent; at two per second this forgives 125 ms.
"""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A leaky bucket as two numbers, in seconds since the epoch.

    At any time it holds ``(empty_at - now) * rate`` requests. Places are reserved, also ahead of time, so
    that many senders can ask first and wait afterwards.

    :param empty_at: when it will have leaked empty.
    :param noted_at: when that was noted. A clock that shows less was put back since.
    """

    plan: Plan
    empty_at: float = 0.0
    noted_at: float = 0.0

    def reserve(self, now: float) -> tuple[float, Bucket]:
        """Take the next free place.

        :return: seconds to wait before sending, and the bucket with the place taken.
        """
        ahead = self._ahead(now) + 1.0 / self.plan.rate
        wait = ahead - (self.plan.burst - HEADROOM) / self.plan.rate
        return max(0.0, wait), Bucket(self.plan, now + ahead, now)

    def refused(self, now: float) -> Bucket:
        """Learn from a refusal: the portal's bucket is full, whatever was modelled.

        Somebody else sends from the same address, or another host shares it.
        """
        return Bucket(self.plan, now + max(self._ahead(now), self.plan.burst / self.plan.rate), now)

    def _ahead(self, now: float) -> float:
        """Return the seconds until it is empty, as far as the numbers can be believed; if not, it counts as full."""
        full = self.plan.burst / self.plan.rate
        # It holds no more than when that was noted, however far the clock was put back since.
        ahead = max(0.0, self.empty_at - max(now, self.noted_at))
        return ahead if ahead <= full + MOST_AHEAD else full


MOST_AHEAD: Final = 480.0
"""Seconds for which places of a full bucket are reserved ahead of time, at most.

What :func:`in_flight` allows one process takes less than two seconds, so this is what some 256 processes of one
host have reserved. More in a file is an error of the file.
"""


OPERATING_WINDOW: Final = 600.0
"""Seconds over which a portal adds up what the calls of a method take."""
_MINUTE: Final = 60.0
"""The parts in which it forgets them."""
_LATEST_RESET: Final = OPERATING_WINDOW + _MINUTE


@dataclass(frozen=True, slots=True)
class Release:
    """When a method that has used up its operating time may be called again.

    :param seconds: from now.
    :param at: the same as a point in time, UTC.
    :param known: whether the portal has told it; otherwise it is the latest possible.
    """

    seconds: float
    at: datetime
    known: bool


@dataclass(frozen=True, slots=True)
class OperatingTime:
    """What a portal has last told of one method's operating time, on this machine's clock.

    :param told_at: when, in seconds since the epoch.
    :param used: seconds of it that are used up.
    :param resets_at: when the oldest minute will be forgotten; ``None`` if the portal has not said.
    """

    told_at: float
    used: float = 0.0
    resets_at: float | None = None

    def is_current(self, now: float) -> bool:
        """Return whether the portal can have said this, and still goes by it."""
        return self.told_at <= now < self.told_at + OPERATING_WINDOW and (
            self.resets_at is None or 0.0 <= self.resets_at - self.told_at <= _LATEST_RESET
        )

    def release(self, now: float) -> Release:
        """Return when the method may be called again, if it is refused now."""
        if self.resets_at is None or not self.is_current(now):
            return _release(OPERATING_WINDOW, now, known=False)
        # Refused although the oldest minute is forgotten: the next one is forgotten a minute later.
        minutes = max(0, floor((now - self.resets_at) / _MINUTE) + 1)
        return _release(self.resets_at + minutes * _MINUTE - now, now, known=True)


def _release(seconds: float, now: float, *, known: bool) -> Release:
    # Told in whole seconds, never too early.
    at = datetime.fromtimestamp(now + seconds, UTC)
    rest = timedelta(microseconds=-at.microsecond % 1_000_000)
    return Release(seconds, at + rest, known)


def read_operating_time(told: object, now: float) -> OperatingTime | None:
    """Return what the ``time`` of an answer says of operating time; ``None`` when it says nothing.

    The portal's clock may be another than this machine's, so its time is counted from the beginning of the
    call as the portal saw it. A time beyond the window is not believed.
    """
    if not isinstance(told, dict) or (used := _number(told.get("operating"))) is None:
        return None
    reset, start = _number(told.get("operating_reset_at")), _number(told.get("start"))
    if reset is None:
        return OperatingTime(now, used)
    ahead = reset - (now if start is None else start)
    return OperatingTime(now, used, now + max(0.0, ahead) if ahead <= _LATEST_RESET else None)


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:  # JSON has whole numbers of any length
        return None
    return number if number is not None and isfinite(number) else None


class OperatingMemory(Protocol):
    """Remembers what a portal tells one credential of its methods' operating time."""

    def note(self, method: str, told: object) -> None:
        """Remember the ``time`` of an answer, if it says anything of operating time."""

    def release(self, method: str) -> Release:
        """Return when a method that is refused now may be called again."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds of repeating a call that failed in passing.

    :param attempts: how often a call is sent at most, the first time included.
    :param first: seconds before the first repetition; each later one waits twice as long.
    :param longest: seconds that one wait lasts at most, unless the portal has named a longer one.
    :param total: seconds that all waits of one exchange last together at most.
    """

    attempts: int = 8
    first: float = 1.0
    longest: float = 60.0
    total: float = 300.0

    def within(self, seconds: float) -> RetryPolicy:
        """Return the policy with its total no longer than ``seconds``."""
        return RetryPolicy(self.attempts, self.first, self.longest, min(self.total, max(0.0, seconds)))


@dataclass(frozen=True, slots=True)
class RetryState:
    """How much of a policy one exchange has used up."""

    policy: RetryPolicy
    attempts: int = 0
    waited: float = 0.0

    def spend(self, error: Bitrix24Error, jitter: float) -> tuple[float, RetryState] | None:
        """Return how long to wait before the next attempt, and the patience left after it.

        The portal's own word wins over the doubling delay. Half of the delay is left to chance, so that
        many workers refused at the same moment do not come back at the same moment.

        :param chance: a number from 0 up to 1, drawn by the caller.
        :return: ``None`` when attempts or time are used up.
        """
        attempts = self.attempts + 1
        delay = error.retry_after
        if delay is None:
            # The exponent is bounded, for 2.0 ** 1100 is no float.
            doubled = self.policy.first * 2.0 ** min(self.attempts, 64)
            delay = min(self.policy.longest, doubled) * (0.5 + 0.5 * jitter)
        most = min(self.policy.attempts, error.attempts or self.policy.attempts)
        if attempts >= most or self.waited + delay > self.policy.total:
            return None
        return delay, RetryState(self.policy, attempts, self.waited + delay)
