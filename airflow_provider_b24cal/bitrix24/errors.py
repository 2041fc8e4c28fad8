"""Every error this package raises, and the one table that says what a portal's code means.

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
    │   ├── SetNotKeptError                 the portal said true, reading back said otherwise
    │   ├── UnwantedStatusError             a status the wait was told to fail on
    │   ├── OutOfReachError                 fewer can still arrive than a wait requires
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

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


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


class SetNotKeptError(AttendanceError):
    """The portal confirmed the set, but reading back shows another status."""


class UnwantedStatusError(AttendanceError):
    """A meeting reached a status that the wait was told to fail on."""


class OutOfReachError(AttendanceError):
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


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an error code or status means: the class raised and what to do about it.

    :param retry_after: seconds to wait when the portal gives no time of its own.
    :param attempts: how often such a call is sent at most.
    :param permanence: where it differs from the class's default.
    """

    error: type[Bitrix24Error]
    advice: str
    retry_after: float | None = None
    attempts: int | None = None
    permanence: Permanence | None = None


_NEW_WEBHOOK = (
    "The portal does not accept this webhook: it was deleted, rotated, blocked, or the user id is wrong. "
    "Create a new one under Developer resources and put it into the connection."
)
_NO_CREDENTIAL = "The portal saw no credential it knows. Check login and password of the connection."
_APP_GONE = "The application is not installed on the portal. Install it again."
_EXPIRED = "The access token is not valid any more."
_NO_ACCESS = (
    "The portal does not permit this: REST may not be part of its plan, or the user may not use it. "
    "Ask the portal's administrator."
)
_BATCH = "The portal refused this command inside a batch."
_MISCONFIGURED = "The portal is misconfigured. Ask its administrator."
_FAULT = "The portal failed while it handled the call."

CODES: Final[Mapping[str, Meaning]] = {
    # Compared in lower case: portals write both EXPIRED_TOKEN and expired_token.
    "": Meaning(CalendarError, "The calendar refused the call and gives no code for the reason."),
    "query_limit_exceeded": Meaning(RateLimitError, "Too many requests reached the portal from this address."),
    "operation_time_limit": Meaning(
        OperatingLimitError, "This method has used up its operating time on the portal.", retry_after=600.0
    ),
    "overload_limit": Meaning(
        BlockedError, "This webhook or application is blocked by hand. Contact Bitrix24 support."
    ),
    "internal_server_error": Meaning(ServerFaultError, _FAULT),
    "error_unexpected_answer": Meaning(ServerFaultError, _FAULT),
    "error_core": Meaning(ServerFaultError, _FAULT, attempts=2),
    "wrong_encoding": Meaning(ServerFaultError, "The portal could not encode its answer."),
    "error_argument": Meaning(BadRequestError, "The portal calls an argument of the method wrong."),
    "error_method_not_found": Meaning(
        MethodNotFoundError, "The portal knows no such method. Check its name and the portal's modules."
    ),
    "error_manifest_is_not_available": Meaning(MethodNotFoundError, "The portal has no such configuration."),
    "no_auth_found": Meaning(CredentialsError, _NO_CREDENTIAL),
    "invalid_credentials": Meaning(CredentialsError, _NEW_WEBHOOK),
    "authorization_error": Meaning(
        CredentialsError, "The portal does not let this user in: the user may be deactivated."
    ),
    "session_failed": Meaning(CredentialsError, _NO_CREDENTIAL),
    "expired_token": Meaning(TokenError, _EXPIRED),
    "invalid_token": Meaning(TokenError, _EXPIRED),
    "insufficient_scope": Meaning(
        ScopeError, "The credential lacks a scope. Calendar methods need the scope `calendar`."
    ),
    "invalid_request": Meaning(BadRequestError, "The portal wants https. Remove http:// from the host."),
    "access_denied": Meaning(AccessError, _NO_ACCESS),
    "user_access_error": Meaning(AccessError, _NO_ACCESS),
    "allowed_only_intranet_user": Meaning(AccessError, "The portal does not permit this to external users."),
    "wrong_license": Meaning(AccessError, "The portal's licence does not include this."),
    "wrong_auth_type": Meaning(AccessError, "The method does not accept this kind of credential."),
    "method_confirm_waiting": Meaning(
        AccessError, "An administrator has to confirm this method first.", permanence=Permanence.TRANSIENT
    ),
    "method_confirm_denied": Meaning(AccessError, "An administrator has denied this method."),
    "connection_error": Meaning(AuthServerError, "The portal could not reach its authorisation server."),
    "application_not_found": Meaning(AppRemovedError, _APP_GONE),
    "error_oauth": Meaning(AppRemovedError, _APP_GONE),
    "not_installed": Meaning(AppRemovedError, _APP_GONE),
    "payment_required": Meaning(PaymentRequiredError, "The application's paid period is over."),
    "portal_deleted": Meaning(PortalClosedError, "The portal is closed."),
    "error_batch_method_not_allowed": Meaning(BadRequestError, _BATCH),
    "error_batch_length_exceeded": Meaning(BadRequestError, _BATCH),
    "internal_wrong_transport": Meaning(BadRequestError, _MISCONFIGURED),
    "internal_wrong_handler_class": Meaning(BadRequestError, _MISCONFIGURED),
}
"""The portal's error codes, in lower case."""

