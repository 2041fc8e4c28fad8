"""The drivers: an exchange's steps over a blocking lane or an asynchronous one, one at a time or several."""

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
"""Bytes of an answer that take longer to read, some ten milliseconds, than an event loop should be held up."""


class StepHandler(Protocol):
    """Does what an exchange wants, and returns the answer or raises the error for it."""

    def do(self, step: Any) -> Any:
        """Do one step."""


class AsyncStepHandler(Protocol):
    """The same without blocking the event loop."""

    async def do(self, step: Any) -> Any:
        """Do one step."""


def run(steps: Generator[Any, Any, T], dispatcher: StepHandler) -> T:
    """Run an exchange to its end."""
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
    """Run an exchange to its end on an event loop; the twin of :func:`run`."""
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
    """Send an answer, and return whether that was the end, and the next step or the result.

    No thread can hand a ``StopIteration`` over.
    """
    try:
        return False, steps.send(answer)
    except StopIteration as end:
        return True, end.value


def run_many(many: Iterable[Steps[T]], dispatcher: Dispatcher, at_once: int) -> Iterator[T]:
    """Run exchanges, some at once, and yield their results in the order given.

    No more of them are begun than are needed to keep ``at_once`` under way, so that memory does not grow
    with their number. When the iteration is left early, those that have not begun never do.
    """
    rest = iter(many)
    alone, second = next(rest, None), next(rest, None)
    if second is None:
        # One needs no thread besides this.
        if alone is not None:
            yield run(alone, dispatcher)
        return
    assert alone is not None
    with ThreadPoolExecutor(at_once, thread_name_prefix="bitrix24") as pool:
        under_way: deque[Future[T]] = deque()
        try:
            for steps in chain((alone, second), rest):
                under_way.append(pool.submit(run, steps, dispatcher))
                if len(under_way) > 2 * at_once:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        except BaseException:
            dispatcher.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


async def arun_many(many: Iterable[Steps[T]], dispatcher: AsyncDispatcher, at_once: int) -> AsyncGenerator[T, None]:
    """Run exchanges on an event loop; the twin of :func:`run_many`."""
    under_way: deque[asyncio.Task[T]] = deque()
    places = asyncio.Semaphore(at_once)

    async def one(steps: Steps[T]) -> T:
        async with places:
            return await arun(steps, dispatcher)

    try:
        for steps in many:
            under_way.append(asyncio.create_task(one(steps)))
            if len(under_way) > 2 * at_once:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
