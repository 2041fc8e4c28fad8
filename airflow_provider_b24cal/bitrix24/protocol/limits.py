"""A portal's limits and how long to wait for them: arithmetic, without a clock or randomness of its own.

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

HEADROOM: Final = 0.25
"""Part of a request by which the modelled bucket is smaller than the portal's.

Requests do not arrive exactly as far apart as they were sent; at two per second this forgives 125 ms.
"""

CLUSTER_HEADROOM: Final = 1.0
"""Part of a burst that a cluster leaves: requests of many hosts arrive less punctually than those of one."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A leaky bucket as a few numbers, times in seconds since the epoch.

    At any time it holds ``(empty_at - now) * rate`` requests. A sender reserves a place first and waits afterwards.

    After a refusal it is known that others send from the same address. They cannot be seen, so this sender takes a
    share of the rate: one request in each interval of ``1 / (rate * share)`` seconds, at a random time in it. The share
    grows with each request and shrinks with each refusal.

    :param empty_at: when it will be empty; with a share below 1, when the next interval begins.
    :param noted_at: when that was computed. A clock that shows an earlier time has been set back.
    :param share: the part of the rate that this sender takes, above 0 and at most 1.
    :param refused_at: when the share was last made smaller.
    """

    plan: Plan
    empty_at: float = 0.0
    noted_at: float = 0.0
    share: float = 1.0
    refused_at: float = 0.0

    def reserve(self, now: float, jitter: float = 0.0) -> tuple[float, Bucket]:
        """Take the next free place.

        :param jitter: a number from 0 up to 1, drawn by the caller: where in its interval the place is.
        :return: seconds to wait before sending, and the bucket with the place taken.
        """
        gap, ahead = 1.0 / self.plan.rate, self._ahead(now)
        if not self._is_shared(now):
            return max(0.0, ahead + gap - self._free), Bucket(self.plan, now + ahead + gap, now)
        interval = gap / self.share
        wait, begin = ahead + jitter * (interval - gap), now + ahead + interval
        share = self.share * SHARE_GROWTH
        if share < 1.0:
            return wait, Bucket(self.plan, begin, now, share, self.refused_at)
        return wait, Bucket(self.plan, begin - gap + self._free, now)

    def refused(self, now: float) -> Bucket:
        """Return the bucket after a refusal: it is full, because others send from the same address."""
        gap, ahead = 1.0 / self.plan.rate, self._ahead(now)
        share, refused_at = self.share, self.refused_at
        if not self._is_shared(now):
            # Others have filled the part of the bucket that this sender has not.
            # As of the last reservation: the refusal may have taken seconds, in which it would have leaked away.
            level = self._ahead(self.noted_at) * self.plan.rate
            own = min(self.plan.burst, max(1, ceil(level - _ROUNDING)))
            share = (own - SHARE_MARGIN) / self.plan.burst
            # Places that were reserved ahead are still used.
            ahead, refused_at = ahead + gap - self._free, now
        elif now >= refused_at + gap / share:
            share, refused_at = SHARE_LEFT * share, now
        # Otherwise it was in flight at the same time as the one that was refused before.
        begin = now + max(ahead, gap * (1.0 + HEADROOM))
        return Bucket(self.plan, begin, now, max(share, self._smallest_share), refused_at)

    def numbers(self) -> tuple[float, ...]:
        """Return what is stored of it: the arguments behind ``plan``."""
        return self.empty_at, self.noted_at, self.share, self.refused_at

    @property
    def _free(self) -> float:
        """Seconds ahead up to which a request is sent at once."""
        return (self.plan.burst - HEADROOM) / self.plan.rate

    @property
    def _smallest_share(self) -> float:
        return min(SHARE_LEFT, 1.0 / (self.plan.rate * LONGEST_INTERVAL))

    def _is_shared(self, now: float) -> bool:
        return self._smallest_share <= self.share < 1.0 and self.refused_at <= now < self.refused_at + SHARE_MEMORY

    def _ahead(self, now: float) -> float:
        """Return the seconds until ``empty_at``; a value that is impossible counts as full."""
        full = self.plan.burst / self.plan.rate
        # If the clock was set back, the bucket still holds no more than at noted_at.
        ahead = max(0.0, self.empty_at - max(now, self.noted_at))
        return ahead if ahead <= full + MOST_AHEAD else full


SHARE_MARGIN: Final = 0.15
"""Part of a request by which the first share is smaller than what this sender has filled of the bucket.

