"""Many calls in one request: packing them into a batch, and an outcome for every command sent.

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
"""The most commands that a portal runs of one batch."""

_REFERENCE: Final = re.compile(r"\$(result|error|total|next|time)\[")


@dataclass(frozen=True, slots=True)
class Outcome(HookResult, Generic[T]):
    """What became of one call among many: a value or an error, never both.

    :param value: what the call answered; ``None`` is a legal answer of some methods.
    :param error: why there is no value.
    """

    value: T | None = None
    error: Bitrix24Error | None = None

    @property
    def ok(self) -> bool:
        """Whether the call answered."""
        return self.error is None

    def unwrap(self) -> T:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # without an error, the value is the call's own T


def pack(calls: Sequence[Call[Any]], prefix: str) -> Call[list[Outcome[Any]]]:
    """Pack calls into one batch.

    The portal runs them in the order given, each whatever became of the others. The answer holds one
    outcome per call, in that order; a command that the portal left unanswered is an error, for a batch
    whose commands were lost on the way comes back as a clean, empty success.

    :param prefix: begins the name of every command; letters and digits, the first one a letter. A new one for each
        request, so that the answer to another batch answers none of these commands.
    :raises InvalidArgumentError: no call, more than fifty, or one that batches cannot carry.
    """
    if not 1 <= len(calls) <= CHUNK:
        raise InvalidArgumentError(f"A batch holds 1 to {CHUNK} calls, not {len(calls)}.")
    commands = {f"{prefix}{number}": command(call) for number, call in enumerate(calls)}

    def read(result: dict[str, Any], scrub: Callable[[str], str]) -> list[Outcome[Any]]:
        values, errors = (_as_mapping(result[part]) for part in ("result", "result_error"))
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

    :raises InvalidArgumentError: a parameter holds what a batch takes for a reference to another command, or what
        it cannot carry: ``None``, an empty list or mapping, or half of a character.
    """
    if len(call.params) == 1 and type(event_id := next(iter(call.params.values()))) is int:
        # Nearly every command asks for one event; fifty thousand of them need no detour.
        return f"{call.method}?{_quoted(next(iter(call.params)))}={event_id}"
    fields = []
    for name, text in _flatten(call.params):
        if not isinstance(text, str):
            raise _refusal("drop", name, text, call)
        if "$" in text and _REFERENCE.search(text):
            raise _refusal("replace the reference in", name, text, call)
        field = _field(name, text)
        if field is None:
            raise _refusal("not carry the half of a character in", name, text, call)
        fields.append(field)
    return f"{call.method}?{'&'.join(fields)}"


def _refusal(what: str, name: str, value: object, call: Call[Any]) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"A batch would {what} {ascii(name)[1:-1]}={ascii(value)[:80]} of {call.method}; send this call alone."
    )


def _field(name: str, text: str) -> str | None:
    """Return a parameter as it stands in a form; ``None`` for what cannot be written: halves of characters."""
    try:
        return f"{_quoted(name)}={_quoted(text)}"
    except UnicodeEncodeError:
        return None


def _quoted(text: str) -> str:
    return text if text.isalnum() and text.isascii() else quote(text, safe="")


def _flatten(params: Mapping[Any, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each parameter's name and text; in place of the text what has none in a form's fields."""
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


def _as_mapping(part: dict[str, Any] | list[Any]) -> Mapping[str, Any]:
    # PHP writes a map with the keys 0, 1, 2, ... as a list, and an empty map as [].
    return part if isinstance(part, dict) else {str(number): value for number, value in enumerate(part)}


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
                "The batch came back without an answer to this command.",
                method=call.method,
                event_id=call.event_id,
            )
        )
    try:
        return Outcome(read_result(call, values[key], scrub))
    except Bitrix24Error as error:
        # An outcome is kept, and a traceback would keep the whole answer with it.
        return Outcome(error=error.with_traceback(None))
