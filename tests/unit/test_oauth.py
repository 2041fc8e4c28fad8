"""Renewal of tokens through the hook, blocking and asynchronous, and token stores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.auth.tokens import REFRESH_TOKEN_LIFE, read_stored
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from airflow_provider_b24cal.operators.meeting_status import Bitrix24GetMeetingStatusOperator
from tests.clock import Clock
from tests.portal_data import ACCEPTED, MANY, NOTIFYING, SILENT
from tests.tokens import CONNECTION, Blocking, Connect, issued, stored


def test_a_token_is_used_until_the_portal_refuses_it(reader: Any, connect: Connect, portal: Portal) -> None:
    folder = connect()
    hook = reader()
    assert [hook.status(SILENT), hook.status(ACCEPTED)] == ["Q", "Y"]
    assert issued(portal) == 0
    assert not folder.exists()
    portal.expire_tokens()
    before = portal.counters.requests
    assert [hook.status(SILENT), hook.status(ACCEPTED)] == ["Q", "Y"]
    # One refused, one replayed, one more with the new token.
    assert portal.counters.requests - before == 3
    assert issued(portal) == 1
    assert stored(folder).access.reveal() in portal.auth_server._by_access
    # The next task, with the same connection, finds the pair in the store.
    before = portal.counters.requests
    assert reader().status(SILENT) == "Q"
    assert (portal.counters.requests - before, issued(portal)) == (1, 1)


@pytest.mark.parametrize("code", ["expired_token", "invalid_token", "EXPIRED_TOKEN"])
@pytest.mark.parametrize("column", ["module", "docs"])
def test_one_renewal_and_one_replay(code: str, column: str, reader: Any, connect: Connect, portal: Portal) -> None:
    connect()
    portal.configure({"auth_statuses": column})
    portal.plan({"error": code, "http_status": 401, "times": 2})
    with pytest.raises(errors.TokenError):
        reader().status(SILENT)
    assert (portal.counters.requests, issued(portal)) == (2, 1)
    portal.plan({"error": code, "http_status": 401})
    assert reader().status(SILENT) == "Q"


def test_a_stored_pair_that_has_run_out_too_is_renewed(reader: Any, connect: Connect, portal: Portal) -> None:
    """A hook that was idle while another task renewed, and then for longer than a token lives."""
    connect()
    idle = reader()
    assert idle.status(SILENT) == "Q"
    portal.expire_tokens()
    assert reader().status(SILENT) == "Q"
    portal.expire_tokens()
    assert idle.status(SILENT) == "Q"
    assert issued(portal) == 2


def test_what_a_token_kept_from_running_in_a_batch_is_made_up_for(
    reader: Any, connect: Connect, portal: Portal
) -> None:
    connect()
    portal.plan({"inner": "calendar.meeting.status.get", "error": "expired_token", "times": 7})
    assert reader().statuses(MANY[:20]) == ["Q"] * 20
    assert issued(portal) == 1
    assert portal.counters.requests == 2


def test_a_write_that_a_token_kept_from_running_is_made_once(connect: Connect, portal: Portal, clock: Clock) -> None:
    connect()
    portal.plan({"inner": "calendar.meeting.status.set", "error": "expired_token"})
    with Bitrix24CalendarHook(CONNECTION) as hook:
        changes = hook.set_meeting_statuses({SILENT: "Y", NOTIFYING: "Y"})
    assert [(change.previous, change.current, change.error) for change in changes.values()] == [("Q", "Y", None)] * 2
    assert portal.count()["notifications"] == {str(NOTIFYING): {"accepted": 1}}
    assert portal.counters.commands["calendar.meeting.status.set"] == 3
    portal.expire_tokens()
    with Bitrix24CalendarHook(CONNECTION) as hook:
        assert hook.set_meeting_status(NOTIFYING, "N").changed
    assert portal.count()["notifications"] == {str(NOTIFYING): {"accepted": 1, "declined": 1}}
    assert issued(portal) == 2


def test_a_pair_that_nobody_used_for_half_a_year(reader: Any, connect: Connect, portal: Portal, clock: Clock) -> None:
    connect()
    portal.expire_tokens()
    assert reader().status(SILENT) == "Q"
    portal.revoke_tokens()
    with pytest.raises(errors.CredentialsError, match="used elsewhere, revoked"):
        reader().status(SILENT)
    clock.now += REFRESH_TOKEN_LIFE + 1.0
    with pytest.raises(errors.CredentialsError, match="180 days"):
        reader().status(SILENT)


def test_a_fresh_pair_in_the_connection_wins_over_the_store_and_an_old_one_leads_back(
    reader: Any, connect: Connect, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    name = f"AIRFLOW_CONN_{CONNECTION.upper()}"
    connect()
    first = os.environ[name]
    portal.expire_tokens()
    reader().status(SILENT)
    connect(user_id=2)
    # The acting user is another one now, whatever the store holds of the first.
    assert Blocking().hook.whoami().user_id == 2
    monkeypatch.setenv(name, first)
    portal.expire_tokens()
    assert reader().status(SILENT) == "Q"
    assert Blocking().hook.whoami().user_id == 1


def test_the_button_of_a_task_asks_the_portal_for_nothing(
    reader: Any, connect: Connect, portal: Portal, server: SandboxServer
) -> None:
    """Whose tokens they are comes with the first renewal; before that their calendar has no button."""

    def button() -> list[str]:
        pushed: list[str] = []
        task = Bitrix24GetMeetingStatusOperator(task_id="t", event_id=SILENT, bitrix24_conn_id=CONNECTION)
        task.pre_execute({"ti": SimpleNamespace(xcom_push=lambda key, value: pushed.append(value))})
        return pushed

    connect()
    assert button() == []
    assert portal.counters.requests == 0
    portal.expire_tokens()
    assert reader().status(SILENT) == "Q"
    before = portal.counters.requests
    assert button() == [f"{server.url}/company/personal/user/1/calendar/?EVENT_ID={SILENT}"]
    assert portal.counters.requests == before


def test_another_worker_was_quicker(reader: Any, connect: Connect, portal: Portal) -> None:
    connect()
    slow, quick = reader(), reader()
    slow.status(SILENT)
    portal.expire_tokens()
    quick.status(SILENT)
    assert slow.status(SILENT) == "Q"
    assert issued(portal) == 1


def test_a_lost_race_with_another_host_ends_with_the_winners_token(
    reader: Any, connect: Connect, portal: Portal, clock: Clock
) -> None:
    """Another host has renewed, and stores the pair only after this one learned that it is too late."""
    folder = connect()
    hook = reader()
    hook.status(SILENT)
    access = hook.hook._client._context.credentials
    grant = access._store.grant
    winner = portal.grant(1)
    portal.auth_server._by_refresh.pop(grant.pair.refresh.reveal())
    portal.auth_server.expire()
    portal.auth_server._by_access[winner.access] = winner

    def store() -> None:
        stored_pair = {"access_token": winner.access, "refresh_token": winner.refresh}
        folder.mkdir(exist_ok=True)
        (folder / f"{grant.key}.json").write_text(json.dumps(stored_pair))

    clock.later(0.5, store)
    assert hook.status(SILENT) == "Q"
    assert portal.count()["tokens"] == {"issued": {}, "refused": {"invalid_grant": 1}}
    assert access.endpoint.credential.token.reveal() == winner.access


class Broken:
    """A store that fails a few times, and notes what it is given."""

    failures = 0
    kept: dict[str, str]

    def load(self, key: str) -> str | None:
        return type(self).kept.get(key)

    def save(self, key: str, text: str) -> None:
        if type(self).failures:
            type(self).failures -= 1
            raise OSError(28, f"No space left for {text}")
        type(self).kept[key] = text


@pytest.fixture
def broken() -> Iterator[type[Broken]]:
    Broken.failures, Broken.kept = 0, {}
    import sys

    sys.modules["b24cal_test_store"] = sys.modules[__name__]
    yield Broken
    del sys.modules["b24cal_test_store"]


STORE = "b24cal_test_store.Broken"


def test_a_store_that_fails_in_passing(reader: Any, connect: Connect, portal: Portal, broken: type[Broken]) -> None:
    connect(token_store=STORE)
    portal.expire_tokens()
    key = _holds_a_pair(broken)
    broken.failures = 3
    assert reader().status(SILENT) == "Q"
    assert (list(broken.kept), issued(portal)) == ([key], 1)


def _holds_a_pair(store: type[Broken]) -> str:
    """Let a store hold the connection's own pair, so that it is known to take what is written; return its key."""
    grant: Any = Blocking().hook._client.settings().grant
    store.kept[grant.key] = grant.pair.to_text()
    return str(grant.key)


