"""What this project believes of portals: each fact with what is sent and what must come back.

Expected and found are compared as words (see :mod:`~bitrix24_sandbox.check.forms`). Where portals are known to differ,
each of the answers is expected.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bitrix24_sandbox.check import forms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ME, OTHER, WRONG = "me", "other", "wrong secret"
UNKNOWN_ID: Final = 2_147_483_000
"""An id that no portal has reached."""
PRIVATE_NAME: Final = "Private"


@dataclass(frozen=True)
class Ref:
    """Stands for a value that is known when the check runs, such as the id of a meeting of its own."""

    name: str


@dataclass(frozen=True)
class Ask:
    """One request.

    :param who: sends it: the owner of the first or of the second webhook, or the first one with a wrong secret.
    """

    method: str | Ref
    params: Mapping[str, Any] = field(default_factory=dict)
    who: str = ME


@dataclass(frozen=True)
class Fact:
    """One fact.

    :param topic: what it is about.
    :param expected: the words for each answer that is known of portals.
    :param shown: returns the words for the replies.
    :param needs: what the words are about, if no request names it.
    """

    topic: str
    name: str
    asks: tuple[Ask, ...]
    expected: tuple[str, ...]
    shown: Callable[[Any, Any], str] = forms.outcomes
    needs: str = ME


def _get(event: str, who: str = ME) -> Ask:
    return Ask("calendar.meeting.status.get", {"eventId": Ref(event)}, who)


def _set(event: str, status: str, who: str = ME) -> Ask:
    return Ask("calendar.meeting.status.set", {"eventId": Ref(event), "status": status}, who)


def _event(event: str) -> Ask:
    return Ask("calendar.event.getbyid", {"id": Ref(event)})


def _list(begin: str, end: str) -> Ask:
    """Ask for the events in the section of the check, which nobody else's events are in."""
    mine = {"type": "user", "ownerId": Ref(ME), "section": Ref("section")}
    return Ask("calendar.event.get", {**mine, "from": Ref(begin), "to": Ref(end)})


def _batch(commands: object, **more: object) -> Ask:
    return Ask("batch", {"cmd": commands, **more})


def _users(**params: object) -> Ask:
    return Ask(Ref("user.get"), params)


ENVELOPE: Final = (
    Fact("Envelope", "the user of a webhook", (Ask("profile"),),
         ("ID digits, ADMIN true", "ID digits, ADMIN false"), forms.result_forms("ID ADMIN")),
    Fact("Envelope", "the scopes of a webhook", (Ask("scope"),), ("a list with calendar",), forms.scopes),
    Fact("Envelope", "keys of time", (Ask("server.time"),), (
        *(f"date_finish text, date_start text, duration number, finish number, {more}processing number, start number"
          for more in ("", "operating number, ", "operating number, operating_reset_at number, ")),
    ), forms.keys_of("time")),
    Fact("Envelope", "headers of a reply", (Ask("server.time"),),
         ("JSON in UTF-8, any origin, nosniff",), forms.headers),
    Fact("Envelope", "an error has no result and no time", (Ask("calendar.meeting.status.get"),),
         ("error, error_description",), forms.error_keys),
)  # fmt: skip

REFUSALS: Final = (
    # The documentation lists 403, portals' own code sends 401.
    Fact("Refusals", "a wrong secret", (Ask("profile", who=WRONG),),
         ("401 INVALID_CREDENTIALS", "403 INVALID_CREDENTIALS")),
    Fact("Refusals", "a scope that is missing", (Ask(Ref("closed method")),),
         ("401 insufficient_scope", "403 insufficient_scope")),
    Fact("Refusals", "a scope that is missing, in a batch", (_batch({"a": Ref("closed method")}),), (
        "result [], error object, total [], next [], time []; insufficient_scope",
    ), forms.batch),
    Fact("Refusals", "an unknown method", (Ask("calendar.no.such.method"),),
         ("404 ERROR_METHOD_NOT_FOUND", "400 ERROR_METHOD_NOT_FOUND")),
    Fact("Refusals", "a missing id", (Ask("calendar.meeting.status.get"),), ('400 ""',)),
)  # fmt: skip

