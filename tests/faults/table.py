"""The matrix: what must happen when, for every fault on every path.

The tests run every cell of it against the sandbox, and the documentation prints it. So it is data, and imports
nothing but the classes of errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error, Permanence

PATHS = {
    "get": "read one",
    "set": "set one",
    "many": "read 120",
    "poke": "sensor, poke",
    "wait": "sensor, deferred",
}
"""The paths, and what the documentation calls them.

Without any fault they take one request, two (read; write and read back), three (of 50, 50 and 20), one, and one
(a batch of two meetings, sent by the trigger).
"""

GET, SET, TOKEN = "calendar.meeting.status.get", "calendar.meeting.status.set", "oauth.token"
DEED = {"get": GET, "set": "batch", "many": "batch", "poke": GET, "wait": "batch"}
"""The method that a fault strikes unless it names another: of a set the request that writes."""

SECRET = "{secret}"
"""Stands for the webhook's code in what a portal sends."""

Rule = Mapping[str, Any]
Rules = Sequence[Rule]


@dataclass(frozen=True)
class Cell:
    """What must come of one path under one fault.

    :param error: what it ends with; ``None`` if it ends as without the fault.
    :param requests: how many requests are sent, at least and at most; those for tokens included.
    :param failed: of several meetings, how many have no answer, at least and at most.
    :param stored: the status that a set must leave in the portal.
    :param reported: how often a set must have made the portal notify the organiser.
    """

    error: type[Bitrix24Error] | None
    requests: tuple[int, int]
    failed: tuple[int, int] | None = None
    stored: str = "Y"
    reported: int = 1


@dataclass(frozen=True)
class Fault:
    """A fault, how it is brought about, and what must come of it.

    :param name: for the tests.
    :param title: for the documentation.
    :param cells: by path; a path that the fault cannot befall has none.
    :param rules: planned trouble of the sandbox, for all paths or by path.
    :param later: further rules, planned while the provider waits for the first time.
    :param place: where the connection leads: the ``portal``, the same ``behind a proxy``, ``nobody`` (a port at which
        nobody listens), ``nowhere`` (a name that does not resolve), a ``stranger`` (a certificate that is not
        trusted), or the ``old name`` of a portal in a zone of Bitrix24.
    :param settings: of the sandbox.
    :param auth: of the connection.
    :param expired: whether the access token has run out.
    :param jump: seconds by which the clock is set forward while the provider waits for the first time.
    :param letter: what a reading that was struck shows, if it shows anything.
    """

    name: str
    title: str
    cells: Mapping[str, Cell]
    rules: Rules | Mapping[str, Rules] = ()
    later: Rules = ()
    place: str = "portal"
    settings: Mapping[str, Any] = field(default_factory=dict)
    auth: str = "webhook"
    expired: bool = False
    jump: float = 0.0
    letter: str = "Q"

    def rules_for(self, path: str) -> list[dict[str, Any]]:
        """Return the rules to plan, each with the method that it strikes."""
        rules = self.rules.get(path, ()) if isinstance(self.rules, Mapping) else self.rules
        return [dict(rule) if rule.keys() & {"method", "inner"} else {"method": DEED[path], **rule} for rule in rules]


Count = int | tuple[int, int]


def _range(count: Count) -> tuple[int, int]:
    return (count, count) if isinstance(count, int) else count


def after(requests: Count) -> Cell:
    """Say that the path ends as without the fault; a set is in place, and the organiser was notified once."""
    return Cell(None, _range(requests))


def fails(
    error: type[Bitrix24Error], requests: Count, *, failed: Count | None = None, stored: str = "Q", reported: int = 0
) -> Cell:
    """Say that the path ends with an error; a set has changed nothing unless it says otherwise."""
    return Cell(error, _range(requests), None if failed is None else _range(failed), stored, reported)


def cells(
    get: Cell | None, set_: Cell | None, many: Cell | None, poke: Cell | None, wait: Cell | None
) -> dict[str, Cell]:
    """Return the cells by path, without those that there are not."""
    given = dict(zip(PATHS, (get, set_, many, poke, wait), strict=True))
    return {path: cell for path, cell in given.items() if cell is not None}


def once(**rule: Any) -> Rule:
    """Strike the first request."""
    return rule


def always(**rule: Any) -> Rule:
    """Strike every request."""
    return {**rule, "times": 999}


def page(http_status: int, body: str = "<html><h1>Sorry</h1>", **more: Any) -> dict[str, Any]:
    """Return a rule for an answer that is not the portal's."""
    return {"body": body, "http_status": http_status, "content_type": "text/html", **more}


def json(body: str) -> dict[str, Any]:
    """Return a rule for a JSON answer."""
    return {"body": body, "http_status": 200, "content_type": "application/json"}


