"""Whatever shape PHP gives a batch's answer, every command gets its own outcome and no other's."""

from __future__ import annotations

import json
from typing import Any

from bitrix24_sandbox.phpjson import encode
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_b24cal.bitrix24.calendar import methods
from airflow_provider_b24cal.bitrix24.calendar.event_methods import get_event
from airflow_provider_b24cal.bitrix24.protocol.batch import CHUNK, pack
from airflow_provider_b24cal.bitrix24.protocol.call import Call
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply, read

FATES: dict[str, tuple[Any, Any, str]] = {
    "letter": ("Y", None, "Y"),
    "null": ({"null": None}, None, "NotInvitedError"),
    "refused": (None, {"error": "", "error_description": "no"}, "NoSuchMeetingError"),
    "too many": (None, {"error": "QUERY_LIMIT_EXCEEDED"}, "RateLimitError"),
    "both": ("Y", {"error": ""}, "NoSuchMeetingError"),
    "a list": (["Y"], None, "UnexpectedReplyError"),
    "a word": ("Yes", None, "UnexpectedReplyError"),
    "error of no shape": ("Y", "no", "UnexpectedReplyError"),
    "nothing": (None, None, "ReplyError"),
}
"""What is answered and refused of one command, and what that means."""

strange = st.dictionaries(
    st.sampled_from(["0", "1", "c", "c00", "C0", "c50", "c99", "", "result", "\ud800"]),
    st.sampled_from(["Y", None, True, [], {"error": ""}]),
    max_size=3,
)


@given(st.lists(st.sampled_from(sorted(FATES)), min_size=1, max_size=CHUNK), strange, strange, st.randoms())
def test_every_command_has_the_outcome_that_is_its_own(
    fates: list[str], more: dict[str, Any], more_errors: dict[str, Any], chance: Any
) -> None:
    values = {f"c{number}": FATES[fate][0] for number, fate in enumerate(fates) if FATES[fate][0] is not None}
    refusals = {f"c{number}": FATES[fate][1] for number, fate in enumerate(fates) if FATES[fate][1] is not None}
    parts = {"result": values, "result_error": refusals}
    answer: dict[str, Any] = {"result_total": [], "result_next": [], "result_time": []}
    for name, extra in (("result", more), ("result_error", more_errors)):
        items = [(key, None if value == {"null": None} else value) for key, value in parts[name].items()]
        items += [(key, value) for key, value in extra.items() if key not in parts[name]]
        chance.shuffle(items)
        # An empty map is a list to PHP.
        answer[name] = dict(items) if items else chance.choice([{}, []])
    reply = Reply(200, json.dumps({"result": answer}).encode())
    outcomes = read(pack([methods.get_status(number) for number in range(1, len(fates) + 1)], "c"), reply, str)
    reported = [outcome.value.value if outcome.value else type(outcome.error).__name__ for outcome in outcomes]
    assert reported == [FATES[fate][2] for fate in fates]
    about = [(number, outcome.error.event_id) for number, outcome in enumerate(outcomes, 1) if outcome.error]
    assert all(number == event_id for number, event_id in about)


numbered = st.dictionaries(st.integers(0, 4), st.sampled_from(["Anna", "", None]), max_size=4)


@given(numbered)
def test_a_list_with_gaps_is_read_like_a_list(names: dict[int, Any]) -> None:
    """PHP prints a filtered list with its keys, and one without gaps without them."""
    rows: Any = {key: {"id": key + 1, "status": "Y", "name": name} for key, name in names.items()}
    row = {"ID": "5", "DATE_FROM_FORMATTED": "Mon Feb 10 2025", "DATE_TO_FORMATTED": "Mon Feb 10 2025",
           "DT_SKIP_TIME": "Y", "IS_MEETING": True, "ATTENDEE_LIST": rows}  # fmt: skip
    event = read(get_event(5), Reply(200, encode({"result": row}).encode()), str)
    assert [attendee.user_id for attendee in event.attendees or ()] == [key + 1 for key in names]
    scope: Call[tuple[str, ...]] = methods.scope()
    scopes: Any = {key: f"scope{key}" for key in names}
    assert read(scope, Reply(200, encode({"result": scopes}).encode()), str) == tuple(scopes.values())
