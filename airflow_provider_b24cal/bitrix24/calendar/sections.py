"""Sections, which are the parts of a calendar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_b24cal.bitrix24.calendar.event_methods import as_rows, read_row
from airflow_provider_b24cal.bitrix24.calendar.fields import TYPE_LENGTH, RowError, needed_number, number, text
from airflow_provider_b24cal.bitrix24.calendar.listing import check_owner
from airflow_provider_b24cal.bitrix24.protocol.call import Call
from airflow_provider_b24cal.bitrix24.protocol.error_codes import ErrorSpec
from airflow_provider_b24cal.bitrix24.protocol.errors import PortalError
from airflow_provider_b24cal.bitrix24.serialization import HookResult
from airflow_provider_b24cal.bitrix24.validation import check_choice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SECTION_GET: Final = "calendar.section.get"
_TYPES: Final = ("user", "group", "company_calendar", "location")
_REFUSED: Final[Mapping[str, ErrorSpec]] = {
    "": ErrorSpec(PortalError, "The calendar refused to show sections; external (extranet) users may not read them.")
}


@dataclass(frozen=True, slots=True)
class Section(HookResult):
    """A section of a calendar; rooms are sections of the calendar of type ``location``.

    :param id: for ``sections=`` of :meth:`~airflow_provider_b24cal.hooks.bitrix24.Bitrix24CalendarHook.list_events`.
    :param calendar_type: ``user``, ``group``, ``company_calendar`` or ``location``.
    :param owner_id: user or group; 0 for the company and for rooms.
    :param color: such as ``#9dcf00``; ``None`` if it has none.
    """

    id: int
    name: str | None
    calendar_type: str
    owner_id: int
    color: str | None


def get_sections(calendar_type: object = "user", owner_id: object = None) -> Call[list[Section]]:
    """Return the call for the sections of one calendar that the acting user may see.

    https://apidocs.bitrix24.com/api-reference/calendar/calendar-section-get.html

    :raises InvalidArgumentError: an argument is invalid.
    """
    kind = check_choice(calendar_type, _TYPES, "calendar_type")
    owner = check_owner(kind, owner_id)
    # Without an owner, a portal takes the acting user.
    params = {"type": kind} if owner is None else {"type": kind, "ownerId": owner}

    def read(result: list[Any] | dict[str, Any], scrub: Callable[[str], str]) -> list[Section]:
        return [read_row(_read_section, row, SECTION_GET, scrub) for row in as_rows(result)]

    return Call(SECTION_GET, params, "rows", read, own_codes=_REFUSED)


def _read_section(row: Mapping[str, Any]) -> Section:
    kind = text(row, "CAL_TYPE", TYPE_LENGTH)
    if kind is None:
        raise RowError("CAL_TYPE", "the type of a calendar", row.get("CAL_TYPE"))
    return Section(
        needed_number(row, "ID"), text(row, "NAME"), kind, number(row, "OWNER_ID") or 0, text(row, "COLOR", TYPE_LENGTH)
    )
