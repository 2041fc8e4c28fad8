"""Every error that this package raises.

What the codes of portals mean is in :mod:`~airflow_provider_b24cal.bitrix24.protocol.error_codes`.

::

    Bitrix24Error
    ├── UsageError (also ValueError)      our request: refused before anything was sent
    │   ├── InvalidArgumentError            an argument of a method, operator or sensor
    │   └── InvalidConnectionError          a field of the connection
    ├── AttendanceError                   the portal answered; it cannot be the participation wanted
    │   ├── NotInvitedError                 null: the acting user has no row in the meeting
    │   ├── OrganiserError                  H: the acting user is the organiser
    │   ├── NoSuchMeetingError              unknown, deleted, or not a meeting (the portal tells no more)
    │   ├── NoSuchEventError                unknown, deleted, or not visible to the acting user
    │   ├── StatusNotAppliedError                 the portal said true, reading back said otherwise
    │   ├── UnwantedStatusError             a status the wait was told to fail on
    │   ├── QuorumUnreachableError                 fewer can still arrive than a wait requires
    │   └── MeetingsFailedError             some of many meetings failed, each for its own reason
    ├── PortalError                       the portal refused, with a code
    │   ├── CredentialsError                the webhook or token is not accepted
    │   │   ├── RefreshTokenExpiredError      not used for 180 days
    │   │   ├── RefreshTokenRevokedError      used up, or taken back
    │   │   └── WrongClientError              the application's id or secret is wrong
    │   ├── TokenError                      the access token is expired or unknown
    │   ├── ScopeError                      the credential lacks the scope
    │   ├── AccessError                     the user, plan or licence does not permit it
    │   ├── AppRemovedError                 the application is not installed
    │   ├── PaymentRequiredError            the application's paid period is over
    │   ├── PortalClosedError               the portal is deleted or switched off
    │   ├── MethodNotFoundError             no such REST method on this portal
    │   ├── BadRequestError                 the portal calls the request malformed
    │   ├── CalendarError                   code "": the calendar refused, without a code
    │   ├── RateLimitError                  too many requests; refused before execution
    │   ├── OperatingLimitError             this method used up its time; refused before execution
    │   ├── BlockedError                    the portal's owner or Bitrix24 blocked this credential by hand
    │   ├── AuthServerError                 the portal could not reach its authorisation server
    │   │   └── AuthServerUnreachableError    we could not reach it, or it is out of order
    │   └── ServerFaultError                the portal failed inside; the call may have run
    ├── ReplyError                        an answer that cannot be understood
    │   ├── NotJsonError                    HTML, a cut or an empty body
    │   ├── RedirectedError                 the portal lives elsewhere, where its secret may not go
    │   ├── UnexpectedReplyError            JSON of another shape than the method's
    │   └── UnansweredError                 a batch answered without this command
    ├── TransportError                    the wire
    │   ├── ConnectError                    no connection was made: nothing was sent
    │   ├── ConnectionLostError             the connection broke after sending began
    │   ├── ResponseTimeoutError            no whole answer in time: the call may have run
    │   ├── ReplyTooLargeError              more came than is read: the call may have run
    │   └── TlsError                        the portal's certificate is not trusted
    ├── TokenStoreError                   the tokens could not be read or stored
    └── TriggerEventError                 a deferred task resumed without a word it understands

Errors carry fields and never a URL, so that they can be logged, stored and decided upon.
"""

from __future__ import annotations

from enum import StrEnum
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

P = ParamSpec("P")
T = TypeVar("T")


class Permanence(StrEnum):
    """What repeating the same call can lead to."""

    PERMANENT = "permanent"
    """Repeating gives the same answer until a person changes something."""
    TRANSIENT = "transient"
    """The call did not run; repeating is safe, also for writes."""
    AMBIGUOUS = "ambiguous"
    """The call may have run; a write is read back before it is repeated."""


