"""Who is calling: the webhook credentials or the access token of a request."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bitrix24_sandbox.errors import RestError
from bitrix24_sandbox.models import Webhook
from bitrix24_sandbox.php import PhpArray, key, text_or_empty
from bitrix24_sandbox.rest import may
from bitrix24_sandbox.session import session_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bitrix24_sandbox.models import Person
    from bitrix24_sandbox.request import RestRequest
    from bitrix24_sandbox.rest import BatchMethod, Method


@dataclass(frozen=True)
class Application:
    """The application that access tokens belong to.

    :param check: returns the id of a token's user, or raises the error that the portal answers with.
    :param scopes: what it may be used for.
    """

    client_id: str
    check: Callable[[str], int]
    scopes: tuple[str, ...]


def authorise(
    people: Iterable[Person], request: RestRequest, method: Method | BatchMethod, application: Application
) -> tuple[Person, Webhook]:
    """Return the caller and the webhook used, or what stands in its place for an application.

    :param request: its parameters ``aplogin`` and ``ap`` hold user and secret, ``auth`` or ``access_token`` a token.
    :param method: the one that is called.
    :raises RestError: when the credentials are missing, wrong, or do not suffice, or when the request belongs to the
        session of another user.
    """
    person, webhook = _credentials(people, request.parameters, method, application)
    if request.session not in ("", session_of(person)):
        raise RestError("authorization_error", "Unable to authorize user")
    return person, webhook


def _credentials(
    people: Iterable[Person], parameters: PhpArray, method: Method | BatchMethod, application: Application
) -> tuple[Person, Webhook]:
    if "aplogin" not in parameters or "ap" not in parameters:
        token = text_or_empty(parameters.get("auth", parameters.get("access_token", "")))
        if not token:
            raise RestError("NO_AUTH_FOUND", "Wrong authorization data")
        return _authorise_token(people, token, method, application)
    person = _find(people, text_or_empty(parameters["aplogin"]))
    webhook = None if person is None else person.webhook
    if person is None or webhook is None or not _same(webhook.secret, text_or_empty(parameters["ap"])):
        raise RestError("INVALID_CREDENTIALS", "Invalid request credentials")
    if not person.active:
        raise RestError("authorization_error", "Unable to authorize user")
    if not may(webhook.scopes, method):
        raise RestError(
            "insufficient_scope", "The request requires higher privileges than provided by the webhook token"
        )
    return person, webhook


def _authorise_token(
    people: Iterable[Person], token: str, method: Method | BatchMethod, application: Application
) -> tuple[Person, Webhook]:
    person = _find(people, str(application.check(token)))
    if person is None or not person.active:
        raise RestError("authorization_error", "Unable to authorize user")
    if not may(application.scopes, method):
        raise RestError(
            "insufficient_scope", "The request requires higher privileges than provided by the access token"
        )
    return person, Webhook(token, application.scopes, application.client_id)


def _find(people: Iterable[Person], login: str) -> Person | None:
    wanted = key(login)
    for person in people:
        if person.id == wanted or (isinstance(wanted, str) and person.login == wanted):
            return person
    return None


def _same(secret: str, given: str) -> bool:
    return hmac.compare_digest(secret.encode(), given.encode("utf-8", "surrogateescape"))
