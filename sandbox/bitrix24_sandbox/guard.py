"""Refusal of requests that a page of another site can make a browser send to this machine.

REST needs a secret in each request and is served under any name. The page, the control requests and the
consent page need none: they are served for names of this machine only, and control requests for the sandbox's page.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from bitrix24_sandbox.checks import BadInputError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    Endpoint = Callable[[Request], Awaitable[Response]]

_HOST = re.compile(r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^:@\[\]/]*))(?::[0-9]*)?")
_JSON = "application/json"


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine: a loopback address or ``localhost``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def local(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that answers only requests for a name of this machine.

    A site can let its own name point to 127.0.0.1 (DNS rebinding); the browser then takes the portal for a part
    of that site, but still sends the site's name as ``Host``.
    """

    async def guarded(request: Request) -> Response:
        found = _HOST.fullmatch(request.headers.get("host", ""))
        if found is None or not is_loopback(found["bracketed"] or found["plain"] or ""):
            return refused(BadInputError("Host", request.headers.get("host"), "127.0.0.1, [::1] or localhost"), 403)
        return await endpoint(request)

    return guarded


def own_page(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that answers only the portal's own page and programs, and reads only JSON."""

    async def guarded(request: Request) -> Response:
        headers = request.headers
        origin, own = headers.get("origin"), f"{request.url.scheme}://{headers.get('host', '')}"
        if origin is not None and origin.lower() != own.lower():
            return refused(BadInputError("Origin", origin, f"{own}, or none"), 403)
        kind = headers.get("content-type")
        if (kind is not None or await request.body()) and (kind or "").partition(";")[0].strip().lower() != _JSON:
            return refused(BadInputError("Content-Type", kind, _JSON), 415)
        return await endpoint(request)

    return local(guarded)


def refused(error: BadInputError, status: int = 400) -> JSONResponse:
    """Return the answer to a wrong request, which names the field and what is accepted."""
    value = error.value
    shown = value if value is None or isinstance(value, bool | int | str) else repr(value)
    problem = {"error": str(error), "field": error.field, "value": shown, "accepted": error.accepted}
    return JSONResponse(problem, status_code=status)
