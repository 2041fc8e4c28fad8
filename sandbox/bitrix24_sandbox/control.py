"""Control requests under ``/-/``: looking into the portal, acting as its people, planning trouble.

The prefix cannot be taken for a REST address, and nothing here counts as a REST request.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse
from starlette.routing import Route

from bitrix24_sandbox import checks
from bitrix24_sandbox.checks import BadInputError
from bitrix24_sandbox.guard import own_page, refused
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.state import snapshot

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

Action = Callable[[Portal, object], object]


def _state(portal: Portal, _: object) -> object:
    with portal.locked() as book:
        return {
            **snapshot(book, portal.now()),
            "settings": asdict(portal.settings),
            "counters": portal.count(),
        }


def _inbox(portal: Portal, _: object) -> object:
    with portal.locked():
        return {"sent": portal.inbox.sent, "notifications": [asdict(one) for one in portal.inbox]}


def _counters(portal: Portal, _: object) -> object:
    return portal.count()


def _ids(body: object, *more: str) -> tuple[dict[str, object], int, int]:
    keys = ("event_id", "user_id", *more)
    fields = checks.mapping(body, "", keys, keys)
    event_id = checks.integer(fields["event_id"], "event_id", 1)
    return fields, event_id, checks.integer(fields["user_id"], "user_id", 1)


def _answer(portal: Portal, body: object) -> object:
    fields, event_id, user_id = _ids(body, "status")
    portal.answer(event_id, user_id, checks.text(fields["status"], "status"))
    return {"ok": True}


def _invite(portal: Portal, body: object) -> object:
    _, event_id, user_id = _ids(body)
    return {"row_id": portal.invite(event_id, user_id).id}


def _remove(portal: Portal, body: object) -> object:
    _, event_id, user_id = _ids(body)
    portal.remove(event_id, user_id)
    return {"ok": True}


def _fault(portal: Portal, body: object) -> object:
    return {"waiting": portal.plan(*body) if isinstance(body, list) else portal.plan(body)}


def _forget_faults(portal: Portal, _: object) -> object:
    portal.forget_faults()
    return {"waiting": []}


def _settings(portal: Portal, body: object) -> object:
    return asdict(portal.configure(body))


def _tokens(portal: Portal, body: object) -> object:
    fields = checks.mapping(body, "", ("do", "user_id"), ("do",))
    deed = checks.choice(fields["do"], "do", ("grant", "expire", "revoke"))
    if deed == "grant":
        pair = portal.grant(checks.integer(fields.get("user_id", 1), "user_id", 1))
        return {"access_token": pair.access, "refresh_token": pair.refresh, "user_id": pair.user_id}
    (portal.expire_tokens if deed == "expire" else portal.revoke_tokens)()
    return {"ok": True}


def _reset(portal: Portal, _: object) -> object:
    portal.reset()
    return {"ok": True}


_ACTIONS: tuple[tuple[str, str, Action], ...] = (
    ("GET", "/-/state", _state),
    ("GET", "/-/counters", _counters),
    ("GET", "/-/inbox", _inbox),
    ("POST", "/-/answer", _answer),
    ("POST", "/-/invite", _invite),
    ("POST", "/-/remove", _remove),
    ("POST", "/-/fault", _fault),
    ("DELETE", "/-/fault", _forget_faults),
    ("POST", "/-/settings", _settings),
    ("POST", "/-/tokens", _tokens),
    ("POST", "/-/reset", _reset),
)
# Requests that carry nothing need no body.
_WITHOUT_BODY = (_state, _counters, _inbox, _forget_faults, _reset)
_SHOWN = 200
"""Bytes of an unreadable body that the refusal repeats."""


def routes(portal: Portal) -> list[Route]:
    """Return the control routes of a portal."""
    return [_route(portal, verb, path, action) for verb, path, action in _ACTIONS]


def _route(portal: Portal, verb: str, path: str, action: Action) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            body = None if action in _WITHOUT_BODY else _parse(await request.body())
            return JSONResponse(action(portal, body))
        except BadInputError as error:
            return refused(error)

    return Route(path, own_page(endpoint), methods=[verb])


def _parse(body: bytes) -> object:
    try:
        value: object = json.loads(body)
        # What could not be sent back, half a character or a thousand brackets, is refused as a whole.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise BadInputError("body", body[:_SHOWN].decode("utf-8", "replace"), "JSON") from None
    return value
