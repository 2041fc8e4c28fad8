"""Tokens through the hook, blocking and asynchronous, against the sandbox's authorisation server."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.auth.credentials import Secret
from airflow_provider_b24cal.bitrix24.auth.tokens import REFRESH_TOKEN_LIFE, Application, read_stored
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply
from airflow_provider_b24cal.client.auth import TRIAL
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from airflow_provider_b24cal.operators.meeting_status import Bitrix24GetMeetingStatusOperator
from tests.conftest import ACCEPTED, MANY, NOTIFYING, SILENT, Clock

CONNECTION = "bitrix24_tokens"
Connect = Callable[..., Path]


@pytest.fixture
def connect(server: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Make a connection with a new pair of tokens and a file store; return the folder of the store."""

    def make(user_id: int = 1, **extra: Any) -> Path:
        folder = tmp_path / "tokens"
        told = server.oauth_connection_json(user_id, **{"token_store": f"file:{folder}", **extra})
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", told)
        return folder

    return make


class Blocking:
    """The hook as a worker uses it; :class:`Asynchronous` is the same on an event loop."""

    def __init__(self, policy: RetryPolicy | None = None) -> None:
        self.hook = Bitrix24CalendarHook(CONNECTION, retry=policy)

    def status(self, event_id: int) -> str:
        return self.hook.get_meeting_status(event_id)

    def outcomes(self, event_ids: Any) -> Any:
        return self.hook.get_meeting_statuses(event_ids).values()

    def statuses(self, event_ids: Any) -> list[str]:
        return [outcome.unwrap() for outcome in self.outcomes(event_ids)]


class Asynchronous(Blocking):
    def status(self, event_id: int) -> str:
        return asyncio.run(self._ended(self.hook.aget_meeting_status(event_id)))

    def outcomes(self, event_ids: Any) -> Any:
        return asyncio.run(self._ended(self.hook.aget_meeting_statuses(event_ids))).values()

    async def _ended(self, work: Any) -> Any:
        try:
            return await work
        finally:
            await self.hook.aclose()


@pytest.fixture(params=[Blocking, Asynchronous], ids=["blocking", "asynchronous"])
def reader(request: pytest.FixtureRequest, clock: Clock) -> Any:
    return request.param


def _issued(portal: Portal) -> int:
    return portal.auth_server.issued["refresh_token"]


def _stored(folder: Path) -> Any:
    (file,) = [file for file in folder.iterdir() if not file.stem.endswith(TRIAL)]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return read_stored(file.read_text())


def test_a_token_is_used_until_the_portal_refuses_it(reader: Any, connect: Connect, portal: Portal) -> None:
    folder = connect()
    hook = reader()
    assert [hook.status(SILENT), hook.status(ACCEPTED)] == ["Q", "Y"]
    assert _issued(portal) == 0
    assert not folder.exists()
    portal.expire_tokens()
    before = portal.counters.requests
    assert [hook.status(SILENT), hook.status(ACCEPTED)] == ["Q", "Y"]
    # One refused, one replayed, one more with the new token.
    assert portal.counters.requests - before == 3
    assert _issued(portal) == 1
    assert _stored(folder).access.reveal() in portal.auth_server._by_access
    # The next task, with the same connection, finds the pair in the store.
    before = portal.counters.requests
    assert reader().status(SILENT) == "Q"
    assert (portal.counters.requests - before, _issued(portal)) == (1, 1)


@pytest.mark.parametrize("code", ["expired_token", "invalid_token", "EXPIRED_TOKEN"])
@pytest.mark.parametrize("column", ["module", "docs"])
def test_one_renewal_and_one_replay(code: str, column: str, reader: Any, connect: Connect, portal: Portal) -> None:
    connect()
    portal.configure({"auth_statuses": column})
    portal.plan({"error": code, "http_status": 401, "times": 2})
    with pytest.raises(errors.TokenError):
        reader().status(SILENT)
    assert (portal.counters.requests, _issued(portal)) == (2, 1)
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
    assert _issued(portal) == 2