BATCH: Final = (
    Fact("Batch", "one good, one refused", (_batch({"a": "server.time", "b": "calendar.no.such.method"}),), (
        "result object, error object, total [], next [], time object; ERROR_METHOD_NOT_FOUND",
    ), forms.batch),
    Fact("Batch", "keys 0 and 1 become lists", (_batch(["server.time", "server.time"]),), (
        "result list, error [], total [], next [], time list",
    ), forms.batch),
    Fact("Batch", "only key 0 refused", (_batch(["calendar.no.such.method", "server.time"]),), (
        "result object, error list, total [], next [], time object; ERROR_METHOD_NOT_FOUND",
    ), forms.batch),
    Fact("Batch", "a batch inside", (_batch({"a": "batch"}),), (
        "result [], error object, total [], next [], time []; ERROR_BATCH_METHOD_NOT_ALLOWED",
    ), forms.batch),
    Fact("Batch", "commands that were lost", (Ask("batch"),),
         ("result [], error [], total [], next [], time []",), forms.batch),
    Fact("Batch", "the 51st command", (_batch({f"c{number}": "server.time" for number in range(51)}),),
         ("50 executed, 1 refused; ERROR_BATCH_LENGTH_EXCEEDED",), forms.batch_size),
)  # fmt: skip

PEOPLE: Final = (
    Fact("People", "a filter beside the parameters", (_users(ID=Ref(ME)), _users(ID=[Ref(ME)])),
         ("only that user, only that user",), forms.users_found),
    Fact("People", "a filter in FILTER", (_users(FILTER={"ID": Ref(ME)}), _users(FILTER={"ID": [Ref(ME)]})),
         ("only that user, only that user",), forms.users_found),
)  # fmt: skip

UNKNOWN: Final = (
    Fact("Unknown meetings", "the status of an unknown id",
         (Ask("calendar.meeting.status.get", {"eventId": UNKNOWN_ID}),), ('400 ""',)),
    Fact("Unknown meetings", "the event of an unknown id", (Ask("calendar.event.getbyid", {"id": UNKNOWN_ID}),),
         ("200 null", "200 []", "200 {}", '400 ""')),
    Fact("Unknown meetings", "a meeting that was deleted", (_set("gone", "Y"), _get("gone")), ('200 true, 400 ""',)),
    Fact("Unknown meetings", "an event that is no meeting", (_set("plain", "Y"), _get("plain")), ('200 true, 400 ""',)),
)  # fmt: skip

ANSWERS: Final = (
    Fact("Answers", "the organiser stays H", (_get("lone"), _set("lone", "Y"), _get("lone")),
         ("200 H, 200 true, 200 H",)),
    Fact("Answers", "a person who is not invited",
         (_get("lone", OTHER), _set("lone", "Y", OTHER), _get("lone", OTHER)), ("200 null, 200 true, 200 null",)),
    Fact("Answers", "a new invitation, by the id of the meeting and of the attendee's row",
         (_get("pair", OTHER), _get("pair row", OTHER)), ("200 Q, 200 Q",)),
    Fact("Answers", "set by the meeting's id, read by both",
         (_set("pair", "N", OTHER), _get("pair", OTHER), _get("pair row", OTHER)), ("200 true, 200 N, 200 N",)),
    Fact("Answers", "set by the id of the attendee's row, read by both",
         (_set("pair row", "Y", OTHER), _get("pair", OTHER), _get("pair row", OTHER)), ("200 true, 200 Y, 200 Y",)),
    Fact("Answers", "another attendee's row leads to the caller's answer",
         (_get("pair row"), _set("pair row", "N"), _get("pair row", OTHER), _get("pair")),
         ("200 H, 200 true, 200 Y, 200 H",)),
    Fact("Answers", "an answer does not move the marks of change",
         (_event("pair"), _set("pair", "N", OTHER), _event("pair")),
         ("TIMESTAMP_X and VERSION unchanged",), forms.unchanged),
    Fact("Answers", "everybody's answers in ATTENDEE_LIST", (_set("pair", "N", OTHER), _event("pair")),
         ("attendee: id number, entryId digits, status N; organiser: id number, entryId digits, status H",),
         forms.attendees),
    Fact("Answers", "somebody removed: the last answer by the meeting's id, none by the old row's",
         (_get("removed", OTHER), _get("removed row", OTHER)), ('200 N, 400 ""',)),
    Fact("Answers", "somebody invited again: the new row's answer",
         (_get("again new row", OTHER), _get("again old row", OTHER)), ('200 Q, 400 ""',)),
    Fact("Answers", "somebody invited again: either row's answer by the meeting's id", (_get("again", OTHER),),
         ("200 N", "200 Q")),
)  # fmt: skip

