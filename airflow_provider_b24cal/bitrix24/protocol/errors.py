"""The errors about arguments, connections, portals and waits. Databases, files and Airflow raise errors of their own.

What the codes of portals mean is in :mod:`~airflow_provider_b24cal.bitrix24.protocol.error_codes`.

::

    Bitrix24Error
    ├── InvalidArgumentError (also ValueError)      an argument of a method, operator or sensor
    ├── InvalidConnectionError (also ValueError)    a field of the connection
    ├── AttendanceError             the portal answered; the participation wanted is not possible
    │   ├── NotInvitedError           null: the acting user has no row in the meeting
    │   ├── OrganiserError            H: the acting user is the organiser
    │   ├── NoSuchMeetingError        unknown, deleted, or not a meeting (the portal does not say which)
    │   ├── NoSuchEventError          unknown, deleted, or not visible to the acting user
    │   ├── StatusNotAppliedError     the portal confirmed the set, reading back shows another status
    │   ├── UnwantedStatusError       a status in fail_on_statuses
    │   ├── QuorumUnreachableError    fewer answers can still arrive than required
    │   └── MeetingsFailedError       some of many meetings failed, each for its own reason
    ├── PortalError                 the portal refused, or failed inside; code says why
    │   ├── CredentialsError          the webhook, token or application is not accepted
    │   ├── TokenError                the access token is expired or unknown
    │   ├── ScopeError                the credential lacks the scope
    │   ├── AccessError               user, plan, licence or support do not permit the call
    │   ├── RateLimitError            too many requests; refused before execution
    │   ├── OperatingLimitError       the method used up its operating time; refused before execution
    │   └── AuthServerError           the authorisation server is unreachable or out of order
    ├── ReplyError                  a reply that is a redirect, or lacks the answer to the call
    │   ├── NotJsonError              HTML, or a truncated or empty body
    │   └── UnexpectedReplyError      JSON of another shape than the method's
    ├── TransportError              the connection broke, timed out, or the reply is too large
    │   ├── ConnectError              no connection was made: nothing was sent
    │   └── TlsError                  the portal's certificate is not trusted
    ├── NotificationsFailedError    some of many users could not be notified, each for its own reason
    ├── TokenStoreError             the tokens could not be read or stored
    └── TriggerEventError           a deferred task resumed with an unknown event

Errors have fields and never a URL, so that they can be logged, stored and compared.
"""

from __future__ import annotations

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
    """Base class of the errors in this module.

    :param message: what happened and what to do, in one or two sentences; never contains a URL or secret.
    :param code: the portal's error code; ``""`` is a legal code, ``None`` means there was none.
    :param http_status: status of the answer, if there was one.
    :param method: REST method, for example ``calendar.meeting.status.get``.
    :param event_id: the event of the call, if it has one.
    :param permanence: what repeating can lead to; each class has a default.
    :param retry_after: seconds after which repeating makes sense, if the portal has said so.
    :param attempts: maximum number of attempts, the first included, where it is lower than that of the retry
        policy.
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
        known = ", ".join(fact for fact in facts if fact)
        return f"{self.message} ({known})" if known else self.message

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


class InvalidArgumentError(Bitrix24Error, ValueError):
    """An argument is invalid; names the argument, the value and what is expected. Nothing was sent."""


class InvalidConnectionError(Bitrix24Error, ValueError):
    """A field of the Airflow connection is missing, unknown or invalid. Nothing was sent."""


class AttendanceError(Bitrix24Error):
    """The portal answered; the participation wanted is not possible."""


class NotInvitedError(AttendanceError):
    """The meeting exists, but the acting user is not among its attendees (the portal answers ``null``)."""


class OrganiserError(AttendanceError):
    """The acting user is the meeting's organiser: its status is ``H`` and stays ``H``."""


class NoSuchMeetingError(AttendanceError):
    """No meeting has this id: unknown, deleted, or an event that is not a meeting."""


class NoSuchEventError(AttendanceError):
    """No event has this id, or the acting user may not see it (the portal's reply is empty for both)."""


class StatusNotAppliedError(AttendanceError):
    """The portal confirmed the set, but reading back shows another status."""


class UnwantedStatusError(AttendanceError):
    """A meeting reached a status in ``fail_on_statuses``."""


class QuorumUnreachableError(AttendanceError):
    """Fewer answers can still arrive than a wait requires."""


class MeetingsFailedError(AttendanceError):
    """Some of many meetings failed; the reasons are in the log and in XCom."""


class PortalError(Bitrix24Error):
    """The portal refused the call with an error code, or failed while it handled it; ``code`` says why."""


class CredentialsError(PortalError):
    """The webhook, the refresh token or the application is not accepted; a person has to replace it."""


class TokenError(PortalError):
    """The access token is expired or unknown to the authorisation server."""


class ScopeError(PortalError):
    """The credential lacks the scope that the method needs."""


class AccessError(PortalError):
    """The user's rights, the portal's plan or licence, or a block by Bitrix24 do not permit the call."""


class RateLimitError(PortalError):
    """Too many requests from this address; the call was refused before execution."""

    default_permanence = Permanence.TRANSIENT


class OperatingLimitError(PortalError):
    """The method has used up its operating time; the call was refused before execution."""

    default_permanence = Permanence.TRANSIENT


class AuthServerError(PortalError):
    """The authorisation server is unreachable or out of order; the call was refused before execution."""

    default_permanence = Permanence.TRANSIENT


class ReplyError(Bitrix24Error):
    """The reply is a redirect that is not followed, or a batch without an answer to this command."""

    default_permanence = Permanence.AMBIGUOUS


class NotJsonError(ReplyError):
    """The reply is not JSON: an HTML page, or a truncated or empty body."""


class UnexpectedReplyError(ReplyError):
    """The reply is JSON of another shape than the method's; says what was expected and what came."""

    default_permanence = Permanence.PERMANENT


class TransportError(Bitrix24Error):
    """The connection broke, no whole reply came in time, or it is too large; the call may have run."""

    default_permanence = Permanence.AMBIGUOUS


class ConnectError(TransportError):
    """No connection could be made; nothing was sent."""

    default_permanence = Permanence.TRANSIENT


class TlsError(TransportError):
    """The portal's certificate is not trusted, or the TLS handshake failed."""

    default_permanence = Permanence.PERMANENT


class NotificationsFailedError(Bitrix24Error):
    """Some of many users could not be notified; the reasons are in the log, and in XCom if an operator sent them."""


class TokenStoreError(Bitrix24Error):
    """The token store could not be read or written; the call itself was refused before execution."""

    default_permanence = Permanence.TRANSIENT


class TriggerEventError(Bitrix24Error):
    """A deferred task resumed without an event, or with an unknown one."""


CLASSES: Final[Mapping[str, type[Bitrix24Error]]] = {
    name: kind for name, kind in list(globals().items()) if name.endswith("Error")
}
"""Every error class by name."""


def error_from_dict(fields: Mapping[str, Any]) -> Bitrix24Error:
    """Turn :meth:`Bitrix24Error.to_dict` back into an error.

    :raises KeyError: a field is missing or the class is unknown.
    :raises ValueError: the permanence is unknown.
    """
    given = dict(fields)
    error = CLASSES[given.pop("class")]
    return error(given.pop("message"), **{**given, "permanence": Permanence(given["permanence"])})
