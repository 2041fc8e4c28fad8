"""What error codes, statuses and HTML pages of portals and authorisation servers mean: an error class, and advice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.bitrix24.protocol.errors import (
    AccessError,
    AuthServerError,
    Bitrix24Error,
    CredentialsError,
    NotJsonError,
    OperatingLimitError,
    Permanence,
    PortalError,
    RateLimitError,
    ScopeError,
    TokenError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """What an error code or status means: the class raised and what to do about it.

    :param retry_after: seconds to wait when the portal gives no time of its own.
    :param attempts: maximum number of attempts.
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
_NO_CREDENTIAL = ErrorSpec(
    CredentialsError, "The portal knows no such credential. Check login and password of the connection."
)
_NOT_INSTALLED = ErrorSpec(CredentialsError, "The application is not installed on the portal. Install it again.")
_EXPIRED = ErrorSpec(TokenError, "The access token is not valid any more.")
_NO_ACCESS = ErrorSpec(
    AccessError,
    "The portal does not permit this: REST may not be part of its plan, or the user may not use it. "
    "Ask the portal's administrator.",
)
_BATCH = ErrorSpec(PortalError, "The portal refused this command inside a batch.")
_MISCONFIGURED = ErrorSpec(PortalError, "The portal is misconfigured. Ask its administrator.")
_FAULT = "The portal failed while it handled the call."
_FAILED = ErrorSpec(PortalError, _FAULT, permanence=Permanence.AMBIGUOUS)

CODES: Final[Mapping[str, ErrorSpec]] = {
    # Compared in lower case: portals write both EXPIRED_TOKEN and expired_token.
    "": ErrorSpec(PortalError, "The calendar refused the call without an error code."),
    "query_limit_exceeded": ErrorSpec(RateLimitError, "Too many requests reached the portal from this address."),
    "operation_time_limit": ErrorSpec(
        OperatingLimitError, "This method has used up its operating time on the portal.", retry_after=600.0
    ),
    "overload_limit": ErrorSpec(
        AccessError, "This webhook or application is blocked manually. Contact Bitrix24 support."
    ),
    "internal_server_error": _FAILED,
    "error_unexpected_answer": _FAILED,
    "error_core": ErrorSpec(PortalError, _FAULT, attempts=2, permanence=Permanence.AMBIGUOUS),
    "wrong_encoding": ErrorSpec(
        PortalError, "The portal could not encode its answer.", permanence=Permanence.AMBIGUOUS
    ),
    "error_argument": ErrorSpec(PortalError, "The portal refused an argument of the method as invalid."),
    "error_method_not_found": ErrorSpec(
        PortalError, "The portal knows no such method. Check its name and the portal's modules."
    ),
    "error_manifest_is_not_available": ErrorSpec(PortalError, "The portal has no such configuration."),
    "no_auth_found": _NO_CREDENTIAL,
    "session_failed": _NO_CREDENTIAL,
    "invalid_credentials": ErrorSpec(CredentialsError, _NEW_WEBHOOK),
    "authorization_error": ErrorSpec(
        CredentialsError, "The portal does not authorise this user: the user may be deactivated."
    ),
    "expired_token": _EXPIRED,
    "invalid_token": _EXPIRED,
    "insufficient_scope": ErrorSpec(
        ScopeError, "The credential lacks a scope. Calendar methods need the scope `calendar`."
    ),
    "invalid_request": ErrorSpec(PortalError, "The portal requires https. Remove http:// from the host."),
    "access_denied": _NO_ACCESS,
    "user_access_error": _NO_ACCESS,
    "allowed_only_intranet_user": ErrorSpec(AccessError, "The portal does not permit this to external users."),
    "wrong_license": ErrorSpec(AccessError, "The portal's licence does not include this."),
    "wrong_auth_type": ErrorSpec(AccessError, "The method does not accept this kind of credential."),
    "method_confirm_waiting": ErrorSpec(
        AccessError, "An administrator has to confirm this method first.", permanence=Permanence.TRANSIENT
    ),
    "method_confirm_denied": ErrorSpec(AccessError, "An administrator has denied this method."),
    "connection_error": ErrorSpec(AuthServerError, "The portal could not reach its authorisation server."),
    "application_not_found": _NOT_INSTALLED,
    "error_oauth": _NOT_INSTALLED,
    "not_installed": _NOT_INSTALLED,
    "payment_required": ErrorSpec(AccessError, "The application's paid period is over."),
    "portal_deleted": ErrorSpec(AccessError, "The portal is closed."),
    "error_batch_method_not_allowed": _BATCH,
    "error_batch_length_exceeded": _BATCH,
    "internal_wrong_transport": _MISCONFIGURED,
    "internal_wrong_handler_class": _MISCONFIGURED,
}
"""The portal's error codes, in lower case."""

