"""People, their departments and groups: who is shown, in pages, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

MARTIN = 2
"""Has every scope."""


def _ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["ID"] for row in rows]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"ID": 1}, ["1"]),
        ({"ID": ["2", 1, 999]}, ["1", "2"]),
        ({"FILTER": {"ID": [2, 1]}}, ["1", "2"]),
        ({"filter": {"id": "2"}}, ["2"]),
        ({"ID": []}, []),
        ({"ID": "abc"}, []),
        ({"ID": [["1"]]}, []),
        ({"UF_DEPARTMENT": 2}, ["5"]),
        ({"UF_DEPARTMENT": [3, 2]}, ["5", "7"]),
        ({"UF_DEPARTMENT": 3, "ID": 7}, ["7"]),
        ({"FILTER": {"UF_DEPARTMENT": "3"}}, ["5", "7"]),
        ({"UF_DEPARTMENT": 1, "ACTIVE": "1"}, ["1", "2", "6", "8"]),
        ({"UF_DEPARTMENT": 1}, ["1", "2", "3", "6", "8"]),
        ({"UF_DEPARTMENT": 99}, []),
    ],
)
def test_who_is_shown(parameters: object, expected: list[str], result: Callable[..., Any]) -> None:
    assert _ids(result("user.get", parameters, MARTIN)) == expected


def test_what_is_shown(result: Callable[..., Any]) -> None:
    (row,) = result("user.get", {"ID": 1}, MARTIN)
    assert row == {
        "ID": "1", "ACTIVE": True, "NAME": "Anna", "LAST_NAME": "O'Hara <&>", "SECOND_NAME": "",
        "TIME_ZONE": "Europe/Moscow", "UF_DEPARTMENT": [1], "USER_TYPE": "employee", "EMAIL": "user1@portal.example",
    }  # fmt: skip


def test_the_smallest_scope_shows_no_e_mail_address(large_dataset: Any) -> None:
    (row,) = large_dataset("user.get", {"ID": 1})["result"]
    assert (row["NAME"], "EMAIL" in row) == ("P1", False)


def test_a_scope_is_needed(call: Callable[..., requests.Response]) -> None:
    assert call("user.get", {"ID": 1}, 1).json()["error"] == "insufficient_scope"
    batch = call("batch", {"cmd": {"a": "user.get?ID=1"}}, 1).json()["result"]
    assert batch["result_error"]["a"]["error"] == "insufficient_scope"


@pytest.fixture(scope="module")
def large_dataset() -> Any:
    people: list[dict[str, Any]] = [{"id": number, "name": f"P{number}"} for number in range(1, 121)]
    people[0]["webhook"] = {"secret": "cr0wdC0de0000000", "scopes": ["user_brief"]}
    people[119]["active"] = False
    with SandboxServer(Portal(parse({"people": people, "events": []}))) as server:
        yield lambda method, body: requests.post(
            f"{server.url}/rest/1/cr0wdC0de0000000/{method}", json=body, timeout=60
        ).json()


def test_pages(large_dataset: Any) -> None:
    first, second, third = (large_dataset("user.get", {"start": start}) for start in (0, 50, 100))
    assert [len(page["result"]) for page in (first, second, third)] == [50, 50, 20]
    assert [page.get("next") for page in (first, second, third)] == [50, 100, None]
    assert {page["total"] for page in (first, second, third)} == {120}
    assert len({one for page in (first, second, third) for one in _ids(page["result"])}) == 120


def test_the_dismissed_can_be_left_out(large_dataset: Any) -> None:
    assert large_dataset("user.get", {"FILTER": {"ACTIVE": True}})["total"] == 119
    assert large_dataset("user.get", {})["total"] == 120


def test_pages_in_a_batch(large_dataset: Any) -> None:
    answer = large_dataset("batch", {"cmd": {"all": "user.get?start=50", "one": "user.get?ID=7", "me": "profile"}})[
        "result"
    ]
    assert (len(answer["result"]["all"]), _ids(answer["result"]["one"])) == (50, ["7"])
    assert answer["result_total"] == {"all": 120, "one": 1}
    assert answer["result_next"] == {"all": 100}


def test_the_current_user(result: Callable[..., Any], call: Callable[..., requests.Response]) -> None:
    martin = result("user.current", user=MARTIN)
    shown = ("ID", "ACTIVE", "NAME", "EMAIL", "TIME_ZONE_OFFSET", "UF_DEPARTMENT")
    assert [martin[name] for name in shown] == ["2", True, "Martin", "martin@portal.example", "0", [1]]
    assert call("user.current").json()["error"] == "insufficient_scope"


def test_the_smallest_scope_shows_no_address(large_dataset: Any) -> None:
    brief = large_dataset("user.current", {})["result"]
    assert brief["NAME"] == "P1"
    assert "EMAIL" not in brief


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, ["1", "2", "3", "4"]),
        ({"ID": 3}, ["3"]),
        ({"PARENT": 1}, ["2", "4"]),
        ({"PARENT": [1, 2]}, ["2", "3", "4"]),
        ({"FILTER": {"ID": [4, 1]}}, ["1", "4"]),
        ({"ID": 99}, []),
        # Only names in capitals are filters.
        ({"id": 3}, ["1", "2", "3", "4"]),
    ],
)
def test_departments(parameters: object, expected: list[str], result: Callable[..., Any]) -> None:
    assert _ids(result("department.get", parameters, MARTIN)) == expected


def test_what_a_department_shows(result: Callable[..., Any]) -> None:
    company, engineering = result("department.get", {"ID": [1, 2]}, MARTIN)
    assert company == {"ID": "1", "NAME": "Company", "SORT": 500}
    assert engineering == {"ID": "2", "NAME": "Engineering", "SORT": 500, "PARENT": "1", "UF_HEAD": "5"}


def test_members_of_a_group_who_are_not_dismissed(result: Callable[..., Any]) -> None:
    assert result("sonet_group.user.get", {"ID": "9"}, MARTIN) == [
        {"USER_ID": "2", "ROLE": "A"},
        {"USER_ID": "5", "ROLE": "E"},
        {"USER_ID": "1", "ROLE": "K"},
        {"USER_ID": "7", "ROLE": "K"},
    ]


@pytest.mark.parametrize("parameters", [{"ID": 99}, {"ID": 0}, {}, {"id": 9}])
def test_a_group_that_is_not_there(parameters: object, call: Callable[..., requests.Response]) -> None:
    reply = call("sonet_group.user.get", parameters, MARTIN)
    assert (reply.status_code, reply.json()["error"]) == (400, "")


@pytest.mark.parametrize("method", ["department.get", "sonet_group.user.get", "im.notify.personal.add"])
def test_each_method_needs_its_scope(method: str, call: Callable[..., requests.Response]) -> None:
    assert call(method, {"ID": 9}, 1).json()["error"] == "insufficient_scope"