@pytest.mark.parametrize("token", ["a b", "t\u00f6ken", "\u0442\u043e\u043a\u0435\u043d", "a\r\nb", ""])
def test_a_token_that_no_request_could_carry_is_refused_before_it_is_stored(token: str) -> None:
    application = Application("local.1", Secret("secret"), None, "https://oauth.bitrix.info")
    answer = {"access_token": token, "refresh_token": "good"}
    with pytest.raises(errors.UnexpectedReplyError, match="printable ASCII"):
        application.read(Reply(200, json.dumps(answer).encode()), Secret("used"), 0.0)
    with pytest.raises(errors.TokenStoreError, match="printable ASCII"):
        read_stored(json.dumps(answer))


def test_an_authorisation_server_that_repeats_the_new_tokens_shows_none() -> None:
    application = Application("local.1", Secret("secret"), None, "https://oauth.bitrix.info")
    answer = {
        "error": "invalid_scope", "error_description": "made n3wAccess and n3wRefresh",
        "access_token": "n3wAccess", "refresh_token": "n3wRefresh",
    }  # fmt: skip
    with pytest.raises(errors.ScopeError, match=r"made \*\*\* and \*\*\*"):
        application.read(Reply(200, json.dumps(answer).encode()), Secret("used"), 0.0)


def test_a_refusal_in_the_form_of_rest_v3_shows_no_token_either() -> None:
    application = Application("local.1", Secret("secret"), None, "https://oauth.bitrix.info")
    answer = {"error": {"code": "invalid_grant", "message": f"issued {'9f' * 32}"}}
    with pytest.raises(errors.CredentialsError, match=r"issued \*\*\*") as raised:
        application.read(Reply(400, json.dumps(answer).encode()), Secret("used"), 0.0)
    assert raised.value.code == "invalid_grant"


@pytest.mark.parametrize("at", ["1e400", "NaN", "9" * 400, "-1e300"])
def test_a_time_that_no_clock_shows_is_not_believed(at: str) -> None:
    assert read_stored(f'{{"access_token": "a", "refresh_token": "b", "renewed_at": {at}}}').renewed_at is None


def test_what_a_token_kept_from_running_in_a_batch_is_made_up_for(
    reader: Any, connect: Connect, portal: Portal
) -> None:
    connect()
    portal.plan({"inner": "calendar.meeting.status.get", "error": "expired_token", "times": 7})
    assert reader().statuses(MANY[:20]) == ["Q"] * 20
    assert _issued(portal) == 1
    assert portal.counters.requests == 2


def test_a_failed_renewal_takes_nothing_from_what_was_answered(reader: Any, connect: Connect, portal: Portal) -> None:
    connect()
    portal.plan({"inner": "calendar.meeting.status.get", "error": "expired_token", "times": 2})
    portal.plan({"method": "oauth.token", "error": "wrong_client"})
    outcomes = list(reader().outcomes(MANY[:5]))
    assert [type(outcome.error) for outcome in outcomes[:2]] == [errors.CredentialsError] * 2
    assert [outcome.value for outcome in outcomes[2:]] == ["Q"] * 3


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
    assert _issued(portal) == 2


REFUSALS: list[tuple[dict[str, Any], dict[str, Any], type[Exception]]] = [
    ({"application": "unpaid"}, {}, errors.AccessError),
    ({}, {"error": "invalid_grant"}, errors.CredentialsError),
    ({}, {"error": "wrong_client"}, errors.CredentialsError),
    ({}, {"error": "invalid_client"}, errors.CredentialsError),
    ({}, {"error": "NOT_INSTALLED"}, errors.CredentialsError),
    ({}, {"error": "invalid_scope"}, errors.ScopeError),
    ({}, {"error": "insufficient_scope"}, errors.ScopeError),
    ({}, {"error": "invalid_request", "http_status": 400}, errors.PortalError),
    ({}, {"body": "{}", "http_status": 200}, errors.UnexpectedReplyError),
    ({}, {"body": '{"access_token": "a"}', "http_status": 200}, errors.UnexpectedReplyError),
    ({}, {"body": "", "http_status": 302, "headers": {"Location": "https://x/y"}}, errors.AuthServerError),
    ({}, {"body": "<h1>no</h1>", "http_status": 403}, errors.AuthServerError),
]


