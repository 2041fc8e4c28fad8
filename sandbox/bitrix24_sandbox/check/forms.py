"""Saying what a reply looks like in words that hold nothing of its content.

Whatever a portal sends, these functions return words of this module, letters of a status, and known codes.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from bitrix24_sandbox.check.client import NOT_JSON
from bitrix24_sandbox.errors import STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bitrix24_sandbox.check.client import Reply

    Replies = Sequence[Reply]
    Names = Mapping[str, int | str]

_FORMATTED = "%a %b %d %Y %H:%M:%S"
_DATE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}( \d{1,2}:\d{2}:\d{2}( [ap]m)?)?", re.IGNORECASE | re.ASCII)
NOON = 12
ZONE = "Europe/Berlin"
"""Of the check's own meetings, which all begin at noon."""


def form(value: object) -> str:
    """Return the form of a JSON value; a single letter stands for itself."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return _form_of_text(value)
    if isinstance(value, list):
        return "list" if value else "[]"
    return "object" if value else "{}"


def _form_of_text(text: str) -> str:
    if re.fullmatch(r"[A-Z]", text):
        return text
    if re.fullmatch(r"-?\d+", text, re.ASCII):
        return "digits"
    return "date" if _DATE.fullmatch(text) else "text" if text else '""'


def forms(row: Mapping[str, object], keys: str) -> str:
    """Return the forms of some keys of a row."""
    return ", ".join(f"{key} {form(row[key]) if key in row else 'absent'}" for key in keys.split())


def code(value: object) -> str:
    """Return an error code if it is a known one."""
    return '""' if value == "" else value if isinstance(value, str) and value in STATUSES else "another code"


def outcome(reply: Reply) -> str:
    """Return HTTP status and error code, or HTTP status and form of the result."""
    if reply.body is NOT_JSON:
        return f"{reply.status} not JSON"
    if reply.code is not None:
        return f"{reply.status} {code(reply.code)}"
    return f"{reply.status} {form(reply.result)}"


def outcomes(replies: Replies, _names: Names | None = None) -> str:
    """Return the outcomes of all replies in their order."""
    return ", ".join(map(outcome, replies))


def last_outcomes(number: int) -> Any:
    """Return a function for the outcomes of the last replies."""
    return lambda replies, _names: outcomes(replies[-number:])


def result_forms(keys: str) -> Any:
    """Return a function for the forms of some keys of the last result."""
    return lambda replies, _names: forms(replies[-1].result, keys)


def keys_of(key: str) -> Any:
    """Return a function for the keys of an object in the last body, with their forms."""
    return lambda replies, _names: forms(replies[-1].body[key], " ".join(sorted(map(_known, replies[-1].body[key]))))


def _known(key: str) -> str:
    return key if key in _TIME_KEYS else "another-key"


_TIME_KEYS = frozenset(
    ("start", "finish", "duration", "processing", "date_start", "date_finish", "operating", "operating_reset_at")
)


def headers(replies: Replies, _names: Names) -> str:
    """Return what the headers of JSON replies promise."""
    found = replies[-1].headers
    kind = found.get("content-type", "").replace(" ", "").lower()
    return ", ".join(
        (
            "JSON in UTF-8" if kind == "application/json;charset=utf-8" else "another content type",
            "any origin" if found.get("access-control-allow-origin") == "*" else "no origin",
            "nosniff" if found.get("x-content-type-options") == "nosniff" else "no nosniff",
        )
    )


def error_keys(replies: Replies, _names: Names) -> str:
    """Return which of the keys of an envelope an error has."""
    known = ("error", "error_description", "result", "time")
    return ", ".join(key for key in known if key in replies[-1].body)


def scopes(replies: Replies, _names: Names) -> str:
    """Return whether the last result is a list of scopes with the calendar."""
    found = replies[-1].result
    return "a list with calendar" if isinstance(found, list) and "calendar" in found else form(found)


def batch(replies: Replies, _names: Names) -> str:
    """Return the forms of a batch's five maps, and the codes in its map of errors."""
    result = replies[-1].result
    maps = forms(result, "result result_error result_total result_next result_time").replace("result_", "")
    errors = result["result_error"]
    codes = [code(error["error"]) for error in (errors.values() if isinstance(errors, dict) else errors)]
    return "; ".join([maps, *sorted(codes)])


def batch_size(replies: Replies, _names: Names) -> str:
    """Return how many commands of a batch were executed and refused."""
    result = replies[-1].result
    return f"{len(result['result'])} executed, {len(result['result_error'])} refused; " + ", ".join(
        code(error["error"]) for error in _values(result["result_error"])
    )