_NEW_PAIR = "Authorise the application again, and put the new pair of tokens into the connection."
_WRONG_CLIENT = ErrorSpec(CredentialsError, "Check client_id and client_secret of the connection.")

INVALID_GRANT: Final = "invalid_grant"
TOKEN_CODES: Final[Mapping[str, ErrorSpec]] = {
    INVALID_GRANT: ErrorSpec(
        CredentialsError,
        "The refresh token is not valid any more: it was used elsewhere, revoked, or not used for 180 days. "
        f"{_NEW_PAIR}",
    ),
    "wrong_client": _WRONG_CLIENT,
    "invalid_client": _WRONG_CLIENT,
    "invalid_request": ErrorSpec(PortalError, "The authorisation server refused the request as malformed."),
    "invalid_scope": ErrorSpec(ScopeError, "The application requests a scope that it was not given."),
    "payment_required": ErrorSpec(
        AccessError, "The application's trial or paid period is over. Pay for it in the portal."
    ),
}
"""Error codes of the authorisation server, in lower case; others mean what the portal's do."""

REFRESH_TOKEN_LIFE: Final = 180 * 24 * 3600.0
"""Seconds after which an unused refresh token expires."""

EXPIRED_GRANT: Final = ErrorSpec(
    CredentialsError, f"The refresh token has expired: it was not used for 180 days. {_NEW_PAIR}"
)
"""What ``invalid_grant`` means of a pair known to be older."""

USED_CODE: Final = ErrorSpec(
    CredentialsError,
    "The code is not valid: it can be used once, within 30 seconds. Authorise the application again.",
)
"""What ``invalid_grant`` means of an authorisation code."""


def lacking_scope(scope: str, needed_by: str) -> dict[str, ErrorSpec]:
    """Return what a missing scope means for a method that is not one of the calendar.

    :param scope: its name as it is shown.
    :param needed_by: what needs it, in words.
    """
    return {"insufficient_scope": ErrorSpec(ScopeError, f"The credential lacks the scope {scope} that {needed_by}.")}


UNTYPED: Final = frozenset({None, 200, 400})
"""The HTTP statuses of a calendar's refusal with the empty code; inside a batch there is none.

With any other status the empty code comes from another server, such as a gateway, and means nothing.
"""


def meaning_of_code(code: str, http_status: int | None) -> ErrorSpec:
    """Return what an error code means.

    A code that is not in the table is judged by its HTTP status: with 5xx the call may have run, with 429 it did not,
    everything else is permanent. So is the empty code with an HTTP status that is not a calendar's.
    """
    known = CODES.get(code.lower()) if code or http_status in UNTYPED else None
    if known is not None:
        return known
    permanence = Permanence.TRANSIENT if http_status == 429 else None
    if http_status is not None and http_status >= 500:
        permanence = Permanence.AMBIGUOUS
    return ErrorSpec(PortalError, "The portal refused the call.", permanence=permanence)


_PAGE = (
    "The reply is a page, not JSON. Check that the host, its port, and http or https lead to the portal itself, "
    "without a proxy's login page."
)
_UNAVAILABLE = ErrorSpec(
    NotJsonError,
    "The portal, or a gateway in front of it, refused the request: there were too many, or it is temporarily "
    "unavailable.",
    permanence=Permanence.TRANSIENT,
)

NOT_JSON: Final[Mapping[int, ErrorSpec]] = {
    407: ErrorSpec(NotJsonError, "The proxy requires a login.", permanence=Permanence.PERMANENT),
    410: ErrorSpec(NotJsonError, "The portal is gone.", permanence=Permanence.PERMANENT),
    429: _UNAVAILABLE,
    503: _UNAVAILABLE,
}
"""What a body that is not JSON means, by HTTP status, where that says more than others."""

RETRYABLE_STATUSES: Final = frozenset({408, 425})
"""Statuses of 4xx that do not refuse the request itself: Request Timeout and Too Early."""


def meaning_of_page(http_status: int) -> ErrorSpec:
    """Return what a reply that is not JSON means, judged by its HTTP status alone.

    With 4xx the request was refused, as a proxy or web server does in a page of its own; with any other status
    it may have run.
    """
    if http_status in NOT_JSON:
        return NOT_JSON[http_status]
    if 400 <= http_status < 500 and http_status not in RETRYABLE_STATUSES:
        return ErrorSpec(NotJsonError, _PAGE, permanence=Permanence.PERMANENT)
    return ErrorSpec(NotJsonError, "The portal's reply is not JSON.")