@pytest.mark.parametrize(("settings", "fault", "wanted"), REFUSALS, ids=lambda value: str(value)[:60])
def test_refusals_that_last(
    settings: dict[str, Any], fault: dict[str, Any], wanted: type[Exception], reader: Any, connect: Connect,
    portal: Portal,
) -> None:  # fmt: skip
    connect()
    portal.expire_tokens()
    portal.configure(settings)
    if fault:
        portal.plan({"method": "oauth.token", "times": 9, **fault})
    else:
        # The portal has its own verdict about a token that it has not seen yet; here it keeps an old one.
        portal.plan({"error": "expired_token", "times": 9})
    with pytest.raises(wanted) as caught:
        reader().statuses(MANY)
    error = caught.value
    assert type(error) is wanted
    assert error.permanence == "permanent"
    assert error.__cause__ is error.__context__ is None or isinstance(error.__context__, errors.Bitrix24Error)
    # Nobody asks again for each fifty meetings.
    assert portal.counters.requests <= 8
    text = repr(error)
    for secret in (*portal.auth_server._by_refresh, *portal.auth_server._by_access, portal.auth_server.client_secret):
        assert secret not in text


TROUBLES: list[dict[str, Any]] = [
    {"drop": "before"},
    {"error": "INTERNAL_SERVER_ERROR"},
    {"error": "QUERY_LIMIT_EXCEEDED"},
    {"body": "<h1>504</h1>", "http_status": 504},
    {"body": "", "http_status": 200},
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_trouble_that_passes(trouble: dict[str, Any], reader: Any, connect: Connect, portal: Portal) -> None:
    connect()
    portal.expire_tokens()
    portal.plan({"method": "oauth.token", "times": 2, **trouble})
    assert reader().status(SILENT) == "Q"
    assert _issued(portal) == 1


def test_an_auth_server_that_nobody_reaches(reader: Any, connect: Connect, portal: Portal, clock: Clock) -> None:
    connect(auth_server="http://127.0.0.1:9")
    portal.expire_tokens()
    with pytest.raises(errors.AuthServerError, match=r"127\.0\.0\.1:9 did not renew") as caught:
        reader(RetryPolicy(attempts=3)).status(SILENT)
    assert (caught.value.permanence, len(clock.slept)) == ("transient", 2)


def test_a_portal_that_cannot_ask_is_waited_for_and_nothing_is_renewed(
    reader: Any, connect: Connect, portal: Portal, clock: Clock
) -> None:
    connect()
    portal.configure({"auth_server": "down"})
    clock.later(3, lambda: portal.configure({"auth_server": "up"}))
    assert reader().status(SILENT) == "Q"
    assert _issued(portal) == 0
    assert len(clock.slept) > 1


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
    """Whose tokens they are comes with the first renewal; before that the own calendar has no button."""

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
    assert _issued(portal) == 1


def test_a_lost_race_with_another_host_ends_with_the_winners_token(
    reader: Any, connect: Connect, portal: Portal, clock: Clock
) -> None:
    """Another host has renewed, and stores the pair only after this one was told that it is too late."""
    folder = connect()
    hook = reader()
    hook.status(SILENT)
    access = hook.hook._client._credentials
    grant = access._store.grant
    winner = portal.grant(1)
    portal.auth_server._by_refresh.pop(grant.pair.refresh.reveal())
    portal.auth_server.expire()
    portal.auth_server._by_access[winner.access] = winner

    def store() -> None:
        told = {"access_token": winner.access, "refresh_token": winner.refresh}
        folder.mkdir(exist_ok=True)
        (folder / f"{grant.key}.json").write_text(json.dumps(told))

    clock.later(0.5, store)
    assert hook.status(SILENT) == "Q"
    assert portal.count()["tokens"] == {"issued": {}, "refused": {"invalid_grant": 1}}
    assert access.endpoint.credential.token.reveal() == winner.access


def test_an_answer_that_was_lost_is_told_as_what_it_is(reader: Any, connect: Connect, portal: Portal) -> None:
    connect()
    portal.expire_tokens()
    portal.plan({"method": "oauth.token", "drop": "after"})
    with pytest.raises(errors.CredentialsError, match="Authorise the application again"):
        reader().status(SILENT)


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
    assert (list(broken.kept), _issued(portal)) == ([key], 1)


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
    assert _issued(portal) == 0
    broken.failures = 0
    assert reader().status(SILENT) == "Q"
    assert _issued(portal) == 1


def test_a_trial_of_the_store_overwrites_nothing(connect: Connect, portal: Portal, broken: type[Broken]) -> None:
    """Another host may store the first new pair between this one's look into the store and its trial."""
    connect(token_store=STORE)
    portal.expire_tokens()
    first, second = Blocking(), Blocking()
    look = first.hook._client._get_credentials()._store
    assert look is not None
    look.load()
    assert second.status(SILENT) == "Q"
    look.check_writable()
    assert first.status(SILENT) == "Q"
    assert _issued(portal) == 1


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
    assert (portal.counters.requests, _issued(portal)) == (1, 1)
    assert hook.status(SILENT) == "Q"
    assert (list(broken.kept), _issued(portal)) == ([key], 1)


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
    assert _issued(portal) == 0
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
        assert _stored(folder).auth_server == believed


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
    assert _issued(portal) == 1
    portal.expire_tokens()
    portal.plan({"method": "oauth.token", "delay": 0.3})

    async def all_at_once() -> list[str]:
        hooks = [Bitrix24CalendarHook(CONNECTION) for _ in range(8)]
        try:
            return list(await asyncio.gather(*(hook.aget_meeting_status(SILENT) for hook in hooks)))
        finally:
            await asyncio.gather(*(hook.aclose() for hook in hooks))

    assert asyncio.run(all_at_once()) == ["Q"] * 8
    assert _issued(portal) == 2
    assert portal.auth_server.refused == {}


def test_a_cancelled_task_does_not_lose_the_pair(connect: Connect, portal: Portal) -> None:
    """A trigger may be cancelled at any moment, also between the answer and the store."""
    folder = connect()
    portal.expire_tokens()
    portal.plan({"method": "oauth.token", "delay": 3.0, "when": "after"})

    async def cancelled() -> None:
        hook = Bitrix24CalendarHook(CONNECTION)
        task = asyncio.create_task(hook.aget_meeting_status(SILENT))
        while not _issued(portal):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not any(folder.glob("b24cal*[0-9a-f].json")):
            await asyncio.sleep(0.01)
        await hook.aclose()

    asyncio.run(asyncio.wait_for(cancelled(), 60))
    assert Blocking().status(SILENT) == "Q"
    assert _issued(portal) == 1


class StopError(BaseException):
    """What Airflow raises in the middle of whatever runs."""


@pytest.fixture
def stop_when_issued(portal: Portal) -> Iterator[None]:
    """Stop the task as soon as the authorisation server has given out a pair that is still on its way."""

    def stop(*_: object) -> None:
        raise StopError

    def watch() -> None:
        while not (_issued(portal) or over.wait(0.01)):
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
    assert _stored(folder).access.reveal() in portal.auth_server._by_access
    assert Blocking().status(SILENT) == "Q"
    assert _issued(portal) == 1


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
        assert read_stored(row.val).access == hook.hook._client._credentials.endpoint.credential.token
    assert reader().status(SILENT) == "Q"
    assert _issued(portal) == 1
