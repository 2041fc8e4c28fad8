"""An application's tokens: in the connection, in the token store, and in replies of the authorisation server.

https://apidocs.bitrix24.com/settings/oauth/index.html
"""

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

from airflow_provider_b24cal.bitrix24 import schemas
from airflow_provider_b24cal.bitrix24.auth.credentials import (
    HIDDEN,
    SMALL_REPLY_BYTES,
    TOKEN_METHOD,
    AccessToken,
    Endpoint,
    Request,
    Scrubber,
    Secret,
    spellings,
    without_inner_frames,
)
from airflow_provider_b24cal.bitrix24.protocol.error_codes import (
    EXPIRED_GRANT,
    INVALID_GRANT,
    REFRESH_TOKEN_LIFE,
    TOKEN_CODES,
    USED_CODE,
    meaning_of_code,
    meaning_of_page,
)
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    AuthServerError,
    Bitrix24Error,
    Permanence,
    TokenStoreError,
    UnexpectedReplyError,
)
from airflow_provider_b24cal.bitrix24.validation import is_digits
from airflow_provider_b24cal.bitrix24.wording import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_b24cal.bitrix24.protocol.error_codes import ErrorSpec
    from airflow_provider_b24cal.bitrix24.protocol.replies import Reply

KNOWN_SERVERS: Final = ("https://oauth.bitrix.info", "https://oauth.bitrix24.tech")
_SECOND_SERVER: Final = frozenset({"am", "az", "by", "ge", "kg", "kz", "ru", "uz"})
_FORM: Final = "application/x-www-form-urlencoded"
_LONG: Final = re.compile(r"[\w-]{32,}")
_TOKENS: Final = ("access_token", "refresh_token")

_MAX_TIMESTAMP: Final = 1e11
"""Seconds since the epoch, far in the future; a larger number in the store is ignored."""


@dataclass(frozen=True, slots=True)
class TokenPair:
    """An access token and the refresh token that came with it.

    :param auth_server: origin of the authorisation server named in its reply, if it is a known one.
    :param renewed_at: when the pair was issued, in seconds since the epoch; ``None`` if that is not known.
    :param user_id: the acting user, if the authorisation server has named them.
    """

    access: Secret
    refresh: Secret
    auth_server: str | None = None
    renewed_at: float | None = None
    user_id: int | None = None

    def to_text(self) -> str:
        """Return the pair as a token store keeps it; the text is secret."""
        return json.dumps(
            {
                "access_token": self.access.reveal(),
                "refresh_token": self.refresh.reveal(),
                "auth_server": self.auth_server,
                "renewed_at": self.renewed_at,
                "user_id": self.user_id,
            }
        )

    def secrets(self) -> tuple[str, ...]:
        """Return every text that must be masked."""
        return (*spellings(self.access.reveal()), *spellings(self.refresh.reveal()))


def read_stored(text: str) -> TokenPair:
    """Return the pair of :meth:`TokenPair.to_text`.

    :raises TokenStoreError: the text is something else. It is not repeated.
    """
    stored = _parse(text)
    if schemas.mismatch(stored, "replies", "tokens") is not None:
        raise TokenStoreError(
            f"Invalid entry in the token store: expected {schemas.expected('replies', 'tokens')}. Delete the entry, "
            "and put a new pair of tokens into the connection.",
            permanence=Permanence.PERMANENT,
        )
    server, at = stored.get("auth_server"), stored.get("renewed_at")
    return TokenPair(
        Secret(stored["access_token"]),
        Secret(stored["refresh_token"]),
        server if isinstance(server, str) else None,
        float(at) if isinstance(at, int | float) and abs(at) < _MAX_TIMESTAMP else None,
        _user_id(stored),
    )


