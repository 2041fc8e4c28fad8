"""Copies of a hook, also those that travel to another process: they begin unused, and carry no secret."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.portal_data import ACCEPTED, CANARY, SILENT


class TeamHook(Bitrix24CalendarHook):
    """Somebody's own hook, with another constructor."""

    def __init__(self, team: str) -> None:
        super().__init__(retry=RetryPolicy(attempts=3))
        self.team = team


def _pickled(hook: Any, protocol: int) -> Any:
    text = pickle.dumps(hook, protocol)
    assert CANARY.encode() not in text
    return pickle.loads(text)


COPIES = [copy.copy, copy.deepcopy, *(partial(_pickled, protocol=protocol) for protocol in (2, 4, 5))]


@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
@pytest.mark.parametrize("make", COPIES, ids=["copy", "deepcopy", "pickle 2", "pickle 4", "pickle 5"])
def test_a_copy_works_by_itself(make: Callable[[Any], Any], used: bool, connection: str, portal: Portal) -> None:
    with TeamHook("sales") as hook:
        if used:
            assert hook.get_meeting_status(SILENT) == "Q"
        with make(hook) as other:
            assert type(other) is TeamHook
            assert (other.team, other.retry, other.bitrix24_conn_id) == ("sales", hook.retry, connection)
            assert other.get_meeting_status(ACCEPTED) == "Y"
            assert other.get_conn() is not hook.get_conn()
        # The copy was closed, and the original goes on.
        before: Any = portal.count()
        assert hook.get_meeting_status(SILENT) == "Q"
        after: Any = portal.count()
        opened = after["connections"]["seen"] - before["connections"]["seen"]
        assert opened == (0 if used else 1)
