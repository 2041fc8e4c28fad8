"""Validation of the sensors' arguments: rules, and conditions that can be met and deferred."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from airflow_provider_b24cal.bitrix24.serialization import size_of
from airflow_provider_b24cal.bitrix24.validation import check_choice, check_flag, check_wanted_status, invalid
from airflow_provider_b24cal.waiting.evaluate import Rule, letters
from airflow_provider_b24cal.waiting.quorum import check_quorum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_b24cal.waiting.conditions import (
        AttendeesCondition,
        ManyAttendeesCondition,
        MeetingsCondition,
        WaitCondition,
    )
    from airflow_provider_b24cal.waiting.evaluate import Statuses
    from airflow_provider_b24cal.waiting.quorum import Quorum

MOST_DEFERRED: Final = 2500
"""Meetings and users of one trigger at most.

Airflow stores a trigger's arguments encrypted in a text column, which holds 65,535 bytes on MySQL. Encryption takes a
third of them. The other 49,000 bytes hold this many ids of sixteen digits.
"""
_MOST_STORED: Final = 48_000


def check_rule(target: object, fail_on: object, require: object) -> Rule:
    """Return a rule from a sensor's arguments.

    :raises InvalidArgumentError: one of them is invalid, or the target is among the letters to fail on.
    """
    wanted, quorum = check_wanted_status(target, "target_status"), check_quorum(require)
    given: Any = (fail_on,) if isinstance(fail_on, str) else fail_on
    if not isinstance(given, list | tuple | set | frozenset) or (isinstance(fail_on, str) and len(fail_on) != 1):
        raise invalid("fail_on_statuses", fail_on, "a list of Y, N and Q", text=False)
    unwanted = frozenset(check_wanted_status(letter, "fail_on_statuses") for letter in given)
    if wanted in unwanted:
        raise invalid("fail_on_statuses", letters(unwanted), f"letters other than the target_status {wanted.value}")
    return Rule(wanted, unwanted, quorum)


def check_attendees_rule(count: object, fail_when_declined: object, require: object) -> Rule:
    """Return a rule from the arguments of the sensor for attendees.

    :raises InvalidArgumentError: one of them is invalid, or a decline is to count and to fail.
    """
    any_answer = check_choice(count, ("accepted", "answered"), "count") == "answered"
    fail = check_flag(fail_when_declined, "fail_when_declined")
    if any_answer and fail:
        raise invalid("fail_when_declined", fail, "False with count='answered', which counts a decline")
    return replace(check_rule("Y", ["N"] if fail else [], require), any_answer=any_answer)


def check_meetings(wait: MeetingsCondition, *, deferrable: bool) -> MeetingsCondition:
    """Return the condition, if it has as many meetings as it requires, and no more than can be deferred.

    :raises InvalidArgumentError: there are fewer or more.
    """
    total = len(wait.event_ids)
    if wait.rule.quorum.needed(total) > total:
        raise invalid("require", wait.rule.quorum.text, f"at most the number of events, {total}")
    if deferrable:
        check_size("event_ids", total, "events in one deferrable wait", _DEFERRED_ADVICE)
    return wait


def check_attendees(
    wait: AttendeesCondition | ManyAttendeesCondition, *, deferrable: bool
) -> AttendeesCondition | ManyAttendeesCondition:
    """Return the condition, if it can be deferred.

    :raises InvalidArgumentError: it has too many events and users.
    """
    total = len(wait.calls({})) + len(wait.user_ids or ())
    if deferrable:
        check_size("event_ids or users", total, "events and users in one deferrable wait", _DEFERRED_ADVICE)
    return wait


def check_users_suffice(user_ids: Sequence[int] | None, quorum: Quorum) -> None:
    """Check that as many users are named as are required.

    :raises InvalidArgumentError: there are fewer, or none.
    """
    if user_ids is None:
        return
    named, needed = len(user_ids), max(1, quorum.needed(len(user_ids)))
    if needed > named:
        raise invalid("require", quorum.text, f"at most the number of users, {named}")


def pack_for_trigger(wait: WaitCondition, statuses: Statuses) -> str:
    """Return statuses for the trigger, packed; nothing if they do not fit beside the condition.

    Attendees are read anew at each poll. Without their last statuses only the log of the next poll misses changes.
    """
    text = wait.pack(statuses)
    return text if size_of(wait.to_dict()) + len(text) <= _MOST_STORED else ""


def check_size(names: str, total: int, what: str, advice: str) -> None:
    """Check that a trigger's arguments fit into its row.

    :param names: the arguments that are counted.
    :param total: how many values they have.
    :raises InvalidArgumentError: they have too many.
    """
    if total > MOST_DEFERRED:
        raise InvalidArgumentError(
            f"Invalid {names}: expected at most {MOST_DEFERRED} {what}; got {total}. "
            f"Databases limit the arguments of a trigger. {advice}"
        )


_DEFERRED_ADVICE: Final = "Use several sensors, or deferrable=False."
