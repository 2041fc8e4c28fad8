"""Batches: many calls in one request, and an outcome for every command sent.

https://apidocs.bitrix24.com/settings/how-to-call-rest-api/batch.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from urllib.parse import quote

from airflow_provider_b24cal.bitrix24 import schemas
from airflow_provider_b24cal.bitrix24.protocol.call import Call
from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error, InvalidArgumentError, ReplyError
from airflow_provider_b24cal.bitrix24.protocol.replies import read_result, refused, unexpected
from airflow_provider_b24cal.bitrix24.serialization import HookResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

T = TypeVar("T")

CHUNK: Final = 50
"""Commands in one batch at most; a portal does not run more."""

_REFERENCE: Final = re.compile(r"\$(result|error|total|next|time)\[")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Outcome(HookResult, Generic[T]):
    """The result of one call among many: a value or an error, never both.

    :param value: the call's value; ``None`` is a legal value of some methods.
    :param error: why there is no value.
    """

    value: T | None = None
    error: Bitrix24Error | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.error is None

    def unwrap(self) -> T:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # without an error, the value is the call's own T


def pack(calls: Sequence[Call[Any]], prefix: str) -> Call[list[Outcome[Any]]]:
    """Pack calls into one batch.

    The portal runs them in order; a failure does not stop the rest. The value is one outcome per call, in that order.
    A command without an answer is an error: a batch whose commands were lost on the way comes back as an empty success.

    :param prefix: begins the name of every command; letters and digits, the first one a letter. Use a new one for each
        request, so that the reply to another batch answers none of these commands.
    :raises InvalidArgumentError: no call, more than fifty, or a call that a batch cannot carry.
    """
    if not 1 <= len(calls) <= CHUNK:
        raise InvalidArgumentError(f"A batch holds 1 to {CHUNK} calls, not {len(calls)}.")
    commands = {f"{prefix}{number}": command(call) for number, call in enumerate(calls)}

    def read(result: dict[str, Any], scrub: Callable[[str], str]) -> list[Outcome[Any]]:
        # PHP writes an empty map as a list. One with entries answers none of these commands, whose keys are no numbers.
        answers = (result["result"], result["result_error"])
        values, errors = (part if isinstance(part, dict) else {} for part in answers)
        return [_outcome(call, key, values, errors, scrub) for key, call in zip(commands, calls, strict=True)]

    return Call(
        "batch",
        {"halt": 0, "cmd": commands},
        "batch",
        read,
        writes=any(call.writes for call in calls),
        commands={key: call.method for key, call in zip(commands, calls, strict=True)},
        max_reply_bytes=max(call.max_reply_bytes for call in calls),
    )


def command(call: Call[Any]) -> str:
    """Return a call as a command of a batch.

    :raises InvalidArgumentError: a batch would change or lose a parameter: a text with a reference to another command,
        ``None``, an empty list or mapping, or half of a surrogate pair.
    """
    if len(call.params) == 1 and type(number := next(iter(call.params.values()))) is int:
        # Nearly every command has one number, and there may be fifty thousand of them.
        return f"{call.method}?{_quoted(next(iter(call.params)))}={number}"
    fields = []
    for name, text in _flatten(call.params):
        if not isinstance(text, str):
            raise _refusal("drop", name, text, call)
        if "$" in text and _REFERENCE.search(text):
            raise _refusal("replace the reference in", name, text, call)
        if _SURROGATE.search(name + text):
            raise _refusal("not carry half of a surrogate pair in", name, text, call)
        fields.append(f"{_quoted(name)}={_quoted(text)}")
    return f"{call.method}?{'&'.join(fields)}"


def _refusal(what: str, name: str, value: object, call: Call[Any]) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"A batch would {what} {ascii(name)[1:-1]}={ascii(value)[:80]} of {call.method}; send this call alone."
    )


def _quoted(text: str) -> str:
    return text if text.isalnum() and text.isascii() else quote(text, safe="")


def _flatten(params: Mapping[Any, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each parameter's name and text; a value that a form cannot hold (``None``, an empty list) as it is."""
    for key, value in params.items():
        name = f"{within}[{key}]" if within else str(key)
        if type(value) is int:
            yield name, str(value)
        elif value is None or value in ({}, [], ()):
            yield name, value
        elif isinstance(value, dict):
            yield from _flatten(value, name)
        elif isinstance(value, list | tuple):
            yield from _flatten(dict(enumerate(value)), name)
        elif isinstance(value, bool):
            # PHP reads any text but "" and "0" as true.
            yield name, "1" if value else "0"
        else:
            yield name, str(value)


def _outcome(
    call: Call[T],
    key: str,
    values: Mapping[str, Any],
    errors: Mapping[str, Any],
    scrub: Callable[[str], str],
) -> Outcome[T]:
    if key in errors:
        error = errors[key]
        if schemas.mismatch(error, "replies", "command_error") is not None:
            return Outcome(error=unexpected(call, error, "command_error", scrub))
        return Outcome(error=refused(call, error, scrub))
    if key not in values:
        return Outcome(
            error=ReplyError(
                "The batch returned no answer to this command.",
                method=call.method,
                event_id=call.event_id,
            )
        )
    try:
        return Outcome(read_result(call, values[key], scrub))
    except Bitrix24Error as error:
        # An outcome is kept, and a traceback would keep the whole answer with it.
        return Outcome(error=error.with_traceback(None))