def _parse(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class Application:
    """An application of a portal.

    :param auth_server: origin of the authorisation server that the connection names.
    :param usual_server: the one to use when neither the connection nor a reply has named one.
    """

    client_id: str
    client_secret: Secret
    auth_server: str | None
    usual_server: str

    def server_of(self, pair: TokenPair | None = None) -> str:
        """Return the origin of the server that renews a pair: from the connection, then from the pair."""
        return self._choose_server(pair.auth_server if pair else None)

    def _choose_server(self, named: str | None) -> str:
        # Only these are sent the application's secret.
        return self.auth_server or _known(named) or self.usual_server

    def refresh(self, pair: TokenPair) -> Request:
        """Build the request for the next pair."""
        return self._request(self.server_of(pair), "refresh_token", refresh_token=pair.refresh.reveal())

    def exchange(self, code: str, server: str | None = None) -> Request:
        """Build the request for the first pair.

        :param server: the authorisation server that the portal has named.
        """
        return self._request(self._choose_server(server), "authorization_code", code=code)

    def _request(self, server: str, grant_type: str, **fields: str) -> Request:
        client = {"client_id": self.client_id, "client_secret": self.client_secret.reveal()}
        # The documentation shows a GET with these in its URL; in a body they do not get into access logs.
        url, body = Secret(f"{server}/oauth/token/"), urlencode({"grant_type": grant_type, **client, **fields}).encode()
        return Request(url, body, TOKEN_METHOD, _FORM, max_reply_bytes=SMALL_REPLY_BYTES)

    @without_inner_frames
    def read(self, reply: Reply, used: Secret, now: float, before: TokenPair | None = None) -> TokenPair:
        """Return the pair in a reply of the authorisation server.

        :param used: the refresh token or code that was sent.
        :param before: the pair that is being renewed.
        :raises Bitrix24Error: the server refused, or its reply cannot be understood.
        """
        known = (self.client_secret, used, *((before.access, before.refresh) if before else ()))
        scrub, server, http_status = Scrubber(*known), self.server_of(before), reply.http_status
        if 300 <= http_status < 400:
            message = f"It replied with a redirect to {scrub(ascii(reply.location))}, which is not followed."
            raise unreachable(message, server, Permanence.PERMANENT, http_status=http_status)
        answer = _parse(reply.body)
        if not isinstance(answer, dict):
            permanence = meaning_of_page(http_status).permanence or Permanence.TRANSIENT
            raise unreachable("Its reply is not a JSON object.", server, permanence, http_status=http_status)
        # The text of an error may repeat the tokens in the reply.
        scrub = Scrubber(*known, *(Secret(text) for key in _TOKENS if isinstance(text := answer.get(key), str)))
        if "error" in answer:
            raise self._refused(answer, scrub, http_status, now, before)
        if schemas.mismatch(answer, "replies", "tokens") is not None:
            # The reply may hold one of the two tokens, so only its keys are shown.
            raise UnexpectedReplyError(
                f"Expected {schemas.expected('replies', 'tokens')} from the authorisation server; got the keys "
                f"{scrub(ascii(sorted(map(str, answer))))[:200]}.",
                http_status=http_status,
                method=TOKEN_METHOD,
            )
        return TokenPair(
            Secret(answer["access_token"]),
            Secret(answer["refresh_token"]),
            _known(_origin_of(answer.get("server_endpoint"))) or (before.auth_server if before else None),
            now,
            _user_id(answer) or (before.user_id if before else None),
        )

    def _refused(
        self, answer: Mapping[str, Any], scrub: Scrubber, http_status: int, now: float, before: TokenPair | None
    ) -> Bitrix24Error:
        error = answer["error"]
        nested = error if isinstance(error, dict) else {"code": error, "message": answer.get("error_description")}
        code = str(nested.get("code", ""))
        meaning = TOKEN_CODES.get(code.lower()) or meaning_of_code(code, http_status)
        if code.lower() == INVALID_GRANT:
            meaning = _meaning_of_grant(meaning, now, before)
        # A token that was just issued is in no list of secrets.
        text = _LONG.sub(HIDDEN, printable(scrub(str(nested.get("message") or ""))))[:200]
        message = f"{meaning.advice} The authorisation server says: {text}" if text else meaning.advice
        shown = printable(scrub(code))[:80]
        if (meaning.permanence or meaning.error.default_permanence) is not Permanence.PERMANENT:
            return unreachable(message, self.server_of(before), code=shown)
        return meaning.error(message, code=shown, http_status=http_status, method=TOKEN_METHOD)

    def secrets(self) -> tuple[str, ...]:
        """Return every text that must be masked."""
        return spellings(self.client_secret.reveal())


@dataclass(frozen=True, slots=True)
class Grant:
    """The OAuth part of a connection: the application, the first pair, and the token store for later pairs.

    :param pair: as the connection holds it; used up after the first renewal.
    :param store: ``variable``, ``file:<folder>`` or a dotted path.
    """

    application: Application
    pair: TokenPair
    store: str = "variable"

    @property
    def key(self) -> str:
        """The name under which later pairs are stored.

        It is a keyed hash of the connection's refresh token, so a new token there gets a new entry. It does not reveal
        the token.
        """
        digest = hmac.new(self.application.client_id.encode(), self.pair.refresh.reveal().encode(), "sha256")
        return f"b24cal_refresh_token__{digest.hexdigest()[:32]}"

    def secrets(self) -> tuple[str, ...]:
        """Return every text that must be masked."""
        return (*self.application.secrets(), *self.pair.secrets())


def _meaning_of_grant(meaning: ErrorSpec, now: float, before: TokenPair | None) -> ErrorSpec:
    """Return what ``invalid_grant`` means: of a code, of a pair known to be too old, or of any other pair."""
    if before is None:
        return USED_CODE
    at = before.renewed_at
    return EXPIRED_GRANT if at is not None and now - at >= REFRESH_TOKEN_LIFE else meaning


def with_pair(endpoint: Endpoint, pair: TokenPair) -> Endpoint:
    """Return an endpoint that uses the access token of a pair."""
    return replace(endpoint, credential=AccessToken(pair.access, pair.user_id))


def unreachable(
    reason: str, server: str, permanence: Permanence = Permanence.TRANSIENT, **facts: Any
) -> AuthServerError:
    """Return the error for an authorisation server that did not renew a token."""
    host = urlsplit(server).netloc
    message = f"The authorisation server {host} did not renew the access token. {reason}"
    return AuthServerError(message, permanence=permanence, method=TOKEN_METHOD, **facts)


def usual_server(origin: str) -> str:
    """Return the authorisation server of a portal by its zone; a self-hosted portal has that of its region."""
    _, zone, region = (urlsplit(origin).hostname or "").rpartition(".bitrix24.")
    return KNOWN_SERVERS[bool(zone) and region in _SECOND_SERVER]


def _known(server: str | None) -> str | None:
    return server if server in KNOWN_SERVERS else None


def _user_id(fields: Mapping[str, Any]) -> int | None:
    found = str(fields.get("user_id"))
    return int(found) if is_digits(found) and len(found) < 20 else None


def _origin_of(address: object) -> str | None:
    try:
        parts = urlsplit(address) if isinstance(address, str) else urlsplit("")
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}"
