"""The forms that the fields of a row have taken on real portals: empty ones, and those of older modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bitrix24_sandbox.settings import Settings

_FORMS: dict[str, object] = {"blank": "", "false": False, "list": [], "null": None, "text": None}
EMPTY: dict[str, tuple[str, ...]] = {
    "RRULE": ("blank", "blank", "null"),
    "MEETING": ("list", "false", "list", "null", "text"),
    "RELATIONS": ("blank", "blank", "false", "list", "null"),
    "OPTIONS": ("null", "blank", "false", "list", "null"),
    "UF_CRM_CAL_EVENT": ("false", "blank", "false", "list", "null"),
    "UF_WEBDAV_CAL_EVENT": ("false", "blank", "false", "list", "null"),
}
"""For each field its usual empty form, then every form seen on some portal."""

_NEWER = (
    "ACTIVE", "DT_FROM", "DT_TO", "TEXT_COLOR", "DATE_FROM_FORMATTED", "DATE_TO_FORMATTED", "SECTION_DAV_XML_ID",
    "IS_DAYLIGHT_SAVING_TZ", "OPTIONS", "COLLAB_ID",
)  # fmt: skip
_NEWER_IN_MEETING = ("LANGUAGE_ID", "CHAT_ID")
_NULL_ONCE = ("RELATIONS", "REL", "G_EVENT_ID", "DAV_EXCH_LABEL", "CAL_DAV_LABEL")
_ATTENDEES = ("ATTENDEE_LIST", "attendeesEntityList")


def empty(field: str, settings: Settings) -> object:
    """Return a field that holds nothing."""
    usual, *known = EMPTY[field]
    return _FORMS[settings.empty_fields if settings.empty_fields in known else usual]


def printed(record: dict[str, object], settings: Settings) -> dict[str, object]:
    """Return a row as the portal's modules print it, and as what is on the way changes it."""
    if settings.modules == "2021":
        record = _of_2021(record)
    if settings.attendee_list == "null":
        record = {name: None if name in _ATTENDEES else value for name, value in record.items()}
    if settings.empty_fields == "text":
        record = {name: "null" if value is None else value for name, value in record.items()}
    return record


def _of_2021(record: dict[str, object]) -> dict[str, object]:
    kept = {name: value for name, value in record.items() if name not in _NEWER}
    meeting = kept.get("MEETING")
    if isinstance(meeting, dict):
        kept["MEETING"] = {name: value for name, value in meeting.items() if name not in _NEWER_IN_MEETING}
    rule = kept.get("RRULE")
    if isinstance(rule, dict):
        kept["RRULE"] = {name: value for name, value in rule.items() if name != "UNTIL_TS"}
    if not kept["IS_MEETING"] and "ATTENDEE_LIST" in kept:
        kept.update(dict.fromkeys(_ATTENDEES))
    return {**kept, **dict.fromkeys(_NULL_ONCE), "DT_LENGTH": str(kept["DT_LENGTH"])}
