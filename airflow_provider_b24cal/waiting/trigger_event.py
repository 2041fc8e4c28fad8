"""The end of a wait, as it travels from the triggerer through the database to the task."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error, TriggerEventError, error_from_dict

if TYPE_CHECKING:
    from collections.abc import Mapping


class ResultKind(StrEnum):
    """How a wait ended."""

    ARRIVED = "arrived"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    """The sensor's own time was up."""
    EVENT_DEADLINE = "too_late"
    """The event would start too soon."""


@dataclass(frozen=True, slots=True)
class WaitResult:
    """The end of a wait.

    :param error: why it failed; set exactly when the ending is ``FAILED``.
    """

    ending: ResultKind
    statuses: Mapping[int, MeetingStatus] = field(default_factory=dict)
    error: Bitrix24Error | None = None

    def to_event(self) -> dict[str, Any]:
        """Return the end as JSON values without secrets."""
        return {
            "ending": self.ending.value,
            "statuses": {str(key): status.value for key, status in self.statuses.items()},
            "error": None if self.error is None else self.error.to_dict(),
        }


def end_from_event(event: object) -> WaitResult:
    """Turn :meth:`WaitResult.to_event` back into an end.

    :raises TriggerEventError: the event is missing or not one of ours; a wait never succeeds by default.
    """
    end: WaitResult | None = None
    try:
        given: Any = event
        end = WaitResult(
            ResultKind(given["ending"]),
            {int(key): MeetingStatus(status) for key, status in given["statuses"].items()},
            None if given["error"] is None else error_from_dict(given["error"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        pass  # told below, without the accident as its context
    if end is None or (end.ending is ResultKind.FAILED) != (end.error is not None):
        raise TriggerEventError(f"The task resumed with an event it does not know: {ascii(event)[:200]}.")
    return end
