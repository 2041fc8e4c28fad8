"""Methods about people."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from bitrix24_sandbox.basic_methods import any_case
from bitrix24_sandbox.event_times import date_time
from bitrix24_sandbox.php import PhpArray, PhpValue, is_empty, to_int
from bitrix24_sandbox.rest import Call, Method, Page

if TYPE_CHECKING:
    from bitrix24_sandbox.models import Person

PAGE = 50
SCOPES = ("user_brief", "user_basic", "user")


def user_get(call: Call) -> Page:
    """Answer ``user.get`` with what the smallest of its scopes shows, filtered by ``ID`` and ``ACTIVE``.

    Filters travel in ``FILTER`` or beside it, and one value or many are accepted. Dismissed people are listed too.
    """
    beside = any_case(call.parameters, "filter")
    wanted: PhpArray = {**call.parameters, **(beside if isinstance(beside, dict) else {})}
    found = [person for _, person in sorted(call.portal.book.people.items()) if _is_wanted(person, wanted)]
    last = call.start + PAGE
    return Page(list(map(_row, found[call.start : last])), len(found), last if last < len(found) else None)


def _is_wanted(person: Person, wanted: PhpArray) -> bool:
    ids, active = any_case(wanted, "id"), any_case(wanted, "active")
    if ids is not None and person.id not in map(_number, ids.values() if isinstance(ids, dict) else [ids]):
        return False
    return person.active or is_empty(active) or active in ("N", "false")


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
        "USER_TYPE": "extranet" if person.external else "employee",
    }


def user_current(call: Call) -> dict[str, object]:
    """Answer ``user.current``; the smallest scope shows no e-mail address."""
    person, settings = call.caller, call.portal.settings
    now = datetime.fromtimestamp(call.portal.clock(), ZoneInfo(settings.server_zone))
    email = person.login if "@" in person.login else f"{person.login}@portal.example"
    brief = not {"user", "user_basic"} & set(call.webhook.scopes)
    return {
        **_row(person),
        "XML_ID": str(person.id),
        **({} if brief else {"EMAIL": email}),
        "LAST_LOGIN": now.isoformat(timespec="seconds"),
        "DATE_REGISTER": "2024-02-10T03:00:00+03:00",
        "IS_ONLINE": "Y",
        "TIME_ZONE_OFFSET": "0",
        "TIMESTAMP_X": date_time(now, settings),
        "LAST_ACTIVITY_DATE": f"{now:%Y-%m-%d %H:%M:%S}",
        **dict.fromkeys(("PERSONAL_GENDER", "PERSONAL_BIRTHDAY", "PERSONAL_PHOTO", "UF_EMPLOYMENT_DATE"), ""),
        "UF_DEPARTMENT": [1],
    }


METHODS = {"user.get": Method(SCOPES, user_get), "user.current": Method(SCOPES, user_current)}
