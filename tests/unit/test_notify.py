"""Reminders: who gets them, once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24 import (
    InvalidArgumentError,
    NotificationsFailedError,
    PortalError,
    ScopeError,
    TransportError,
    UnexpectedReplyError,
)
from airflow_provider_b24cal.hooks.base import Bitrix24Hook
from airflow_provider_b24cal.notifications.bitrix24 import Bitrix24Notifier
from airflow_provider_b24cal.operators.notify import Bitrix24NotifyOperator
from tests.clock import Clock
from tests.company import CROWD, WITHOUT, company

METHOD = "im.notify.personal.add"
TEXT = "Please answer the invitation."
ACTIVE = [user_id for user_id in CROWD if user_id % 10]
LOST_REPLY = {"method": "batch", "drop": "after"}


@pytest.fixture(scope="module")
def company_server() -> Iterator[SandboxServer]:
    with SandboxServer(Portal(parse(company()))) as running:
        yield running


@pytest.fixture(autouse=True)
def portal(company_server: SandboxServer, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Portal:
    company_server.renew()
    monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", company_server.connection_json(1))
    tokens = company_server.oauth_connection_json(1, token_store=f"file:{tmp_path}")
    monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_TOKENS", tokens)
    for user_id in WITHOUT.values():
        monkeypatch.setenv(f"AIRFLOW_CONN_USER{user_id}", company_server.connection_json(user_id))
    return company_server.portal


@pytest.fixture
def hook() -> Iterator[Bitrix24Hook]:
    with Bitrix24Hook() as hook:
        yield hook


@pytest.fixture
def by_tokens() -> Iterator[Bitrix24Hook]:
    with Bitrix24Hook("bitrix24_tokens") as hook:
        yield hook


def _received(portal: Portal) -> list[tuple[int, str]]:
    return [(one.user_id, one.text) for one in portal.notifications()]


def _requests(portal: Portal) -> Any:
    return portal.count()["requests"]


# The hook


def test_everybody_gets_it_fifty_to_a_request(hook: Bitrix24Hook, portal: Portal) -> None:
    outcomes = hook.notify([*ACTIVE, ACTIVE[0]], TEXT, max_recipients=200)
    assert list(outcomes) == ACTIVE
    assert sorted(_received(portal)) == [(user_id, TEXT) for user_id in ACTIVE]
    assert {one.id: one.user_id for one in portal.notifications()} == {
        outcome.unwrap(): user_id for user_id, outcome in outcomes.items()
    }
    assert _requests(portal) == 3


def test_nobody_is_no_request(hook: Bitrix24Hook, portal: Portal) -> None:
    assert hook.notify([], TEXT) == {}
    assert _requests(portal) == 0


def test_who_is_not_there_has_an_error_and_hides_nobody(hook: Bitrix24Hook, portal: Portal) -> None:
    outcomes = hook.notify(["21", 24, 999, 22], TEXT)
    assert {user_id: outcome.ok for user_id, outcome in outcomes.items()} == {21: True, 24: False, 999: False, 22: True}
    with pytest.raises(PortalError, match="has not notified user 999: there is no such user"):
        outcomes[999].unwrap()
    assert _received(portal) == [(21, TEXT), (22, TEXT)]


@pytest.mark.parametrize("connection", ["bitrix24_default", "bitrix24_tokens"])
def test_the_same_tag_replaces(connection: str, portal: Portal) -> None:
    with Bitrix24Hook(connection) as hook:
        for text in ("First", "Second"):
            hook.notify([21, 22], text, tag="budget")
        hook.notify([21], "Another", tag="planning")
    assert _received(portal) == [(21, "Second"), (22, "Second"), (21, "Another")]
    assert portal.inbox.sent == 5
    assert {len(one.tag) for one in portal.notifications()} == {39}


def test_a_portal_that_ignores_the_tags_of_webhooks(
    hook: Bitrix24Hook, by_tokens: Bitrix24Hook, portal: Portal
) -> None:
    portal.configure({"notification_tags": "applications"})
    for one in (hook, by_tokens, hook, by_tokens):
        one.notify([21], "By tokens" if one is by_tokens else "By webhook", tag="budget")
    assert _received(portal) == [(21, "By webhook"), (21, "By webhook"), (21, "By tokens")]


def test_a_tag_may_be_long(hook: Bitrix24Hook, portal: Portal) -> None:
    """Tags that differ behind what a portal stores are different ones."""
    for end in "ab":
        hook.notify([21], end, tag=1000 * "x" + end)
    assert _received(portal) == [(21, "a"), (21, "b")]


def test_a_lost_reply_repeats_what_replaces(by_tokens: Bitrix24Hook, portal: Portal) -> None:
    portal.plan(LOST_REPLY)
    outcomes = by_tokens.notify([21, 22], TEXT, tag="budget")
    assert all(outcome.ok for outcome in outcomes.values())
    assert (sorted(_received(portal)), portal.inbox.sent) == ([(21, TEXT), (22, TEXT)], 4)


@pytest.mark.parametrize(("connection", "tag"), [("bitrix24_default", "budget"), ("bitrix24_tokens", None)])
def test_a_lost_reply_repeats_nothing_else(connection: str, tag: str | None, portal: Portal) -> None:
    """It may have arrived, and a second one might stand beside it."""
    portal.plan(LOST_REPLY)
    with Bitrix24Hook(connection) as hook:
        outcomes = hook.notify([21, 22], TEXT, tag=tag)
    assert [type(outcome.error) for outcome in outcomes.values()] == [TransportError, TransportError]
    assert portal.inbox.sent == 2


def test_what_was_refused_before_it_ran_is_repeated(hook: Bitrix24Hook, portal: Portal) -> None:
    portal.plan({"error": "QUERY_LIMIT_EXCEEDED"})
    assert hook.notify([21], TEXT)[21].ok
    assert _received(portal) == [(21, TEXT)]


@pytest.mark.parametrize("number", ["12", 12])
def test_an_id_may_be_a_text(number: object, hook: Bitrix24Hook, portal: Portal) -> None:
    _answer(portal, number)
    assert hook.notify([21], TEXT)[21].unwrap() == 12


@pytest.mark.parametrize("result", [[], {}, True, -1, "x"])
def test_another_reply_proves_nothing(result: object, hook: Bitrix24Hook, portal: Portal) -> None:
    _answer(portal, result)
    assert isinstance(hook.notify([21], TEXT)[21].error, UnexpectedReplyError)


def _answer(portal: Portal, result: object) -> None:
    body = {"result": {"result": {"{c0}": result}, "result_error": []}}
    portal.plan({"method": "batch", "body": json.dumps(body), "content_type": "application/json"})


def test_a_dry_run_only_logs(
    hook: Bitrix24Hook, portal: Portal, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO):
        outcomes = hook.notify([21, 22], TEXT, dry_run=True)
    assert {user_id: outcome.value for user_id, outcome in outcomes.items()} == {21: None, 22: None}
    assert f"Dry run: 2 users would be notified, (21, 22): '{TEXT}'" in caplog.text + capsys.readouterr().out
    assert _requests(portal) == 0


def test_the_scope_that_is_missing_is_named() -> None:
    with Bitrix24Hook(f"user{WITHOUT['im']}") as hook, pytest.raises(ScopeError, match="lacks the scope `im`"):
        hook.notify([21], TEXT)[21].unwrap()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"user_ids": "[21]"}, "Invalid user_ids .*: expected a list of ids"),
        ({"user_ids": [21, "x"]}, "Invalid user_ids 'x': expected a positive whole number"),
        ({"user_ids": range(1, 102)}, "Invalid user_ids: expected at most 100 users; got 101. Nobody was notified"),
        ({"max_recipients": 1, "user_ids": [21, 22]}, "expected at most 1 users; got 2"),
        ({"max_recipients": 0}, "Invalid max_recipients 0"),
        ({"text": " "}, "Invalid text ' ': expected a text that is not blank"),
        ({"text": None}, "Invalid text None"),
        ({"tag": ""}, "Invalid tag '': expected a text"),
        ({"tag": 5}, "Invalid tag 5"),
        ({"dry_run": "False"}, "Invalid dry_run 'False': expected True or False"),
    ],
)
def test_invalid_arguments(arguments: dict[str, Any], message: str, hook: Bitrix24Hook, portal: Portal) -> None:
    send: Callable[..., Any] = hook.notify
    with pytest.raises(InvalidArgumentError, match=message):
        send(**{"user_ids": [21], "text": TEXT, **arguments})
    assert _requests(portal) == 0


def test_on_an_event_loop(portal: Portal) -> None:
    async def send() -> Any:
        hook = Bitrix24Hook()
        try:
            await hook.anotify([21], TEXT, dry_run=True)
            return await hook.anotify([21, 999], TEXT, tag="budget")
        finally:
            await hook.aclose()

    outcomes = asyncio.run(send())
    assert [outcome.ok for outcome in outcomes.values()] == [True, False]
    assert _received(portal) == [(21, TEXT)]


# The operator


class Run:
    """A task instance's context, and what it pushes to XCom."""

    def __init__(self, **names: Any) -> None:
        self.pushed: dict[str, Any] = {}
        known = {"dag_id": "chase", "task_id": "remind", "run_id": "manual", "map_index": -1, **names}
        instance = SimpleNamespace(**known, xcom_push=self._push)
        self.context: Any = {"ti": instance, "dag": None}

    def _push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def _operator(**arguments: Any) -> Bitrix24NotifyOperator:
    return Bitrix24NotifyOperator(task_id="remind", **{"user_ids": [21, 22], "text": TEXT, **arguments})