def test_a_store_that_cannot_be_written_costs_no_refresh_token(
    reader: Any, connect: Connect, portal: Portal, broken: type[Broken]
) -> None:
    connect(token_store=STORE)
    portal.expire_tokens()
    broken.failures = 99
    with pytest.raises(errors.TokenStoreError, match="Broken could not be written: No space left on device"):
        reader(RetryPolicy(attempts=3)).status(SILENT)
    assert issued(portal) == 0
    broken.failures = 0
    assert reader().status(SILENT) == "Q"
    assert issued(portal) == 1


def test_a_trial_of_the_store_overwrites_nothing(connect: Connect, portal: Portal, broken: type[Broken]) -> None:
    """Another host may store the first new pair between this one's look into the store and its trial."""
    connect(token_store=STORE)
    portal.expire_tokens()
    first, second = Blocking(), Blocking()
    look = first.hook._client._get_context().credentials._store
    assert look is not None
    look.load()
    assert second.status(SILENT) == "Q"
    look.check_writable()
    assert first.status(SILENT) == "Q"
    assert issued(portal) == 1


def test_a_pair_is_not_used_before_it_is_stored_and_not_forgotten_either(
    reader: Any, connect: Connect, portal: Portal, broken: type[Broken], caplog: pytest.LogCaptureFixture
) -> None:
    connect(token_store=STORE)
    portal.expire_tokens()
    key = _holds_a_pair(broken)
    broken.failures = 4
    hook = reader(RetryPolicy(attempts=1))
    with pytest.raises(errors.TokenStoreError, match="Broken could not be written: No space left on device") as caught:
        hook.status(SILENT)
    for token in (*portal.auth_server._by_refresh, *portal.auth_server._by_access):
        assert token not in repr(caught.value) + caplog.text
    assert (portal.counters.requests, issued(portal)) == (1, 1)
    assert hook.status(SILENT) == "Q"
    assert (list(broken.kept), issued(portal)) == ([key], 1)