SERIES: Final = (
    Fact("Series", "an answer to an edited date is its own",
         (_set("edited", "Q", OTHER), _set("edited 2", "N", OTHER), _get("edited 2", OTHER), _get("edited", OTHER)),
         ("200 N, 200 Q",), forms.last_outcomes(2)),
    Fact("Series", "a refusal of the series leaves an edited date",
         (_set("edited 2", "Q", OTHER), _set("edited", "N", OTHER), _get("edited 2", OTHER), _get("edited", OTHER)),
         ("200 Q, 200 N",), forms.last_outcomes(2)),
    Fact("Series", "Y to an edited date accepts the series and the other edited date",
         (_set("edited", "N", OTHER), _set("edited 2", "N", OTHER), _set("edited 3", "N", OTHER),
          _set("edited 2", "Y", OTHER), _get("edited", OTHER), _get("edited 3", OTHER)),
         ("200 Y, 200 Y",), forms.last_outcomes(2)),
    Fact("Series", "Y to the series once more accepts an edited date that was declined",
         (_set("edited", "Y", OTHER), _set("edited 3", "N", OTHER), _get("edited 3", OTHER),
          _set("edited", "Y", OTHER), _get("edited 3", OTHER)),
         ("200 N, 200 true, 200 Y",), forms.last_outcomes(3)),
    Fact("Series", "the rule of a series with COUNT", (_event("series"),), (
        "FREQ text, INTERVAL number, COUNT number, UNTIL date, ~UNTIL date, UNTIL_TS number",
        'FREQ text, INTERVAL number, COUNT number, UNTIL date, ~UNTIL "", UNTIL_TS number',
    ), lambda replies, _: forms.forms(replies[-1].result["RRULE"], "FREQ INTERVAL COUNT UNTIL ~UNTIL UNTIL_TS")),
    Fact("Series", "dates in a list", (_list("day 0", "day 3"),),
         ("3 rows of one ID; differ: DATE_FROM_FORMATTED, RINDEX; RINDEX number",),
         forms.occurrences("series"), "series"),
)  # fmt: skip

ROWS: Final = (
    Fact("Rows", "a meeting", (_event("lone"),), (
        "ID digits, PARENT_ID digits, OWNER_ID digits, MEETING_HOST digits, IS_MEETING true, MEETING_STATUS H",
    ), forms.result_forms("ID PARENT_ID OWNER_ID MEETING_HOST IS_MEETING MEETING_STATUS")),
    Fact("Rows", "an event that is no meeting names its owner at most", (_event("plain"),), (
        "no host, nobody else in ATTENDEE_LIST", "the owner as host, nobody else in ATTENDEE_LIST",
    ), forms.plain_host),
    Fact("Rows", "DATE_FROM_FORMATTED in TZ_FROM", (_event("lone"),),
         ("the time that was sent",), forms.instant("day 5")),
    # Right only where the portal's server is in UTC.
    Fact("Rows", "DATE_FROM_TS_UTC", (_event("lone"),), ("digits, off", "digits, right"), forms.stamp("day 5")),
)  # fmt: skip

LISTS: Final = (
    Fact("Lists", "a window of one day, from that day to the same", (_list("day 5", "day 5"),),
         ("listed",), forms.listed("lone"), "lone"),
    Fact("Lists", "a date that ended in the 24 hours before the window", (_list("day 2", "day 3"),),
         ("dates 2, 3",), forms.dates("series", "day 0"), "series"),
    Fact("Lists", "the caller's private event among busy times",
         (Ask("calendar.accessibility.get", {"users": [Ref(ME)], "from": Ref("day 8"), "to": Ref("day 9")}),),
         ("name hidden",), forms.masked("private", PRIVATE_NAME), "private"),
)  # fmt: skip

MADE: Final = Fact("Own meetings", "are made, changed and listed as asked for", (), ("made",))
"""Found before all others, if meetings are made at all."""

FACTS: Final = (*ENVELOPE, *REFUSALS, *BATCH, *PEOPLE, *UNKNOWN, *ANSWERS, *SERIES, *ROWS, *LISTS)
