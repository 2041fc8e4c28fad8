"""A portal that plays one reply, for tests that need a reply as it came from somewhere else."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl


@dataclass(frozen=True)
class Request:
    """What a client has sent.

    :param path: without the query.
    :param body: of JSON or a form.
    """

    path: str
    body: Mapping[str, Any]

    @property
    def method(self) -> str:
        """The REST method."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Answer:
    """What is sent back.

    :param body: a JSON value; of a batch, with the keys ``c0``, ``c1``, ... for the commands in their order.
    """

    body: Any
    status: int = 200
    headers: Mapping[str, str] | None = None


@contextmanager
def serve(answer: Callable[[Request], Answer]) -> Iterator[str]:
    """Serve on a free port of the loopback, and yield the portal's address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            is_json = self.headers.get_content_type() == "application/json"
            body = json.loads(sent or b"{}") if is_json else dict(parse_qsl(sent.decode()))
            request = Request(self.path.partition("?")[0], body)
            given = answer(request)
            content = json.dumps(_with_keys_of(request, given.body)).encode()
            self.send_response(given.status)
            headers = {"Content-Type": "application/json; charset=utf-8", **(given.headers or {})}
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """Print nothing: addresses hold the webhook's code."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def webhook(url: str, secret: str, user_id: int = 1) -> str:
    """Return an Airflow connection for a webhook, as a value of ``AIRFLOW_CONN_...``."""
    fields = {"conn_type": "bitrix24", "host": url, "login": str(user_id), "password": secret}
    return json.dumps({**fields, "extra": {"plan": "self_hosted"}})


def _with_keys_of(request: Request, body: Any) -> Any:
    """Return a batch's reply with the keys that the client has chosen for its commands."""
    commands = request.body.get("cmd") if request.method == "batch" else None
    if not isinstance(commands, dict) or not isinstance(body, dict) or not isinstance(body.get("result"), dict):
        return body
    keys = {f"c{number}": key for number, key in enumerate(commands)}

    def renamed(part: Any) -> Any:
        return {keys.get(key, key): value for key, value in part.items()} if isinstance(part, dict) else part

    return {**body, "result": {name: renamed(part) for name, part in body["result"].items()}}
