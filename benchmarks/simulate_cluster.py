"""Pods that do not know of each other, and one rate limit of their portal: ways to go on after a refusal, compared.

Time is virtual, so an hour takes seconds. The exchanges and the bucket are those of the provider, the portal's limit is
that of the sandbox, and only the network between them is made up: 20 to 50 ms to the portal, 0.87 s for a request of
fifty statuses, 0.1 s for a refusal. The same seed gives the same numbers.

``python benchmarks/simulate_cluster.py [name of a candidate ...]``; all by default. About two minutes.
"""

from __future__ import annotations

import random
import sys
from heapq import heappop, heappush
from itertools import count
from statistics import mean
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bitrix24_sandbox.limits import Limiter

from airflow_provider_b24cal.bitrix24.auth.credentials import Endpoint, Secret, Webhook
from airflow_provider_b24cal.bitrix24.calendar import methods
from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error
from airflow_provider_b24cal.bitrix24.protocol.exchange import (
    ExchangeContext,
    Pause,
    RateLimited,
    Send,
    Steps,
    run_call,
)
from airflow_provider_b24cal.bitrix24.protocol.limits import PLANS, Bucket, Plan, RetryPolicy
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply
from airflow_provider_b24cal.bitrix24.settings import in_flight
from airflow_provider_b24cal.client.operating import OperatingTimes

if TYPE_CHECKING:
    from collections.abc import Callable

PLAN: Final = Plan(2.0, 50.0)
assert PLANS["standard"] == PLAN
IN_FLIGHT: Final = in_flight(PLAN)
TOGETHER, HOUR = 1.0, 3600.0
SEEDS: Final = 3

ANSWER: Final = Reply(200, b'{"result": "Q"}')
REFUSAL: Final = Reply(503, b'{"error": "QUERY_LIMIT_EXCEEDED", "error_description": "Too many requests"}')


class Candidate:
    """What a pod does; this one is what the provider does."""

    def __init__(self, rng: random.Random) -> None:
        self.random = rng.random
        self.bucket = Bucket(PLAN)

    def reserve(self, now: float) -> float:
        """Return the seconds to wait before a request."""
        wait, self.bucket = self.bucket.reserve(now, self.random())
        return wait

    def refused(self, now: float) -> None:
        """Take note of a refusal."""
        self.bucket = self.bucket.refused(now)

    def jitter(self) -> float:
        """Return a number from 0 up to 1, which makes the pause before a retry longer."""
        return self.random()


class FillOnly(Candidate):
    """A refusal fills the bucket, and the rate stays whole: what the provider did before."""

    def refused(self, now: float) -> None:
        """Take note of a refusal."""
        self.bucket = Bucket(PLAN, now + PLAN.burst / PLAN.rate, now)


class FullJitter(FillOnly):
    """The same, with pauses between nothing and the whole."""

    def jitter(self) -> float:
        """Return a number from -1 up to 1."""
        return 2.0 * self.random() - 1.0