These numbers were chosen by ``benchmarks/simulate_cluster.py``.
"""
_ROUNDING: Final = 0.01
"""Part of a request by which a level computed from two times may be wrong."""
SHARE_LEFT: Final = 0.7
"""What a further refusal leaves of a share."""
SHARE_GROWTH: Final = 1.15
"""By what a share is multiplied with each request."""
LONGEST_INTERVAL: Final = 240.0
"""Seconds of the interval of the smallest share."""
SHARE_MEMORY: Final = 600.0
"""Seconds after the last refusal for which others are reckoned with."""

MOST_AHEAD: Final = 3600.0
"""Seconds ahead for which places of a full bucket can be reserved.

One process reserves two seconds at most, so this suffices for the 1,800 processes of a cluster. A larger value in the
shared state is damage.
"""


OPERATING_WINDOW: Final = 600.0
"""Seconds over which a portal sums up the operating time of a method."""
_MINUTE: Final = 60.0
"""Seconds of a part of that window; the oldest part is dropped at once."""
_LATEST_RESET: Final = OPERATING_WINDOW + _MINUTE


@dataclass(frozen=True, slots=True)
class Release:
    """When a method that has used up its operating time may be called again.

    :param seconds: from now.
    :param at: the same as a point in time, UTC.
    :param known: whether the portal has reported it; otherwise it is the latest possible time.
    """

    seconds: float
    at: datetime
    known: bool


@dataclass(frozen=True, slots=True)
class OperatingTime:
    """The operating time of one method as the portal last reported it, on this machine's clock.

    :param reported_at: when, in seconds since the epoch.
    :param used: seconds used.
    :param resets_at: when the oldest minute is dropped; ``None`` if the portal has not reported it.
    """

    reported_at: float
    used: float = 0.0
    resets_at: float | None = None

    def is_current(self, now: float) -> bool:
        """Return whether the report is plausible and not outdated."""
        return self.reported_at <= now < self.reported_at + OPERATING_WINDOW and (
            self.resets_at is None or 0.0 <= self.resets_at - self.reported_at <= _LATEST_RESET
        )

    def release(self, now: float) -> Release:
        """Return when the method can be called again, if it is refused now."""
        if self.resets_at is None or not self.is_current(now):
            return _release(OPERATING_WINDOW, now, known=False)
        # Refused although the oldest minute was dropped: the next one is dropped a minute later.
        minutes = max(0, floor((now - self.resets_at) / _MINUTE) + 1)
        return _release(self.resets_at + minutes * _MINUTE - now, now, known=True)


def _release(seconds: float, now: float, *, known: bool) -> Release:
    # Rounded up to whole seconds: never too early.
    at = datetime.fromtimestamp(now + seconds, UTC)
    rest = timedelta(microseconds=-at.microsecond % 1_000_000)
    return Release(seconds, at + rest, known)


def read_operating_time(reported: object, now: float) -> OperatingTime | None:
    """Return the operating time in the ``time`` of a reply; ``None`` if there is none.

    The portal's clock may differ from this machine's, so the reset is counted from the start of the call on the
    portal's clock. A reset beyond the window is ignored.
    """
    if not isinstance(reported, dict) or (used := _number(reported.get("operating"))) is None:
        return None
    reset, start = _number(reported.get("operating_reset_at")), _number(reported.get("start"))
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
    """Keeps the operating times that a portal reports to one credential.

    :ivar unshared: those that :meth:`share` has not written yet, by method.
    """

    unshared: dict[str, OperatingTime]

    def note(self, method: str, reported: object) -> None:
        """Keep the operating time in the ``time`` of a reply, if there is one."""

    def share(self) -> None:
        """Write them where other processes find them; blocking."""

    def release(self, method: str) -> Release:
        """Return when a method that is refused now can be called again; blocking."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds of the retries of a call.

    :param attempts: how often a call is sent at most, the first time included.
    :param first: seconds before the first retry; each later one waits twice as long.
    :param longest: seconds of one wait at most, unless the portal names a longer one.
    :param total: seconds of all waits of one exchange together at most.
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
    """How much of a policy one exchange has spent."""

    policy: RetryPolicy
    attempts: int = 0
    waited: float = 0.0

    def spend(self, error: Bitrix24Error, jitter: float) -> tuple[float, RetryState] | None:
        """Return the delay before the next attempt and the state after it.

        A time named by the portal replaces the exponential backoff, which has 50 % jitter so that workers refused at
        the same moment do not return at the same moment.

        :param jitter: a number from 0 up to 1, drawn by the caller.
        :return: ``None`` when attempts or time are exhausted.
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
