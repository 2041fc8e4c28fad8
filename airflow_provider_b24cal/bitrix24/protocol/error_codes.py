"""What codes, statuses and pages of portals and authorisation servers mean: an error class, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.bitrix24.protocol.errors import (
    AccessError,
    AppRemovedError,
    AuthServerError,
    BadRequestError,
    Bitrix24Error,
    BlockedError,
    CalendarError,
    CredentialsError,
    MethodNotFoundError,
    NotJsonError,
    OperatingLimitError,
    PaymentRequiredError,
    Permanence,
    PortalClosedError,
    PortalError,
    RateLimitError,
    RefreshTokenExpiredError,
    RefreshTokenRevokedError,
    ScopeError,
    ServerFaultError,
    TokenError,
    WrongClientError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ErrorSpec:
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

CODES: Final[Mapping[str, ErrorSpec]] = {
    # Compared in lower case: portals write both EXPIRED_TOKEN and expired_token.
    "": ErrorSpec(CalendarError, "The calendar refused the call and gives no code for the reason."),
    "query_limit_exceeded": ErrorSpec(RateLimitError, "Too many requests reached the portal from this address."),
    "operation_time_limit": ErrorSpec(
        OperatingLimitError, "This method has used up its operating time on the portal.", retry_after=600.0
    ),
    "overload_limit": ErrorSpec(
        BlockedError, "This webhook or application is blocked by hand. Contact Bitrix24 support."
    ),
    "internal_server_error": ErrorSpec(ServerFaultError, _FAULT),
    "error_unexpected_answer": ErrorSpec(ServerFaultError, _FAULT),
    "error_core": ErrorSpec(ServerFaultError, _FAULT, attempts=2),
    "wrong_encoding": ErrorSpec(ServerFaultError, "The portal could not encode its answer."),
    "error_argument": ErrorSpec(BadRequestError, "The portal calls an argument of the method wrong."),
    "error_method_not_found": ErrorSpec(
        MethodNotFoundError, "The portal knows no such method. Check its name and the portal's modules."
    ),
    "error_manifest_is_not_available": ErrorSpec(MethodNotFoundError, "The portal has no such configuration."),
    "no_auth_found": ErrorSpec(CredentialsError, _NO_CREDENTIAL),
    "invalid_credentials": ErrorSpec(CredentialsError, _NEW_WEBHOOK),
    "authorization_error": ErrorSpec(
        CredentialsError, "The portal does not let this user in: the user may be deactivated."
    ),
    "session_failed": ErrorSpec(CredentialsError, _NO_CREDENTIAL),
    "expired_token": ErrorSpec(TokenError, _EXPIRED),
    "invalid_token": ErrorSpec(TokenError, _EXPIRED),
    "insufficient_scope": ErrorSpec(
        ScopeError, "The credential lacks a scope. Calendar methods need the scope `calendar`."
    ),
    "invalid_request": ErrorSpec(BadRequestError, "The portal wants https. Remove http:// from the host."),
    "access_denied": ErrorSpec(AccessError, _NO_ACCESS),
    "user_access_error": ErrorSpec(AccessError, _NO_ACCESS),
    "allowed_only_intranet_user": ErrorSpec(AccessError, "The portal does not permit this to external users."),
    "wrong_license": ErrorSpec(AccessError, "The portal's licence does not include this."),
    "wrong_auth_type": ErrorSpec(AccessError, "The method does not accept this kind of credential."),
    "method_confirm_waiting": ErrorSpec(
        AccessError, "An administrator has to confirm this method first.", permanence=Permanence.TRANSIENT
    ),
    "method_confirm_denied": ErrorSpec(AccessError, "An administrator has denied this method."),
    "connection_error": ErrorSpec(AuthServerError, "The portal could not reach its authorisation server."),
    "application_not_found": ErrorSpec(AppRemovedError, _APP_GONE),
    "error_oauth": ErrorSpec(AppRemovedError, _APP_GONE),
    "not_installed": ErrorSpec(AppRemovedError, _APP_GONE),
    "payment_required": ErrorSpec(PaymentRequiredError, "The application's paid period is over."),
    "portal_deleted": ErrorSpec(PortalClosedError, "The portal is closed."),
    "error_batch_method_not_allowed": ErrorSpec(BadRequestError, _BATCH),
    "error_batch_length_exceeded": ErrorSpec(BadRequestError, _BATCH),
    "internal_wrong_transport": ErrorSpec(BadRequestError, _MISCONFIGURED),
    "internal_wrong_handler_class": ErrorSpec(BadRequestError, _MISCONFIGURED),
}
"""The portal's error codes, in lower case."""

