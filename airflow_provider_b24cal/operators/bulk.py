"""Tasks over many meetings or users: failure policy, summary, XCom."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_provider_b24cal.bitrix24.protocol.errors import (
    Bitrix24Error,
    MeetingsFailedError,
    NotificationsFailedError,
    Permanence,
)
from airflow_provider_b24cal.bitrix24.serialization import XCOM_LIMIT, cap_size, size_of
from airflow_provider_b24cal.bitrix24.wording import cut, name_ids

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from airflow_provider_b24cal._airflow import Logger
    from airflow_provider_b24cal.bitrix24.calendar.set_status import Change


FAIL_ON: Final = ("any", "all", "none")
_FEW: Final = 100
_LONGEST: Final = 200
_LOGGED: Final = 20


class Items(NamedTuple):
    """What a task is about, in words for logs and errors.

    :param plural: such as ``meetings``.
    :param has_id: what their ids belong to.
    :param error: the class of error when some have failed.
    """

    plural: str
    has_id: str
    error: type[Bitrix24Error]


MEETINGS: Final = Items("meetings", "event", MeetingsFailedError)
RECIPIENTS: Final = Items("recipients", "user", NotificationsFailedError)


def describe(failed: Mapping[int, Bitrix24Error]) -> dict[str, dict[str, Any]]:
    """Return failures as JSON values, by event or user id.

    The first hundred of them, up to half of the XCom limit: a non-Latin letter takes six bytes there. Long texts are
    cut; the log has the first twenty in full.
    """
    described: dict[str, dict[str, Any]] = {}
    left = XCOM_LIMIT // 2
    for event_id, error in islice(failed.items(), _FEW):
        fields = {"error": type(error).__name__, "code": error.code, "text": cut(str(error), _LONGEST)}
        left -= size_of({str(event_id): fields})
        if left < 0:
            break
        described[str(event_id)] = fields
    return described


def raise_failures(
    failed: Mapping[int, Bitrix24Error],
    total: int,
    fail_on: str,
    log: Logger,
    items: Items = MEETINGS,
    *,
    in_xcom: bool = True,
) -> None:
    """Log each failure, and raise if the policy says so; the error of a single meeting is raised without a log line.

    :param in_xcom: whether the failures are in XCom too.
    :raises Bitrix24Error: the one error of a single meeting, or the class of the items, which names them.
    """
    continues = fail_on == "none" or (fail_on == "all" and len(failed) < total)
    if items is MEETINGS and total == 1 and not continues:
        raise next(iter(failed.values()))
    kinds = Counter(map(_kind, failed.values()))
    counted = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(_LOGGED))
    for event_id, error in islice(failed.items(), _LOGGED):
        log.error("%s %s: %s", items.has_id.capitalize(), event_id, error)
    if len(failed) > _LOGGED:
        log.error("... and %d more", len(failed) - _LOGGED)
    which = f"{len(failed)} of {total} {items.plural} failed ({name_ids(items.has_id, list(failed))})"
    if continues:
        log.warning("%s; the task continues because of fail_on=%r: %s", which, fail_on, counted)
        return
    times = [error.retry_after for error in failed.values() if error.retry_after is not None]
    permanent = all(error.permanence is Permanence.PERMANENT for error in failed.values())
    raise items.error(
        f"{which}: {counted}. The errors are in the log{' and in XCom' if in_xcom else ''}.",
        permanence=Permanence.PERMANENT if permanent else Permanence.AMBIGUOUS,
        retry_after=max(times, default=None),
    )


def _kind(error: Bitrix24Error) -> str:
    return type(error).__name__ if error.code is None else f"{type(error).__name__} (code {error.code!r})"


def summarise(changes: Collection[Change]) -> dict[str, Any]:
    """Return counts, statuses read back, statuses before, and failures, within the XCom limit."""
    failed = {change.event_id: change.error for change in changes if change.error is not None}
    summary: dict[str, Any] = {
        "total": len(changes),
        "changed": sum(change.changed for change in changes),
        "unchanged": sum(change.error is None and not change.changed for change in changes),
        "failed": len(failed),
        "statuses": {str(change.event_id): change.current.value for change in changes if change.current},
        "previous": {str(change.event_id): change.previous.value for change in changes if change.previous},
        "failures": describe(failed),
    }
    return cap_size(summary, "statuses", "previous")