def moved(where: str) -> dict[str, Any]:
    """Return a rule for a redirect."""
    return page(302, "", headers={"Location": f"{where}/rest/1/{SECRET}/"})


NOT_DONE = cells(after(2), after(4), after(4), after(2), after(2))
"""Once in passing, before the request was handled: a set reads, tries, reads again, writes."""
DONE = cells(after(2), after(3), after(4), after(2), after(2))
"""Once in passing, and the request was handled: a set reads, writes, reads that it is in place."""
UNHARMED = cells(after(1), after(2), after(3), after(1), after(1))


def lasting(error: type[Bitrix24Error]) -> dict[str, Cell]:
    """Every attempt fails: eight of them, and a reading before each if it writes.

    What leaves open whether a set was carried out is not sent a third time: two writes among three readings.
    """
    unknown = error.default_permanence is Permanence.AMBIGUOUS
    return cells(*(fails(error, number) for number in (8, 5 if unknown else 16, of_many(error), 8, 8)))


def of_many(error: type[Bitrix24Error]) -> Count:
    """Return the requests of three that fail to their last attempt.

    A portal that refuses every request gets no further one once one of the three has given up; the others may have
    given up by then too.
    """
    return (8, 24) if error.default_permanence is Permanence.TRANSIENT else 24


def refused(error: type[Bitrix24Error]) -> dict[str, Cell]:
    """The portal refuses for good; of the requests for many those under way at that moment were sent too."""
    return cells(*(fails(error, number) for number in (1, 2, (1, 3), 1, 1)))


EMPTY_BATCH = '{"result":{"result":[],"result_error":[],"result_total":[],"result_next":[],"result_time":[]}}'
LETTERS = ",".join(f'"{{c{number}}}":"M"' for number in range(50))


def empty(times: Any) -> dict[str, Rules]:
    """Return the answer to a request whose parameters were lost on the way."""
    alone, batch = times(**json('{"result":[]}')), times(**json(EMPTY_BATCH))
    return {"get": [alone], "poke": [alone], "set": [batch], "many": [batch], "wait": [batch]}


def inside(code: str) -> dict[str, Rules]:
    """Return the refusal of one command of a batch: of the write, where there is one."""
    reading = (once(inner=GET, error=code),)
    return {"set": [once(inner=SET, error=code)], "many": reading, "wait": reading}


# No reply of these rows says when the method may be called again; ten minutes is what it takes at most.
UNTOLD = {"operating": "absent"}

