"""An application's tokens: what a connection says of them, what the authorisation server answers.

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
    without_inner_frames,
)
from airflow_provider_b24cal.bitrix24.wording import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_b24cal.bitrix24.protocol.error_codes import ErrorSpec
    from airflow_provider_b24cal.bitrix24.protocol.replies import Reply

KNOWN_SERVERS: Final = ("https://oauth.bitrix.info", "https://oauth.bitrix24.tech")
_SECOND_SERVER: Final = frozenset({"am", "az", "by", "ge", "kg", "kz", "ru", "uz"})


_LAST_MOMENT: Final = 1e11
"""Seconds since the epoch that no clock shows; what is later, or no number, is not believed."""


@dataclass(frozen=True, slots=True)
class TokenPair:
    """An access token and the refresh token that came with it.

    :param auth_server: origin of the authorisation server that has named itself, if it may be believed.
    :param renewed_at: when the pair was given, in seconds since the epoch; ``None`` if nobody has noted it.
    :param user_id: whom it acts as, if the authorisation server has said so.
    """

    access: Secret
    refresh: Secret
    auth_server: str | None = None
    renewed_at: float | None = None
    user_id: int | None = None

    def to_text(self) -> str:
        """Return the pair as a store keeps it; the text is secret."""
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
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        told = None
    if schemas.mismatch(told, "replies", "tokens") is not None:
        raise TokenStoreError(
            f"The token store holds something else than {schemas.expected('replies', 'tokens')}. Delete the entry, and "
            "put a new pair of tokens into the connection.",
            permanence=Permanence.PERMANENT,
        )
    server, at = told.get("auth_server"), told.get("renewed_at")
    return TokenPair(
        Secret(told["access_token"]),
        Secret(told["refresh_token"]),
        server if isinstance(server, str) else None,
        float(at) if isinstance(at, int | float) and abs(at) < _LAST_MOMENT else None,
        _user_id(told),
    )


_LONG: Final = re.compile(r"[\w-]{32,}")
_TOKENS: Final = ("access_token", "refresh_token")


@dataclass(frozen=True, slots=True)
class Application:
    """An application of a portal.

    :param auth_server: origin of the authorisation server, as the connection names it.
    :param usual_server: where to ask when neither the connection nor a server has named one.
    """

    client_id: str
    client_secret: Secret
    auth_server: str | None
    usual_server: str

    def server_of(self, pair: TokenPair | None = None) -> str:
        """Return the origin of the server that renews a pair: the connection's word, then the server's own."""
        return self.auth_server or (pair and self._believed(pair.auth_server)) or self.usual_server

    def _believed(self, server: str | None) -> str | None:
        # Only these are ever told the application's secret.
        return server if server in KNOWN_SERVERS else None

    def refresh(self, pair: TokenPair) -> Request:
        """Build the request for the next pair."""
        return self._request(self.server_of(pair), "refresh_token", refresh_token=pair.refresh.reveal())

    def exchange(self, code: str, server: str | None = None) -> Request:
        """Build the request for the first pair.

        :param server: the authorisation server that the portal has named.
        """
        asked = self.auth_server or self._believed(server) or self.usual_server
        return self._request(asked, "authorization_code", code=code)

    def _request(self, server: str, grant_type: str, **fields: str) -> Request:
        told = {
            "grant_type": grant_type,
            "client_id": self.client_id,
            "client_secret": self.client_secret.reveal(),
            **fields,
        }
        # The documentation shows these in the address of a GET; in the body they pass no log on the way.
        form = "application/x-www-form-urlencoded"
        url, body = Secret(f"{server}/oauth/token/"), urlencode(told).encode()
        return Request(url, body, TOKEN_METHOD, form, max_reply_bytes=SMALL_REPLY_BYTES)

    @without_inner_frames
    def read(self, reply: Reply, used: Secret, now: float, before: TokenPair | None = None) -> TokenPair:
        """Return the pair that the authorisation server answers with.

        :param used: the refresh token or code that was sent.
        :param before: the pair that is being renewed.
        :raises Bitrix24Error: it refused, or its answer cannot be understood.
        """
        known = (self.client_secret, used, *((before.access, before.refresh) if before else ()))
        scrub = Scrubber(*known)
        if 300 <= reply.http_status < 400:
            raise unreachable(
                f"It answered with a redirect to {scrub(ascii(reply.location))}, which is not followed.",
                self.server_of(before),
                Permanence.PERMANENT,
                http_status=reply.http_status,
            )
        try:
            answer = json.loads(reply.body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            permanence = meaning_of_page(reply.http_status).permanence or Permanence.TRANSIENT
            raise unreachable(
                "Its answer is no JSON object.", self.server_of(before), permanence, http_status=reply.http_status
            )
        # What is wrong with an answer may be told in words that repeat the tokens in it.
        scrub = Scrubber(*known, *(Secret(text) for key in _TOKENS if isinstance(text := answer.get(key), str)))
        if "error" in answer:
            raise self._refused(answer, scrub, reply.http_status, now, before)
        if schemas.mismatch(answer, "replies", "tokens") is not None:
            # What came may hold one of two tokens, so none of it is shown.
            raise UnexpectedReplyError(
                f"Expected {schemas.expected('replies', 'tokens')} from the authorisation server; got the keys "
                f"{scrub(ascii(sorted(map(str, answer))))[:200]}.",
                http_status=reply.http_status,
                method=TOKEN_METHOD,
            )
        named = self._believed(_origin_of(answer.get("server_endpoint"))) or (before.auth_server if before else None)
        access, refresh = Secret(answer["access_token"]), Secret(answer["refresh_token"])
        return TokenPair(access, refresh, named, now, _user_id(answer) or (before.user_id if before else None))

    def _refused(
        self, answer: Mapping[str, Any], scrub: Scrubber, http_status: int, now: float, before: TokenPair | None
    ) -> Bitrix24Error:
        error = answer["error"]
        nested = error if isinstance(error, dict) else {"code": error, "message": answer.get("error_description")}
        code = str(nested.get("code", ""))
        meaning = TOKEN_CODES.get(code.lower()) or meaning_of_code(code, http_status)
        if code.lower() == INVALID_GRANT:
            meaning = _of_grant(meaning, now, before)
        permanence = meaning.permanence or meaning.error.default_permanence
        # A token that was just made is in no list of secrets.
        told = _LONG.sub(HIDDEN, printable(scrub(str(nested.get("message") or ""))))
        says = f" The authorisation server says: {told[:200]}" if told else ""
        if permanence is not Permanence.PERMANENT:
            return unreachable(f"{meaning.advice}{says}", self.server_of(before), code=printable(scrub(code))[:80])
        return meaning.error(
            f"{meaning.advice}{says}", code=printable(scrub(code))[:80], http_status=http_status, method=TOKEN_METHOD
        )

    def secrets(self) -> tuple[str, ...]:
        """Return every text that must be masked."""
        return spellings(self.client_secret.reveal())


@dataclass(frozen=True, slots=True)
class Grant:
    """What a connection says of tokens: the application, the first pair, and where later ones are kept.

    :param pair: as the connection holds it; used up as soon as it has been renewed once.
    :param store: ``variable``, ``file:<folder>`` or a dotted path.
    """

    application: Application
    pair: TokenPair
    store: str = "variable"

    @property
    def key(self) -> str:
        """The name under which later pairs are stored.

        It is made from the refresh token of the connection, so that pairs stored before are left behind when
        somebody puts a new one there. It tells nothing of that token.
        """
        digest = hmac.new(self.application.client_id.encode(), self.pair.refresh.reveal().encode(), "sha256")
        return f"b24cal_refresh_token__{digest.hexdigest()[:32]}"

    def secrets(self) -> tuple[str, ...]:
        """Return every text that must be masked."""
        return (*self.application.secrets(), *self.pair.secrets())


def _of_grant(meaning: ErrorSpec, now: float, before: TokenPair | None) -> ErrorSpec:
    """Return what a grant that is not good any more means, as far as can be told."""
    if before is None:
        return USED_CODE
    given = before.renewed_at
    return EXPIRED_GRANT if given is not None and now - given >= REFRESH_TOKEN_LIFE else meaning


def with_pair(endpoint: Endpoint, pair: TokenPair) -> Endpoint:
    """Return an endpoint that uses the access token of a pair."""
    return replace(endpoint, credential=AccessToken(pair.access, pair.user_id))


def unreachable(what: str, server: str, permanence: Permanence = Permanence.TRANSIENT, **facts: Any) -> AuthServerError:
    """Return the error for a server that did not do what such servers do."""
    host = urlsplit(server).netloc
    return AuthServerError(
        f"The authorisation server {host} did not renew the access token. {what}",
        permanence=permanence,
        method=TOKEN_METHOD,
        **facts,
    )


def usual_server(origin: str) -> str:
    """Return the authorisation server of a portal by its zone; one's own server has that of its region."""
    _, zone, region = (urlsplit(origin).hostname or "").rpartition(".bitrix24.")
    return KNOWN_SERVERS[bool(zone) and region in _SECOND_SERVER]


def _user_id(told: Mapping[str, Any]) -> int | None:
    found = str(told.get("user_id"))
    return int(found) if found.isascii() and found.isdigit() and len(found) < 20 else None


def _origin_of(address: object) -> str | None:
    try:
        parts = urlsplit(address) if isinstance(address, str) else urlsplit("")
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}"
