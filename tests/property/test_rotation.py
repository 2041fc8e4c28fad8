"""Races for one refresh token: hosts that step in any order, and real processes that begin together."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_b24cal.bitrix24.auth.credentials import Request, Secret
from airflow_provider_b24cal.bitrix24.auth.renewal import Renewal, renew
from airflow_provider_b24cal.bitrix24.auth.tokens import Application, Grant, TokenPair
from airflow_provider_b24cal.bitrix24.protocol.exchange import Blocking, Pause, Send, Steps
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply

APPLICATION = Application("local.1", Secret("key"), None, "https://oauth.bitrix.info")


@dataclass
class World:
    """An authorisation server whose refresh tokens serve once, and a store, both shared by all hosts.

    :param lives: how many pairs it gives out before it refuses everybody.
    """

    lives: int = 10**6
    given: int = 0
    good: str = "r0"
    pair: TokenPair = field(default_factory=lambda: TokenPair(Secret("a0"), Secret("r0")))

    def answer(self, request: Request) -> Reply:
        token = parse_qs(request.body.decode())["refresh_token"][0]
        if token != self.good or self.given >= self.lives:
            return Reply(400, b'{"error": "invalid_grant", "error_description": "used"}')
        self.given += 1
        self.good = f"r{self.given}"
        return Reply(200, json.dumps({"access_token": f"a{self.given}", "refresh_token": self.good}).encode())

    def load(self) -> TokenPair:
        return self.pair

    def check_writable(self) -> None:
        """It is."""

    def save(self, pair: TokenPair) -> None:
        self.pair = pair


class Host:
    """One host that wants another token than ``stale``; it has one renewal under way at most."""

    def __init__(self, world: World, stale: str) -> None:
        self.world = world
        self.steps: Steps[Renewal] = renew(Grant(APPLICATION, world.pair), Secret(stale), 0.0, world)
        self.wants = next(self.steps)
        self.result: TokenPair | None = None

    @property
    def waits(self) -> bool:
        return isinstance(self.wants, Pause)

    def step(self) -> None:
        answer: object = None
        match self.wants:
            case Send():
                answer = self.world.answer(self.wants.request)
            case Blocking():
                answer = self.wants.function()
        try:
            self.wants = self.steps.send(answer)
        except StopIteration as end:
            self.result = end.value.pair


@given(st.integers(2, 6), st.lists(st.integers(0, 5), max_size=80))
def test_hosts_that_race_all_end_with_a_token_that_is_good(hosts: int, order: list[int]) -> None:
    world = World()
    racing = [Host(world, "a0") for _ in range(hosts)]
    turns = iter([*order, *range(6)] * 1000)
    while any(host.result is None for host in racing):
        # Who pauses is overtaken by those who do not: the pauses are longer than storing a pair takes.
        ready = [host for host in racing if host.result is None and not host.waits]
        ready = ready or [host for host in racing if host.result is None]
        ready[next(turns) % len(ready)].step()
    assert world.given == 1
    assert {host.result.access.reveal() for host in racing if host.result} == {"a1"}
    assert (world.pair.access.reveal(), world.pair.refresh.reveal()) == ("a1", world.good)


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_who_comes_later_takes_what_is_stored(expired: list[bool]) -> None:
    world, used = World(), "a0"
    for ends in expired:
        host = Host(world, used if ends else "long ago")
        while host.result is None:
            host.step()
        used = host.result.access.reveal()
    assert world.given == sum(expired)
    assert world.pair.access.reveal() == f"a{world.given}"


def test_sixteen_processes_spend_one_renewal_and_none_fails() -> None:
    program = Path(__file__).parents[2] / "benchmarks" / "one_renewal.py"
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 answered, 1 renewal(s) spent" in done.stdout
