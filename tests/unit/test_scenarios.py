"""One table of scenarios for reading and setting a status, run by the blocking and the asynchronous driver."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from traceback import TracebackException
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.calendar import methods
from airflow_provider_b24cal.bitrix24.calendar.set_status import Change, change_statuses
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.protocol.exchange import ExchangeContext, Steps, run_call
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.bitrix24.settings import read_settings
from airflow_provider_b24cal.client.dispatcher import AsyncDispatcher, Dispatcher, arun, run
from airflow_provider_b24cal.client.httpx_transport import HttpxTransport
from airflow_provider_b24cal.client.requests_transport import RequestsTransport
from tests.clock import Clock
from tests.contexts import context_for
from tests.portal_data import (
    ACCEPTED,
    CANARY,
    DECLINED,
    DELETED_FOR_ME,
    FOREIGN,
    HOSTED,
    NOTIFYING,
    PLAIN,
    SILENT,
    UNKNOWN,
)

GET, SET = methods.STATUS_GET, methods.STATUS_SET
Faults = list[dict[str, Any]]


def _get(event_id: int) -> Callable[[ExchangeContext], Steps[Any]]:
    return lambda terms: run_call(methods.get_status(event_id), terms)


def _set(event_id: int, letter: str) -> Callable[[ExchangeContext], Steps[Any]]:
    def steps(terms: ExchangeContext) -> Steps[Change]:
        (change,) = yield from change_statuses([(event_id, MeetingStatus(letter))], terms)
        return change.unwrap()

    return steps


@dataclass(frozen=True)
class Scenario:
    """What is done, under which trouble, and what must come of it.

    :param wanted: the value, or the class of the error.
    :param requests: how many requests it takes, exactly.
    :param stored: status of (event, user 1) in the portal afterwards.
    """

    name: str
    steps: Callable[[ExchangeContext], Steps[Any]]
    wanted: Any
    requests: int
    faults: Faults = field(repr=False)
    stored: tuple[int, str | None] | None = None
    code: str | None = None


def _is(name: str, steps: Any, wanted: Any, requests: int = 1, *faults: dict[str, Any], **more: Any) -> Scenario:
    return Scenario(name, steps, wanted, requests, list(faults), **more)


def _code(name: str, status: int, wanted: type[Exception], requests: int = 1) -> Scenario:
    fault = {"method": "*", "times": requests, "error": name, "http_status": status, "description": "no"}
    return _is(f"get: code {name}, HTTP {status}", _get(SILENT), wanted, requests, fault, code=name)


def _page(status: int, body: str, wanted: Any, requests: int = 1, times: int | None = None) -> Scenario:
    fault = {
        "method": "*",
        "times": times or requests,
        "body": body,
        "http_status": status,
        "content_type": "text/html",
    }
    return _is(
        f"get: {status} {body[:12].replace(CANARY[:9], 'code')!r} of {len(body)}", _get(SILENT), wanted, requests, fault
    )


Q, Y, N, H = MeetingStatus("Q"), MeetingStatus("Y"), MeetingStatus("N"), MeetingStatus("H")


def _change(event_id: int, wanted: str, previous: str) -> Change:
    return Change(event_id, MeetingStatus(wanted), MeetingStatus(previous), MeetingStatus(wanted))


SCENARIOS = [
    _is("get: not answered", _get(SILENT), Q),
    _is("get: accepted", _get(ACCEPTED), Y),
    _is("get: declined", _get(DECLINED), N),
    _is("get: organiser", _get(HOSTED), H),
    _is("get: not invited", _get(FOREIGN), errors.NotInvitedError),
    _is("get: not a meeting", _get(PLAIN), errors.NoSuchMeetingError, code=""),
    _is("get: unknown", _get(UNKNOWN), errors.NoSuchMeetingError, code=""),
    _is("get: the stale answer of a removed attendee is what the portal says", _get(DELETED_FOR_ME), N),
    _is("set: changed", _set(SILENT, "Y"), _change(SILENT, "Y", "Q"), 2, stored=(SILENT, "Y")),
    _is("set: back to not answered", _set(ACCEPTED, "Q"), _change(ACCEPTED, "Q", "Y"), 2, stored=(ACCEPTED, "Q")),
    _is("set: left as it is", _set(ACCEPTED, "Y"), _change(ACCEPTED, "Y", "Y"), 1, stored=(ACCEPTED, "Y")),
    _is("set: organiser", _set(HOSTED, "Y"), errors.OrganiserError, 1),
    _is("set: not invited", _set(FOREIGN, "Y"), errors.NotInvitedError, 1, stored=(FOREIGN, None)),
    _is("set: unknown", _set(UNKNOWN, "Y"), errors.NoSuchMeetingError, 1),
    _is("set: not a meeting", _set(PLAIN, "Y"), errors.NoSuchMeetingError, 1),
    _is(
        "set: the write is dropped although the portal says true",
        _set(SILENT, "Y"),
        errors.StatusNotAppliedError,
        2,
        {
            "method": "batch",
            "times": 1,
            "http_status": 200,
            "content_type": "application/json",
            "body": '{"result":{"result":{"{c0}":true,"{c1}":"Q"},"result_error":[]}}',
        },
        stored=(SILENT, "Q"),
    ),
    _is(
        "set: an empty batch is not taken for success",
        _set(SILENT, "Y"),
        _change(SILENT, "Y", "Q"),
        4,
        {
            "method": "batch",
            "times": 1,
            "http_status": 200,
            "content_type": "application/json",
            "body": '{"result":{"result":[],"result_error":[],"result_total":[],"result_next":[],"result_time":[]}}',
        },
        stored=(SILENT, "Y"),
    ),
    _is(
        "set: the answer is lost after the write was done; it is read first and not written again",
        _set(NOTIFYING, "Y"),
        _change(NOTIFYING, "Y", "Q"),
        3,
        {"method": "batch", "times": 1, "drop": "after"},
        stored=(NOTIFYING, "Y"),
    ),
    _is(
        "set: the connection breaks before the write",
        _set(NOTIFYING, "Y"),
        _change(NOTIFYING, "Y", "Q"),
        4,
        {"method": "batch", "times": 1, "drop": "before"},
        stored=(NOTIFYING, "Y"),
    ),
    _is(
        "set: a server fault after the write was done",
        _set(NOTIFYING, "N"),
        _change(NOTIFYING, "N", "Q"),
        3,
        {"method": "batch", "times": 1, "error": "INTERNAL_SERVER_ERROR", "http_status": 500, "when": "after"},
        stored=(NOTIFYING, "N"),
    ),
    _is(
        "set: refused by the rate limit, then done",
        _set(NOTIFYING, "Y"),
        _change(NOTIFYING, "Y", "Q"),
        4,
        {"method": "batch", "times": 1, "error": "QUERY_LIMIT_EXCEEDED", "http_status": 503},
        stored=(NOTIFYING, "Y"),
    ),
    _is(
        "set: the write's command fails in passing inside the batch",
        _set(NOTIFYING, "Y"),
        _change(NOTIFYING, "Y", "Q"),
        4,
        {"inner": SET, "times": 1, "error": "QUERY_LIMIT_EXCEEDED"},
        stored=(NOTIFYING, "Y"),
    ),
    _is(
        "set: the read-back's command fails in passing",
        _set(NOTIFYING, "Y"),
        _change(NOTIFYING, "Y", "Q"),
        3,
        {"inner": GET, "times": 1, "error": "INTERNAL_SERVER_ERROR"},
        stored=(NOTIFYING, "Y"),
    ),
    _is(
        "set: the scope is missing for the write",
        _set(SILENT, "Y"),
        errors.ScopeError,
        2,
        {"inner": SET, "times": 1, "error": "insufficient_scope"},
        {"inner": GET, "times": 1, "error": "insufficient_scope"},
    ),
    _is(
        "set: a gateway answers in JSON of its own after the write was done",
        _set(NOTIFYING, "Y"),
        _change(NOTIFYING, "Y", "Q"),
        3,
        {"method": "batch", "times": 1, "http_status": 502, "body": '{"message":"bad gateway"}', "when": "after",
         "content_type": "application/json"},
        stored=(NOTIFYING, "Y"),
    ),
    _is(
        "set: the write's own error wins over that of reading back",
        _set(SILENT, "Y"),
        errors.AccessError,
        2,
        {"inner": SET, "times": 1, "error": "OVERLOAD_LIMIT"},
        {"inner": GET, "times": 1, "error": "insufficient_scope"},
        stored=(SILENT, "Q"),
    ),
    # Every system error of the portal, with both statuses that portals use for it.
    _code("QUERY_LIMIT_EXCEEDED", 503, errors.RateLimitError, 4),
    _code("OPERATION_TIME_LIMIT", 429, errors.OperatingLimitError),
    _code("OVERLOAD_LIMIT", 503, errors.AccessError),
    _code("OVERLOAD_LIMIT", 401, errors.AccessError),
    _code("INTERNAL_SERVER_ERROR", 500, errors.PortalError, 4),
    _code("ERROR_UNEXPECTED_ANSWER", 500, errors.PortalError, 4),
    _code("ERROR_CORE", 400, errors.PortalError, 2),
    _code("ERROR_ARGUMENT", 400, errors.PortalError),
    _code("ERROR_METHOD_NOT_FOUND", 404, errors.PortalError),
    _code("ERROR_MANIFEST_IS_NOT_AVAILABLE", 404, errors.PortalError),
    _code("NO_AUTH_FOUND", 401, errors.CredentialsError),
    _code("INVALID_CREDENTIALS", 403, errors.CredentialsError),
    _code("INVALID_CREDENTIALS", 401, errors.CredentialsError),
    _code("authorization_error", 401, errors.CredentialsError),
    _code("session_failed", 401, errors.CredentialsError),
    _code("expired_token", 401, errors.TokenError),
    _code("invalid_token", 401, errors.TokenError),
    _code("insufficient_scope", 403, errors.ScopeError),
    _code("insufficient_scope", 401, errors.ScopeError),
    _code("INVALID_REQUEST", 400, errors.PortalError),
    _code("ACCESS_DENIED", 403, errors.AccessError),
    _code("access_denied", 401, errors.AccessError),
    _code("user_access_error", 403, errors.AccessError),
    _code("allowed_only_intranet_user", 403, errors.AccessError),
    _code("WRONG_LICENSE", 403, errors.AccessError),
    _code("WRONG_AUTH_TYPE", 403, errors.AccessError),
    _code("METHOD_CONFIRM_WAITING", 401, errors.AccessError, 4),
    _code("METHOD_CONFIRM_DENIED", 403, errors.AccessError),
    _code("CONNECTION_ERROR", 401, errors.AuthServerError, 4),
    _code("APPLICATION_NOT_FOUND", 401, errors.CredentialsError),
    _code("ERROR_OAUTH", 401, errors.CredentialsError),
    _code("NOT_INSTALLED", 401, errors.CredentialsError),
    _code("PAYMENT_REQUIRED", 401, errors.AccessError),
    _code("PORTAL_DELETED", 500, errors.AccessError),
    _code("PORTAL_DELETED", 410, errors.AccessError),
    _code("ERROR_BATCH_METHOD_NOT_ALLOWED", 405, errors.PortalError),
    _code("ERROR_BATCH_LENGTH_EXCEEDED", 400, errors.PortalError),
    _code("WRONG_ENCODING", 200, errors.PortalError, 4),
    _code("INTERNAL_WRONG_TRANSPORT", 500, errors.PortalError),
    _code("INTERNAL_WRONG_HANDLER_CLASS", 500, errors.PortalError),
    _code("SOMETHING_NEW", 418, errors.PortalError),
    _code("SOMETHING_NEW", 502, errors.PortalError, 4),
    _is(
        "get: an error in passing, then the answer",
        _get(SILENT),
        Q,
        3,
        {"method": GET, "times": 2, "error": "QUERY_LIMIT_EXCEEDED", "http_status": 503},
    ),
    _is("get: an error hides in HTTP 200", _get(SILENT), errors.CredentialsError, 1, {
        "method": GET, "times": 1, "error": "INVALID_CREDENTIALS", "http_status": 200}),
    # Answers that are not JSON.
    _page(200, "<html>Log in", errors.NotJsonError, 4),
    _page(403, "<html>Forbidden", errors.NotJsonError),
    _page(403, f"<a href='/rest/1/{CANARY}/'>{CANARY}", errors.NotJsonError),
    _page(403, "x" * 190 + CANARY, errors.NotJsonError),
    _page(400, f'{{"error":"x","error_description":"see {CANARY}"}}', errors.PortalError),
    _page(200, f'{{"result":"{CANARY}"}}', errors.UnexpectedReplyError),
    _page(500, '{"error":"","error_description":"fault"}', errors.PortalError, 4),
    _page(503, '{"message":"busy"}', Q, 2, times=1),
    _page(502, '{"message":"bad gateway"}', errors.UnexpectedReplyError, 4),
    _page(404, "<html>Not found", errors.NotJsonError),
    _page(500, "Fatal error", errors.NotJsonError, 4),
    _page(502, "<html>Bad gateway", errors.NotJsonError, 4),
    _page(504, "<html>Time-out", errors.NotJsonError, 4),
    _page(504, "<html>Time-out", Q, 3, times=2),
    _page(200, "", errors.NotJsonError, 4),
    _page(200, '{"result":"Y","ti', errors.NotJsonError, 4),
    _page(200, "[" * 100_000, errors.NotJsonError, 4),
    # JSON of another shape.
    _page(200, '{"answer":"Y"}', errors.UnexpectedReplyError),
    _page(200, '["Y"]', errors.UnexpectedReplyError),
    _page(200, '"Y"', errors.UnexpectedReplyError),
    _page(200, '{"result":true}', errors.UnexpectedReplyError),
    _page(200, '{"result":"YES"}', errors.UnexpectedReplyError),
    _page(200, '{"result":["Y"]}', errors.UnexpectedReplyError),
    _page(200, '{"error":{"code":"V3"},"result":"Y"}', errors.PortalError),
    _page(200, '{"error":"","result":"Y"}', errors.NoSuchMeetingError),
    _page(200, '{"result":"M"}', MeetingStatus("M")),
    # The wire.
    _is("get: connection reset", _get(SILENT), errors.TransportError, 4, {
        "method": GET, "times": 4, "drop": "before"}),
    _is("get: connection reset once", _get(SILENT), Q, 2, {"method": GET, "times": 1, "drop": "before"}),
    _is("get: no answer in time", _get(SILENT), errors.TransportError, 4, {
        "method": GET, "times": 4, "delay": 30}),
    _is("get: redirect", _get(SILENT), errors.ReplyError, 1, {
        "method": GET, "times": 1, "http_status": 302, "body": "moved", "content_type": "text/html",
        "headers": {"Location": f"https://elsewhere.example/rest/1/{CANARY}/"}}),
    _is("get: redirect to a login page", _get(SILENT), errors.ReplyError, 1, {
        "method": GET, "times": 1, "http_status": 302, "body": "moved", "content_type": "text/html",
        "headers": {"Location": f"https://sso.example/?back=%2Frest%2F1%2F{CANARY}%2F"}}),
    _is("get: redirect to nonsense", _get(SILENT), errors.ReplyError, 1, {
        "method": GET, "times": 1, "http_status": 302, "body": "moved", "content_type": "text/html",
        "headers": {"Location": f"http://[bad/rest/1/{CANARY}/"}}),
]  # fmt: skip


def _foreign(error: BaseException) -> list[str]:
    """Return the classes in an error's context that are not ours: their texts may hold the URL."""
    found, context = [], error.__context__
    while context is not None:
        if not isinstance(context, errors.Bitrix24Error):
            found.append(type(context).__name__)
        context = context.__context__
    return found


