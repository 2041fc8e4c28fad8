from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests
from bitrix24_sandbox.batch import resolve

from sandbox.tests.sync import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from bitrix24_sandbox.portal import Portal
    from bitrix24_sandbox.server import SandboxServer

GET = "calendar.meeting.status.get"
SET = "calendar.meeting.status.set"
FIVE = ("result", "result_error", "result_total", "result_next", "result_time")
MISSING = {
    "error": "",
    "error_description": f'The required parameter "eventId" is not set for the method "{GET}".',
}
Batch = Any


@pytest.fixture
def batch(result: Callable[..., Any]) -> Callable[..., Any]:
    def run(cmd: object, halt: object = 0, user: int = 1) -> Any:
        answer = result("batch", {"cmd": cmd, "halt": halt}, user)
        assert tuple(answer) == FIVE
        return answer

    return run


def test_good_and_bad(batch: Batch) -> None:
    answer = batch({"a": f"{GET}?eventId=651", "b": GET, "c": f"{GET}?eventId=710", "d": "profile"})
    assert list(answer["result"]) == ["a", "c", "d"]
    assert (answer["result"]["a"], answer["result"]["c"]) == ("Q", None)
    assert answer["result_error"] == {"b": MISSING}
    assert list(answer["result_time"]) == ["a", "c", "d"]
    assert {"start", "finish", "duration", "processing"} <= set(answer["result_time"]["a"])
    assert answer["result_total"] == answer["result_next"] == []


@pytest.mark.parametrize(
    ("cmd", "results", "errors"),
    [
        pytest.param(["profile", "scope"], list, [], id="all good: lists"),
        pytest.param({"0": "scope", "1": "scope"}, list, [], id="digit keys collapse"),
        pytest.param({"1": "scope"}, dict, [], id="a gap makes an object"),
        pytest.param(["scope", "x", "scope"], dict, {"1"}, id="the middle one failed: objects"),
        pytest.param(["x", "scope"], dict, 1, id="the first one failed: the errors are a list"),
        pytest.param(["scope", "x"], list, {"1"}, id="the last one failed"),
        pytest.param({"a": "x", "b": "x"}, list, {"a", "b"}, id="all failed: no results"),
        pytest.param([], list, [], id="empty list"),
        pytest.param({}, list, [], id="empty object"),
    ],
)
def test_lists_and_objects(batch: Batch, cmd: object, results: type, errors: object) -> None:
    answer = batch(cmd)
    assert type(answer["result"]) is type(answer["result_time"]) is results
    found = answer["result_error"]
    if isinstance(errors, int):
        assert isinstance(found, list)
        assert len(found) == errors
    else:
        assert (set(found) if isinstance(found, dict) else found) == errors


@pytest.mark.parametrize("body", [{}, {"cmd": None}, {"cmd": "profile"}, {"cmd": 1}, {"cmd": False}])
def test_no_commands_is_five_empty_lists(result: Callable[..., Any], body: object) -> None:
    assert result("batch", body) == {key: [] for key in FIVE}


@pytest.mark.parametrize("command", [{"method": "profile", "params": {}}, ["profile"], 1, None, True])
def test_what_is_not_text_is_skipped(batch: Batch, command: object) -> None:
    answer = batch({"a": command, "b": "scope"}, halt=1)
    assert answer["result"] == {"b": ["calendar"]}
    assert answer["result_error"] == []


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        pytest.param(f"{GET.upper()}?eventId=651", "Q", id="method in any case"),
        pytest.param(f"{GET}?eventId=651#x", "Q", id="hash cuts the rest"),
        pytest.param(f"{GET}?x=1#&eventId=651", MISSING, id="hash cuts parameters"),
        pytest.param(f"{GET}?eventId=652%26x", "Q", id="encoded once"),
        pytest.param(f"{GET}?event.Id=651", MISSING, id="dot becomes underscore"),
        pytest.param(f"{GET}?eventId[]=651", "N", id="brackets build an array, which is event 1"),
        pytest.param(f"{GET}?eventid=651", MISSING, id="parameter case"),
        pytest.param(f"{GET}?eventId=0&eventId=651", "Q", id="the last one wins"),
        pytest.param("profile.json", "ERROR_METHOD_NOT_FOUND", id="suffix stays"),
        pytest.param("/profile", "ERROR_METHOD_NOT_FOUND", id="leading slash"),
        pytest.param("profile:80", "ERROR_METHOD_NOT_FOUND", id="port"),
        pytest.param("", "ERROR_METHOD_NOT_FOUND", id="empty"),
        pytest.param("nothing", "ERROR_METHOD_NOT_FOUND", id="unknown"),
        pytest.param("batch?cmd[a]=profile", "ERROR_BATCH_METHOD_NOT_ALLOWED", id="batch"),
        pytest.param("download", "ERROR_BATCH_METHOD_NOT_ALLOWED", id="download"),
        pytest.param("upload", "ERROR_BATCH_METHOD_NOT_ALLOWED", id="upload"),
        pytest.param("DOWNLOAD", "ERROR_METHOD_NOT_FOUND", id="download in capitals"),
    ],
)
def test_command(batch: Batch, command: str, expected: object) -> None:
    answer = batch({"a": command})
    if answer["result_error"]:
        error = answer["result_error"]["a"]
        assert error == expected or error["error"] == expected
        assert set(error) == {"error", "error_description"}
    else:
        assert answer["result"]["a"] == expected


