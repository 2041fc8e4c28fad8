"""A headless Chromium for tests, and what a person does with it in Airflow's web UI."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, ViewportSize, expect, sync_playwright

TIMEOUT_MS = 120_000
"""How long to wait for anything on a page; a busy machine takes many times what an idle one does."""
expect.set_options(timeout=TIMEOUT_MS)

SIZE: ViewportSize = {"width": 1200, "height": 720}
NAMES = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = (
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    # Nothing is looked up or reached but this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-proxy-server",
)


def find_chromium() -> tuple[str | None, str]:
    """Return the path of a Chromium that starts, and otherwise why there is none.

    It is what ``CHROMIUM`` names, or the first one found; some systems have a command of that name which only tells
    how to install it.
    """
    named = os.environ.get("CHROMIUM")
    found = [named] if named else [path for path in map(shutil.which, NAMES) if path]
    reasons = []
    for path in found:
        reason = _cannot_start(path)
        if reason is None:
            return path, ""
        reasons.append(reason)
    if not found:
        reasons = [f"none of {', '.join(NAMES)} is installed (.ci/browser does it), and CHROMIUM is not set"]
    return None, "; ".join(reasons)


def _cannot_start(path: str) -> str | None:
    try:
        asked = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        return f"{path} does not start: {problem}"
    reported = (asked.stderr.strip() or asked.stdout.strip() or "it says nothing").splitlines()
    return f"{path} does not start: {reported[0]}" if asked.returncode else None


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """Run a Chromium for as long as the block lasts; it also ends when this process is killed."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, chromium_sandbox=False, args=SWITCHES, timeout=TIMEOUT_MS
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Window:
    """A fresh browser window, and everything its pages complained about.

    :param keep: folder for what is kept of a failure.
    :param pictures: folder for the documentation's pictures; ``None`` takes none.
    """

    page: Page
    keep: Path
    pictures: Path | None
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(TIMEOUT_MS)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")

    def picture(self, name: str, of: Locator | None = None, *, height: int | None = None) -> None:
        """Take a picture for the documentation, if these are being made.

        :param of: what to show of the page.
        :param height: or how many pixels of it from the top.
        """
        if self.pictures is not None:
            path, still = self.pictures / f"{name}.png", {"animations": "disabled", "caret": "hide"}
            if of is not None:
                # Tall enough for a whole dialog.
                self.page.set_viewport_size({**SIZE, "height": 1800})
                of.screenshot(path=path, **still)
                self.page.set_viewport_size(SIZE)
            else:
                clip = {"x": 0, "y": 0, **SIZE, "height": height or SIZE["height"]}
                self.page.screenshot(path=path, clip=clip, **still)

    def story(self) -> str:
        """Keep the page as it is now, and return where."""
        picture, markup = self.keep / "page.png", self.keep / "page.html"
        markup.write_text(self.page.content(), "utf-8")
        self.page.screenshot(path=picture, timeout=TIMEOUT_MS)
        complaints = "\n  ".join(self.complaints[-20:]) or "nothing"
        return f"The page: {self.page.url}\n{picture}\n{markup}\nIts console: {complaints}"


def sign_in(page: Page, password: str) -> None:
    """Sign in to Airflow as ``admin``."""
    page.goto("/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Dags").first.wait_for()