@pytest.mark.parametrize("driver", ["blocking", "asynchronous"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenario(
    scenario: Scenario,
    driver: str,
    server: SandboxServer,
    portal: Portal,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = read_settings(
        host=server.url,
        login="1",
        password=CANARY,
        port=None,
        extra={"timeout": 0.3 if "in time" in scenario.name else 20},
    )
    portal.plan(*scenario.faults)
    steps = scenario.steps(context_for(settings.endpoint, RetryPolicy(attempts=4)))
    log = logging.getLogger(__name__)

    def outcome() -> Any:
        if driver == "blocking":
            transport = RequestsTransport(settings)
            try:
                return run(steps, Dispatcher(transport, None, log))
            finally:
                transport.close()

        async def go() -> Any:
            carrier = HttpxTransport(settings)
            try:
                return await arun(steps, AsyncDispatcher(carrier, None, log))
            finally:
                await carrier.aclose()

        return asyncio.run(go())

    if isinstance(scenario.wanted, type):
        with pytest.raises(scenario.wanted) as caught:
            outcome()
        assert type(caught.value) is scenario.wanted
        assert scenario.code is None or caught.value.code == scenario.code
        shown = TracebackException.from_exception(caught.value, capture_locals=True)
        assert CANARY not in "".join(shown.format()) + str(caught.value.to_dict())
        assert caught.value.__cause__ is None
        assert not _foreign(caught.value)
    else:
        assert outcome() == scenario.wanted
    assert CANARY not in caplog.text
    assert caplog.records, "nothing was logged at DEBUG, so nothing is proven by its absence"
    counts: Any = portal.count()
    assert counts["requests"] == scenario.requests
    if scenario.stored is not None:
        assert portal.status(scenario.stored[0], 1) == scenario.stored[1]
        notices = counts["notifications"].get(str(scenario.stored[0]), counts["notifications"].get(scenario.stored[0]))
        if scenario.stored[0] == NOTIFYING:
            assert sum(notices.values()) == 1, "the organiser is notified once"
    assert caplog.text.count("before a retry") <= 3