def test_capitals_do_nest(batch: Batch) -> None:
    inner = batch({"a": "BATCH?cmd[x]=profile&cmd[y]=nothing"})["result"]["a"]
    assert inner["result"]["x"]["ID"] == "1"
    assert inner["result_error"]["y"]["error"] == "ERROR_METHOD_NOT_FOUND"


@pytest.mark.parametrize(("halt", "expected"), [(0, 5), (1, 1)])
def test_more_than_fifty(batch: Batch, portal: Portal, halt: int, expected: int) -> None:
    answer = batch({f"c{n}": "scope" for n in range(55)}, halt)
    assert len(answer["result"]) == 50
    assert list(answer["result_error"]) == [f"c{n}" for n in range(50, 50 + expected)]
    assert {error["error"] for error in answer["result_error"].values()} == {"ERROR_BATCH_LENGTH_EXCEEDED"}
    assert portal.count()["commands"] == {"scope": 50}


@pytest.mark.parametrize("halt", [1, "1", True, "false", "no", [0], -1])
def test_halt_is_what_php_calls_true(batch: Batch, halt: object) -> None:
    answer = batch({"a": "scope", "b": "nothing", "c": "scope"}, halt)
    assert list(answer["result"]) == ["a"]
    assert list(answer["result_error"]) == ["b"]


@pytest.mark.parametrize("halt", [0, "0", "", False, None, []])
def test_no_halt(batch: Batch, halt: object) -> None:
    assert list(batch({"a": "nothing", "b": "scope"}, halt)["result"]) == ["b"]


def test_parameters_of_batch_in_any_case(result: Callable[..., Any]) -> None:
    answer = result("batch", {"CMD": {"a": "nothing", "b": "scope"}, "Halt": 1})
    assert (answer["result"], list(answer["result_error"])) == ([], ["a"])


def test_form_encoding(server: SandboxServer) -> None:
    url = server.webhook_url(1) + "batch"
    form = {"cmd[c0]": f"{GET}?eventId=651", "cmd[c1]": "x", "cmd[c2]": "scope", "halt": "false"}
    answer = requests.post(url, data=form, timeout=TIMEOUT).json()["result"]
    assert (answer["result"], list(answer["result_error"])) == ({"c0": "Q"}, ["c1"])
    query = requests.get(url, params={"cmd[0]": f"{GET}?eventId=651"}, timeout=TIMEOUT).json()["result"]
    assert query["result"] == ["Q"]


def test_missing_scope_has_no_text(batch: Batch) -> None:
    answer = batch({"a": f"{GET}?eventId=651", "b": "scope"}, user=6)
    assert answer["result_error"] == {"a": {"error": "insufficient_scope", "error_description": ""}}
    assert answer["result"] == {"b": ["user"]}


def test_outer_credentials_rule(batch: Batch, server: SandboxServer) -> None:
    answer = batch({"a": "profile?auth=x&aplogin=2&ap=martin0000000002"})
    assert answer["result"]["a"]["ID"] == "1"
    reply = requests.post(f"{server.url}/rest/1/wrong/batch", json={"cmd": {"a": "scope"}}, timeout=TIMEOUT)
    assert (reply.status_code, reply.json()["error"]) == (401, "INVALID_CREDENTIALS")