class Bitrix24Error(Exception):
    """Root of all errors of this package.

    :param message: what happened and what to do, in one or two sentences; never contains a URL or secret.
    :param code: the portal's error code; ``""`` is a legal code, ``None`` means there was none.
    :param http_status: status of the answer, if there was one.
    :param method: REST method, for example ``calendar.meeting.status.get``.
    :param event_id: the event asked about, if the call was about one.
    :param permanence: what repeating can lead to; each class has a default.
    :param retry_after: seconds after which repeating makes sense, when the portal has said so.
    :param attempts: how often such a call is sent at most, the first time included, where that is less than
        the caller's policy allows.
    :param cause: class name of the underlying exception; the exception itself may hold the secret URL.
    """

    default_permanence = Permanence.PERMANENT

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        http_status: int | None = None,
        method: str | None = None,
        event_id: int | None = None,
        permanence: Permanence | None = None,
        retry_after: float | None = None,
        attempts: int | None = None,
        cause: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.http_status = http_status
        self.method = method
        self.event_id = event_id
        self.permanence = permanence or self.default_permanence
        self.retry_after = retry_after
        self.attempts = attempts
        self.cause = cause

    def __str__(self) -> str:
        facts = [
            self.method,
            f"event {self.event_id}" if self.event_id is not None else None,
            f"code {self.code!r}" if self.code is not None else None,
            f"HTTP {self.http_status}" if self.http_status is not None else None,
            f"after {self.cause}" if self.cause is not None else None,
        ]
        told = ", ".join(fact for fact in facts if fact)
        return f"{self.message} ({told})" if told else self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r}, {self.permanence.value})"

    def __reduce__(self) -> tuple[Any, ...]:
        return error_from_dict, (self.to_dict(),)

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON values; :func:`error_from_dict` turns them back."""
        return {
            "class": type(self).__name__,
            "message": self.message,
            "code": self.code,
            "http_status": self.http_status,
            "method": self.method,
            "event_id": self.event_id,
            "permanence": self.permanence.value,
            "retry_after": self.retry_after,
            "attempts": self.attempts,
            "cause": self.cause,
        }


class UsageError(Bitrix24Error, ValueError):
    """Our side asked for something that is never sent."""


class InvalidArgumentError(UsageError):
    """An argument is not what the method accepts; names the argument, the value and what is accepted."""


class InvalidConnectionError(UsageError):
    """A field of the Airflow connection is missing, unknown or not acceptable."""


class AttendanceError(Bitrix24Error):
    """The portal answered, and the answer cannot become the participation that is wanted."""


class NotInvitedError(AttendanceError):
    """The meeting exists, but the acting user is not among its attendees (the portal answers ``null``)."""


class OrganiserError(AttendanceError):
    """The acting user is the meeting's organiser: its status is ``H`` and stays ``H``."""


class NoSuchMeetingError(AttendanceError):
    """No meeting has this id: unknown, deleted, or an event that is not a meeting."""


class NoSuchEventError(AttendanceError):
    """No event has this id, or the acting user may not see it (the portal answers nothing for both)."""


class StatusNotAppliedError(AttendanceError):
    """The portal confirmed the set, but reading back shows another status."""


class UnwantedStatusError(AttendanceError):
    """A meeting reached a status that the wait was told to fail on."""


class QuorumUnreachableError(AttendanceError):
    """Fewer can still arrive than a wait requires."""


class MeetingsFailedError(AttendanceError):
    """Some of many meetings failed; the reasons are in the log and in XCom."""


class PortalError(Bitrix24Error):
    """The portal refused the call with an error code."""


class CredentialsError(PortalError):
    """The webhook or token is not accepted; a new one is needed."""


class RefreshTokenExpiredError(CredentialsError):
    """The refresh token was not used for 180 days; a person has to let the application in again."""


class RefreshTokenRevokedError(CredentialsError):
    """The refresh token was used by somebody else or taken back; a person has to let the application in again."""


class WrongClientError(CredentialsError):
    """The authorisation server knows no application with this id and secret."""


class TokenError(PortalError):
    """The access token is expired or unknown to the authorisation server."""


class ScopeError(PortalError):
    """The credential lacks the scope that the method needs."""


class AccessError(PortalError):
    """The acting user, the portal's plan or its licence does not permit the call."""


class AppRemovedError(PortalError):
    """The application that the credential belongs to is not installed."""


