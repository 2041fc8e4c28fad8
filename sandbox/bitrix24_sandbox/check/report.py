"""What may be shown in public of a run: an allow-list of keys, words, letters and formats; small numbers for ids."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from bitrix24_sandbox import __version__
from bitrix24_sandbox.check.client import NOT_JSON
from bitrix24_sandbox.check.forms import ZONE
from bitrix24_sandbox.errors import STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from bitrix24_sandbox.check.run import Finding

_SENT: Final = """
    eventId status id type ownerId section from to users cmd ID FILTER
    result error error_description time start finish duration processing date_start date_finish operating
    operating_reset_at total next result_error result_total result_next result_time
"""
_ROW: Final = """
    PARENT_ID ACTIVE DELETED CAL_TYPE OWNER_ID NAME DATE_FROM DATE_TO ORIGINAL_DATE_FROM TZ_FROM TZ_TO TZ_OFFSET_FROM
    TZ_OFFSET_TO DATE_FROM_TS_UTC DATE_TO_TS_UTC DT_SKIP_TIME DT_LENGTH EVENT_TYPE CREATED_BY DATE_CREATE TIMESTAMP_X
    DESCRIPTION DT_FROM DT_TO PRIVATE_EVENT ACCESSIBILITY IMPORTANCE IS_MEETING MEETING_STATUS MEETING_HOST MEETING
    HOST_NAME NOTIFY REINVITE ALLOW_INVITE HIDE_GUESTS MEETING_CREATOR LANGUAGE_ID MAIL_FROM CHAT_ID LOCATION REMIND
    count COLOR TEXT_COLOR RRULE FREQ INTERVAL COUNT BYDAY UNTIL ~UNTIL UNTIL_TS EXDATE DAV_XML_ID G_EVENT_ID
    DAV_EXCH_LABEL CAL_DAV_LABEL VERSION ATTENDEES_CODES RECURRENCE_ID RELATIONS SECTION_ID SECT_ID SYNC_STATUS
    UF_CRM_CAL_EVENT UF_WEBDAV_CAL_EVENT SECTION_DAV_XML_ID DATE_FROM_FORMATTED DATE_TO_FORMATTED
    IS_DAYLIGHT_SAVING_TZ OPTIONS ATTENDEE_LIST entryId COLLAB_ID ~RRULE_DESCRIPTION ~DESCRIPTION attendeesEntityList
    entityId ~DATE_FROM ~DATE_TO RINDEX ~USER_OFFSET_FROM ~USER_OFFSET_TO IS_ACCESSIBLE_TO_USER
    ADMIN LAST_NAME SECOND_NAME PERSONAL_GENDER TIME_ZONE USER_TYPE EMAIL
"""
_KEYS: Final = frozenset((*_SENT.split(), *_ROW.split(), "a", "b", *(f"c{number}" for number in range(51))))
_ENUMERATED: Final = """
    user group company_calendar busy quest free absent low normal high min hour day DAILY employee calendar
    server.time batch calendar.no.such.method user.get department.get sonet_group.get log.blogpost.get
"""
_WORDS: Final = frozenset(_ENUMERATED.split()) | frozenset(STATUSES)
_TIMES: Final = re.compile(r"from|to|~?DATE_(FROM|TO)(_FORMATTED|_TS_UTC)?|~?UNTIL(_TS)?|EXDATE|ORIGINAL_DATE_FROM")
"""Keys with the times of the check's own meetings."""
_DATE: Final = re.compile(
    r"(\w{3} \w{3} \d\d \d{4}|[\d./-]{8,10})([ T][\d:]{7,8}( ?[ap]m)?)?|\d{9,10}", re.I | re.ASCII
)
_ANY_DATE: Final = re.compile(r"[\d./-]{8,10}[ T][\d:]{7,8}( ?[ap]m|[+-]\d\d:\d\d)?|[\d./-]{8,10}", re.I | re.ASCII)
_NUMBERS: Final = re.compile(r"DT_LENGTH|COUNT|INTERVAL|RINDEX|VERSION|count|(TZ|~USER)_OFFSET_\w+", re.ASCII)
_MOMENTS: Final = re.compile(r"start|finish|duration|processing|operating(_reset_at)?")
_HEADERS: Final = {
    "content-type": ("application/json; charset=utf-8", "application/json", "text/html; charset=utf-8"),
    "access-control-allow-origin": ("*",),
    "x-content-type-options": ("nosniff",),
}
_LONGEST: Final = 40


