"""What can be switched in a portal's way of answering, because real portals differ in it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bitrix24_sandbox import checks
from bitrix24_sandbox.limits import OPERATING_LIMIT_S, PLANS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CULTURES = {
    # culture: (date, date and time)
    "european": ("%d.%m.%Y", "%d.%m.%Y %H:%M:%S"),
    "american": ("%m/%d/%Y", "%m/%d/%Y %I:%M:%S %p"),
    "spanish": ("%d/%m/%Y", "%d/%m/%Y %H:%M:%S"),
}

ACCEPTED = {
    "language": ("en", "ru"),
    "auth_statuses": ("module", "docs"),
    "time_start": ("int", "float"),
    "operating": ("full", "partial", "absent"),
    "modules": ("current", "2021"),
    "empty_fields": ("mixed", "blank", "false", "list", "null", "text"),
    "plain_entries": ("owner", "host", "zero", "null", "nobody"),
    "attendee_list": ("shown", "null"),
    "timestamps": ("server", "nonsense"),
    "duplicate_row": ("oldest", "newest"),
    "culture": tuple(CULTURES),
    "plan": ("none", *PLANS),
    "application": ("installed", "removed", "unpaid"),
    "auth_server": ("up", "down"),
    "notification_tags": ("all", "applications"),
}


@dataclass(frozen=True)
class Settings:
    """One way of answering.

    :param language: of error descriptions and labels.
    :param auth_statuses: HTTP statuses of authorisation errors: as the portal's modules send them, or as
        the documentation lists them.
    :param time_start: type of ``time.start``: newer portals send an integer, older ones a float.
    :param operating: load figures in ``time``: both, only ``operating``, or none.
    :param modules: rows as today's modules print them, or those of that year.
    :param empty_fields: how an event's empty fields print; ``mixed`` gives each its most common form, and ``text``
        writes ``null`` as a word, as a program on the way may do.
    :param plain_entries: whom rows that are no meetings name as host and only attendee: their ``owner``; the owner as
        ``host``, with the ``MEETING`` of a meeting; user 0 (``zero``) or ``null``; or ``nobody``, in an empty list.
    :param attendee_list: ``null`` hides the attendees of every event.
    :param timestamps: ``DATE_FROM_TS_UTC`` and its like as the server's zone makes them, or as ``nonsense``.
    :param duplicate_row: which row of a person removed and invited again is found by the parent's id.
    :param culture: how ``DATE_FROM`` and its like are written.
    :param server_zone: time zone of the portal's server, which gets into what is stored as UTC.
    :param plan: whose limits hold; ``none`` has none but those given by number.
    :param rate: requests per second that leak out of an address's bucket, in place of the plan's number.
    :param burst: requests the bucket holds, in place of the plan's number.
    :param operating_limit_s: operating time a method may use up in ten minutes; by default as every cloud
        portal has it when there is a plan, and unlimited when there is none.
    :param operating_s: seconds booked for a call by method, in place of the time the call takes.
    :param latency_ms: what every request takes.
    :param command_ms: what a call takes in addition, alone or as a command of a batch.
    :param blocked: whether somebody at the portal has blocked all webhooks by hand.
    :param application: what has become of the application that tokens belong to.
    :param auth_server: whether the portal can reach the authorisation server.
    :param notification_tags: whose notifications replace others with their ``TAG``: everybody's, as documented, or
        those of ``applications`` only, as the published modules do it; the tag of a webhook is ignored then.
    :param server_endpoint: the authorisation server that token answers name, in place of this one.
    :param renamed_to: scheme, host and port that the portal has moved to; requests to any other host are
        answered with a redirect.
    """

    language: str = "en"
    auth_statuses: str = "module"
    time_start: str = "int"
    operating: str = "full"
    modules: str = "current"
    empty_fields: str = "mixed"
    plain_entries: str = "owner"
    attendee_list: str = "shown"
    timestamps: str = "server"
    duplicate_row: str = "oldest"
    culture: str = "european"
    server_zone: str = "Europe/Moscow"
    plan: str = "none"
    rate: float | None = None
    burst: int | None = None
    operating_limit_s: float | None = None
    operating_s: Mapping[str, float] = field(default_factory=dict)
    latency_ms: float = 0.0
    command_ms: float = 0.0
    blocked: bool = False
    application: str = "installed"
    auth_server: str = "up"
    notification_tags: str = "all"
    server_endpoint: str | None = None
    renamed_to: str | None = None

    @property
    def bucket(self) -> tuple[float, int] | None:
        """Rate and burst of the leaky bucket, or ``None`` when requests are not limited.

        A number without a plan and without its companion takes the companion from the standard plan.
        """
        if self.plan == "none" and self.rate is None and self.burst is None:
            return None
        rate, burst = PLANS.get(self.plan, PLANS["standard"])
        return (rate if self.rate is None else self.rate, burst if self.burst is None else self.burst)

    @property
    def operating_limit(self) -> float | None:
        """Seconds of operating time a method may use up, or ``None`` when there is no limit."""
        if self.operating_limit_s is not None:
            return self.operating_limit_s
        return None if self.plan == "none" else OPERATING_LIMIT_S


def _or_none(check: Callable[[object, str], object]) -> Callable[[object, str], object]:
    return lambda value, name: None if value is None else check(value, name)


def _operating_s(value: object, name: str) -> dict[str, float]:
    if not isinstance(value, dict):
        raise checks.BadInputError(name, value, "a mapping from method to seconds")
    return {str(method).lower(): checks.number(value[method], f"{name}.{method}") for method in value}


_CHECKS: dict[str, Callable[[object, str], object]] = {
    "server_zone": checks.zone,
    "rate": _or_none(checks.number),
    "burst": _or_none(lambda value, name: checks.integer(value, name, 1)),
    "operating_limit_s": _or_none(checks.number),
    "operating_s": _operating_s,
    "latency_ms": checks.number,
    "command_ms": checks.number,
    "blocked": checks.flag,
    "server_endpoint": _or_none(checks.text),
    "renamed_to": _or_none(checks.text),
}


def change(settings: Settings, wanted: object) -> Settings:
    """Return settings with some values replaced.

    :param wanted: a mapping from setting to value.
    :raises BadInputError: for an unknown setting or value.
    """
    known = checks.mapping(wanted, "", (*ACCEPTED, *_CHECKS))
    # The values are checked one by one, which the type of replace() cannot express.
    checked: dict[str, object] = {name: _checked(name, value) for name, value in known.items()}
    return replace(settings, **checked)  # type: ignore[arg-type]


def _checked(name: str, value: object) -> object:
    return checks.choice(value, name, ACCEPTED[name]) if name in ACCEPTED else _CHECKS[name](value, name)
