"""From the bytes of an answer to a value or an error.

Success and failure are told apart by one rule: an answer with the key ``error`` is an error, whatever
its HTTP status and even when the code is empty. Texts are shown to people and never decided upon, for
portals write them in their own language.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from airflow_provider_b24cal.bitrix24 import schemas
from airflow_provider_b24cal.bitrix24.protocol.error_codes import UNTYPED, ErrorSpec, meaning_of_code, meaning_of_page
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    Bitrix24Error,
    Permanence,
    ReplyError,
    UnexpectedReplyError,
)
from airflow_provider_b24cal.bitrix24.wording import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_b24cal.bitrix24.protocol.call import Call

T = TypeVar("T")

_SHOWN: Final = 200
_REDIRECTS: Final = range(300, 400)
SAME_HOST: Final = "the same host"
"""What stands for the target of a redirect that leads to the host it came from."""

_REPEATABLE: Final = frozenset({301, 302, 307, 308})


def _pass_over(_method: str, _told: object) -> None:
    """Note nothing."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came over the wire.

    :param http_status: HTTP status.
    :param body: unpacked.
    :param location: scheme, host and port named by a redirect, without path, or :data:`SAME_HOST`; ``None`` when
        there is none.
    :param packed_as: a content encoding that is not supported; the body is as it came.
    """

    http_status: int
    body: bytes = field(repr=False)
    location: str | None = None
    packed_as: str | None = None


def is_redirect(reply: Reply) -> bool:
    """Tell whether an answer says that the same request is answered elsewhere."""
    return reply.http_status in _REPEATABLE


def read(
    call: Call[T], reply: Reply, scrub: Callable[[str], str], note_time: Callable[[str, object], None] = _pass_over
) -> T:
    """Return what a portal answered to a call.

    :param scrub: takes secrets out of a text; applied to whatever of the answer gets into an error.
    :param note_time: is given each method that ran, of a batch those of its commands too, and what the
        portal says of the time it took, in whatever shape it came.
    :raises Bitrix24Error: the portal refused, or the answer cannot be understood.
    """
    try:
        return _read(call, reply, scrub, note_time)
    except Bitrix24Error as error:
        failure = error
    # Without the frames below, whose variables hold the raw answer: some tools print them.
    raise failure.with_traceback(None)


def _read(call: Call[T], reply: Reply, scrub: Callable[[str], str], note_time: Callable[[str, object], None]) -> T:
    if reply.http_status in _REDIRECTS:
        raise ReplyError(
            "The portal answered with a redirect to another page of its own, as web servers do to one for logging in; "
            "a method answers itself. Check the host in the connection, and what stands before the portal."
            if reply.location == SAME_HOST
            else f"The portal answered with a redirect to {_cut(scrub(ascii(reply.location)))}, where its secret may "
            "not go: followed is one redirect to another name in the same zone of Bitrix24, never from https to http. "
            "If that is the portal, put the new host into the connection.",
            permanence=Permanence.PERMANENT,
            http_status=reply.http_status,
            method=call.method,
            event_id=call.event_id,
        )
    try:
        answer = json.loads(reply.body)
    except (ValueError, RecursionError) as problem:
        refusal = _error(
            call,
            meaning_of_page(reply.http_status),
            http_status=reply.http_status,
            text=_no_json(reply, scrub),
            cause=type(problem).__name__,
        )
    else:
        if schemas.mismatch(answer, "replies", "envelope") is not None:
            refusal = unexpected(call, answer, "envelope", scrub, http_status=reply.http_status)
        elif "error" in answer:
            refusal = refused(call, answer, scrub, http_status=reply.http_status)
        else:
            for method, told in _times(call, answer).items():
                note_time(method, told)
            return read_result(call, answer["result"], scrub)
    # Outside the except block: an error raised there would keep the JSON error, and the body, as context.
    raise refusal


def _no_json(reply: Reply, scrub: Callable[[str], str]) -> str:
    # Scrubbed before it is cut: half of a secret would not be recognised.
    if reply.packed_as is None:
        return f"It begins with {_cut(scrub(ascii(reply.body[: 10 * _SHOWN])))}."
    encoding = _cut(scrub(ascii(reply.packed_as)))
    return f"Its Content-Encoding {encoding} is not supported: expected gzip, deflate, or none."


def _times(call: Call[Any], answer: Mapping[str, Any]) -> dict[str, object]:
    """Return what an answer says of each method's time; of a method that a batch ran many times, the last."""
    times: dict[str, object] = {call.method: answer.get("time")}
    inner = answer["result"].get("result_time") if call.commands and isinstance(answer["result"], dict) else None
    if isinstance(inner, dict):
        # Commands that failed have none.
        times |= {method: inner[key] for key, method in call.commands.items() if key in inner}
    return times


def read_result(call: Call[T], result: Any, scrub: Callable[[str], str]) -> T:
    """Return what the ``result`` part of an answer says, after its shape was checked.

    :raises Bitrix24Error: the shape is not the method's, or its meaning is an error for this call.
    """
    if schemas.mismatch(result, "replies", call.shape) is not None:
        raise unexpected(call, result, call.shape, scrub)
    return call.read(result, scrub)


def refused(
    call: Call[Any], answer: Mapping[str, Any], scrub: Callable[[str], str], http_status: int | None = None
) -> Bitrix24Error:
    """Return the error that an answer with the key ``error`` means for a call."""
    if schemas.mismatch(answer, "replies", "command_error") is not None:
        return unexpected(call, answer, "command_error", scrub, http_status=http_status)
    code, description = _code_and_description(answer)
    told = f"The portal says: {_cut(printable(scrub(_text(description))))}" if description else ""
    own = call.own_codes.get(code.lower()) if code or http_status in UNTYPED else None
    meaning = own or meaning_of_code(code, http_status)
    return _error(call, meaning, text=told, code=_cut(printable(scrub(code))), http_status=http_status)


def _code_and_description(answer: Mapping[str, Any]) -> tuple[str, object]:
    """Return the code and the portal's words; REST v3 nests both in the key ``error``, some methods number codes."""
    error = answer["error"]
    if isinstance(error, dict):
        return _digits(error["code"]), error.get("message")
    return _digits(error), answer.get("error_description")


def _digits(code: str | int) -> str:
    return code if isinstance(code, str) else _shown(code)


def unexpected(
    call: Call[Any],
    came: object,
    part: str,
    scrub: Callable[[str], str],
    http_status: int | None = None,
) -> UnexpectedReplyError:
    """Return the error for an answer of another shape than definition ``part`` of the reply schemas.

    A gateway in trouble may answer in JSON of its own, and a write with such an answer may have run.
    """
    may_have_run = call.writes or (http_status is not None and (http_status >= 500 or http_status == 429))
    return UnexpectedReplyError(
        f"Expected {schemas.expected('replies', part)}; got {type(came).__name__} {excerpt(came, scrub)}.",
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
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