@pytest.mark.parametrize(
    ("first", "reference", "expected"),
    [
        pytest.param("calendar.event.getbyid?id=652", "$result[a][PARENT_ID]", "Q", id="field"),
        pytest.param("calendar.event.getbyid?id=661", "$result[a][ATTENDEE_LIST][1][entryId]", "Q", id="index"),
        pytest.param("calendar.event.getbyid?id=652", "$result[a][NOTHING]", "N", id="missing field: event 1"),
        pytest.param("calendar.event.getbyid?id=652", "$result[z]", "N", id="missing key: event 1"),
        pytest.param("calendar.event.getbyid?id=5", "$result[a]", "N", id="null result: event 1"),
        pytest.param("calendar.event.getbyid?id=5", "$result[a][ID]", "N", id="field of null: event 1"),
        pytest.param("profile", "$result[a]", "N", id="a whole object: event 1"),
        pytest.param("profile", "$result[a][ID]", "N", id="the number 1"),
        pytest.param("nothing", "$result[a][ID]", MISSING, id="nothing succeeded yet"),
        pytest.param("nothing", "$error[a][error]", 400, id="the text of an error is 0"),
        pytest.param("profile", "$total[a]", "N", id="no total"),
        pytest.param("profile", "$foo[a]", 400, id="no such map: left as text"),
        pytest.param("profile", "651$result[a][ID]", "Q", id="embedded: 6511 is unknown"),
    ],
)
def test_reference(batch: Batch, first: str, reference: str, expected: object) -> None:
    answer = batch({"a": first, "b": f"{GET}?eventId={reference}"})
    if reference.startswith("651"):
        assert answer["result_error"]["b"]["error_description"] != MISSING["error_description"]
    elif isinstance(expected, dict):
        assert answer["result_error"]["b"] == expected
    elif expected == 400:
        assert answer["result_error"]["b"]["error"] == ""
        assert answer["result_error"]["b"] != MISSING
    else:
        assert answer["result"]["b"] == expected


@pytest.mark.parametrize(
    ("name", "exists"),
    [
        ("$result[a][1]", True),
        ("pro$result[b][tail]", False),
        ("method.$result[b][ID]", False),
        ("$result[z] profile", False),
        ("profile$result[b][ADMIN]", True),  # false becomes an empty text
        ("profile$result[b][NOTHING]", False),  # left as it stands
        ("profile$result[b]", False),  # an array cannot go into text
    ],
)
def test_reference_in_text(batch: Batch, name: str, exists: bool) -> None:
    commands = {"a": "methods?scope=", "b": "profile", "c": f"method.get?name={quote(name)}"}
    assert batch(commands)["result"]["c"]["isExisting"] is exists


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a $result[b][ID] c", "a 1 c"),
        ("a $result[b][ID]c d", "a 1 d"),
        ("a$result[b][ID],$result[b][ID]", "a$result[b][ID],$result[b][ID]"),
        ("a $result[z][ID] c", "a $result[z][ID] c"),
        ("cost: 5$ or $5", "cost: 5$ or $5"),
    ],
)
def test_reference_swallows_up_to_the_next_space(text: str, expected: str) -> None:
    maps: dict[str, Any] = {"result": {"b": {"ID": "1"}}}
    assert resolve(text, maps) == expected
    assert resolve({"x": {0: text}}, maps) == {"x": {0: expected}}


def test_failed_reference_writes_to_event_one(batch: Batch, portal: Portal) -> None:
    answer = batch({"a": "scope", "b": "calendar.event.getbyid?id=999", "c": f"{SET}?eventId=$result[b][ID]&status=Y"})
    assert answer["result"]["c"] is True
    assert portal.status(1, 1) == "Y"


def test_commands_run_in_order(batch: Batch) -> None:
    answer = batch({"a": f"{SET}?eventId=651&status=N", "b": f"{GET}?eventId=651", "c": f"{SET}?eventId=651&status=y"})
    assert answer["result"] == {"a": True, "b": "N", "c": True}


def test_crash_of_one_command_is_a_crash_of_all(call: Callable[..., requests.Response], portal: Portal) -> None:
    cmd = {"a": f"{SET}?eventId=651&status=Y", "b": f"{SET}?eventId=651&status[]=Y"}
    reply = call("batch", {"cmd": cmd})
    assert reply.status_code == 500
    assert portal.status(651, 1) == "Y"


def test_keys_are_echoed(batch: Batch) -> None:
    assert set(batch({"a/<ж>'": "scope", "-3": "scope", "007": "scope"})["result"]) == {"a/<ж>'", "-3", "007"}


def test_counted(batch: Batch, portal: Portal) -> None:
    batch({"a": f"{GET}?eventId=651", "b": f"{GET.upper()}?eventId=652", "c": "nothing", "d": "batch"})
    counts = portal.count()
    assert counts["requests"] == 1
    assert counts["methods"] == {"batch": 1, GET: 2}
    assert counts["commands"] == {GET: 2}