def test_the_operator(portal: Portal) -> None:
    done = _operator(user_ids=["21", 22]).execute(Run().context)
    assert done == {"total": 2, "sent": 2, "failed": 0, "dry_run": False, "failures": {}}
    assert _received(portal) == [(21, TEXT), (22, TEXT)]


def test_a_retried_task_replaces_its_reminder(portal: Portal) -> None:
    for _ in range(3):
        _operator().execute(Run().context)
    assert (_received(portal), portal.inbox.sent) == ([(21, TEXT), (22, TEXT)], 6)


@pytest.mark.parametrize("other", [{"run_id": "next"}, {"dag_id": "d"}, {"task_id": "t"}, {"map_index": 1}])
def test_another_task_instance_has_a_reminder_of_its_own(other: dict[str, Any], portal: Portal) -> None:
    for names in ({}, other):
        _operator(user_ids=[21]).execute(Run(**names).context)
    assert _received(portal) == [(21, TEXT), (21, TEXT)]


def test_a_tag_of_ones_own_replaces_in_later_runs(portal: Portal) -> None:
    for run_id in ("monday", "tuesday"):
        _operator(user_ids=[21], text=run_id, tag="budget").execute(Run(run_id=run_id).context)
    assert _received(portal) == [(21, "tuesday")]