class PaymentRequiredError(PortalError):
    """The application's trial or paid period is over."""


class PortalClosedError(PortalError):
    """The portal is deleted or switched off."""


class MethodNotFoundError(PortalError):
    """The portal knows no such REST method."""


class BadRequestError(PortalError):
    """The portal calls the request malformed or not permitted in this form."""


class CalendarError(PortalError):
    """The calendar refused the call with the empty error code; the reason is only in localised text."""


class RateLimitError(PortalError):
    """Too many requests from this address; the call was refused before execution."""

    default_permanence = Permanence.TRANSIENT


class OperatingLimitError(PortalError):
    """The method has used up its operating time; the call was refused before execution."""

    default_permanence = Permanence.TRANSIENT


class BlockedError(PortalError):
    """The credential was blocked by hand; only the portal's support can lift that."""


class AuthServerError(PortalError):
    """The portal could not reach its authorisation server."""

    default_permanence = Permanence.TRANSIENT


class AuthServerUnreachableError(AuthServerError):
    """The authorisation server could not be reached or is out of order; the call was refused before execution."""


class ServerFaultError(PortalError):
    """The portal failed inside; the call may have run."""

    default_permanence = Permanence.AMBIGUOUS


class ReplyError(Bitrix24Error):
    """An answer arrived that cannot be understood."""

    default_permanence = Permanence.AMBIGUOUS


class NotJsonError(ReplyError):
    """The answer is not JSON: an HTML page, a cut or an empty body."""


class RedirectedError(ReplyError):
    """The portal answered with a redirect to where its secret may not go."""

    default_permanence = Permanence.PERMANENT


class UnexpectedReplyError(ReplyError):
    """The answer is JSON of another shape than the method's; says what was expected and what came."""

    default_permanence = Permanence.PERMANENT


class UnansweredError(ReplyError):
    """A batch came back without an answer to this command."""


class TransportError(Bitrix24Error):
    """The request or its answer was lost on the wire."""

    default_permanence = Permanence.AMBIGUOUS


class ConnectError(TransportError):
    """No connection could be made; nothing was sent."""

    default_permanence = Permanence.TRANSIENT


class ConnectionLostError(TransportError):
    """The connection broke after sending began; the call may have run."""


class ResponseTimeoutError(TransportError):
    """No answer came in time, or not the whole of it; the call may have run."""


class ReplyTooLargeError(TransportError):
    """The answer is larger than this provider reads; the call may have run."""


class TlsError(TransportError):
    """The portal's certificate is not trusted, or TLS could not be agreed upon."""

    default_permanence = Permanence.PERMANENT


class TokenStoreError(Bitrix24Error):
    """The store of tokens could not be read or written; the call itself was refused before execution."""

    default_permanence = Permanence.TRANSIENT


class TriggerEventError(Bitrix24Error):
    """A deferred task resumed with no event, or with one it does not know; nothing is taken for granted."""


def without_inner_frames(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function whose variables hold secrets: its errors come without its frames, cause and context.

    Log handlers and error trackers show the variables of every frame of a traceback. The caller's frame is the
    first that is left, so that no variable there may hold what is given to the function.
    """

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except Bitrix24Error as error:
            failure = error
        del args, kwargs
        failure.__cause__ = failure.__context__ = None
        raise failure.with_traceback(None)

    return wrapper


def _with_descendants(root: type[Bitrix24Error]) -> dict[str, type[Bitrix24Error]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _with_descendants(child)
    return found


CLASSES: Final[Mapping[str, type[Bitrix24Error]]] = _with_descendants(Bitrix24Error)
"""Every error class by name."""


def error_from_dict(fields: Mapping[str, Any]) -> Bitrix24Error:
    """Turn :meth:`Bitrix24Error.to_dict` back into an error.

    :raises KeyError: a field is missing or the class is unknown.
    :raises ValueError: the permanence is unknown.
    """
    given = dict(fields)
    error = CLASSES[given.pop("class")]
    permanence = Permanence(given.pop("permanence"))
    return error(given.pop("message"), permanence=permanence, **given)
