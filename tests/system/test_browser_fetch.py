"""A page of another site calls the sandbox from a browser, which asks the portal first whether it may."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from bitrix24_sandbox.server import SandboxServer

from tests.system.browser import Window

SITE = '<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>Another site</title></html>'
CALL = """async ([url, parameters]) => {
  const headers = {'Content-Type': 'application/json'}
  const reply = await fetch(url, {method: 'POST', headers, body: JSON.stringify(parameters)})
  return await reply.json()
}"""


@pytest.fixture
def window(open_window: Callable[..., Window], tmp_path: Path) -> Iterator[Window]:
    """A window on a site of another origin than the portal."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text(SITE, "utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        window = open_window(f"http://127.0.0.1:{site.server_port}")
        window.page.goto("/")
        yield window
        site.shutdown()


def test_fetch_sends_json_to_the_portal(window: Window, data_server: SandboxServer) -> None:
    data_server.renew()
    url = data_server.webhook_url(1)
    done = window.page.evaluate(CALL, [f"{url}calendar.meeting.status.set", {"eventId": 668, "status": "N"}])
    assert (done["result"], data_server.portal.status(668, 1)) == (True, "N")
    batch = {"halt": 0, "cmd": {"get": "calendar.meeting.status.get?eventId=668", "bad": "no.such"}}
    answer = window.page.evaluate(CALL, [f"{url}batch", batch])["result"]
    assert answer["result"] == {"get": "N"}
    assert answer["result_error"]["bad"]["error"] == "ERROR_METHOD_NOT_FOUND"
    # Errors are for the page to read as well.
    refused = window.page.evaluate(CALL, [f"{data_server.url}/rest/1/wrong/profile", {}])
    assert refused["error"] == "INVALID_CREDENTIALS"


def test_fetch_does_not_reach_what_needs_no_secret(window: Window, data_server: SandboxServer) -> None:
    data_server.renew()
    before = data_server.portal.status(668, 1)
    answer = {"event_id": 668, "user_id": 1, "status": "N"}
    with pytest.raises(Exception, match="Failed to fetch"):
        window.page.evaluate(CALL, [f"{data_server.url}/-/answer", answer])
    with pytest.raises(Exception, match="Failed to fetch"):
        window.page.evaluate("url => fetch(url).then(reply => reply.text())", f"{data_server.url}/-/state")
    assert data_server.portal.status(668, 1) == before