class PartOfTheBurst(FillOnly):
    """The same, and no pod begins with more than an eighth of the burst."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.bucket = Bucket(PLAN, PLAN.burst / PLAN.rate * 7 / 8, 0.0)


class IncreaseAndDecrease(Candidate):
    """A share that a refusal halves, and to which each request adds a hundredth."""

    share, next, halved = 1.0, 0.0, -HOUR

    def reserve(self, now: float) -> float:
        """Return the seconds to wait before a request."""
        if self.share >= 1.0:
            return super().reserve(now)
        interval = 1.0 / (PLAN.rate * self.share)
        begin = max(now, self.next)
        self.next, self.share = begin + interval, self.share + 0.01
        return begin - now + self.random() * interval

    def refused(self, now: float) -> None:
        """Take note of a refusal; of several within a second only one counts."""
        if now > self.halved + 1.0:
            self.halved, self.share = now, max(1.0 / 500.0, self.share / 2.0)


class Known(Candidate):
    """All pods have one bucket, as through Redis."""

    shared = Bucket(PLAN)

    def reserve(self, now: float) -> float:
        """Return the seconds to wait before a request."""
        wait, Known.shared = Known.shared.reserve(now)
        return wait


CANDIDATES: Final[dict[str, type[Candidate]]] = {
    "before": FillOnly,
    "full-jitter": FullJitter,
    "part-of-burst": PartOfTheBurst,
    "aimd": IncreaseAndDecrease,
    "chosen": Candidate,
    "redis": Known,
}


class Scenario(NamedTuple):
    """Pods that each read some statuses.

    :param over: seconds within which they start.
    """

    pods: int
    statuses: int
    over: float = TOGETHER

    @property
    def requests(self) -> int:
        """How many requests are needed."""
        return self.pods * self.statuses // 50

    @property
    def bound(self) -> float:
        """Seconds below which no program can be."""
        return max((self.requests - PLAN.burst) / PLAN.rate, self.over)


SCENARIOS: Final = (
    *(Scenario(*size) for size in ((1, 5000), (4, 1000), (16, 500), (48, 100), (200, 50), (1000, 50), (64, 1000))),
    Scenario(1000, 100, HOUR),
    Scenario(100, 5000, HOUR),
)


class _Source:
    """The endpoint of all pods; it never changes."""

    endpoint = Endpoint("https://example.bitrix24.com", Webhook("1", Secret("c0dec0dec0de")))

    def moved(self, endpoint: Endpoint) -> None:
        """Portals do not move here."""


class Simulation:
    """One run of a scenario; requests of fifty statuses stand as single calls, which costs less and counts the same."""

    def __init__(self, scenario: Scenario, candidate: type[Candidate], seed: int) -> None:
        Known.shared = Bucket(PLAN)
        self._rng = random.Random(seed)
        self._limiter = Limiter()
        self._numbers = count()
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sent: list[float] = []
        self.refused = self.failed = 0
        for _ in range(scenario.pods):
            pod = candidate(self._rng)
            context = ExchangeContext(_Source(), RetryPolicy(), pod.jitter, OperatingTimes())
            rest = iter([context] * (scenario.statuses // 50))
            begin = self._rng.random() * scenario.over
            for _ in range(IN_FLIGHT):
                self._at(begin, self._start, pod, rest)
        now = 0.0
        while self._due:
            now, _, function, arguments = heappop(self._due)
            function(now, *arguments)
        self.wall = now - self._sent[0]

    def _at(self, when: float, function: Callable[..., None], *arguments: Any) -> None:
        heappush(self._due, (when, next(self._numbers), function, arguments))

    def _start(self, now: float, pod: Candidate, rest: Any) -> None:
        for context in rest:
            steps = run_call(methods.get_status(1), context)
            return self._do(now, pod, rest, steps, next(steps))

    def _do(self, now: float, pod: Candidate, rest: Any, steps: Steps[Any], step: object) -> None:
        match step:
            case Send():
                self._at(now + pod.reserve(now), self._send, pod, rest, steps)
            case Pause(seconds):
                self._at(now + seconds, self._go_on, pod, rest, steps)
            case RateLimited():
                pod.refused(now)
                self._go_on(now, pod, rest, steps)

    def _send(self, now: float, *running: Any) -> None:
        self._sent.append(now)
        self._at(now + self._rng.uniform(0.02, 0.05), self._arrive, *running)

    def _arrive(self, now: float, *running: Any) -> None:
        if self._limiter.admit("here", now, PLAN.rate, int(PLAN.burst)):
            self._at(now + 0.87, self._go_on, *running, ANSWER)
        else:
            self.refused += 1
            self._at(now + 0.1, self._go_on, *running, REFUSAL)

    def _go_on(self, now: float, pod: Candidate, rest: Any, steps: Steps[Any], answer: Reply | None = None) -> None:
        try:
            step = steps.send(answer)
        except (StopIteration, Bitrix24Error) as end:
            self.failed += isinstance(end, Bitrix24Error)
            return self._start(now, pod, rest)
        self._do(now, pod, rest, steps, step)


def main(names: list[str]) -> int:
    """Print a line for each candidate and scenario; return 1 when the chosen one misses what is wanted."""
    kept = True
    for name in names or CANDIDATES:
        for scenario in SCENARIOS:
            runs = [Simulation(scenario, CANDIDATES[name], seed) for seed in range(SEEDS)]
            ratio = mean(run.wall for run in runs) / scenario.bound
            refused = mean(run.refused for run in runs) / scenario.requests
            failed = mean(run.failed for run in runs)
            print(
                f"{name:14} {scenario.pods:5} pods x {scenario.statuses:5} statuses"
                f" {'in an hour' if scenario.over == HOUR else 'together  '}   wall / bound {ratio:5.2f}"
                f"   refused / needed {refused:5.2f}   failed {failed:6.1f} of {scenario.requests}",
                flush=True,
            )
            if name == "chosen" and scenario[:2] in {(16, 500), (48, 100), (200, 50)}:
                kept &= not failed and ratio <= 1.6 and refused <= (1.4 if scenario.pods == 200 else 1.0)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