def test_a_store_with_something_else_in_it(connect: Connect, portal: Portal, broken: type[Broken]) -> None:
    connect(token_store=STORE)
    key = Blocking().hook._client.settings().grant.key  # type: ignore[union-attr]
    for text in ("", "[]", '{"access_token": "x"}', '{"access_token": "x", "refresh_token": 5}'):
        broken.kept[key] = text
        with pytest.raises(errors.TokenStoreError, match="Invalid entry in the token store"):
            Blocking().status(SILENT)


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ("no.such.Store", "ModuleNotFoundError: No module named"),
        ("json.Store", "AttributeError"),
        ("json.JSONDecoder", "JSONDecoder lacks the method load or save"),
        ("json.loads", "TypeError"),
    ],
)
def test_stores_that_cannot_be_used(store: str, message: str, connect: Connect) -> None:
    connect(token_store=store)
    with pytest.raises(errors.InvalidConnectionError, match=message) as caught:
        Blocking().status(SILENT)
    assert f"(extra key token_store) '{store}'" in str(caught.value)


def test_a_connection_test_renews_nothing(connect: Connect, portal: Portal) -> None:
    folder = connect()
    good, text = Bitrix24CalendarHook(CONNECTION).test_connection()
    assert good, text
    assert "as Anna" in text
    portal.expire_tokens()
    good, text = Bitrix24CalendarHook(CONNECTION).test_connection()
    assert (good, "the next task does" in text) == (False, True)
    assert issued(portal) == 0
    assert not folder.exists()


def test_the_auth_server_may_name_itself_but_only_a_known_one_is_believed(
    reader: Any, connect: Connect, portal: Portal
) -> None:
    folder = connect()
    for named, believed in (
        ("https://oauth.bitrix24.tech/rest/", "https://oauth.bitrix24.tech"),
        ("https://oauth.evil.example/rest/", "https://oauth.bitrix24.tech"),
    ):
        portal.configure({"server_endpoint": named})
        portal.expire_tokens()
        reader().status(SILENT)
        assert stored(folder).auth_server == believed


@pytest.fixture
def database() -> Iterator[None]:
    """The table of Airflow's variables and those it refers to, for as long as a test lasts."""
    from airflow import settings
    from airflow.models import Variable, import_all_models

    # They are known only when something has imported them.
    import_all_models()
    tables = [Variable.__table__, *(key.column.table for key in Variable.__table__.foreign_keys)]
    Variable.metadata.create_all(settings.engine, tables)
    yield
    Variable.metadata.drop_all(settings.engine, tables)


def test_the_default_store_is_a_variable_that_airflow_hides(
    reader: Any, connect: Connect, portal: Portal, database: None
) -> None:
    """Through a real database; a worker and a triggerer of Airflow 3 would ask their supervisor instead."""
    from airflow.models import Variable
    from airflow.utils.session import create_session

    connect(token_store=None)
    portal.expire_tokens()
    hook = reader()
    assert hook.status(SILENT) == "Q"
    key = hook.hook._client.settings().grant.key
    assert "token" in key
    with create_session() as session:
        (row,) = session.query(Variable).filter(Variable.key == key)
        assert read_stored(row.val).access == hook.hook._client._context.credentials.endpoint.credential.token
    assert reader().status(SILENT) == "Q"
    assert issued(portal) == 1
