"""One webhook over HTTP, slowly: no retry but for a full bucket, no redirect, no cookie."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

from bitrix24_sandbox.checks import BadInputError
from bitrix24_sandbox.guard import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bitrix24_sandbox.check.webhook import Webhook

TIMEOUT_S: Final = 60.0
PAUSE_S: Final = 0.5
"""Between two requests: the slowest plan lets two through in a second for ever."""
_REST: Final = 20
_FULL: Final = "QUERY_LIMIT_EXCEEDED"
_WAITS_S: Final = (5.0, 10.0, 20.0)


class CheckError(Exception):
    """The check cannot go on; the message holds nothing of the portal's text, host or secret."""


class Stopped(Exception):  # noqa: N818 - not an error: somebody asked for it
    """Somebody has asked the check to stop."""


class NotJson:
    """Stands for a body that is no JSON."""

    def __repr__(self) -> str:
        return "not JSON"


NOT_JSON: Final = NotJson()


@dataclass(frozen=True)
class Reply:
    """A portal's reply.

    :param headers: with names in lower case.
    :param body: decoded JSON, or :data:`NOT_JSON`.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(repr=False)

    @property
    def code(self) -> object:
        """The error code, or ``None`` when the reply has none; the code of the calendar's errors is empty."""
        return self.body.get("error") if isinstance(self.body, dict) else None

    @property
    def result(self) -> Any:
        """The result, or ``None``."""
        return self.body.get("result") if isinstance(self.body, dict) else None


class Client:
    """Calls methods as the owner of a webhook.

    :param sleep: lets time pass.
    :param stopping: asked before every request.
    :ivar finishing: whether requests are sent although somebody asked to stop: what was made is being removed.
    """

    def __init__(self, webhook: Webhook, sleep: Callable[[float], None], stopping: Callable[[], bool]) -> None:
        self.webhook = webhook
        self.finishing = False
        self._sleep = sleep
        self._stopping = stopping
        verify = webhook.verify
        try:
            self._http = httpx.Client(
                timeout=TIMEOUT_S,
                verify=ssl.create_default_context(cafile=verify) if isinstance(verify, str) else verify,
                proxy=webhook.proxy,
            )
            self._pause = 0.0 if is_loopback(httpx.URL(webhook.origin).host) else PAUSE_S
        except (ValueError, httpx.InvalidURL):
            raise BadInputError(
                "webhook or proxy", "***", "a valid host, and a proxy as http://<host>:<port>"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, method: str, params: Mapping[str, object], secret: str | None = None) -> Reply:
        """Return the reply to one call.

        :param secret: in place of the webhook's.
        :raises CheckError: no reply came.
        :raises Stopped: nothing was sent.
        """
        reply = self._ask_once(method, params, secret)
        for seconds in _WAITS_S:
            if reply.code != _FULL:
                break
            self._sleep(seconds)
            reply = self._ask_once(method, params, secret)
        return reply

    def rest(self) -> None:
        """Let some time pass before the same is tried again."""
        self._sleep(_REST * self._pause)

    def _ask_once(self, method: str, params: Mapping[str, object], secret: str | None) -> Reply:
        self._sleep(self._pause)
        if self._stopping() and not self.finishing:
            raise Stopped
        # A session of somebody else would ride along in a cookie.
        self._http.cookies.clear()
        try:
            answer = self._http.post(self.webhook.url(method, secret), json=params)
        except httpx.HTTPError as error:
            # Its text and its request hold the URL, and so the secret.
            raise CheckError(f"No reply to {method}: {type(error).__name__}.") from None
        try:
            body = json.loads(answer.content)
        except (ValueError, RecursionError):
            body = NOT_JSON
        return Reply(answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, body)
