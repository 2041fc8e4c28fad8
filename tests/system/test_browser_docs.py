"""The documentation in a browser: what fits a telephone, where the reader is, and the dark."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Literal

import pytest
from playwright.sync_api import expect

from tests.system.browser import Window

pytest.importorskip("furo")
# One worker builds the pages.
pytestmark = pytest.mark.xdist_group("docs")

ROOT = Path(__file__).parents[2]
NARROW = {"width": 390, "height": 844}
TOO_WIDE = """
() => [...document.querySelectorAll('article *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.table-wrapper, pre'))
    .slice(0, 5).map(e => e.tagName + ': ' + e.textContent.trim().slice(0, 60))
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def built() -> Path:
    """The folder of the built pages; what ``make docs`` has just built there is not built again."""
    pages = ROOT / "docs" / "_build" / "html"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", ROOT / "docs", pages]
    subprocess.run(command, check=True)
    return pages


@pytest.fixture(scope="module")
def site(built: Path) -> Iterator[str]:
    """The address at which they are served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(built))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def window(open_window: Callable[..., Window], site: str) -> Window:
    return open_window(site)


def _pages(built: Path) -> list[str]:
    own = (path.relative_to(built).as_posix() for path in sorted(built.rglob("*.html")))
    return [page for page in own if page not in {"genindex.html", "py-modindex.html", "search.html"}]


def test_each_page_fits_a_telephone_and_is_marked_in_the_list(window: Window, built: Path) -> None:
    window.page.set_viewport_size(NARROW)
    wide, unmarked, pages = {}, [], _pages(built)
    for page in pages:
        window.page.goto(f"/{page}")
        if window.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wide[page] = window.page.evaluate(TOO_WIDE)
        marked = window.page.locator(".sidebar-tree .current-page > a")
        if page != "index.html" and [link.evaluate("a => a.pathname") for link in marked.all()] != [f"/{page}"]:
            unmarked.append(page)
    assert (wide, unmarked) == ({}, [])
    assert len(pages) > 40


def test_wide_tables_scroll_in_a_box_of_their_own(window: Window) -> None:
    window.page.set_viewport_size(NARROW)
    window.page.goto("/errors.html")
    boxes = window.page.locator(".table-wrapper:has(table.faults)")
    assert boxes.count() == 1
    assert boxes.evaluate("box => box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX") == "auto"


def test_the_mark_is_in_sight(window: Window) -> None:
    """Also of the last pages, though the list of pages is longer than the window."""
    window.page.goto("/reference/portal.html")
    expect(window.page.locator(".sidebar-tree .current-page > a")).to_be_in_viewport()


def test_the_dark(window: Window) -> None:
    """It follows the reader's system, and the button changes it."""

    def background() -> str:
        return str(window.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    window.page.goto("/sensors.html")
    light = background()
    window.page.emulate_media(color_scheme="dark")
    dark = background()
    assert dark != light
    code = window.page.locator("div.highlight").first.evaluate("block => getComputedStyle(block).backgroundColor")
    assert code != light
    # From the system's choice, the button leads to the other one.
    window.page.locator(".theme-toggle:visible").first.click()
    assert background() == light
    assert window.complaints == []


def test_code_can_be_copied(window: Window) -> None:
    window.page.goto("/quickstart.html")
    assert window.page.locator("div.highlight-shell button.copybtn").count() > 3
    assert window.page.locator("div.highlight-text button.copybtn").count() == 0


@pytest.mark.parametrize("width", [1200, 390], ids=["desk", "telephone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_load_without_complaints(window: Window, scheme: Literal["light", "dark"], width: int) -> None:
    window.page.emulate_media(color_scheme=scheme)
    window.page.set_viewport_size({"width": width, "height": 844})
    for page in ("index", "errors", "architecture"):
        window.page.goto(f"/{page}.html")
        if window.pictures is not None:
            window.page.screenshot(path=window.pictures / f"docs_{page}_{scheme}_{width}.png", animations="disabled")
    assert window.complaints == []
