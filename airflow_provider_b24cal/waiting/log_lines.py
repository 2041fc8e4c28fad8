"""The log lines of a poll, the same in a worker and in a triggerer."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.bitrix24.protocol.errors import AttendanceError
from airflow_provider_b24cal.bitrix24.wording import cut, name_ids, printable
from airflow_provider_b24cal.waiting.conditions import AttendeesCondition, ManyAttendeesCondition, MeetingsCondition
from airflow_provider_b24cal.waiting.trigger_event import ResultKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from airflow_provider_b24cal.waiting.conditions import WaitCondition
    from airflow_provider_b24cal.waiting.evaluate import Evaluation, Statuses

_MAX_CHANGES: Final = 20
_MAX_NAME: Final = 60
_LAST_MOMENT: Final = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def log_lines(
    wait: WaitCondition,
    before: Statuses,
    evaluation: Evaluation,
    *,
    ending: ResultKind | None,
    next_poll: float = 0.0,
    deadline: float = 0.0,
    heartbeat_due: bool = False,
) -> list[str]:
    """Return the log lines of a poll: each change, and then the progress or the end of the wait.

    A poll without changes has no line, except for the first poll and the heartbeat.

    :param before: the statuses that the log has shown already.
    :param ending: how the wait has ended; ``None`` if it continues.
    :param next_poll: seconds until the next poll.
    :param deadline: when the wait ends at the latest, in seconds since the epoch.
    :param heartbeat_due: whether to log the progress without a change.
    """
    lines = list(_changes(before, evaluation.statuses, wait))
    if ending is not None:
        lines.append(_end(wait, evaluation, ending))
    elif lines or heartbeat_due or (evaluation.statuses and not before):
        until = f", until {_utc(deadline)}" if deadline < _LAST_MOMENT else ""
        standing = _standing(wait, evaluation)
        lines.append(f"Waiting for {_name(wait, evaluation)}: {standing}; next poll in {next_poll:.0f} s{until}")
    return lines


def _end(wait: WaitCondition, evaluation: Evaluation, ending: ResultKind) -> str:
    target = wait.rule.label
    is_answer = isinstance(evaluation.error, AttendanceError)
    label = {
        ResultKind.ARRIVED: target.capitalize(),
        ResultKind.TIMED_OUT: "Timed out",
        ResultKind.EVENT_DEADLINE: "The deadline before the event's start has passed",
        # The reason is in the error that the task raises.
        ResultKind.FAILED: f"Cannot become {target} any more" if is_answer else "Failed",
    }[ending]
    name = _name(wait, evaluation)
    if ending is ResultKind.ARRIVED and _is_one_event(wait):
        return f"{label}: {name}"
    return f"{label}: {name}: {_standing(wait, evaluation)}"


def _name(wait: WaitCondition, evaluation: Evaluation) -> str:
    name = evaluation.event_name
    return f'{wait} "{cut(printable(name), _MAX_NAME)}"' if name else str(wait)


def _standing(wait: WaitCondition, evaluation: Evaluation) -> str:
    """Return how many have reached the target, and the ids by status."""
    if isinstance(wait, ManyAttendeesCondition):
        return _standing_of_events(wait, evaluation.statuses)
    keys: dict[str, list[int]] = {}
    arrived: list[int] = []
    for key, status in evaluation.statuses.items():
        counts = evaluation.total and wait.rule.is_met_by(status)
        (arrived if counts else keys.setdefault(status.label, [])).append(key)
    if _is_one_event(wait):
        return wait.rule.label if arrived else next(iter(keys), "no status")
    parts: list[str] = []
    if evaluation.total:
        parts.append(f"{len(arrived)} of {evaluation.total} {wait.rule.label}")
        if evaluation.needed != evaluation.total:
            parts.append(f"{evaluation.needed} required")
    noun = "event" if isinstance(wait, MeetingsCondition) else "user"
    parts += [f"{len(those)} {word} ({name_ids(noun, those)})" for word, those in keys.items()]
    unread = evaluation.total - len(evaluation.statuses)
    if unread > 0:
        parts.append(f"{unread} without a status")
    return ", ".join(parts) or "no status"


def _standing_of_events(wait: ManyAttendeesCondition, statuses: Statuses) -> str:
    """Return how many events meet the rule, and of the others which users are missing."""
    met = set(wait.met(statuses))
    rest = [event_id for event_id in wait.event_ids if event_id not in met]
    parts = [f"{len(met)} of {len(wait.event_ids)} events {wait.rule.label}"]
    if rest:
        parts.append(f"{len(rest)} open ({name_ids('event', rest)})")
    keys: dict[str, dict[int, None]] = {}
    counts: Counter[str] = Counter()
    for (event_id, user), status in statuses.items():
        if event_id not in met and not wait.rule.is_met_by(status):
            keys.setdefault(status.label, {})[user] = None
            counts[status.label] += 1
    return ", ".join(
        [*parts, *(f"{counts[word]} {word} ({name_ids('user', [*those])})" for word, those in keys.items())]
    )


def _is_one_event(wait: WaitCondition) -> bool:
    return isinstance(wait, MeetingsCondition) and len(wait.event_ids) <= 1


def _changes(before: Statuses, now: Statuses, wait: WaitCondition) -> Iterator[str]:
    """Yield a line for each status that has changed, of many changes the first and their number."""
    changed = [key for key, status in now.items() if key in before and before[key] != status]
    for key in changed[:_MAX_CHANGES]:
        yield f"{_key_name(wait, key)}: {before[key].label} -> {now[key].label}"
    if len(changed) > _MAX_CHANGES:
        yield f"... and {len(changed) - _MAX_CHANGES} more changes"


def _key_name(wait: WaitCondition, key: Any) -> str:
    if isinstance(wait, ManyAttendeesCondition):
        event_id, user = key
        return f"Event {event_id}, user {user}"
    return f"User {key}" if isinstance(wait, AttendeesCondition) else f"Event {key}"


def _utc(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"
