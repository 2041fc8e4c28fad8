"""Members of groups and departments, for the ``users`` of a wait or for reminders."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24 import InvalidArgumentError, PortalError, ScopeError, UnexpectedReplyError
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.clock import Clock
from tests.company import CROWD, WITHOUT, company

Hook = Bitrix24CalendarHook


@pytest.fixture(scope="module")
def company_server() -> Iterator[SandboxServer]:
    with SandboxServer(Portal(parse(company()))) as running:
        yield running


@pytest.fixture
def portal(company_server: SandboxServer) -> Portal:
    company_server.renew()
    return company_server.portal


@pytest.fixture
def connect(
    company_server: SandboxServer, portal: Portal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int], Hook]]:
    hooks: list[Hook] = []

    def make(user_id: int = 1) -> Hook:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", company_server.connection_json(user_id))
        hooks.append(Hook())
        return hooks[-1]

    yield make
    for hook in hooks:
        hook.close()


@pytest.fixture
def hook(connect: Callable[..., Hook]) -> Hook:
    return connect()


def _requests(portal: Portal) -> Any:
    return portal.count()["requests"]


@pytest.mark.parametrize("group_id", [7, "7"])
def test_members_of_a_group(group_id: Any, hook: Hook) -> None:
    assert hook.get_group_members(group_id) == [1, 22, 23, 25]


@pytest.mark.parametrize("code", [None, "ERROR_CORE"])
def test_a_group_that_is_not_there(code: str | None, hook: Hook, portal: Portal) -> None:
    """Older modules refuse with the code of any failure, which says nothing about a group."""
    if code is not None:
        portal.plan({"error": code, "http_status": 400})
    with pytest.raises(PortalError, match="no such group, or the acting user may not see it") as caught:
        hook.get_group_members(99)
    assert (type(caught.value), _requests(portal)) == (PortalError, 1)


@pytest.mark.parametrize(
    ("department_id", "recursive", "expected"),
    [
        (2, False, [21, 22]),
        ("2", True, [21, 22, 23]),
        (3, False, [22, 23]),
        (4, False, []),
        (5, True, [one for one in CROWD if one % 10]),
    ],
)
def test_people_of_a_department(department_id: Any, recursive: bool, expected: list[int], hook: Hook) -> None:
    assert hook.get_department_members(department_id, recursive=recursive) == expected


def test_the_company_is_everybody_who_works_there(hook: Hook, portal: Portal) -> None:
    everybody = hook.get_department_members(1, recursive=True)
    active = [person for person in portal.book.people.values() if person.active and not person.external]
    assert everybody == sorted(person.id for person in active)


@pytest.mark.parametrize("recursive", [False, True])
def test_a_department_that_is_not_there(recursive: bool, hook: Hook, portal: Portal) -> None:
    with pytest.raises(InvalidArgumentError, match="Invalid department_id 99: expected the id of a department"):
        hook.get_department_members(99, recursive=recursive)
    assert "user.get" not in portal.count()["methods"]  # type: ignore[operator]  # JSON data


def test_a_portal_that_repeats_its_last_page(hook: Hook, portal: Portal) -> None:
    """Fifty people fill one page, and what comes behind the last page differs between portals."""
    rows = [{"ID": str(one), "ACTIVE": True, "UF_DEPARTMENT": [3]} for one in range(1, 51)]
    rule = {"method": "user.get", "times": 9, "content_type": "application/json"}
    portal.plan({**rule, "body": json.dumps({"result": rows, "total": 50})})
    assert hook.get_department_members(3) == list(range(1, 51))
    assert _requests(portal) == 3


def test_a_portal_that_ignores_the_filter(hook: Hook, portal: Portal) -> None:
    rows = [
        {"ID": "21", "ACTIVE": True, "UF_DEPARTMENT": ["3"]},
        {"ID": "22", "ACTIVE": True, "UF_DEPARTMENT": {"1": 3}},
        {"ID": "23", "ACTIVE": True, "UF_DEPARTMENT": [30]},
        {"ID": "24", "ACTIVE": False, "UF_DEPARTMENT": [3]},
        {"ID": "25", "ACTIVE": True, "UF_DEPARTMENT": []},
    ]
    rule = {"method": "user.get", "content_type": "application/json"}
    portal.plan({**rule, "body": json.dumps({"result": rows})})
    assert hook.get_department_members(3) == [21, 22]


@pytest.mark.parametrize(
    ("method", "row", "field"),
    [
        ("user.get", {"ID": "1", "ACTIVE": True}, "UF_DEPARTMENT"),
        ("user.get", {"ACTIVE": True, "UF_DEPARTMENT": [3]}, "ID"),
        ("department.get", {"ID": "x"}, "ID"),
        ("sonet_group.user.get", {"USER_ID": None}, "USER_ID"),
    ],
)
def test_a_row_that_cannot_be_read_is_no_missing_person(
    method: str, row: dict[str, Any], field: str, hook: Hook, portal: Portal
) -> None:
    rule = {"method": method, "content_type": "application/json", "body": json.dumps({"result": [row]})}
    portal.plan(rule)
    with pytest.raises(UnexpectedReplyError, match=rf"as {field} of a row"):
        hook.get_group_members(7) if method.startswith("sonet") else hook.get_department_members(3)


@pytest.mark.parametrize(
    ("scope", "named", "ask"),
    [
        ("sonet_group", "`sonet_group`", lambda hook: hook.get_group_members(7)),
        ("department", "`department`", lambda hook: hook.get_department_members(3)),
        ("user_brief", "`user_brief`, `user_basic` or `user` that", lambda hook: hook.get_department_members(3)),
    ],
)
def test_the_scope_that_is_missing_is_named(
    scope: str, named: str, ask: Callable[[Hook], Any], connect: Callable[[int], Hook]
) -> None:
    with pytest.raises(ScopeError, match=f"lacks the scope {named}"):
        ask(connect(WITHOUT[scope]))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda hook: hook.get_group_members("7a"), "Invalid group_id '7a': expected a positive whole number"),
        (lambda hook: hook.get_group_members(group_id=True), "Invalid group_id True"),
        (lambda hook: hook.get_department_members(0), "Invalid department_id 0: expected a positive whole number"),
        (lambda hook: hook.get_department_members(2, recursive="yes"), "Invalid recursive 'yes': expected True or Fal"),
    ],
)
def test_invalid_arguments(ask: Callable[[Hook], Any], message: str, hook: Hook, portal: Portal) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        ask(hook)
    assert _requests(portal) == 0


def test_the_asynchronous_twins(hook: Hook) -> None:
    async def ask() -> tuple[list[int], list[int]]:
        try:
            return await hook.aget_group_members(7), await hook.aget_department_members(2, recursive=True)
        finally:
            await hook.aclose()

    assert asyncio.run(ask()) == ([1, 22, 23, 25], [21, 22, 23])
