"""Who is calling: the webhook credentials of a request."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from airflow_provider_b24cal.sandbox.errors import RestError
from airflow_provider_b24cal.sandbox.php import PhpArray, PhpValue, key, to_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_b24cal.sandbox.office import Person, Webhook


def authorise(people: Iterable[Person], parameters: PhpArray, scope: str) -> tuple[Person, Webhook]:
    """Return the caller and the webhook used.

    :param parameters: of the request; ``aplogin`` and ``ap`` hold user and secret.
    :param scope: what the method needs, or empty.
    :raises RestError: when the credentials are missing, wrong, or do not suffice.
    """
    if "aplogin" not in parameters or "ap" not in parameters:
        raise RestError("NO_AUTH_FOUND", "Wrong authorization data")
    person = _find(people, _text(parameters["aplogin"]))
    webhook = None if person is None else person.webhook
    if person is None or webhook is None or not _same(webhook.secret, _text(parameters["ap"])):
        raise RestError("INVALID_CREDENTIALS", "Invalid request credentials")
    if not person.active:
        raise RestError("authorization_error", "Unable to authorize user")
    if scope and scope not in webhook.scopes:
        raise RestError(
            "insufficient_scope", "The request requires higher privileges than provided by the webhook token"
        )
    return person, webhook


def _find(people: Iterable[Person], login: str) -> Person | None:
    wanted = key(login)
    for person in people:
        if person.id == wanted or (isinstance(wanted, str) and person.login == wanted):
            return person
    return None


def _text(value: PhpValue) -> str:
    return "" if isinstance(value, dict) else to_text(value)


def _same(secret: str, given: str) -> bool:
    return hmac.compare_digest(secret.encode(), given.encode("utf-8", "surrogateescape"))
