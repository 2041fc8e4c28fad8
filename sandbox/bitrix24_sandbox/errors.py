"""REST errors and the HTTP status each travels with.

The documentation and the portal's own modules disagree about the statuses of authorisation errors;
both columns are here, and a setting picks one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bitrix24_sandbox.php import PhpArray

STATUSES = {
    # code: (as the modules send it, as the documentation lists it)
    "": (400, 400),
    "ACCESS_DENIED": (401, 403),
    "APPLICATION_NOT_FOUND": (401, 401),
    "authorization_error": (401, 401),
    "CONNECTION_ERROR": (401, 401),
    "ERROR_ARGUMENT": (400, 400),
    "ERROR_BATCH_LENGTH_EXCEEDED": (400, 400),
    "ERROR_BATCH_METHOD_NOT_ALLOWED": (405, 405),
    "ERROR_CORE": (400, 400),
    "ERROR_METHOD_NOT_FOUND": (404, 404),
    "ERROR_OAUTH": (401, 401),
    "ERROR_UNEXPECTED_ANSWER": (500, 500),
    "expired_token": (401, 401),
    "insufficient_scope": (401, 403),
    "INTERNAL_SERVER_ERROR": (500, 500),
    "INVALID_CREDENTIALS": (401, 403),
    "invalid_client": (400, 400),
    "invalid_grant": (400, 400),
    "INVALID_REQUEST": (401, 400),
    "invalid_scope": (400, 400),
    "invalid_token": (401, 401),
    "METHOD_CONFIRM_DENIED": (403, 403),
    "METHOD_CONFIRM_WAITING": (401, 401),
    "NO_AUTH_FOUND": (401, 401),
    "NOT_INSTALLED": (401, 401),
    "OPERATION_TIME_LIMIT": (429, 429),
    "OVERLOAD_LIMIT": (401, 503),
    "PAYMENT_REQUIRED": (401, 401),
    "PORTAL_DELETED": (403, 500),
    "QUERY_LIMIT_EXCEEDED": (503, 503),
    "user_access_error": (401, 403),
    "WRONG_AUTH_TYPE": (403, 403),
    "wrong_client": (200, 200),
    "WRONG_ENCODING": (200, 200),
    "WRONG_LICENSE": (403, 403),
}


class RestError(Exception):
    """An error a method answers with.

    :param code: may be empty, as all calendar errors are.
    :param description: text for a person, in the portal's language.
    :param http_status: overrides the table.
    """

    def __init__(self, code: str, description: str, http_status: int | None = None) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description
        self.http_status = http_status

    def status(self, auth_statuses: str) -> int:
        """Return the HTTP status.

        :param auth_statuses: ``module`` or ``docs``.
        """
        if self.http_status is not None:
            return self.http_status
        module, docs = STATUSES.get(self.code, (400, 400))
        return docs if auth_statuses == "docs" else module

    def body(self) -> PhpArray:
        """Return the error object as it is sent."""
        return {"error": self.code, "error_description": self.description}


class PhpFatalError(Exception):
    """An uncaught PHP error: the portal answers 500 with a body that is not JSON."""
