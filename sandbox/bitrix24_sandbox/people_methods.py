"""Methods about people, and the departments and groups that they are in."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo

from bitrix24_sandbox.basic_methods import any_case
from bitrix24_sandbox.errors import RestError
from bitrix24_sandbox.event_times import date_time
from bitrix24_sandbox.php import PhpArray, PhpValue, is_empty, to_int
from bitrix24_sandbox.rest import Call, Method, Page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bitrix24_sandbox.models import Department, Person

T = TypeVar("T")

PAGE = 50
SCOPES = ("user_brief", "user_basic", "user")


def user_get(call: Call) -> Page:
    """Answer ``user.get``, filtered by ``ID``, ``ACTIVE`` and department. Its smallest scope shows no e-mail address.

    Filters travel in ``FILTER`` or beside it, and one value or many are accepted. Dismissed people are listed too.
    """
    beside = any_case(call.parameters, "filter")
    wanted: PhpArray = {**call.parameters, **(beside if isinstance(beside, dict) else {})}
    found = [person for _, person in sorted(call.portal.book.people.items()) if _is_wanted(person, wanted)]
    return _page(call, found, lambda person: {**_row(person), **_email(call, person)})


def _page(call: Call, found: Sequence[T], row: Callable[[T], dict[str, object]]) -> Page:
    """Return the page of a list that a call asks for."""
    last = call.start + PAGE
    return Page([row(one) for one in found[call.start : last]], len(found), last if last < len(found) else None)


def _is_wanted(person: Person, wanted: PhpArray) -> bool:
    ids, active, units = (any_case(wanted, name) for name in ("id", "active", "uf_department"))
    if ids is not None and person.id not in _numbers(ids):
        return False
    if units is not None and _numbers(units).isdisjoint(person.departments):
        return False
    return person.active or is_empty(active) or active in ("N", "false")


def _numbers(value: PhpValue) -> set[int]:
    return set(map(_number, value.values() if isinstance(value, dict) else [value]))


def _number(value: PhpValue) -> int:
    return 0 if isinstance(value, dict) else to_int(value)


def _row(person: Person) -> dict[str, object]:
    return {
        "ID": str(person.id),
        "ACTIVE": person.active,
        "NAME": person.name,
        "LAST_NAME": person.last_name,
        "SECOND_NAME": "",
        "TIME_ZONE": person.time_zone,
        "UF_DEPARTMENT": list(person.departments),
        "USER_TYPE": "extranet" if person.external else "employee",
    }


def _email(call: Call, person: Person) -> dict[str, object]:
    if not {"user", "user_basic"} & set(call.webhook.scopes):
        return {}
    return {"EMAIL": person.login if "@" in person.login else f"{person.login}@portal.example"}


def user_current(call: Call) -> dict[str, object]:
    """Answer ``user.current``; the smallest scope shows no e-mail address."""
    person, settings = call.caller, call.portal.settings
    now = datetime.fromtimestamp(call.portal.clock(), ZoneInfo(settings.server_zone))
    return {
        **_row(person),
        "XML_ID": str(person.id),
        **_email(call, person),
        "LAST_LOGIN": now.isoformat(timespec="seconds"),
        "DATE_REGISTER": "2024-02-10T03:00:00+03:00",
        "IS_ONLINE": "Y",
        "TIME_ZONE_OFFSET": "0",
        "TIMESTAMP_X": date_time(now, settings),
        "LAST_ACTIVITY_DATE": f"{now:%Y-%m-%d %H:%M:%S}",
        **dict.fromkeys(("PERSONAL_GENDER", "PERSONAL_BIRTHDAY", "PERSONAL_PHOTO", "UF_EMPLOYMENT_DATE"), ""),
    }


def department_get(call: Call) -> Page:
    """Answer ``department.get``, filtered by ``ID`` and ``PARENT``; the names of filters are in capitals only."""
    beside = call.parameters.get("FILTER")
    wanted = beside if isinstance(beside, dict) else call.parameters
    ids, above = (None if wanted.get(name) is None else _numbers(wanted[name]) for name in ("ID", "PARENT"))
    found = [
        unit
        for unit in call.portal.book.departments
        if (ids is None or unit.id in ids) and (above is None or unit.parent_id in above)
    ]
    return _page(call, found, _department_row)


def _department_row(unit: Department) -> dict[str, object]:
    # What is empty is left out.
    parent = {} if unit.parent_id is None else {"PARENT": str(unit.parent_id)}
    head = {} if unit.head_id is None else {"UF_HEAD": str(unit.head_id)}
    return {"ID": str(unit.id), "NAME": unit.name, "SORT": 500, **parent, **head}


def group_members(call: Call) -> list[dict[str, object]]:
    """Answer ``sonet_group.user.get``: all members who are not dismissed, at once."""
    book, group_id = call.portal.book, _number(call.parameters.get("ID"))
    if group_id <= 0:
        raise RestError("", "Wrong socialnetwork group ID")
    group = book.groups.get(group_id)
    if group is None:
        raise RestError("", "Socialnetwork group not found")
    roles = {
        group.owner_id: "A",
        **dict.fromkeys(group.moderators, "E"),
        **dict.fromkeys(group.members, "K"),
    }
    return [{"USER_ID": str(one), "ROLE": role} for one, role in roles.items() if book.people[one].active]


METHODS = {
    "user.get": Method(SCOPES, user_get),
    "user.current": Method(SCOPES, user_current),
    "department.get": Method(("department",), department_get),
    "sonet_group.user.get": Method(("sonet_group",), group_members),
}
