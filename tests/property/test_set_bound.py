"""Whatever comes back, one run sends at most two sets of a meeting that may have been carried out."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_b24cal.bitrix24.auth.credentials import Endpoint, Secret, Webhook
from airflow_provider_b24cal.bitrix24.calendar.set_status import MAX_SETS, change_statuses
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol.errors import ConnectError, TransportError
from airflow_provider_b24cal.bitrix24.protocol.exchange import Blocking, Send
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply
from tests.contexts import context_for

ENDPOINT = Endpoint("https://example.bitrix24.com", Webhook("1", Secret("c0dec0dec0de")))
LIMIT = {"error": "QUERY_LIMIT_EXCEEDED"}
SPENT = {"error": "OPERATION_TIME_LIMIT"}
FAULT = {"error": "INTERNAL_SERVER_ERROR"}

# What becomes of a set within a batch that is answered: done, refused before it ran, failed perhaps after it, lost.
FATES = ["done", "limit", "spent", "fault", "lost"]
REQUESTS = st.one_of(
    st.tuples(st.just("answered"), st.lists(st.sampled_from(FATES), min_size=3, max_size=3), st.sampled_from("YNQHM")),
    st.sampled_from([("cut",), ("not connected",), ("limit",), ("turned away",), ("fault",), ("another batch",)]),
)

REFUSED: dict[str, Reply | TransportError] = {
    "not connected": ConnectError("x", method="batch"),
    "limit": Reply(503, json.dumps(LIMIT).encode()),
}
"""What says that a request was not carried out."""
UNKNOWN: dict[str, Reply | TransportError] = {
    "cut": TransportError("x", method="batch"),
    # A gateway may say so after it has passed the request on.
    "turned away": Reply(503, b"<html>"),
    "fault": Reply(500, json.dumps(FAULT).encode()),
    "another batch": Reply(200, b'{"result":{"result":{"c0":true,"c1":"Y"},"result_error":[]}}'),
}
"""What leaves open whether it was."""


def _carry(sent: dict[str, Any], method: str, plan: Any, sets: Counter[int]) -> Reply | TransportError:
    """Answer a request as planned, and count the sets that may have been carried out."""
    commands: dict[str, str] = sent["cmd"] if method == "batch" else {"": f"{method}?eventId={sent['eventId']}"}
    ids = {key: int(text.split("eventId=")[1].split("&")[0]) for key, text in commands.items() if ".set?" in text}
    kind, *rest = plan
    if kind in REFUSED:
        return REFUSED[kind]
    if kind != "answered":
        sets.update(ids.values())
        return UNKNOWN[kind] if method == "batch" else UNKNOWN["cut"]
    fates, letter = rest
    if method != "batch":
        return Reply(200, json.dumps({"result": letter}).encode())
    return _answer(commands, ids, fates, letter, sets)


def _answer(commands: dict[str, str], ids: dict[str, int], fates: list[str], letter: str, sets: Counter[int]) -> Reply:
    """Answer the commands of a batch one by one."""
    values: dict[str, Any] = {}
    failed: dict[str, Any] = {}
    for number, key in enumerate(commands):
        fate = fates[number % 3] if key in ids else "done"
        if fate == "done":
            values[key] = True if key in ids else letter
        elif fate != "lost":
            failed[key] = {"limit": LIMIT, "spent": SPENT, "fault": FAULT}[fate]
        if key in ids and fate in {"done", "fault", "lost"}:
            sets[ids[key]] += 1
    return Reply(200, json.dumps({"result": {"result": values, "result_error": failed}}).encode())


@given(
    st.dictionaries(st.integers(1, 4), st.sampled_from([MeetingStatus("Y"), MeetingStatus("N")]), min_size=1),
    st.lists(REQUESTS, min_size=1, max_size=30),
)
@settings(max_examples=500, deadline=None)
def test_at_most_two_sets_may_have_been_carried_out(wanted: dict[int, MeetingStatus], script: list[Any]) -> None:
    sets: Counter[int] = Counter()
    steps = change_statuses(wanted.items(), context_for(ENDPOINT, RetryPolicy(attempts=8)))
    step, sent = next(steps), 0
    try:
        while True:
            if not isinstance(step, Send):
                step = steps.send(step.function() if isinstance(step, Blocking) else None)
                continue
            method = step.request.url.reveal().rsplit("/", 1)[1]
            answer = _carry(json.loads(step.request.body), method, script[sent % len(script)], sets)
            sent += 1
            step = steps.throw(answer) if isinstance(answer, TransportError) else steps.send(answer)
    except StopIteration:
        pass
    assert max(sets.values(), default=0) <= MAX_SETS
