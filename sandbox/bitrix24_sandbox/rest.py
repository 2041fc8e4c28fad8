"""What REST methods share: the call they receive and the table they are listed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Mapping

    from bitrix24_sandbox.errors import RestError
    from bitrix24_sandbox.inbox import Inbox
    from bitrix24_sandbox.limits import UsageMeter
    from bitrix24_sandbox.models import CalendarStore, Person, Webhook
    from bitrix24_sandbox.oauth import AuthServer
    from bitrix24_sandbox.php import PhpArray
    from bitrix24_sandbox.settings import Settings

T = TypeVar("T")
# Work that takes time: it yields the seconds to let pass before it goes on, and returns a result. Whoever
# drives it can serve others meanwhile.
Work: TypeAlias = "Generator[float, None, T]"


class Ledger(Protocol):
    """Where methods report what a test may want to know."""

    def ran(self, method: str, inner: bool) -> None:
        """Note that a method was called."""

    def refused(self, code: str) -> None:
        """Note that a limit turned a call away."""

    def notified(self, event_id: int, kind: str) -> None:
        """Note that an organiser was notified of an answer."""


@dataclass(frozen=True)
class PortalContext:
    """What a request runs in.

    :param methods: every method of the portal by name.
    :param clock: returns the time as seconds since the epoch.
    :param tab: what the request spends on methods.
    :param inner_error: the error a test planned for a command of a batch, if any.
    :param auth_server: the authorisation server, which has the portal's address here.
    :param address: scheme, host and port at which the portal is asked.
    :param inbox: the notifications of all people.
    """

    book: CalendarStore
    settings: Settings
    ledger: Ledger
    methods: Mapping[str, Method | BatchMethod]
    clock: Callable[[], float]
    tab: UsageMeter
    inner_error: Callable[[str], RestError | None]
    auth_server: AuthServer
    address: str
    inbox: Inbox


@dataclass(frozen=True)
class Call:
    """One call of a method by an authorised person.

    :param parameters: as received, with credentials and other reserved names taken out.
    :param start: how many rows of a list to leave out; the portal takes it from a reserved name.
    """

    caller: Person
    webhook: Webhook
    parameters: PhpArray
    portal: PortalContext
    start: int = 0


@dataclass(frozen=True)
class Page:
    """A part of a list, as methods that have pages return it.

    :param total: how many rows the whole list has.
    :param next: the ``start`` of the next page; ``None`` on the last one.
    """

    rows: list[dict[str, object]]
    total: int
    next: int | None


@dataclass(frozen=True)
class Method:
    """A REST method.

    :param scopes: of which the webhook must be allowed one; none for methods open to every webhook.
    :param run: returns the ``result`` as plain Python data, or a :class:`Page`.
    """

    scopes: tuple[str, ...]
    run: Callable[[Call], object]


@dataclass(frozen=True)
class BatchMethod:
    """A REST method that runs others; it takes no time of its own.

    :param scopes: as of :class:`Method`.
    :param run: works step by step; returns a PHP array already.
    """

    scopes: tuple[str, ...]
    run: Callable[[Call], Work[PhpArray]]


def may(scopes: Collection[str], method: Method | BatchMethod) -> bool:
    """Return whether scopes suffice for a method."""
    return not method.scopes or any(scope in scopes for scope in method.scopes)