def _values(some: Any) -> list[Any]:
    """Return the items of what PHP prints as a list or as an object."""
    return list(some.values()) if isinstance(some, dict) else list(some)


def users_found(replies: Replies, names: Names) -> str:
    """Return whether each list has the first user, and nobody else."""
    return ", ".join(
        "only that user" if [row["ID"] for row in reply.result] == [str(names["me"])] else "others or nobody"
        for reply in replies
    )


def unchanged(replies: Replies, _names: Names) -> str:
    """Return whether an event's marks of change are in the last reply as in the first."""
    first, last = (reply.result for reply in (replies[0], replies[-1]))
    moved = [key for key in ("TIMESTAMP_X", "VERSION") if first[key] != last[key]]
    return "changed: " + ", ".join(moved) if moved else "TIMESTAMP_X and VERSION unchanged"


def attendees(replies: Replies, names: Names) -> str:
    """Return the entries of the last event's attendees: who, the forms of their ids, their letters."""
    who = {names["me"]: "organiser", names.get("other"): "attendee"}
    return "; ".join(
        sorted(
            f"{who.get(one['id'], 'somebody')}: {forms(one, 'id entryId status')}"
            for one in _values(replies[-1].result["ATTENDEE_LIST"])
        )
    )


def plain_host(replies: Replies, names: Names) -> str:
    """Return who is host and attendee of an event that is no meeting."""
    row = replies[-1].result
    named = {str(names["me"]): "the owner as host", "0": "no host", "": "no host", "None": "no host"}
    host = named.get(str(row["MEETING_HOST"]), "another host")
    listed = row.get("ATTENDEE_LIST")
    strangers = [one for one in _values(listed or []) if one["id"] not in (None, 0, names["me"])]
    letters = {one["status"] for one in _values(listed or [])} <= {"H", "Y"}
    return f"{host}, {'nobody else' if not strangers and letters else 'others'} in ATTENDEE_LIST"


# Times


def _wall_clock(row: Mapping[str, Any]) -> datetime:
    return datetime.strptime(row["DATE_FROM_FORMATTED"], _FORMATTED).replace(tzinfo=ZoneInfo(row["TZ_FROM"]))


def _noon(day: object) -> datetime:
    return datetime.fromisoformat(str(day)).replace(hour=NOON, tzinfo=ZoneInfo(ZONE))


def instant(day: str) -> Any:
    """Return a function for whether the last event begins when it was made to begin."""
    return lambda replies, names: (
        "the time that was sent" if _wall_clock(replies[-1].result) == _noon(names[day]) else "another time"
    )


def stamp(day: str) -> Any:
    """Return a function for whether the last event's time stamp is its true time."""

    def shown(replies: Replies, names: Names) -> str:
        value = replies[-1].result["DATE_FROM_TS_UTC"]
        return f"{form(value)}, {'right' if int(value) == _noon(names[day]).timestamp() else 'off'}"

    return shown


def _rows_of(reply: Reply, event_id: object) -> list[Mapping[str, Any]]:
    return [row for row in _values(reply.result) if row["ID"] == str(event_id)]


def listed(event: str) -> Any:
    """Return a function for whether the last list has an event."""
    return lambda replies, names: "listed" if _rows_of(replies[-1], names[event]) else "not listed"


def dates(series: str, first: str) -> Any:
    """Return a function for the dates of a series in the last list, by their numbers."""

    def shown(replies: Replies, names: Names) -> str:
        begin = _noon(names[first]).date()
        numbers = [(_wall_clock(row).date() - begin).days + 1 for row in _rows_of(replies[-1], names[series])]
        return "dates " + ", ".join(map(str, sorted(numbers)))

    return shown


def occurrences(series: str) -> Any:
    """Return a function for what differs between the dates of a series in the last list."""
    keys = ("DATE_FROM_FORMATTED", "RINDEX", "~DATE_FROM", "DATE_FROM_TS_UTC", "DATE_TO_TS_UTC")

    def shown(replies: Replies, names: Names) -> str:
        rows = _rows_of(replies[-1], names[series])
        own = [key for key in keys if _differ(row[key] for row in rows)]
        return f"{len(rows)} rows of one ID; differ: {', '.join(own)}; RINDEX {form(rows[0]['RINDEX'])}"

    return shown


def _differ(values: Iterable[object]) -> bool:
    return len({str(value) for value in values}) > 1


def masked(event: str, name: str) -> Any:
    """Return a function for whether an event's name is hidden in the last map of busy times."""

    def shown(replies: Replies, names: Names) -> str:
        busy = [row for rows in _values(replies[-1].result) for row in _values(rows) if row["ID"] == str(names[event])]
        return "not listed" if not busy else "name shown" if busy[0]["NAME"] == name else "name hidden"

    return shown
