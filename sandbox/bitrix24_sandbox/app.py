"""The portal as an ASGI application: REST, control requests and the page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from bitrix24_sandbox import control
from bitrix24_sandbox.corrupt_responses import ConnectionReset, answer
from bitrix24_sandbox.guard import local
from bitrix24_sandbox.methods import METHODS
from bitrix24_sandbox.reply import preflight
from bitrix24_sandbox.request import RestRequest, read, read_parameters
from bitrix24_sandbox.session import COOKIE

if TYPE_CHECKING:
    from starlette.requests import Request

    from bitrix24_sandbox.faults import Fault
    from bitrix24_sandbox.portal import Portal
    from bitrix24_sandbox.reply import Reply
    from bitrix24_sandbox.rest import Work

Log = Callable[[str], None]
Sleep = Callable[[float], Awaitable[None]]

_VERBS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_PAGES = (
    "/",
    # Where a portal has its calendars; the page reads from its address what to show.
    "/calendar/",
    "/company/personal/user/{id:int}/calendar/",
    "/workgroups/group/{id:int}/calendar/",
)
_PAGE_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def create_app(portal: Portal, log: Log | None = None, sleep: Sleep = asyncio.sleep) -> Starlette:
    """Return the application that serves a portal.

    :param sleep: lets time pass for one request while others are served.
    :param log: receives one line per REST request; the lines hold no secrets.
    """
    app = Starlette(
        routes=[
            *(Route(path, local(_page)) for path in _PAGES),
            *control.routes(portal),
            Route("/rest/{path:path}", _rest(portal, log, sleep), methods=_VERBS),
            Route("/oauth/token/", _token(portal, log, sleep), methods=["GET", "POST"]),
            Route("/oauth/authorize/", local(_authorise(portal))),
            Route("/-/agreed", local(_agreed)),
        ]
    )
    app.router.redirect_slashes = False
    return app


def _rest(portal: Portal, log: Log | None, sleep: Sleep) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        if (moved := _moved(portal.settings.renamed_to, request)) is not None:
            return moved
        if request.method == "OPTIONS":
            return _response(preflight(), request, sleep)
        wanted = read(
            request.method,
            request.path_params["path"],
            request.scope["query_string"].decode("latin-1"),
            request.headers.get("content-type", ""),
            await request.body(),
            request.headers.get("authorization", ""),
        )
        wanted = replace(wanted, address=_address(request), session=request.cookies.get(COOKIE, ""))
        try:
            reply = await _reply(portal, wanted, "" if request.client is None else request.client.host, sleep)
        except asyncio.CancelledError:
            # The server is stopping, and there is nobody left to answer to.
            reply = None
        response = _response(reply, request, sleep)
        if log is not None:
            log(_line(request.method, wanted, response))
        return response

    return endpoint


def _address(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers.get('host', '')}"


async def _reply(portal: Portal, wanted: RestRequest, address: str, sleep: Sleep) -> Reply | None:
    """Return the answer to a request, or ``None`` to cut the connection."""
    fault = portal.arrive(wanted, address)
    return await _trouble(portal, fault, lambda: _drive(portal.serve(wanted), sleep), sleep, wanted.form)


async def _trouble(
    portal: Portal, fault: Fault | None, serve: Callable[[], Awaitable[Reply]], sleep: Sleep, form: str
) -> Reply | None:
    """Serve a request as planned trouble lets it be served; ``None`` cuts the connection."""
    await _pause(portal.settings.latency_ms / 1000, sleep)
    if fault is None:
        return await serve()
    done = await serve() if fault.run_first else None
    await _pause(fault.delay, sleep)
    if fault.drop:
        return None
    if fault.error is not None:
        return portal.error_reply(fault.error, form)
    reply = fault.reply or done or await serve()
    return replace(reply, corruption=fault.corruption) if fault.corruption else reply


def _moved(renamed_to: str | None, request: Request) -> Response | None:
    """Return the redirect of a portal that has been renamed, unless it is asked by its new name."""
    if renamed_to is None or urlsplit(renamed_to).netloc == request.headers.get("host"):
        return None
    query = f"?{request.url.query}" if request.url.query else ""
    return HTMLResponse("", 302, {"location": f"{renamed_to}{request.url.path}{query}"})


def _token(portal: Portal, log: Log | None, sleep: Sleep) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        query = request.scope["query_string"].decode("latin-1")
        kind = request.headers.get("content-type", "")
        given = read_parameters(request.method, query, kind, await request.body())

        async def serve() -> Reply:
            return portal.answer_token(given, _address(request))

        try:
            reply = await _trouble(portal, portal.arrive_for_token(), serve, sleep, "json")
        except asyncio.CancelledError:
            reply = None
        response = _response(reply, request, sleep)
        if log is not None:
            log(_logged(request.method, "oauth.token", response))
        return response

    return endpoint


def _authorise(portal: Portal) -> Callable[[Request], Awaitable[Response]]:
    """Return the page on which a person would agree; this one agrees at once, as ``user_id`` or person 1."""

    async def endpoint(request: Request) -> Response:
        asked = request.query_params
        user_id = asked.get("user_id", "1")
        if asked.get("client_id") != portal.auth_server.client_id or not user_id.isdecimal():
            return HTMLResponse("<h1>Application not found</h1>", 400)
        host = request.headers.get("host", "")
        reported = {
            "code": portal.agree(int(user_id)),
            "state": asked.get("state", ""),
            "domain": host,
            "member_id": portal.auth_server.member_id,
            "scope": ",".join(portal.auth_server.scopes),
            "server_domain": host,
        }
        # The application's own page, where its card has it.
        return RedirectResponse(f"/-/agreed?{urlencode(reported)}")

    return endpoint


async def _agreed(_: Request) -> HTMLResponse:
    return HTMLResponse("<p>Copy the address of this page to the command that waits for it.</p>")


async def _drive(work: Work[Reply], sleep: Sleep) -> Reply:
    overslept = 0.0
    while True:
        try:
            pause = next(work) - overslept
        except StopIteration as end:
            reply: Reply = end.value
            return reply
        # Every sleep ends a little late, which would add up over fifty commands.
        began = time.monotonic()
        await _pause(pause, sleep)
        overslept = max(0.0, time.monotonic() - began - pause)


async def _pause(seconds: float, sleep: Sleep) -> None:
    # Giving way to other requests for no time at all would still take a turn of the loop for every command.
    if seconds > 0:
        await sleep(seconds)


def _line(verb: str, wanted: RestRequest, response: Response) -> str:
    # An address of the wrong shape may hold a secret where the method or the user belongs.
    return _logged(verb, wanted.method if wanted.method in METHODS else "(no such method)", response)


def _logged(verb: str, method: str, response: Response) -> str:
    outcome = "connection reset" if isinstance(response, ConnectionReset) else str(response.status_code)
    return f"{verb} {method} {outcome}"


def _response(reply: Reply | None, request: Request, sleep: Sleep) -> Response:
    transport: asyncio.Transport = request.scope["state"]["transport"]
    return ConnectionReset(transport) if reply is None else answer(reply, transport, sleep)


async def _page(_: Request) -> HTMLResponse:
    page = files(__package__).joinpath("page.html").read_text("utf-8")
    return HTMLResponse(page, headers={"content-security-policy": _PAGE_POLICY, "cache-control": "no-store"})
