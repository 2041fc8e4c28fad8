"""Packing calls, and an outcome for every one of them, whatever shape the answer has."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_b24cal.bitrix24.calendar import methods
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome, pack
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply, read


def _answer(count: int, result: Any) -> list[Any]:
    calls = [methods.get_status(number) for number in range(1, count + 1)]
    reply = Reply(200, json.dumps({"result": result}).encode())
    return [
        outcome.value.value if outcome.value else type(outcome.error).__name__
        for outcome in read(pack(calls, "c"), reply, str)
    ]


@pytest.mark.parametrize(
    ("result", "wanted"),
    [
        ({"result": {"c0": "Y", "c1": "Q"}, "result_error": []}, ["Y", "Q"]),
        ({"result": {"c1": "Q", "c0": "Y"}, "result_error": {}}, ["Y", "Q"]),
        ({"result": {"c0": "Y"}, "result_error": {"c1": {"error": ""}}}, ["Y", "NoSuchMeetingError"]),
        ({"result": [], "result_error": {"c0": {"error": ""}, "c1": {"error": "OVERLOAD_LIMIT"}}},
         ["NoSuchMeetingError", "AccessError"]),
        ({"result": {"c0": None, "c1": "Y"}, "result_error": []}, ["NotInvitedError", "Y"]),
        ({"result": [], "result_error": []}, ["ReplyError"] * 2),
        ({"result": ["Y", "Q"], "result_error": []}, ["ReplyError"] * 2),
        ({"result": {"c0": "Y"}, "result_error": [{"error": ""}]}, ["Y", "ReplyError"]),
        ({"result": {"c0": "Y", "c1": "Y"}, "result_error": {"c1": {"error": ""}}}, ["Y", "NoSuchMeetingError"]),
        ({"result": {"c0": "YES", "c1": True}, "result_error": []}, ["UnexpectedReplyError"] * 2),
        ({"result": {}, "result_error": {"c0": "no", "c1": {"text": "no"}}}, ["UnexpectedReplyError"] * 2),
    ],
)  # fmt: skip
def test_every_command_has_its_outcome(result: Any, wanted: list[str]) -> None:
    assert _answer(2, result) == wanted


@pytest.mark.parametrize("result", [[], None, True, {"result": {}}, {"result": "Y", "result_error": []}])
def test_an_answer_that_is_no_batch(result: Any) -> None:
    with pytest.raises(errors.UnexpectedReplyError):
        _answer(1, result)


def test_the_commands_as_the_portal_reads_them() -> None:
    packed = pack(
        [
            methods.set_status(651, MeetingStatus.ACCEPTED),
            methods.raw(
                "calendar.event.get",
                {"type": "user", "a b": "c&d=e#f", "list": [1, {"x": True, "y": False}]},
                writes=False,
            ),
        ],
        "c",
    )
    assert packed.params == {
        "halt": 0,
        "cmd": {
            "c0": "calendar.meeting.status.set?eventId=651&status=Y",
            "c1": "calendar.event.get?type=user&a%20b=c%26d%3De%23f"
            "&list%5B0%5D=1&list%5B1%5D%5Bx%5D=1&list%5B1%5D%5By%5D=0",
        },
    }
    assert packed.writes


@pytest.mark.parametrize("count", [0, 51])
def test_one_to_fifty(count: int) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=f"1 to 50 calls, not {count}"):
        pack([methods.profile()] * count, "c")


@pytest.mark.parametrize(
    "text", ["$result[c0]", "see $result[c0][ID]", "$next[c0]", "$total[c0]", "$error[x]", "$time[x]"]
)
def test_text_that_the_portal_would_replace_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="replace the reference in name="):
        pack([methods.raw("calendar.event.add", {"name": text}, writes=True)], "c")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"attendees": []}, "drop attendees=[] of"),
        ({"text": None}, "drop text=None of"),
        ({"a": {"b": {}}}, "drop a[b]={} of"),
        ({"a": [1, None]}, "drop a[1]=None of"),
        ({"text": "\ud800"}, "not carry half of a surrogate pair in text='\\ud800' of"),
        ({"a": 1, "\udfff": "x"}, "not carry half of a surrogate pair in \\udfff='x' of"),
    ],
)
def test_what_a_batch_cannot_carry_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.InvalidArgumentError) as caught:
        pack([methods.raw("calendar.event.update", params, writes=True)], "c")
    assert f"{message} calendar.event.update; send this call alone" in str(caught.value)
    assert caught.value.__context__ is None


def test_a_call_without_parameters_can_be_carried() -> None:
    assert pack([methods.raw("scope", {}, writes=False)], "c").params["cmd"] == {"c0": "scope?"}


def test_unwrap() -> None:
    assert Outcome(5).unwrap() == 5
    assert Outcome(5).ok
    failed: Outcome[int] = Outcome(error=errors.ScopeError("no"))
    assert not failed.ok
    with pytest.raises(errors.ScopeError):
        failed.unwrap()
