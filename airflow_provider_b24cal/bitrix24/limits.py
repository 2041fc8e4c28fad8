"""A portal's limits, and how long to wait for them, as arithmetic: no clock, no chance of its own.

https://apidocs.bitrix24.com/limits.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_b24cal.bitrix24.errors import Bitrix24Error


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

HEADROOM: Final = 0.25
"""Part of a request by which the modelled bucket is smaller than the portal's.

Requests do not arrive exactly as far apart as they were sent; at two per second this forgives 125 ms.
"""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A leaky bucket as one number: when it will have leaked empty, in seconds since the epoch.

    At any time it holds ``(empty_at - now) * rate`` requests. Places are reserved, also ahead of time, so
    that many senders can ask first and wait afterwards.
    """

    plan: Plan
    empty_at: float = 0.0

    def reserve(self, now: float) -> tuple[float, Bucket]:
        """Take the next free place.

        :return: seconds to wait before sending, and the bucket with the place taken.
        """
        empty_at = max(now, self._sane(now)) + 1.0 / self.plan.rate
        wait = empty_at - (self.plan.burst - HEADROOM) / self.plan.rate - now
        return max(0.0, wait), Bucket(self.plan, empty_at)

    def refused(self, now: float) -> Bucket:
        """Learn from a refusal: the portal's bucket is full, whatever was modelled.

        Somebody else sends from the same address, or another host shares it.
        """
        return Bucket(self.plan, max(self._sane(now), now + self.plan.burst / self.plan.rate))

    def _sane(self, now: float) -> float:
        # A clock that was set back must not make everybody wait for the difference.
        furthest = now + self.plan.burst / self.plan.rate + _FURTHEST_AHEAD
        return self.empty_at if self.empty_at <= furthest else now + self.plan.burst / self.plan.rate


_FURTHEST_AHEAD: Final = 600.0


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
class Patience:
    """How much of a policy one exchange has used up."""

    policy: RetryPolicy
    attempts: int = 0
    waited: float = 0.0

    def spend(self, error: Bitrix24Error, chance: float) -> tuple[float, Patience] | None:
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
            delay = min(self.policy.longest, doubled) * (0.5 + 0.5 * chance)
        most = min(self.policy.attempts, error.attempts or self.policy.attempts)
        if attempts >= most or self.waited + delay > self.policy.total:
            return None
        return delay, Patience(self.policy, attempts, self.waited + delay)
