"""The methods about sections, which are the parts of a calendar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitrix24_sandbox.calendar_methods import SCOPES, failed, own_calendar, own_section, refuse_external, required
from bitrix24_sandbox.event_fields import section_id
from bitrix24_sandbox.models import ROOMS
from bitrix24_sandbox.php import text_or_empty, to_int
from bitrix24_sandbox.rest import Call, Method

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitrix24_sandbox.models import CalendarStore

_CHANGED = "2024-02-10 03:00:00"


def section_add(call: Call) -> int:
    """Answer ``calendar.section.add``."""
    method = "calendar.section.add"
    own_calendar(call, method)
    return call.portal.book.add_section(call.caller.id, text_or_empty(required(call, method, "name"))).id


def section_get(call: Call) -> list[dict[str, object]]:
    """Answer ``calendar.section.get``: of an owner that does not exist, or shows nothing, there are none."""
    method, given, book = "calendar.section.get", call.parameters, call.portal.book
    for name in ("type", "ownerId"):
        if given.get(name) is None and (name == "type" or given["type"] != "user"):
            raise failed(call, "required", name=name, method=method)
    refuse_external(call)
    kind, owner_id = text_or_empty(given["type"]), to_int(given.get("ownerId", call.caller.id))
    if kind == "user" and not _shows(call, owner_id):
        return []
    own = kind == "user" and owner_id == call.caller.id
    return [
        _row(call, kind, owner_id, number, name, may_edit=own or call.caller.admin)
        for number, name in _sections(book, kind, owner_id)
    ]


def _shows(call: Call, owner_id: int) -> bool:
    owner = call.portal.book.people.get(owner_id)
    return owner is not None and (owner.shares != "none" or call.caller.admin or call.caller.id == owner_id)


def _sections(book: CalendarStore, kind: str, owner_id: int) -> Iterator[tuple[int, str]]:
    """Yield id and name of the sections of a calendar: those that its rows lie in, and those made by REST."""
    rows = book.calendar(kind, owner_id)
    used = {section_id(book.events[row.parent_id], row): row for row in rows}
    if kind == "user":
        yield owner_id * 10 + 1, "My calendar"
        yield owner_id * 10 + 2, "Invitations"
        yield from ((one.id, one.name) for one in book.sections.values() if one.owner_id == owner_id)
    elif kind == "group" and (owner_id in book.groups or used):
        yield owner_id * 10 + 3, book.groups[owner_id].name if owner_id in book.groups else f"Group {owner_id}"
    elif kind == "company_calendar" and owner_id == 0:
        yield 4, "Company calendar"
    elif kind == ROOMS:
        yield from ((number, f"Room {number}") for number in sorted(used))


def _row(call: Call, kind: str, owner_id: int, number: int, name: str, *, may_edit: bool) -> dict[str, object]:
    return {
        "ID": str(number),
        "NAME": name,
        "GAPI_CALENDAR_ID": None,
        "DESCRIPTION": None,
        "COLOR": "#9dcf00",
        "TEXT_COLOR": None,
        "EXPORT": {
            "ALLOW": True,
            "PATH": call.portal.address,
            "LINK": f"&type={kind}&owner={owner_id}&ncc=1&user={call.caller.id}&sec_id={number}&sign=0&bx_hit_hash=",
        },
        "CAL_TYPE": kind,
        "OWNER_ID": str(owner_id),
        "CREATED_BY": str(owner_id),
        "DATE_CREATE": _CHANGED,
        "TIMESTAMP_X": _CHANGED,
        "CAL_DAV_CON": False,
        "SYNC_TOKEN": None,
        "PAGE_TOKEN": None,
        "EXTERNAL_TYPE": "local",
        "ACCESS": {"G2": 13, f"U{owner_id}": 19},
        "IS_COLLAB": False,
        "PERM": {
            **dict.fromkeys(("view_time", "view_title", "view_full"), True),
            **dict.fromkeys(("add", "edit", "edit_section", "access"), may_edit),
        },
    }


def section_delete(call: Call) -> bool:
    """Answer ``calendar.section.delete``: the events in it are deleted too."""
    own_calendar(call, "calendar.section.delete")
    section, book = own_section(call, call.parameters.get("id")), call.portal.book
    for event in [event for event in book.events.values() if event.section_id == section.id]:
        book.drop(event.id)
    del book.sections[section.id]
    return True


METHODS = {
    "calendar.section.add": Method(SCOPES, section_add),
    "calendar.section.get": Method(SCOPES, section_get),
    "calendar.section.delete": Method(SCOPES, section_delete),
}
