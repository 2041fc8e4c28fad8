"""Finding a method and running it: the part of a request that a batch repeats for every command."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from bitrix24_sandbox.errors import RestError
from bitrix24_sandbox.php import PhpArray, PhpValue, array, to_int
from bitrix24_sandbox.rest import BatchMethod, Page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitrix24_sandbox.limits import Load
    from bitrix24_sandbox.rest import Call, Method, Work
    from bitrix24_sandbox.settings import Settings

# Names the portal uses for itself; a method never sees parameters called so.
RESERVED = frozenset(
    ("access_token", "ap", "aplogin", "auth", "auth_connector", "method", "sessid", "start", "state", "token")
)


@dataclass(frozen=True)
class Outcome:
    """What a method returned, and how long it took.

    :param paging: ``total`` and ``next`` of a list that has pages.
    """

    result: PhpValue
    time: PhpArray
    paging: PhpArray


def find(methods: Mapping[str, Method | BatchMethod], name: str) -> Method | BatchMethod:
    """Return a method by its name in any case.

    :raises RestError: when there is none.
    """
    method = methods.get(name.lower())
    if method is None:
        raise RestError("ERROR_METHOD_NOT_FOUND", "Method not found!")
    return method


def run(name: str, method: Method | BatchMethod, call: Call) -> Work[Outcome]:
    """Run a method and take the time.

    :param name: of the method, lower-cased; its operating time is booked under it.
    :raises RestError: from the method, or when its operating time is used up.
    """
    portal = call.portal
    started = portal.clock()
    result = (
        (yield from method.run(call)) if isinstance(method, BatchMethod) else (yield from _single(name, method, call))
    )
    finished = portal.clock()
    spent = envelope_time(portal.settings, started, finished, portal.tab.load(name, finished))
    if isinstance(result, Page):
        more: PhpArray = {} if result.next is None else {"next": result.next}
        return Outcome(array(result.rows), spent, {**more, "total": result.total})
    return Outcome(array(result), spent, {})


def _single(name: str, method: Method, call: Call) -> Work[object]:
    portal = call.portal
    limit = portal.settings.operating_limit
    if limit is not None and portal.tab.load(name, portal.clock()).total > limit:
        portal.ledger.refused("OPERATION_TIME_LIMIT")
        raise RestError("OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit.")
    seconds = portal.settings.command_ms / 1000
    yield seconds
    portal.tab.spend(name, portal.clock(), portal.settings.operating_s.get(name, seconds))
    return method.run(call)


def start_of(parameters: PhpArray) -> int:
    """Return how many rows of a list to leave out."""
    start = parameters.get("start")
    return 0 if isinstance(start, dict) else max(0, to_int(start))


def without_reserved(parameters: PhpArray) -> PhpArray:
    """Return the parameters a method gets to see."""
    return {name: value for name, value in parameters.items() if name not in RESERVED}


def envelope_time(settings: Settings, started: float, finished: float, load: Load) -> PhpArray:
    """Return the ``time`` object of an answer.

    :param load: of the method, this call included.
    """
    whole = settings.time_start == "int"
    spent: PhpArray = {
        "start": int(started) if whole else started,
        "finish": finished,
        "duration": finished - started,
        "processing": 0 if whole else finished - started,
        "date_start": _iso(started, settings),
        "date_finish": _iso(finished, settings),
    }
    if settings.operating == "full":
        # Without anything booked the portal counts from the request at hand.
        spent["operating_reset_at"] = int(started) + 600 if load.reset_at is None else load.reset_at
    if settings.operating != "absent":
        spent["operating"] = load.total
    return spent


def _iso(moment: float, settings: Settings) -> str:
    return datetime.fromtimestamp(moment, ZoneInfo(settings.server_zone)).isoformat(timespec="seconds")
