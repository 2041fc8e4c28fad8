"""Reading a reply: from its bytes to a value or an error.

A reply with the key ``error`` is an error, even with HTTP status 200 or an empty code. Descriptions are shown to people
and never matched: portals localise them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from airflow_provider_b24cal.bitrix24 import schemas
from airflow_provider_b24cal.bitrix24.auth.credentials import without_inner_frames
from airflow_provider_b24cal.bitrix24.protocol.error_codes import UNTYPED, ErrorSpec, meaning_of_code, meaning_of_page
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    Bitrix24Error,
    Permanence,
    ReplyError,
    UnexpectedReplyError,
)
from airflow_provider_b24cal.bitrix24.wording import cut, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_b24cal.bitrix24.protocol.call import Call

T = TypeVar("T")

_SHOWN: Final = 200
SAME_HOST: Final = "the same host"
"""The location of a redirect to the host that sent it."""

REDIRECTS: Final = frozenset({301, 302, 307, 308})
"""The HTTP statuses that name another address for the same request."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply as it was received.

    :param http_status: HTTP status.
    :param body: decompressed.
    :param location: scheme, host and port of a redirect's target, without path, or :data:`SAME_HOST`; ``None`` when
        there is none.
    :param packed_as: a content encoding that is not supported; the body is left as received.
    """

    http_status: int
    body: bytes = field(repr=False)
    location: str | None = None
    packed_as: str | None = None


@without_inner_frames
def read(
    call: Call[T],
    reply: Reply,
    scrub: Callable[[str], str],
    note_time: Callable[[str, object], None] | None = None,
) -> T:
    """Return the result of a call from its reply.

    :param scrub: takes secrets out of a text; applied to all of the reply that goes into an error.
    :param note_time: called with each method that ran, of a batch those of its commands too, and the operating time
        that the portal reports for it, unchecked.
    :raises Bitrix24Error: the portal refused the call, or the reply cannot be read.
    """
    if reply.http_status in range(300, 400):
        raise _redirected(call, reply, scrub)
    try:
        answer = json.loads(reply.body)
    except (ValueError, RecursionError) as problem:
        spec = meaning_of_page(reply.http_status)
        cause = type(problem).__name__
        raise _error(call, spec, http_status=reply.http_status, text=_not_json(reply, scrub), cause=cause) from None
    if schemas.mismatch(answer, "replies", "envelope") is not None:
        raise unexpected(call, answer, "envelope", scrub, http_status=reply.http_status)
    if "error" in answer:
        raise refused(call, answer, scrub, http_status=reply.http_status)
    times = {call.method: answer.get("time")}
    if call.commands and isinstance(answer["result"], dict) and isinstance(answer["result"].get("result_time"), dict):
        # Of a method that ran many times in a batch the last time counts. Commands that failed have none.
        times |= {
            call.commands[key]: time for key, time in answer["result"]["result_time"].items() if key in call.commands
        }
    for method, time in times.items():
        if note_time is not None and time is not None:
            note_time(method, time)
    return read_result(call, answer["result"], scrub)


def _redirected(call: Call[Any], reply: Reply, scrub: Callable[[str], str]) -> ReplyError:
    return ReplyError(
        "The portal answered with a redirect to another page of its own, as web servers do for a login. "
        "Check the host in the connection, and any gateway before the portal."
        if reply.location == SAME_HOST
        else f"The portal answered with a redirect to {_cut(scrub(ascii(reply.location)))}, where its secret must not "
        "be sent: only one redirect to another name in the same zone of Bitrix24 is followed, never from https to "
        "http. If that is the portal, put the new host into the connection.",
        permanence=Permanence.PERMANENT,
        http_status=reply.http_status,
        method=call.method,
        event_id=call.event_id,
    )


def _not_json(reply: Reply, scrub: Callable[[str], str]) -> str:
    # Scrubbed before it is cut: half of a secret would not be recognised.
    if reply.packed_as is None:
        return f"It begins with {_cut(scrub(ascii(reply.body[: 10 * _SHOWN])))}."
    encoding = _cut(scrub(ascii(reply.packed_as)))
    return f"Its Content-Encoding {encoding} is not supported: expected gzip, deflate, or none."


def read_result(call: Call[T], result: Any, scrub: Callable[[str], str]) -> T:
    """Return the value of the ``result`` part of a reply, after checking its shape.

    :raises Bitrix24Error: the shape is not the method's, or the value is an error for this call.
    """
    if schemas.mismatch(result, "replies", call.shape) is not None:
        raise unexpected(call, result, call.shape, scrub)
    return call.read(result, scrub)


def refused(
    call: Call[Any], answer: Mapping[str, Any], scrub: Callable[[str], str], http_status: int | None = None
) -> Bitrix24Error:
    """Return the error for a reply with the key ``error``."""
    if schemas.mismatch(answer, "replies", "command_error") is not None:
        return unexpected(call, answer, "command_error", scrub, http_status=http_status)
    code, description = _code_and_description(answer)
    text = f"The portal says: {_cut(printable(scrub(_text(description))))}" if description else ""
    own = call.own_codes.get(code.lower()) if code or http_status in UNTYPED else None
    meaning = own or meaning_of_code(code, http_status)
    return _error(call, meaning, text=text, code=_cut(printable(scrub(code))), http_status=http_status)


def _code_and_description(answer: Mapping[str, Any]) -> tuple[str, object]:
    """Return code and description; REST v3 nests both in the key ``error``, and some methods use numbers as codes."""
    error = answer["error"]
    if isinstance(error, dict):
        return _text(error["code"]), error.get("message")
    return _text(error), answer.get("error_description")


def unexpected(
    call: Call[Any],
    value: object,
    part: str,
    scrub: Callable[[str], str],
    http_status: int | None = None,
) -> UnexpectedReplyError:
    """Return the error for a reply that does not match definition ``part`` of the reply schemas.

    A failing gateway may answer in JSON of its own, and a write with such a reply may have run.
    """
    may_have_run = call.writes or (http_status is not None and (http_status >= 500 or http_status == 429))
    return UnexpectedReplyError(
        f"Expected {schemas.expected('replies', part)}; got {type(value).__name__} {excerpt(value, scrub)}.",
        permanence=Permanence.AMBIGUOUS if may_have_run else Permanence.PERMANENT,
        http_status=http_status,
        method=call.method,
        event_id=call.event_id,
    )


def excerpt(value: object, scrub: Callable[[str], str]) -> str:
    """Return the beginning of a value as it may be shown."""
    return _cut(scrub(_shown(value)))


def _error(call: Call[Any], meaning: ErrorSpec, *, text: str, **fields: Any) -> Bitrix24Error:
    return meaning.error(
        f"{meaning.advice} {text}".strip(),
        method=call.method,
        event_id=call.event_id,
        permanence=meaning.permanence,
        retry_after=meaning.retry_after,
        attempts=meaning.attempts,
        **fields,
    )


def _shown(value: object) -> str:
    try:
        return ascii(value)
    except (RecursionError, ValueError):  # nested too deeply to print, or an integer too long to
        return "..."


def _text(value: object) -> str:
    return value if isinstance(value, str) else _shown(value)


def _cut(text: str) -> str:
    return cut(text, _SHOWN)