FAULTS = [
    # The way to the portal.
    Fault("refused", "Nobody listens at the portal's address",
          cells(*(fails(errors.ConnectError, number) for number in (8, 8, (8, 24), 8, 8))), place="nobody"),
    Fault("dns", "The portal's name does not resolve",
          cells(*(fails(errors.ConnectError, number) for number in (8, 8, (8, 24), 8, 8))), place="nowhere"),
    Fault("tls", "The portal's certificate is not trusted",
          cells(*(fails(errors.TlsError, number) for number in (1, 1, (1, 3), 1, 1))), place="stranger"),
    Fault("reset-before", "Connection reset before the request was handled, once", NOT_DONE, [once(drop="before")]),
    Fault("reset-before-always", "Connection reset before the request was handled, always",
          lasting(errors.TransportError), [always(drop="before")]),
    Fault("reset-during", "Connection reset in the middle of the answer, once", DONE, [once(corruption="reset")]),
    Fault("reset-after", "Connection reset after the request was handled, once", DONE, [once(drop="after")]),
    Fault("reset-after-always", "Connection reset after the request was handled, always",
          {**lasting(errors.TransportError), "set": after(3)}, [always(drop="after")]),
    Fault("proxy-loses", "A proxy hangs up after the request was handled, always",
          {**lasting(errors.TransportError), "set": after(3)}, [always(drop="after")], place="behind a proxy"),
    Fault("silence-after", "Connection reset after the request was handled, and before every later one",
          {**lasting(errors.TransportError), "set": fails(errors.TransportError, 9, stored="Y", reported=1),
           "many": fails(errors.TransportError, (10, 24), failed=(20, 120))},
          [once(drop="after")], later=[always(method="*", drop="before")]),
    Fault("cut", "Connection closed in the middle of the answer, once", DONE, [once(corruption="cut")]),
    Fault("timeout-before", "No answer in time, and the request was not handled, once", NOT_DONE, [once(delay=600)]),
    Fault("timeout-after", "No answer in time, and the request was handled, once", DONE,
          [once(delay=600, when="after")]),
    Fault("drip", "The answer arrives in small pieces", UNHARMED, [always(corruption="drip")]),
    # What is in the answer.
    Fault("half-json", "Half of the answer passes for the whole, once", DONE, [once(corruption="half")]),
    Fault("half-json-always", "Half of the answer passes for the whole, always",
          {**lasting(errors.NotJsonError), "set": after(3)}, [always(corruption="half")]),
    Fault("gzip", "An answer that says it is compressed and is not, once", DONE, [once(corruption="gzip")]),
    Fault("untyped", "The wrong content type", UNHARMED, [always(corruption="untyped")]),
    Fault("empty-body", "An empty answer after the request was handled, once", DONE,
          [once(**page(200, "", when="after"))]),
    Fault("html-200", "A page with HTTP 200, once", NOT_DONE, [once(**page(200))]),
    Fault("html-200-always", "A page with HTTP 200 in place of every answer, as a login page in front of the portal",
          cells(*(fails(errors.NotJsonError, number) for number in (8, 8, 24, 8, 8))),
          [always(method="*", **page(200, f"<html>Log in to see /rest/1/{SECRET}/"))]),
    Fault("html-403", "A page with HTTP 403", refused(errors.NotJsonError),
          [always(**page(403, f"<html>{SECRET} may not see /rest/1/{SECRET}/batch"))]),
    Fault("html-502", "A page with HTTP 502 before the request was handled, once", NOT_DONE, [once(**page(502))]),
    Fault("html-502-always", "A page with HTTP 502 before the request was handled, always",
          lasting(errors.NotJsonError), [always(**page(502))]),
    Fault("html-504", "A page with HTTP 504 after the request was handled, once", DONE,
          [once(**page(504, when="after"))]),
    Fault("html-400", "A page with HTTP 400, as of a web server that was to be asked by https",
          refused(errors.NotJsonError), [always(**page(400))]),
    Fault("empty-code-503", "JSON with the empty code and HTTP 503, as of a balancer in trouble; once", NOT_DONE,
          [once(**json('{"error":""}') | {"http_status": 503})]),
    Fault("five-empty-lists", "A batch comes back empty, as when its parameters are lost in a redirect; once",
          {**NOT_DONE, "get": fails(errors.UnexpectedReplyError, 1), "poke": fails(errors.UnexpectedReplyError, 1)},
          empty(once)),
    Fault("five-empty-lists-always", "A batch comes back empty, always",
          {**lasting(errors.ReplyError), "get": fails(errors.UnexpectedReplyError, 1),
           "poke": fails(errors.UnexpectedReplyError, 1)}, empty(always)),
    Fault("missing-result", "JSON without ``result`` and ``error``",
          {**refused(errors.UnexpectedReplyError), "set": fails(errors.UnexpectedReplyError, 5)},
          [always(**json(f'{{"time":{{"see":"{SECRET}"}}}}'))]),
    Fault("missing-keys", "A batch that leaves commands unanswered, once",
          cells(None, after(4), after(4), None, after(2)),
          {"set": [once(**json('{"result":{"result":{"{c0}":true},"result_error":[]}}'))],
           "many": [once(**json('{"result":{"result":{"{c0}":"Q"},"result_error":[]}}'))],
           "wait": [once(**json('{"result":{"result":{"{c0}":"Y"},"result_error":[]}}'))]}),
    Fault("unknown-letter", "A status letter that no document explains; a sensor goes on waiting",
          cells(after(1), after(2), after(3), after(2), after(2)),
          {"get": [once(**json('{"result":"M"}'))], "poke": [once(**json('{"result":"M"}'))],
           "set": [once(method=GET, **json('{"result":"M"}'))],
           "many": [once(**json(f'{{"result":{{"result":{{{LETTERS}}},"result_error":[]}}}}'))],
           "wait": [once(**json('{"result":{"result":{"{c0}":"M","{c1}":"M"},"result_error":[]}}'))]}, letter="M"),
    Fault("not-kept", "The portal confirms a write and drops it",
          cells(None, fails(errors.StatusNotAppliedError, 2), None, None, None),
          [once(**json('{"result":{"result":{"{c0}":true,"{c1}":"Q"},"result_error":[]}}'))]),
    # Redirects.
    Fault("moved", "A redirect to another name of the portal in the same zone of Bitrix24",
          cells(after(2), after(3), after((4, 6)), after(2), after(2)),
          place="old name", settings={"renamed_to": "http://new.bitrix24.test:{port}"}),
    Fault("moved-away", "A redirect to another host", refused(errors.ReplyError),
          [always(**moved("https://elsewhere.example"))]),
    Fault("moved-in-circles", "Redirects without end in the same zone",
          cells(*(fails(errors.ReplyError, number) for number in (2, 3, (2, 6), 2, 2))),
          [always(**moved("http://new.bitrix24.test:{port}"))], place="old name"),
    # Limits.
    Fault("burst", "``QUERY_LIMIT_EXCEEDED`` three times", cells(after(4), after(8), after(6), after(4), after(4)),
          [once(error="QUERY_LIMIT_EXCEEDED", times=3)]),
    Fault("burst-always", "``QUERY_LIMIT_EXCEEDED`` always", lasting(errors.RateLimitError),
          [always(error="QUERY_LIMIT_EXCEEDED")]),
    Fault("operating", "``OPERATION_TIME_LIMIT`` for a request, once",
          cells(fails(errors.OperatingLimitError, 1), fails(errors.OperatingLimitError, 2),
                fails(errors.OperatingLimitError, (1, 3), failed=(20, 120)), after(2), after(2)),
          [once(error="OPERATION_TIME_LIMIT")], settings=UNTOLD),
    Fault("operating-always", "``OPERATION_TIME_LIMIT`` for every request",
          cells(*(fails(errors.OperatingLimitError, number) for number in (1, 2, (1, 3), 2, 2))),
          [always(error="OPERATION_TIME_LIMIT")], settings=UNTOLD),
    Fault("operating-inside", "``OPERATION_TIME_LIMIT`` for one command of a batch, once",
          cells(None, fails(errors.OperatingLimitError, 2), fails(errors.OperatingLimitError, 3, failed=1), None,
                after(2)),
          inside("OPERATION_TIME_LIMIT"), settings=UNTOLD),
    Fault("blocked", "``OVERLOAD_LIMIT``", refused(errors.AccessError), [always(error="OVERLOAD_LIMIT")]),
    Fault("51st-command", "A command too many in a batch",
          cells(None, fails(errors.PortalError, 2), fails(errors.PortalError, 3, failed=1), None,
                fails(errors.PortalError, 1)),
          inside("ERROR_BATCH_LENGTH_EXCEEDED")),
    Fault("batch-too-long", "A batch that the portal calls too long",
          cells(None, fails(errors.PortalError, 2), fails(errors.PortalError, (1, 3)), None,
                fails(errors.PortalError, 1)),
          [always(error="ERROR_BATCH_LENGTH_EXCEEDED", http_status=400)]),
    # The portal's own trouble.
    Fault("server-fault", "``INTERNAL_SERVER_ERROR`` after the request was handled, once", DONE,
          [once(error="INTERNAL_SERVER_ERROR", when="after")]),
    Fault("new-code", "A code that no table knows, with the secret in its text", refused(errors.PortalError),
          [always(error="SOMETHING_NEW", description=f"see https://example/rest/1/{SECRET}/ or {SECRET}")]),
    Fault("connection-error", "``CONNECTION_ERROR``: the portal cannot reach its authorisation server, once", NOT_DONE,
          [once(error="CONNECTION_ERROR")]),
    # Credentials.
    Fault("bad-webhook", "A webhook that the portal does not accept, reported with HTTP 200",
          refused(errors.CredentialsError), [always(error="INVALID_CREDENTIALS", http_status=200)]),
    Fault("webhook-expired", "``expired_token`` for a webhook", refused(errors.TokenError),
          [always(error="expired_token")]),
    Fault("token-expired", "An access token that has run out",
          cells(after(3), after(4), after((5, 7)), after(3), after(3)), auth="oauth", expired=True),
    Fault("token-expired-inside", "``expired_token`` for one command of a batch",
          cells(None, after(4), after(5), None, after(3)),
          inside("expired_token"), auth="oauth"),
    Fault("invalid-grant", "``invalid_grant``: the refresh token is not good any more",
          cells(*(fails(errors.CredentialsError, number) for number in (2, 2, (2, 6), 2, 2))),
          [always(method=TOKEN, error="invalid_grant", http_status=400)], auth="oauth", expired=True),
    Fault("wrong-client", "``wrong_client``, which comes with HTTP 200",
          cells(*(fails(errors.CredentialsError, number) for number in (2, 2, (2, 6), 2, 2))),
          [always(method=TOKEN, error="wrong_client", http_status=200)], auth="oauth", expired=True),
    Fault("auth-server-reset", "The authorisation server breaks the connection, always",
          cells(*(fails(errors.AuthServerError, number) for number in (16, 16, (16, 48), 16, 16))),
          [always(method=TOKEN, drop="before")], auth="oauth", expired=True),
    # Time.
    Fault("clock-back", "The clock is set back by a day while a refusal is waited out", NOT_DONE,
          [once(error="QUERY_LIMIT_EXCEEDED")], settings={"plan": "standard"}, jump=-86_400.0),
    Fault("clock-forward", "The clock is set forward by a day while a refusal is waited out", NOT_DONE,
          [once(error="QUERY_LIMIT_EXCEEDED")], settings={"plan": "standard"}, jump=86_400.0),
]  # fmt: skip
"""Every fault."""

MATRIX = [(fault, path) for fault in FAULTS for path in fault.cells]
"""Every cell's place."""
