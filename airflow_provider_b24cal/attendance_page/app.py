"""The application that the API server mounts: its routes, its headers, and what it says when something is wrong."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from jinja2 import PackageLoader
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders

from airflow_provider_b24cal import clock
from airflow_provider_b24cal.attendance.io.tables import TableNames, define
from airflow_provider_b24cal.attendance.io.templates import environment
from airflow_provider_b24cal.attendance_page import content
from airflow_provider_b24cal.attendance_page.authorization import connection_readers
from airflow_provider_b24cal.attendance_page.bounded_reads import BoundedReads, DatabaseUnavailableError
from airflow_provider_b24cal.attendance_page.parameters import read_parameters
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jinja2 import Environment
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from airflow_provider_b24cal.attendance_page.parameters import Parameters

    Handler = Callable[[Request], Awaitable[Response]]

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'self'"
    ),
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every reply."""
PAGES: Final = {
    "meetings": ("Meetings", content.meetings_content),
    "people": ("People", content.people_content),
    "changes": ("Changes", content.changes_content),
    # Its rows are Airflow's own, which the browser reads with the rights of its user.
    "waiting": ("Waiting now", None),
}
"""The pages by their path: their names, and what reads their content, if it is in the tables."""
_FILES: Final = {"page.css": "text/css", "theme.js": "text/javascript", "waiting.js": "text/javascript"}
_READ: Final = ["GET", "HEAD"]
_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
_log = logging.getLogger(__name__)


def make_app(conn_id: str, schema: str | None = None) -> FastAPI:
    """Return the application.

    :param conn_id: the connection of the database; who may read it may see the pages.
    :param schema: schema of the tables; default that of the connection.
    """
    app = FastAPI(
        title="Attendance", dependencies=connection_readers(conn_id), openapi_url=None, docs_url=None, redoc_url=None
    )
    reads = BoundedReads(conn_id)

    async def read(asked: Parameters, fill: Callable[..., Any] | None) -> Any:
        if fill is None:
            return {}
        tables, now = define(TableNames(schema)), datetime.fromtimestamp(clock.time(), UTC)
        return await reads.run(lambda connection: fill(connection, tables, asked, now))

    async def known(request: Request) -> Response:
        found = await read(read_parameters(request.query_params.multi_items()), content.known_meetings)
        return JSONResponse({str(event_id): meeting._asdict() for event_id, meeting in found.items()})

    def page(path: str) -> Handler:
        title, fill = PAGES[path]

        async def show(request: Request) -> Response:
            asked = read_parameters(request.query_params.multi_items())
            found = await read(asked, fill)
            text = await run_in_threadpool(_render, f"{path}.html", path=path, title=title, asked=asked, **found)
            return HTMLResponse(text)

        return _explained(show, lambda text, status: _problem(path, title, text, status))

    for path in PAGES:
        app.add_api_route(f"/{path}", page(path), methods=_READ)
    known_or_problem = _explained(known, lambda text, status: JSONResponse({"problem": text}, status))
    app.add_api_route("/meetings.json", known_or_problem, methods=_READ)
    app.add_api_route("/static/{name}", _static, methods=_READ)
    app.add_api_route("/", _first_page, methods=_READ)
    # So that access is checked before anything is said of a path or a method.
    app.add_api_route("/{path:path}", _refuse, methods=_METHODS)
    app.add_middleware(Guard)
    return app


def _explained(handler: Handler, problem: Callable[[str, int], Response]) -> Handler:
    """Return a handler that says what is wrong.

    :param problem: makes the reply of a text and a status.
    """

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except InvalidArgumentError as error:
            return problem(str(error), 400)
        except DatabaseUnavailableError as error:
            return problem(str(error), 503)
        except Exception:  # noqa: BLE001 - the reader is to see a page, and the log the reason
            _log.exception("The page of attendance failed")
            return problem("The page failed. The log of the API server has the reason.", 500)

    return answer


class Guard:
    """Adds the headers to every reply, and refuses what pages of other sites embed or fetch.

    A method that no route knows, such as ``PROPFIND``, is answered like ``POST``: refused, after access is checked.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        app = self._app
        if scope["type"] == "http":
            if _is_embedded_elsewhere(dict(scope["headers"])):
                app = PlainTextResponse("Another site may not use this page.", 403)
            elif scope["method"] not in _METHODS:
                # No route knows it, so that it would be refused before access is checked.
                scope = {**scope, "method": "POST"}
        await app(scope, receive, send_with_headers)


def _is_embedded_elsewhere(headers: dict[bytes, bytes]) -> bool:
    """Return whether a browser asks on behalf of another site, other than by a link that somebody has followed."""
    site = headers.get(b"sec-fetch-site", b"none")
    return site in {b"cross-site", b"same-site"} and headers.get(b"sec-fetch-dest") != b"document"


async def _first_page() -> Response:
    return RedirectResponse("meetings", 303)


async def _static(name: str) -> Response:
    if name not in _FILES:
        return PlainTextResponse("There is no such file.", 404)
    return Response(_file(name), media_type=f"{_FILES[name]}; charset=utf-8")


async def _refuse(request: Request) -> Response:
    if request.method in _READ:
        return PlainTextResponse("There is no such page.", 404)
    return PlainTextResponse("The page is for reading only.", 405, {"Allow": ", ".join(_READ)})


@cache
def _file(name: str) -> bytes:
    return files(__package__).joinpath("static", name).read_bytes()


@cache
def _templates() -> Environment:
    made = environment(PackageLoader(__package__))
    made.filters["label"] = lambda letter: MeetingStatus(letter).label
    return made


def _render(template: str, **values: Any) -> str:
    return _templates().get_template(template).render(pages={path: name for path, (name, _) in PAGES.items()}, **values)


def _problem(path: str, title: str, text: str, status: int) -> Response:
    return HTMLResponse(_render("problem.html", path=path, title=title, problem=text), status)
