"""Answers that no portal should give: what is shown of them has an end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_b24cal.bitrix24.calendar import methods
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.protocol.call import Call
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply, read

ENDLESS = "9" * 5000


@pytest.mark.parametrize("call", [methods.get_status(5), methods.scope()], ids=lambda call: call.method)
@pytest.mark.parametrize(
    ("http_status", "permanence"), [(429, "transient"), (500, "ambiguous"), (503, "ambiguous"), (403, "permanent")]
)
def test_an_empty_code_means_something_only_from_a_calendar(http_status: int, permanence: str, call: Call[Any]) -> None:
    """A balancer in trouble may answer so, and knows nothing of meetings."""
    with pytest.raises(errors.PortalError) as raised:
        read(call, Reply(http_status, b'{"error":"","error_description":"x"}'), str)
    assert type(raised.value) is errors.PortalError
    assert raised.value.permanence == permanence


@pytest.mark.parametrize("http_status", [200, 400])
def test_an_empty_code_from_a_calendar(http_status: int) -> None:
    for call, kind in ((methods.get_status(5), errors.NoSuchMeetingError), (methods.scope(), errors.PortalError)):
        with pytest.raises(kind):
            read(call, Reply(http_status, b'{"error":""}'), str)


@pytest.mark.parametrize(
    ("http_status", "permanence"),
    [
        *((http_status, "permanent") for http_status in (400, 401, 403, 404, 405, 407, 410, 413, 414, 431, 451)),
        *((http_status, "ambiguous") for http_status in (200, 204, 408, 425, 500, 502, 504, 520)),
        # As their JSON forms: the request was turned away before it ran.
        *((http_status, "transient") for http_status in (429, 503)),
    ],
)
def test_what_a_page_means(http_status: int, permanence: str) -> None:
    with pytest.raises(errors.NotJsonError) as raised:
        read(methods.profile(), Reply(http_status, b"<html>The plain HTTP request was sent to HTTPS port"), str)
    assert raised.value.permanence == permanence


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(400, json.dumps({"error": ENDLESS}).encode()), errors.PortalError),
        (Reply(400, json.dumps({"error": "", "error_description": ENDLESS}).encode()), errors.PortalError),
        (Reply(302, b"", ENDLESS), errors.ReplyError),
        (Reply(502, ENDLESS.encode()), errors.ReplyError),
        (Reply(200, json.dumps({"result": {ENDLESS: 1}}).encode()), errors.UnexpectedReplyError),
        (Reply(200, json.dumps({"result": {"ID": ENDLESS}}).encode()), errors.UnexpectedReplyError),
    ],
)
def test_no_answer_makes_a_long_error(reply: Reply, kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised:
        read(methods.profile(), reply, str)
    assert 20 < len(str(raised.value)) < 700
    assert "99999..." in str(raised.value) or "redirect" in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        ({"error": 0, "error_description": "Words"}, errors.PortalError, "0"),
        ({"error": 404, "error_description": "Words"}, errors.PortalError, "404"),
        (
            {"error": {"code": "BITRIX_REST_V3_UNKNOWN", "message": "Words"}},
            errors.PortalError,
            "BITRIX_REST_V3_UNKNOWN",
        ),
        (
            {"error": {"code": "QUERY_LIMIT_EXCEEDED", "message": "Words"}},
            errors.RateLimitError,
            "QUERY_LIMIT_EXCEEDED",
        ),
        ({"error": {"code": 7, "message": "Words"}}, errors.PortalError, "7"),
    ],
)
def test_a_code_in_another_form_is_read_by_the_same_table(
    answer: dict[str, Any], kind: type[errors.Bitrix24Error], code: str
) -> None:
    with pytest.raises(errors.PortalError, match=r"The portal says: Words") as raised:
        read(methods.scope(), Reply(200, json.dumps(answer).encode()), str)
    assert (type(raised.value), raised.value.code) == (kind, code)
    wanted = kind.default_permanence
    assert raised.value.permanence is wanted


@pytest.mark.parametrize("error", [None, True, 0.5, [], {}, {"message": "Words"}, {"code": None}])
def test_what_is_no_code_is_an_answer_of_another_shape(error: object) -> None:
    with pytest.raises(errors.UnexpectedReplyError):
        read(methods.scope(), Reply(200, json.dumps({"error": error}).encode()), str)


def test_an_empty_text_in_place_of_a_status_means_not_invited() -> None:
    with pytest.raises(errors.NotInvitedError):
        read(methods.get_status(5), Reply(200, b'{"result":""}'), str)


FORGED = "a\r\nINFO - forged\x1b[2K\x00\u202eb\u2066\ud800"


def test_words_of_a_portal_forge_no_line_of_a_log() -> None:
    """Line breaks, escape sequences, marks for the direction of writing, halves of characters."""
    refusal = json.dumps({"error": f"CODE{FORGED}", "error_description": FORGED}).encode()
    nested = json.dumps({"error": {"code": f"CODE{FORGED}", "message": FORGED}}).encode()
    for body in (refusal, nested):
        with pytest.raises(errors.PortalError) as raised:
            read(methods.scope(), Reply(400, body), str)
        assert str(raised.value).isprintable()
        assert raised.value.code is not None
        assert raised.value.code.isprintable()
    scopes = read(methods.scope(), Reply(200, json.dumps({"result": [FORGED]}).encode()), str)
    assert scopes[0].isprintable()
    profile = read(methods.profile(), Reply(200, json.dumps({"result": {"ID": "1", "NAME": FORGED}}).encode()), str)
    assert profile.name.isprintable()
    assert "forged" in profile.name
