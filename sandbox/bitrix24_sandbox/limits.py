"""The limits of a cloud portal: a leaky bucket per source address, operating time per method.

A bucket and a load are values; the time comes in from outside, and what a request does to them is a new
value. :class:`Limiter` holds the present ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PLANS = {
    # plan: (requests that leak out of the bucket per second, requests the bucket holds)
    "standard": (2.0, 50),
    "enterprise": (5.0, 250),
}
OPERATING_LIMIT_S = 480.0
# Time of one request for one method counts from here on; what is shorter leaves no trace.
FLOOR_S = 0.1
_MINUTE = 60
_WINDOW = 10


@dataclass(frozen=True)
class Bucket:
    """A leaky bucket as it was left by the last request it took.

    :param level: requests in it.
    :param at: when that was.
    """

    level: float = 0.0
    at: float = 0.0

    def pour(self, now: float, rate: float, burst: int) -> Bucket | None:
        """Return the bucket with one more request in it, or ``None`` when it is full.

        :param rate: requests that leak out per second.
        :param burst: requests it holds.
        """
        level = max(0.0, self.level - max(0.0, now - self.at) * rate) + 1
        return None if level > burst else Bucket(level, now)


@dataclass(frozen=True)
class Load:
    """Operating time of one method, by minute of the last ten.

    :param minutes: pairs of the minute's number since the epoch and the seconds booked in it, in order.
    """

    minutes: tuple[tuple[int, float], ...] = ()

    def at(self, now: float) -> Load:
        """Return what is left of it at a time: minutes leave the window one by one."""
        oldest = int(now // _MINUTE) - _WINDOW + 1
        return Load(tuple(entry for entry in self.minutes if entry[0] >= oldest))

    def book(self, now: float, seconds: float) -> Load:
        """Return it with time booked in the present minute."""
        present = int(now // _MINUTE)
        kept = dict(self.at(now).minutes)
        return Load((*((m, s) for m, s in kept.items() if m != present), (present, kept.get(present, 0.0) + seconds)))

    @property
    def total(self) -> float:
        """Seconds of all minutes."""
        return sum(seconds for _, seconds in self.minutes)

    @property
    def reset_at(self) -> int | None:
        """When the oldest minute leaves the window; ``None`` when nothing is booked."""
        return (self.minutes[0][0] + _WINDOW) * _MINUTE if self.minutes else None


def portion(before: float, added: float) -> float:
    """Return how much to book when a request has spent more time on a method.

    :param before: seconds it had spent on the method already.
    :return: nothing below the floor, everything at once on crossing it.
    """
    if before + added <= FLOOR_S:
        return 0.0
    return added if before > FLOOR_S else before + added


@dataclass
class Limiter:
    """The buckets of all source addresses, and the loads of all methods of all webhooks."""

    buckets: dict[str, Bucket] = field(default_factory=dict)
    loads: dict[tuple[int, str], Load] = field(default_factory=dict)

    def admit(self, address: str, now: float, rate: float, burst: int) -> bool:
        """Pour a request into the bucket of its address, unless that is full."""
        poured = self.buckets.get(address, Bucket()).pour(now, rate, burst)
        if poured is not None:
            self.buckets[address] = poured
        return poured is not None


@dataclass
class UsageMeter:
    """What one request of one person spends on methods.

    :param limiter: where it is booked.
    :param user_id: owner of the webhook; everybody has their own budget for every method.
    :param spent: seconds by method within this request.
    """

    limiter: Limiter
    user_id: int
    spent: dict[str, float] = field(default_factory=dict)

    def load(self, method: str, now: float) -> Load:
        """Return the load of a method."""
        return self.limiter.loads.get((self.user_id, method), Load()).at(now)

    def spend(self, method: str, now: float, seconds: float) -> None:
        """Add time to a method."""
        before = self.spent.get(method, 0.0)
        self.spent[method] = before + seconds
        booked = portion(before, seconds)
        if booked:
            self.limiter.loads[self.user_id, method] = self.load(method, now).book(now, booked)
