"""The asynchronous dispatcher beside the other work of its event loop, and the loop that a hook belongs to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply
from airflow_provider_b24cal.client.dispatcher import arun
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.portal_data import SILENT

LARGE = Reply(200, b" " * 200_000)


class Answers:
    """Does each step by giving an answer."""

    async def do(self, step: Reply) -> Reply:
        return step


def _reads_for_long(served: threading.Event, last: Reply | None) -> Generator[Reply, Reply, list[bool]]:
    """Read an answer for as long as it takes the loop to do something else."""
    seen = []
    answer = yield LARGE
    seen.append(served.wait(20))
    if last is not None:
        answer = yield last
        seen.append(len(answer.body) == len(last.body))
    return seen


@pytest.mark.parametrize("last", [None, LARGE, Reply(200, b"{}")], ids=["one", "large", "small"])
def test_a_large_answer_is_read_while_the_loop_does_other_things(last: Reply | None) -> None:
    async def go() -> list[bool]:
        served = threading.Event()
        asyncio.get_running_loop().call_later(0.05, served.set)
        return await arun(_reads_for_long(served, last), Answers())

    assert all(asyncio.run(go()))


def test_a_large_answer_that_cannot_be_read() -> None:
    def steps() -> Generator[Reply, Any, None]:
        yield LARGE
        raise errors.UnexpectedReplyError("no")

    with pytest.raises(errors.UnexpectedReplyError):
        asyncio.run(arun(steps(), Answers()))


def test_a_hook_belongs_to_one_loop(connection: str, portal: Portal) -> None:
    hook = Bitrix24CalendarHook(connection)
    with asyncio.Runner() as loop:
        assert loop.run(hook.aget_meeting_status(SILENT)) == "Q"
        before: Any = portal.count()
        with pytest.raises(errors.Bitrix24Error, match="another event loop"):
            asyncio.run(hook.aget_meeting_status(SILENT))
        assert portal.count()["requests"] == before["requests"]
        loop.run(hook.aclose())


def test_a_hook_that_was_closed_can_be_used_on_another_loop(connection: str) -> None:
    hook = Bitrix24CalendarHook(connection)

    async def run_call() -> str:
        try:
            return await hook.aget_meeting_status(SILENT)
        finally:
            await hook.aclose()

    assert [asyncio.run(run_call()) for _ in range(2)] == ["Q", "Q"]