_NEW_PAIR = "Let the application in again, and put the new pair of tokens into the connection."

TOKEN_CODES: Final[Mapping[str, ErrorSpec]] = {
    "invalid_grant": ErrorSpec(
        RefreshTokenRevokedError,
        f"The refresh token is not good any more: it was used elsewhere, taken back, or not used for 180 days. "
        f"{_NEW_PAIR}",
    ),
    "wrong_client": ErrorSpec(WrongClientError, "Check client_id and client_secret of the connection."),
    "invalid_client": ErrorSpec(WrongClientError, "Check client_id and client_secret of the connection."),
    "invalid_request": ErrorSpec(BadRequestError, "The authorisation server calls the request malformed."),
    "invalid_scope": ErrorSpec(ScopeError, "The application asks for a scope that it was not given."),
    "payment_required": ErrorSpec(
        PaymentRequiredError, "The application's trial or paid period is over. Pay for it in the portal."
    ),
}
"""What codes of the authorisation server mean, in lower case; others mean what the portal's do."""

REFRESH_TOKEN_LIFE: Final = 180 * 24 * 3600.0
"""Seconds after which an unused refresh token is good no more."""

EXPIRED_GRANT: Final = ErrorSpec(
    RefreshTokenExpiredError, f"The refresh token was not used for 180 days, and is good no more. {_NEW_PAIR}"
)
"""What ``invalid_grant`` means of a pair known to be older."""

USED_CODE: Final = ErrorSpec(
    CredentialsError, "The code is not good: it serves once, within 30 seconds. Let the application in again."
)
"""What ``invalid_grant`` means of an authorisation code."""

UNTYPED: Final = frozenset({None, 200, 400})
"""The HTTP statuses with which a calendar refuses with the empty code, inside a batch none. With any other one
somebody else speaks, and the empty code tells nothing."""

_UNKNOWN_PERMANENCE: Final = {429: Permanence.TRANSIENT}


def meaning_of_code(code: str, http_status: int | None) -> ErrorSpec:
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
    return ErrorSpec(PortalError, "The portal refused the call.", permanence=permanence)


_PAGE = (
    "The answer is a page, not JSON. Check that the host, its port, and http or https lead to the portal itself, "
    "without a proxy's login page."
)

_NOT_NOW = (
    "The portal, or a gateway before it, turned the request away: there were too many, or it is out of service for a "
    "while."
)

NOT_JSON: Final[Mapping[int, ErrorSpec]] = {
    407: ErrorSpec(NotJsonError, "The proxy wants a login.", permanence=Permanence.PERMANENT),
    410: ErrorSpec(NotJsonError, "The portal is gone.", permanence=Permanence.PERMANENT),
    429: ErrorSpec(NotJsonError, _NOT_NOW, permanence=Permanence.TRANSIENT),
    503: ErrorSpec(NotJsonError, _NOT_NOW, permanence=Permanence.TRANSIENT),
}
"""What a body that is not JSON means, by HTTP status, where that says more than others."""

PASSING: Final = frozenset({408, 425})
"""Statuses of 4xx that say nothing against the request itself."""


def meaning_of_page(http_status: int) -> ErrorSpec:
    """Return what an answer that is not JSON means, judged by its HTTP status alone.

    With 4xx the request was refused, as a proxy or web server does in a page of its own; with any other status
    it may have run.
    """
    if http_status in NOT_JSON:
        return NOT_JSON[http_status]
    if 400 <= http_status < 500 and http_status not in PASSING:
        return ErrorSpec(NotJsonError, _PAGE, permanence=Permanence.PERMANENT)
    return ErrorSpec(NotJsonError, "The portal's answer is not JSON.")
