"""Answers that no portal should give: what is shown of them has an end."""

from __future__ import annotations

import json

import pytest

from airflow_provider_b24cal.bitrix24 import errors, methods
from airflow_provider_b24cal.bitrix24.replies import Reply, read

ENDLESS = "9" * 5000


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
