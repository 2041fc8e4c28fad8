"""The result of a wait, as the trigger's event carries it to the task."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error, TriggerEventError, error_from_dict

if TYPE_CHECKING:
    from airflow_provider_b24cal.waiting.evaluate import Statuses


class ResultKind(StrEnum):
    """How a wait ended."""

    ARRIVED = "arrived"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    """The sensor's time-out has passed."""
    EVENT_DEADLINE = "event_deadline"
    """The deadline before the event's start has passed."""


@dataclass(frozen=True, slots=True)
class WaitResult:
    """The result of a wait.

    :param error: why it failed; set exactly when the ending is ``FAILED``.
    """

    ending: ResultKind
    statuses: Statuses = field(default_factory=dict)
    error: Bitrix24Error | None = None

    def to_event(self) -> dict[str, Any]:
        """Return the result as JSON values, without secrets."""
        return {
            "ending": self.ending.value,
            "statuses": {_key_text(key): status.value for key, status in self.statuses.items()},
            "error": None if self.error is None else self.error.to_dict(),
        }


def result_from_event(event: object) -> WaitResult:
    """Turn :meth:`WaitResult.to_event` back into a result.

    :raises TriggerEventError: the event is missing or unknown; a wait never succeeds by default.
    """
    result: WaitResult | None = None
    try:
        given: Any = event
        result = WaitResult(
            ResultKind(given["ending"]),
            {_key(key): MeetingStatus(status) for key, status in given["statuses"].items()},
            None if given["error"] is None else error_from_dict(given["error"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        pass  # raised below, without this error as its context
    if result is None or (result.ending is ResultKind.FAILED) != (result.error is not None):
        raise TriggerEventError(f"The task resumed with an unknown event: {ascii(event)[:200]}.")
    return result


def _key_text(key: int | tuple[int, int]) -> str:
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _key(text: str) -> int | tuple[int, int]:
    first, slash, second = text.partition("/")
    return (int(first), int(second)) if slash else int(text)
