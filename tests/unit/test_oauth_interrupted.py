"""Renewals by many at once, and renewals that are cancelled or killed: the pair is not lost."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.clock import Clock
from tests.portal_data import MANY, SILENT
from tests.tokens import CONNECTION, Blocking, Connect, issued, stored


def test_many_threads_and_tasks_spend_one_renewal(connect: Connect, portal: Portal, clock: Clock) -> None:
    connect()
    portal.expire_tokens()
    portal.plan({"method": "oauth.token", "delay": 0.3})
    together = threading.Barrier(8)

    def read(_: int) -> str:
        hook = Blocking()
        together.wait(120)
        return hook.status(SILENT)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(8))) == ["Q"] * 8
    assert issued(portal) == 1
    portal.expire_tokens()
    portal.plan({"method": "oauth.token", "delay": 0.3})

    async def all_at_once() -> list[str]:
        hooks = [Bitrix24CalendarHook(CONNECTION) for _ in range(8)]
        try:
            return list(await asyncio.gather(*(hook.aget_meeting_status(SILENT) for hook in hooks)))
        finally:
            await asyncio.gather(*(hook.aclose() for hook in hooks))

    assert asyncio.run(all_at_once()) == ["Q"] * 8
    assert issued(portal) == 2
    assert portal.auth_server.refused == {}


def test_a_cancelled_task_does_not_lose_the_pair(connect: Connect, portal: Portal) -> None:
    """A trigger may be cancelled at any moment, also between the answer and the store."""
    folder = connect()
    portal.expire_tokens()
    portal.plan({"method": "oauth.token", "delay": 3.0, "when": "after"})

    async def cancelled() -> None:
        hook = Bitrix24CalendarHook(CONNECTION)
        task = asyncio.create_task(hook.aget_meeting_status(SILENT))
        while not issued(portal):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not any(folder.glob("b24cal*[0-9a-f].json")):
            await asyncio.sleep(0.01)
        await hook.aclose()

    asyncio.run(asyncio.wait_for(cancelled(), 60))
    assert Blocking().status(SILENT) == "Q"
    assert issued(portal) == 1


class StopError(BaseException):
    """What Airflow raises in the middle of whatever runs."""


@pytest.fixture
def stop_when_issued(portal: Portal) -> Iterator[None]:
    """Stop the task as soon as the authorisation server has given out a pair that is still on its way."""

    def stop(*_: object) -> None:
        raise StopError

    def watch() -> None:
        while not (issued(portal) or over.wait(0.01)):
            pass
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    over = threading.Event()
    previous = signal.signal(signal.SIGALRM, stop)
    thread = threading.Thread(target=watch)
    thread.start()
    yield
    over.set()
    thread.join()
    signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize("many", [False, True])
def test_a_task_that_is_stopped_does_not_lose_the_pair(
    many: bool, connect: Connect, portal: Portal, stop_when_issued: None
) -> None:
    """A task may run out of its time between the answer and the store; its process may end right after."""
    folder = connect()
    portal.expire_tokens()
    portal.plan({"method": "oauth.token", "delay": 0.5, "when": "after"})
    hook = Blocking()
    read: Callable[[], object] = (lambda: hook.statuses(MANY)) if many else (lambda: hook.status(SILENT))
    with pytest.raises(StopError):
        read()
    assert stored(folder).access.reveal() in portal.auth_server._by_access
    assert Blocking().status(SILENT) == "Q"
    assert issued(portal) == 1