class Redactor:
    """Replaces everything that is not on a list; the same id becomes the same small number in all of a run."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {0: 0}

    def value(self, value: Any, key: str = "") -> Any:
        """Return a JSON value that has the same shape.

        :param key: what it is found under.
        """
        if isinstance(value, dict):
            return {
                self._key(str(name), number): self.value(item, str(name))
                for number, (name, item) in enumerate(value.items())
            }
        if isinstance(value, list):
            return [self.value(item, key) for item in value]
        if isinstance(value, str):
            return self._text(value, key)
        return value if isinstance(value, bool | None) else self._numeral(value, key)

    def _numeral(self, value: int | float, key: str) -> int | float:
        if _MOMENTS.fullmatch(key):
            return type(value)(0)
        if _NUMBERS.fullmatch(key) or (_TIMES.fullmatch(key) and isinstance(value, int)):
            return value
        return self._number(value) if isinstance(value, int) else 0.5

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers that say how a reply is to be read."""
        return {
            name: value if value.lower() in known else "other"
            for name, known in _HEADERS.items()
            if (value := headers.get(name)) is not None
        }

    def _number(self, number: int) -> int:
        return self._numbers.setdefault(number, len(self._numbers))

    def _key(self, key: str, number: int) -> str:
        if key in _KEYS:
            return key
        return str(self._number(int(key))) if re.fullmatch(r"\d{1,18}", key, re.ASCII) else f"UNKNOWN_{number}"

    def _text(self, text: str, key: str) -> str:
        if text in _WORDS or text in ("", ZONE) or re.fullmatch(r"[A-Z]", text):
            return text
        if _TIMES.fullmatch(key) and all(map(_DATE.fullmatch, text.split(";"))):
            return text
        if re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
            return text if _NUMBERS.fullmatch(key) else str(self._number(int(text)))
        if re.fullmatch(r"U\d{1,18}", text, re.ASCII):
            return f"U{self._number(int(text[1:]))}"
        if _ANY_DATE.fullmatch(text):
            return re.sub(r"\d", "0", text)
        return "x" * min(len(text), _LONGEST)


def samples(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return each fact that was checked with its redacted replies."""
    redactor = Redactor()
    return [
        {
            "fact": f"{finding.fact.topic}: {finding.fact.name}",
            "expected": list(finding.fact.expected),
            "found": finding.found,
            "replies": [
                {
                    "who": ask.who,
                    "method": str(ask.method),
                    "params": redactor.value(dict(ask.params)),
                    "status": reply.status,
                    "headers": redactor.headers(reply.headers),
                    "body": "not JSON" if reply.body is NOT_JSON else redactor.value(reply.body),
                }
                for ask, reply in finding.replies
            ],
        }
        for finding in findings
        if finding.replies
    ]


def record(findings: Iterable[Finding], folder: Path) -> None:
    """Write a JSON file for each fact that was checked."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(samples(findings), start=1):
        name = re.sub(r"[^a-z0-9]+", "-", sample["fact"].lower()).strip("-")
        text = json.dumps(sample, indent=1)
        (folder / f"{number:02}-{name}.json").write_text(f"{text}\n", "utf-8")


def table(findings: Iterable[Finding]) -> str:
    """Return all findings as a table in Markdown."""
    lines = ["| | Fact | Expected | Found |", "|---|---|---|---|"]
    for one in findings:
        mark = "skipped" if one.needs else "DIFFERS" if one.differs else "ok"
        found = f"needs {one.needs}" if one.needs else one.found
        # Of several answers that portals are known to give, the one that came is enough.
        expected = found if found in one.fact.expected else " or ".join(one.fact.expected)
        lines.append(f"| {mark} | {one.fact.topic}: {one.fact.name} | {expected} | {found} |")
    return "\n".join(lines)


def summary(findings: Iterable[Finding]) -> str:
    """Return in one sentence how many facts were checked and how many differ."""
    known = list(findings)
    skipped = sum(bool(one.needs) for one in known)
    different = sum(one.differs for one in known)
    return f"{len(known) - skipped} facts checked, {different} differ, {skipped} skipped."


def report(findings: Iterable[Finding]) -> str:
    """Return a report in Markdown, with the redacted replies of what differs."""
    known = list(findings)
    different = [sample for sample in samples(known) if sample["found"] not in sample["expected"]]
    lines = [f"bitrix24-sandbox {__version__} check: {summary(known)}", "", table(known), ""]
    for sample in different:
        lines += [f"{sample['fact']}:", "", "```json", json.dumps(sample["replies"], indent=1), "```", ""]
    return "\n".join(lines)
