"""Answers that no portal should give: what is shown of them has an end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_b24cal.bitrix24 import errors, methods
from airflow_provider_b24cal.bitrix24.replies import Reply, read

ENDLESS = "9" * 5000


@pytest.mark.parametrize("call", [methods.get_status(5), methods.scope()], ids=lambda call: call.method)
@pytest.mark.parametrize(
    ("http_status", "permanence"), [(429, "transient"), (500, "ambiguous"), (503, "ambiguous"), (403, "permanent")]
)
def test_an_empty_code_means_something_only_from_a_calendar(
    http_status: int, permanence: str, call: methods.Call[Any]
) -> None:
    """A balancer in trouble may answer so, and knows nothing of meetings."""
    with pytest.raises(errors.PortalError) as raised:
        read(call, Reply(http_status, b'{"error":"","error_description":"x"}'), str)
    assert type(raised.value) is errors.PortalError
    assert raised.value.permanence == permanence


@pytest.mark.parametrize("http_status", [200, 400])
def test_an_empty_code_from_a_calendar(http_status: int) -> None:
    for call, kind in ((methods.get_status(5), errors.NoSuchMeetingError), (methods.scope(), errors.CalendarError)):
        with pytest.raises(kind):
            read(call, Reply(http_status, b'{"error":""}'), str)


@pytest.mark.parametrize(
    ("http_status", "permanence"),
    [
        *((http_status, "permanent") for http_status in (400, 401, 403, 404, 405, 407, 410, 413, 414, 431, 451)),
        *((http_status, "ambiguous") for http_status in (200, 204, 408, 425, 429, 500, 502, 503, 504, 520)),
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
        (Reply(302, b"", ENDLESS), errors.RedirectedError),
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