def test_who_was_not_notified_is_named_and_pushed_before(portal: Portal) -> None:
    run = Run()
    with pytest.raises(NotificationsFailedError, match=r"2 of 4 recipients failed \(users 24, 999\): 2 x PortalError"):
        _operator(user_ids=[21, 24, 999, 22]).execute(run.context)
    summary = run.pushed["return_value"]
    assert {name: summary[name] for name in ("total", "sent", "failed")} == {"total": 4, "sent": 2, "failed": 2}
    assert set(summary["failures"]) == {"24", "999"}
    assert summary["failures"]["999"]["error"] == "PortalError"
    assert json.loads(json.dumps(summary)) == summary


def test_a_single_user_is_named_too() -> None:
    with pytest.raises(NotificationsFailedError, match=r"1 of 1 recipients failed \(user 999\)"):
        _operator(user_ids=[999]).execute(Run().context)


@pytest.mark.parametrize(("fail_on", "user_ids"), [("none", [999]), ("all", [21, 999])])
def test_a_task_may_go_on(fail_on: str, user_ids: list[int]) -> None:
    done = _operator(user_ids=user_ids, fail_on=fail_on).execute(Run().context)
    assert (done["failed"], list(done["failures"])) == (1, ["999"])


def test_a_dry_run_of_the_operator(portal: Portal) -> None:
    done = _operator(dry_run=True).execute(Run().context)
    assert done == {"total": 2, "sent": 0, "failed": 0, "dry_run": True, "failures": {}}
    assert portal.inbox.sent == 0


# The notifier


def _notifier(**arguments: Any) -> Bitrix24Notifier:
    return Bitrix24Notifier(**{"user_ids": [21], "text": TEXT, **arguments})


def test_the_notifier_replaces_what_the_same_task_instance_has_sent(portal: Portal) -> None:
    for run_id in ("one", "one", "two"):
        _notifier().notify(Run(run_id=run_id).context)
    assert (_received(portal), portal.inbox.sent) == ([(21, TEXT), (21, TEXT)], 3)


def test_a_notifier_leaves_the_reminder_of_its_task(portal: Portal) -> None:
    _operator(user_ids=[21]).execute(Run().context)
    _notifier(text="Done").notify(Run().context)
    assert _received(portal) == [(21, TEXT), (21, "Done")]


def test_a_callback_of_a_run_has_no_task_instance(portal: Portal) -> None:
    context: Any = {"dag": SimpleNamespace(dag_id="chase"), "run_id": "manual"}
    for _ in range(2):
        _notifier().notify(context)
    assert _received(portal) == [(21, TEXT)]


def test_without_a_run_nothing_is_replaced(portal: Portal) -> None:
    for _ in range(2):
        _notifier().notify({})
    assert _received(portal) == [(21, TEXT), (21, TEXT)]


def test_the_notifier_of_a_triggerer(portal: Portal) -> None:
    asyncio.run(_notifier().async_notify(Run().context))
    assert _received(portal) == [(21, TEXT)]


def test_the_notifier_names_whom_it_has_not_reached() -> None:
    with pytest.raises(NotificationsFailedError, match=r"1 of 2 recipients failed \(user 999\).*are in the log\.$"):
        _notifier(user_ids=[21, 999]).notify(Run().context)


def test_airflow_renders_and_calls_it(portal: Portal) -> None:
    """As a callback is called, with a DAG for the templates."""
    from airflow import DAG

    context = {**Run().context, "dag": DAG("chase"), "params": {"who": 21}}
    _notifier(text="For {{ params.who }}: {{ ti.task_id }}", user_ids=["{{ params.who }}"])(context)
    assert _received(portal) == [(21, "For 21: remind")]