_NEW_PAIR = "Let the application in again, and put the new pair of tokens into the connection."

TOKEN_CODES: Final[Mapping[str, Meaning]] = {
    "invalid_grant": Meaning(
        RefreshTokenRevokedError,
        f"The refresh token is not good any more: it was used elsewhere, taken back, or not used for 180 days. "
        f"{_NEW_PAIR}",
    ),
    "wrong_client": Meaning(WrongClientError, "Check client_id and client_secret of the connection."),
    "invalid_client": Meaning(WrongClientError, "Check client_id and client_secret of the connection."),
    "invalid_request": Meaning(BadRequestError, "The authorisation server calls the request malformed."),
    "invalid_scope": Meaning(ScopeError, "The application asks for a scope that it was not given."),
    "payment_required": Meaning(
        PaymentRequiredError, "The application's trial or paid period is over. Pay for it in the portal."
    ),
}
"""What codes of the authorisation server mean, in lower case; others mean what the portal's do."""

REFRESH_TOKEN_LIFE: Final = 180 * 24 * 3600.0
"""Seconds after which an unused refresh token is good no more."""

EXPIRED_GRANT: Final = Meaning(
    RefreshTokenExpiredError, f"The refresh token was not used for 180 days, and is good no more. {_NEW_PAIR}"
)
"""What ``invalid_grant`` means of a pair known to be older."""

USED_CODE: Final = Meaning(
    CredentialsError, "The code is not good: it serves once, within 30 seconds. Let the application in again."
)
"""What ``invalid_grant`` means of an authorisation code."""

UNTYPED: Final = frozenset({None, 200, 400})
"""The HTTP statuses with which a calendar refuses with the empty code, inside a batch none. With any other one
somebody else speaks, and the empty code tells nothing."""

_UNKNOWN_PERMANENCE: Final = {429: Permanence.TRANSIENT}


def meaning_of_code(code: str, http_status: int | None) -> Meaning:
    """Return what an error code means.

    A code that the table does not know is judged by its HTTP status: 5xx may have run, 429 did not,
    everything else is permanent. So is the empty code with an HTTP status that is not a calendar's.
    """
    known = CODES.get(code.lower()) if code or http_status in UNTYPED else None
    if known is not None:
        return known
    permanence = _UNKNOWN_PERMANENCE.get(http_status or 0)
    if permanence is None and http_status is not None and http_status >= 500:
        permanence = Permanence.AMBIGUOUS
    return Meaning(PortalError, "The portal refused the call.", permanence=permanence)


_PAGE = (
    "The answer is a page, not JSON. Check that the host, its port, and http or https lead to the portal itself, "
    "without a proxy's login page."
)

NOT_JSON: Final[Mapping[int, Meaning]] = {
    407: Meaning(NotJsonError, "The proxy wants a login.", permanence=Permanence.PERMANENT),
    410: Meaning(NotJsonError, "The portal is gone.", permanence=Permanence.PERMANENT),
}
"""What a body that is not JSON means, by HTTP status, where that says more than others."""

PASSING: Final = frozenset({408, 425, 429})
"""Statuses of 4xx that say nothing against the request itself."""


def meaning_of_page(http_status: int) -> Meaning:
    """Return what an answer that is not JSON means, judged by its HTTP status alone.

    With 4xx the request was refused, as a proxy or web server does in a page of its own; with any other status
    it may have run.
    """
    if http_status in NOT_JSON:
        return NOT_JSON[http_status]
    if 400 <= http_status < 500 and http_status not in PASSING:
        return Meaning(NotJsonError, _PAGE, permanence=Permanence.PERMANENT)
    return Meaning(NotJsonError, "The portal's answer is not JSON.")


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
