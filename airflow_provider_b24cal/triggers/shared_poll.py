"""Waits in one triggerer that ask the same portal at the same time, and so in the same requests."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from contextvars import Context
from random import random
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome, command
from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_b24cal.bitrix24.protocol.call import Call

# Whoever waits repeats by themselves, within their own patience.
_ONCE: Final = RetryPolicy(attempts=1)
_GATHERING: Final = 0.05
"""Seconds without a newcomer after which a round is sent."""
_LONGEST_GATHERING: Final = 20
"""Turns of gathering after which it is sent whoever may still come."""
_SLICE: Final = 250
"""Calls that are added to a round in one stretch."""


class SharedPoll:
    """What the waits on one connection share, within one event loop: their ticks and their requests.

    There is no poller that could die and no list of members: whoever has something to ask at the same moment
    is packed into one round of batches, and a wait that nobody asks for is not asked.

    :ivar chance: a number from 0 up to 1 for delays before something is repeated. It is the same for all
        members, so that those who failed together come back together.
    """

    def __init__(self, conn_id: str) -> None:
        self.jitter = random()  # noqa: S311 - nothing secret depends on it
        self._conn_id = conn_id
        self._origins: dict[float, float] = {}
        self._joinable: _PollBatch | None = None

    @property
    def members(self) -> int:
        """How many take part in the round that can still be joined."""
        return 0 if self._joinable is None else self._joinable.members

    def origin(self, step: float, proposed: float) -> float:
        """Return the moment from which ticks of this step are counted: the first one that was proposed."""
        return self._origins.setdefault(step, proposed)

    async def call_many(self, calls: Sequence[Call[Any]]) -> list[Outcome[Any]]:
        """Make calls that only read, once, together with whoever else asks now.

        The same call of several is made once. Nobody's error is somebody else's.

        :return: an outcome per call, in the order given.
        """
        if not calls:
            return []
        joined = self._joinable
        if joined is None or joined.abandoned:
            joined = self._joinable = _PollBatch(self._conn_id)
            # In a context of its own: log lines of one request for many belong into nobody's task log.
            joined.task = asyncio.get_running_loop().create_task(self._send(joined), context=Context())
        return await joined.take_part(calls)

    async def _send(self, joined: _PollBatch) -> None:
        await joined.gather()
        # Whoever comes from now on begins a new one.
        self._joinable = None
        await joined.settle()
        await joined.send()


class _PendingCall:
    """One call of a round, and how many want to know."""

    __slots__ = ("answer", "call", "wanted")

    def __init__(self, call: Call[Any]) -> None:
        self.call = call
        self.answer: asyncio.Future[Outcome[Any]] = asyncio.get_running_loop().create_future()
        self.wanted = 0

    def fail(self, error: Exception) -> None:
        """Let everybody who wants to know raise an error, unless there is an answer already."""
        if not self.answer.done():
            self.answer.set_exception(error)
            # Of several that failed a member raises one; the others are no news for asyncio to log.
            self.answer.exception()


class _PollBatch:
    """The calls that are made together.

    :ivar abandoned: everybody who took part has left, and it is given up.
    :ivar members: how many take part.
    """

    def __init__(self, conn_id: str) -> None:
        self.abandoned = False
        self.members = 0
        self.task: asyncio.Task[None] | None = None
        self._conn_id = conn_id
        self._asked: dict[str, _PendingCall] = {}
        self._adding = 0
        self._answered = False

    async def take_part(self, calls: Sequence[Call[Any]]) -> list[Outcome[Any]]:
        """Have calls made with the others' and wait for their outcomes."""
        mine: list[_PendingCall] = []
        self.members += 1
        try:
            await self._add(calls, mine)
            # wait() leaves the answers alone when this task is cancelled; they may be somebody else's too.
            await asyncio.wait([asked.answer for asked in mine])
            return [asked.answer.result() for asked in mine]
        finally:
            for asked in mine:
                asked.wanted -= 1
            self.members -= 1
            # A round that has answered is closing its connections and must not be disturbed.
            if not self.members and not self._answered and self.task is not None:
                self.abandoned = True
                self.task.cancel()

    async def _add(self, calls: Sequence[Call[Any]], mine: list[_PendingCall]) -> None:
        """Add calls, some at a time, so that thousands do not hold up the loop."""
        self._adding += 1
        try:
            for number, call in enumerate(calls, 1):
                asked = self._asked.setdefault(command(call), _PendingCall(call))
                asked.wanted += 1
                mine.append(asked)
                if not number % _SLICE:
                    await asyncio.sleep(0)
        finally:
            self._adding -= 1

    async def gather(self) -> None:
        """Wait until nobody comes any more."""
        for _ in range(_LONGEST_GATHERING):
            before = len(self._asked), self.members
            await asyncio.sleep(_GATHERING)
            if before == (len(self._asked), self.members):
                break

    async def settle(self) -> None:
        """Wait until whoever takes part has added all of their calls."""
        while self._adding:  # noqa: ASYNC110 - as short as what it waits for
            await asyncio.sleep(0)

    async def send(self) -> None:
        """Make the calls that are still wanted, and give everybody their answer."""
        asked = [one for one in self._asked.values() if one.wanted]
        # A hook of its own for each round: the connection may have changed since the last one.
        hook = Bitrix24CalendarHook(self._conn_id, retry=_ONCE)
        rest = iter(asked)
        try:
            async with aclosing(hook.acall_many_iter([one.call for one in asked])) as parts:
                async for outcomes in parts:
                    for outcome, one in zip(outcomes, rest, strict=False):
                        one.answer.set_result(outcome)
        except Bitrix24Error as error:  # the connection itself is not usable
            for one in rest:
                one.answer.set_result(Outcome(error=error.with_traceback(None)))
        except Exception as error:  # noqa: BLE001 - each of those who wait raises it
            for one in rest:
                one.fail(error)
        finally:
            self._answered = True
            for one in asked:
                one.fail(RuntimeError("The round of polls ended without an answer to this one."))
            await hook.aclose()


_POLLS: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[str, SharedPoll]] = WeakKeyDictionary()
# A round that was begun in a parent process is sent there.
os.register_at_fork(after_in_child=_POLLS.clear)


def shared_poll(conn_id: str) -> SharedPoll:
    """Return what the waits on a connection share in the running loop; it lives as long as one of them."""
    polls = _POLLS.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    poll = polls.get(conn_id)
    if poll is None:
        poll = polls[conn_id] = SharedPoll(conn_id)
    return poll
