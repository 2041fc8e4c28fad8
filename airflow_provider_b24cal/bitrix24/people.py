"""Members of groups and departments."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from airflow_provider_b24cal.bitrix24.calendar.event_methods import as_rows, read_row
from airflow_provider_b24cal.bitrix24.calendar.fields import RowError, needed_number, positive_number, truth
from airflow_provider_b24cal.bitrix24.protocol.call import Call
from airflow_provider_b24cal.bitrix24.protocol.error_codes import ErrorSpec, lacking_scope
from airflow_provider_b24cal.bitrix24.protocol.errors import PortalError
from airflow_provider_b24cal.bitrix24.protocol.exchange import in_chunks, run_call
from airflow_provider_b24cal.bitrix24.validation import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_provider_b24cal.bitrix24.protocol.exchange import ExchangeContext, Steps

T = TypeVar("T")

PAGE: Final = 50
"""Rows of one reply at most."""

GROUP_MEMBERS: Final = "sonet_group.user.get"
DEPARTMENTS: Final = "department.get"
USERS: Final = "user.get"

_NO_GROUP: Final = ErrorSpec(PortalError, "The portal has no such group, or the acting user may not see it.")
# Older modules refuse with the code of any failure.
_GROUP_CODES: Final = {
    "": _NO_GROUP,
    "error_core": _NO_GROUP,
    **lacking_scope("`sonet_group`", "members of groups need"),
}


def get_group_members(group_id: int) -> Call[list[int]]:
    """Return the call for the members of a group or project, in ascending order of their ids.

    https://apidocs.bitrix24.com/api-reference/sonet-group/members/sonet-group-user-get.html

    :param group_id: checked by :func:`~airflow_provider_b24cal.bitrix24.validation.check_event_id`.
    """

    def read(result: list[Any] | dict[str, Any], scrub: Callable[[str], str]) -> list[int]:
        rows = as_rows(result)
        return sorted({read_row(lambda row: needed_number(row, "USER_ID"), row, GROUP_MEMBERS, scrub) for row in rows})

    return Call(GROUP_MEMBERS, {"ID": group_id}, "rows", read, own_codes=_GROUP_CODES)


def list_department_members(department_id: int, recursive: bool, context: ExchangeContext) -> Steps[list[int]]:
    """Return the active people of a department, in ascending order of their ids.

    :param recursive: also those of the departments below.
    :raises InvalidArgumentError: there is no such department.
    :raises Bitrix24Error: a page could not be read, so people would be missing.
    """
    only = {} if recursive else {"ID": department_id}
    parents = yield from _all_pages(partial(_get_departments, only), context)
    if department_id not in parents:
        raise invalid("department_id", department_id, "the id of a department of the portal")
    wanted, found = {department_id}, {department_id}
    while found:
        found = {unit for unit, parent in parents.items() if parent in found} - wanted
        wanted |= found
    members: dict[int, bool] = {}
    for chunk in in_chunks(sorted(wanted)):
        members |= yield from _all_pages(partial(_get_people, chunk), context)
    return sorted(user_id for user_id, counts in members.items() if counts)


def _get_departments(only: Mapping[str, int], start: int) -> Call[dict[int, int | None]]:
    """Return the call for a page of departments: the department above each, by id.

    https://apidocs.bitrix24.com/api-reference/departments/department-get.html
    """
    codes = lacking_scope("`department`", "departments need")
    return _page(DEPARTMENTS, {**only, "start": start}, lambda row: positive_number(row, "PARENT"), codes)


def _get_people(departments: Sequence[int], start: int) -> Call[dict[int, bool]]:
    """Return the call for a page of people: whether each counts, by id.

    The filter stands beside the other parameters: not every portal reads it inside of ``FILTER``. A portal that ignores
    it lists everybody, so each row is looked at.

    https://apidocs.bitrix24.com/api-reference/user/user-get.html
    """

    def read(row: Mapping[str, Any]) -> bool:
        units = row.get("UF_DEPARTMENT")
        if not isinstance(units, list | dict):
            raise RowError("UF_DEPARTMENT", "a list of departments", units)
        found = {str(unit) for unit in as_rows(units)}
        return truth(row, "ACTIVE") and not found.isdisjoint(map(str, departments))

    params = {"UF_DEPARTMENT": list(departments), "ACTIVE": True, "sort": "ID", "order": "ASC", "start": start}
    codes = lacking_scope("`user_brief`, `user_basic` or `user`", "people of departments need")
    return _page(USERS, params, read, codes)


def _page(
    method: str, params: Mapping[str, Any], value: Callable[[Mapping[str, Any]], T], codes: Mapping[str, ErrorSpec]
) -> Call[dict[int, T]]:
    def read(result: list[Any] | dict[str, Any], scrub: Callable[[str], str]) -> dict[int, T]:
        rows = as_rows(result)
        return dict(read_row(lambda row: (needed_number(row, "ID"), value(row)), row, method, scrub) for row in rows)

    return Call(method, params, "rows", read, own_codes=codes)


def _all_pages(page: Callable[[int], Call[dict[int, T]]], context: ExchangeContext) -> Steps[dict[int, T]]:
    """Return the rows of all pages by id.

    The end is a page that is not full, or one that brings nothing new: behind the last one, a portal may repeat it.
    """
    found: dict[int, T] = {}
    while True:
        rows = yield from run_call(page(len(found)), context)
        is_last = len(rows) < PAGE or rows.keys() <= found.keys()
        found |= rows
        if is_last:
            return found
