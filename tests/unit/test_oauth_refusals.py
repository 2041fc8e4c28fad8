"""Refusals and faults of the authorisation server, and what errors show of its replies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal.bitrix24.auth.credentials import Secret
from airflow_provider_b24cal.bitrix24.auth.tokens import Application, read_stored
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply
from tests.clock import Clock
from tests.portal_data import MANY, SILENT
from tests.tokens import Connect, issued


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


def test_a_failed_renewal_takes_nothing_from_what_was_answered(reader: Any, connect: Connect, portal: Portal) -> None:
    connect()
    portal.plan({"inner": "calendar.meeting.status.get", "error": "expired_token", "times": 2})
    portal.plan({"method": "oauth.token", "error": "wrong_client"})
    outcomes = list(reader().outcomes(MANY[:5]))
    assert [type(outcome.error) for outcome in outcomes[:2]] == [errors.CredentialsError] * 2
    assert [outcome.value for outcome in outcomes[2:]] == ["Q"] * 3


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
    assert issued(portal) == 1


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
    assert issued(portal) == 0
    assert len(clock.slept) > 1


def test_an_answer_that_was_lost_is_reported_as_such(reader: Any, connect: Connect, portal: Portal) -> None:
    connect()
    portal.expire_tokens()
    portal.plan({"method": "oauth.token", "drop": "after"})
    with pytest.raises(errors.CredentialsError, match="Authorise the application again"):
        reader().status(SILENT)
