"""The ``calendar.*`` methods about one meeting, and what the others share with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitrix24_sandbox.errors import PhpFatalError, RestError
from bitrix24_sandbox.event_view import event_record
from bitrix24_sandbox.i18n import say
from bitrix24_sandbox.models import ANSWERS
from bitrix24_sandbox.participation import NoMeeting, read_status, write_status
from bitrix24_sandbox.php import PhpValue, is_empty, to_int, to_text
from bitrix24_sandbox.rest import Call, Method

if TYPE_CHECKING:
    from bitrix24_sandbox.models import Section

SCOPES = ("calendar",)


def required(call: Call, method: str, name: str) -> PhpValue:
    """Return a parameter.

    :raises RestError: when it is empty, as PHP understands it.
    """
    value = call.parameters.get(name)
    if is_empty(value):
        raise failed(call, "required", name=name, method=method)
    return value


def failed(call: Call, text: str, **values: str) -> RestError:
    """Return an error of a calendar method; all have the same empty code."""
    return RestError("", say(text, call.portal.settings.language, **values))


def refuse_external(call: Call) -> None:
    """Keep extranet users out of a method.

    :raises RestError: for one of them.
    """
    if call.caller.external:
        raise failed(call, "access")


def own_calendar(call: Call, method: str) -> None:
    """Check that a method is about the caller's own calendar.

    :raises RestError: for another one.
    """
    owner = call.parameters.get("ownerId", call.caller.id)
    if required(call, method, "type") != "user" or to_int(owner) != call.caller.id:
        raise failed(call, "access")


def own_section(call: Call, value: PhpValue) -> Section:
    """Return a section that the caller has made.

    :raises RestError: when there is none of that id.
    """
    section = call.portal.book.sections.get(to_int(value))
    if section is None or section.owner_id != call.caller.id:
        raise failed(call, "access")
    return section


def status_get(call: Call) -> str | None:
    """Answer ``calendar.meeting.status.get``."""
    event_id = to_int(required(call, "calendar.meeting.status.get", "eventId"))
    status = read_status(call.portal.book, event_id, call.caller.id, call.portal.settings.duplicate_row)
    if isinstance(status, NoMeeting):
        raise failed(call, "status")
    return status


def status_set(call: Call) -> bool:
    """Answer ``calendar.meeting.status.set``: always ``True``, whatever came of the write."""
    event_id = to_int(required(call, "calendar.meeting.status.set", "eventId"))
    wanted = required(call, "calendar.meeting.status.set", "status")
    if isinstance(wanted, dict):
        raise PhpFatalError("mb_strtoupper(): Argument #1 ($string) must be of type string, array given")
    status = to_text(wanted).upper()
    if status not in ANSWERS:
        raise failed(call, "value", name="status")
    portal = call.portal
    event = write_status(portal.book, event_id, call.caller.id, status, portal.settings.duplicate_row)
    if event is not None and event.notify:
        # The portal knows two messages only, so a reset to "not answered" reads as a decline.
        portal.ledger.notified(event.id, "accepted" if status == "Y" else "declined")
    return True


def event_getbyid(call: Call) -> dict[str, object] | None:
    """Answer ``calendar.event.getbyid``."""
    refuse_external(call)
    event_id = to_int(required(call, "calendar.event.getbyid", "id"))
    row = call.portal.book.live_row(event_id)
    if row is None:
        return None
    return event_record(call.portal.book, row, call.caller, call.portal.settings)


METHODS = {
    "calendar.meeting.status.get": Method(SCOPES, status_get),
    "calendar.meeting.status.set": Method(SCOPES, status_set),
    "calendar.event.getbyid": Method(SCOPES, event_getbyid),
}
