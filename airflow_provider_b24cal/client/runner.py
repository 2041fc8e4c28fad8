"""Runs the steps of exchanges through a dispatcher, one exchange or several at once, in threads or on an event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
    from concurrent.futures import Future

    from airflow_provider_b24cal.bitrix24.protocol.exchange import Steps
    from airflow_provider_b24cal.client.dispatcher import AsyncDispatcher, Dispatcher

T = TypeVar("T")

_LARGE: Final = 128 * 1024
"""Bytes of a reply from which reading it, some ten milliseconds, would block an event loop for too long."""


class StepHandler(Protocol):
    """Executes a step and returns its answer, or raises the error."""

    def do(self, step: Any) -> Any:
        """Execute one step."""


class AsyncStepHandler(Protocol):
    """The same without blocking the event loop."""

    async def do(self, step: Any) -> Any:
        """Execute one step."""


def run(steps: Generator[Any, Any, T], dispatcher: StepHandler) -> T:
    """Run an exchange and return its result."""
    try:
        step = next(steps)
        while True:
            try:
                answer = dispatcher.do(step)
            except Bitrix24Error as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


async def arun(steps: Generator[Any, Any, T], dispatcher: AsyncStepHandler) -> T:
    """Run an exchange on an event loop; the twin of :func:`run`."""
    try:
        step = next(steps)
        while True:
            try:
                answer = await dispatcher.do(step)
            except Bitrix24Error as error:
                step = steps.throw(error)
            else:
                if isinstance(answer, Reply) and len(answer.body) > _LARGE:
                    done, step = await asyncio.to_thread(_send, steps, answer)
                    if done:
                        reached: T = step
                        return reached
                else:
                    step = steps.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


def _send(steps: Generator[Any, Any, Any], answer: Reply) -> tuple[bool, Any]:
    """Send an answer; return whether that was the end, and the next step or the result.

    A ``StopIteration`` cannot leave a thread.
    """
    try:
        return False, steps.send(answer)
    except StopIteration as end:
        return True, end.value


def run_many(many: Iterable[Steps[T]], dispatcher: Dispatcher, at_once: int) -> Iterator[T]:
    """Run exchanges, ``at_once`` of them in flight, and yield their results in the order given.

    Few are prepared ahead, so that memory does not grow with their number. When the iteration is left early, the rest
    never starts.
    """
    rest = iter(many)
    alone, second = next(rest, None), next(rest, None)
    if second is None:
        # A single one needs no thread of its own.
        if alone is not None:
            yield run(alone, dispatcher)
        return
    assert alone is not None
    with ThreadPoolExecutor(at_once, thread_name_prefix="bitrix24") as pool:
        in_flight: deque[Future[T]] = deque()
        try:
            for steps in chain((alone, second), rest):
                in_flight.append(pool.submit(run, steps, dispatcher))
                if len(in_flight) > 2 * at_once:
                    yield in_flight.popleft().result()
            while in_flight:
                yield in_flight.popleft().result()
        except BaseException:
            dispatcher.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


async def arun_many(many: Iterable[Steps[T]], dispatcher: AsyncDispatcher, at_once: int) -> AsyncGenerator[T, None]:
    """Run exchanges on an event loop; the twin of :func:`run_many`."""
    in_flight: deque[asyncio.Task[T]] = deque()
    slots = asyncio.Semaphore(at_once)

    async def one(steps: Steps[T]) -> T:
        async with slots:
            return await arun(steps, dispatcher)

    try:
        for steps in many:
            in_flight.append(asyncio.create_task(one(steps)))
            if len(in_flight) > 2 * at_once:
                yield await in_flight.popleft()
        while in_flight:
            yield await in_flight.popleft()
    finally:
        for task in in_flight:
            task.cancel()
