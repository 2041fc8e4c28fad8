"""The authorisation server: codes, tokens, and what a portal remembers of having asked about a token.

One application is registered. Real servers are far away from the portal; this one is in the same process, and
a setting cuts the way between the two.
"""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bitrix24_sandbox.errors import RestError
from bitrix24_sandbox.php import PhpArray, PhpValue, to_text

if TYPE_CHECKING:
    from bitrix24_sandbox.settings import Settings

ACCESS_S = 3600
REFRESH_S = 180 * 24 * 3600
CODE_S = 30
VERDICT_S = 3600
# The same until the process ends: what the command has printed holds after a reset.
_CLIENT_SECRET = secrets.token_hex(25)
_MEMBER_ID = secrets.token_hex(16)
METHOD = "oauth.token"
"""What planned trouble calls a request for tokens."""


@dataclass(frozen=True)
class Pair:
    """An access token and the refresh token that came with it.

    :param issued: seconds since the epoch.
    """

    access: str
    refresh: str
    user_id: int
    issued: float


@dataclass(frozen=True)
class _Verdict:
    code: str | None
    until: float


class AuthServer:
    """Codes and tokens of one application.

    :ivar issued: pairs given out, by grant: ``refresh_token`` or ``authorization_code``.
    :ivar refused: requests for tokens turned away, by error code.
    """

    def __init__(self) -> None:
        self.client_id = "local.sandbox.00000001"
        self.client_secret = _CLIENT_SECRET
        self.member_id = _MEMBER_ID
        self.scopes: tuple[str, ...] = ("calendar", "user", "im", "sonet_group", "department")
        self.issued: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._codes: dict[str, tuple[int, float]] = {}
        self._by_access: dict[str, Pair] = {}
        self._by_refresh: dict[str, Pair] = {}
        self._verdicts: dict[str, _Verdict] = {}

    def authorise(self, user_id: int, now: float) -> str:
        """Return a code that a person has agreed to; it can be exchanged once, within thirty seconds."""
        code = secrets.token_hex(35)
        self._codes[code] = (user_id, now)
        return code

    def grant(self, user_id: int, now: float) -> Pair:
        """Return a new pair of tokens for a person."""
        pair = Pair(secrets.token_hex(35), secrets.token_hex(35), user_id, now)
        self._by_access[pair.access] = self._by_refresh[pair.refresh] = pair
        return pair

    def expire(self) -> None:
        """Let all access tokens be older than their life; the refresh tokens live on."""
        for token, pair in self._by_access.items():
            self._by_access[token] = Pair(pair.access, pair.refresh, pair.user_id, float("-inf"))

    def revoke(self) -> None:
        """Forget all tokens, as when their application is removed and installed anew."""
        self._by_access.clear()
        self._by_refresh.clear()

    def answer(self, parameters: PhpArray, address: str, settings: Settings, now: float) -> PhpArray:
        """Answer a request for tokens.

        :param address: scheme, host and port at which it was asked.
        :raises RestError: with one of the server's own codes.
        """
        try:
            return self._answer({str(name): _text(value) for name, value in parameters.items()}, address, settings, now)
        except RestError as error:
            self.refused[error.code] += 1
            raise

    def _answer(self, given: dict[str, str], address: str, settings: Settings, now: float) -> PhpArray:
        grant = given.get("grant_type", "")
        if grant not in ("refresh_token", "authorization_code"):
            raise RestError("invalid_request", "Invalid grant_type parameter or parameter missing", 400)
        known = given.get("client_id") == self.client_id
        if not known or not hmac.compare_digest(given.get("client_secret", "").encode(), self.client_secret.encode()):
            raise RestError("wrong_client", "Wrong client")
        if settings.application == "removed":
            raise RestError("NOT_INSTALLED", "Application not installed")
        if settings.application == "unpaid":
            raise RestError("PAYMENT_REQUIRED", "Payment required")
        if grant == "refresh_token":
            user_id = self._use_refresh(given.get("refresh_token", ""), now)
            more: PhpArray = {"expires": int(now) + ACCESS_S}
        else:
            user_id = self._use_code(given.get("code", ""), now)
            more = {}
        pair = self.grant(user_id, now)
        self.issued[grant] += 1
        return {
            "access_token": pair.access,
            "refresh_token": pair.refresh,
            "expires_in": ACCESS_S,
            **more,
            # That of the portal, by its newest name.
            "client_endpoint": f"{settings.renamed_to or address}/rest/",
            "server_endpoint": settings.server_endpoint or f"{address}/rest/",
            # Of the authorisation server, whatever the name suggests.
            "domain": urlsplit(address).netloc,
            "member_id": self.member_id,
            "scope": ",".join(self.scopes),
            "status": "L",
            "user_id": user_id,
        }

    def _use_refresh(self, token: str, now: float) -> int:
        pair = self._by_refresh.pop(token, None)
        if pair is None or now >= pair.issued + REFRESH_S:
            raise RestError("invalid_grant", "Invalid refresh token")
        return pair.user_id

    def _use_code(self, code: str, now: float) -> int:
        user_id, issued = self._codes.pop(code, (0, now - CODE_S))
        if now >= issued + CODE_S:
            raise RestError("invalid_grant", "Invalid authorization code")
        return user_id

    def app_info(self, token: str, address: str, settings: Settings) -> dict[str, object]:
        """Return what the server knows of the application that a token belongs to."""
        pair, portal, scope = self._by_access[token], settings.renamed_to or address, ",".join(self.scopes)
        expires = datetime.fromtimestamp(max(0.0, pair.issued + ACCESS_S), UTC)
        return {
            "client_id": self.client_id,
            "scope": scope,
            "expires": expires.isoformat(timespec="seconds"),
            "user_id": pair.user_id,
            "install": {
                "installed": True,
                "version": "1",
                "status": "L",
                "scope": scope,
                "domain": urlsplit(portal).netloc,
                "uri": portal,
                "client_endpoint": f"{portal}/rest/",
                "member_id": self.member_id,
                "member_type": "bitrix24",
            },
        }

    def check(self, token: str, settings: Settings, now: float) -> int:
        """Return whose token it is, as the portal sees it.

        The portal asks the server about a token that it sees for the first time, and keeps to the answer
        for an hour, whatever happens there in the meantime.

        :raises RestError: the token is not good.
        """
        if settings.application == "removed":
            raise RestError("APPLICATION_NOT_FOUND", "Application not found")
        verdict = self._verdicts.get(token)
        if verdict is None or now >= verdict.until:
            if settings.auth_server == "down":
                raise RestError("CONNECTION_ERROR", "Error connecting to authorization server")
            verdict = self._verdicts[token] = _Verdict(self._judge(token, settings), now + VERDICT_S)
        if verdict.code is not None:
            raise RestError(verdict.code, "Unable to authorize with this token")
        pair = self._by_access.get(token)
        if pair is None or now >= pair.issued + ACCESS_S:
            raise RestError("expired_token", "The access token provided has expired.")
        return pair.user_id

    def _judge(self, token: str, settings: Settings) -> str | None:
        if token not in self._by_access:
            return "invalid_token"
        return "PAYMENT_REQUIRED" if settings.application == "unpaid" else None


def _text(value: PhpValue) -> str:
    return "" if isinstance(value, dict) else to_text(value)
