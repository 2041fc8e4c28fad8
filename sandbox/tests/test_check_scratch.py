"""What the check makes is removed: at its end, after an error, after a signal, and by the next run after a kill."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bitrix24_sandbox import write_methods
from bitrix24_sandbox.check.scratch import SECTION
from bitrix24_sandbox.methods import METHODS
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.rest import Method
from bitrix24_sandbox.server import SandboxServer

from sandbox.tests.checking import Check, checking, start
from sandbox.tests.sync import TIMEOUT, Gate, ending, wait_until

check = pytest.fixture(checking)

STATUS_SET = "calendar.meeting.status.set"
HELD = {
    "the section is made": ("calendar.section.add", 1),
    "the first event is made": ("calendar.event.add", 1),
    "a later event is made": ("calendar.event.add", 6),
    "an attendee is removed": ("calendar.event.update", 1),
    "a date is edited": ("calendar.event.update", 4),
    "a fact is checked": (STATUS_SET, 5),
    "a list is read": ("calendar.accessibility.get", 1),
}


@pytest.fixture
def gated(fresh: Callable[..., Portal]) -> Iterator[tuple[SandboxServer, Gate]]:
    """A portal of its own that holds what it delays until the gate is opened."""
    gate = Gate()
    with SandboxServer(fresh(), sleep=gate.sleep) as server:
        yield server, gate


def _is_clean(portal: Portal, before: dict[int, Any]) -> bool:
    with portal.locked() as book:
        return book.rows == before and not book.sections


def _hold(server: SandboxServer, method: str, number: int) -> None:
    """Hold the n-th request to a method; the ones before pass."""
    before = [{"method": method, "times": number - 1, "delay": 0}] if number > 1 else []
    server.portal.plan(*before, {"method": method, "delay": 1})


@pytest.mark.parametrize(
    ("method", "count", "number"),
    [(*held, (signal.SIGINT, signal.SIGTERM)[index % 2]) for index, held in enumerate(HELD.values())],
    ids=HELD,
)
def test_a_signal_leaves_nothing(
    gated: tuple[SandboxServer, Gate], method: str, count: int, number: signal.Signals
) -> None:
    """It comes while a request is under way, which the portal then executes."""
    server, gate = gated
    before = dict(server.portal.book.rows)
    _hold(server, method, count)
    with ending(start(server, "--scratch", "--yes")) as process:
        wait_until(lambda: gate.held)
        process.send_signal(number)
        gate.open()
        out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out, err) == (128 + number, "", "Stopped.\n")
    assert server.portal.count()["methods"]["calendar.section.add"] == 1  # type: ignore[index]
    assert _is_clean(server.portal, before)


@pytest.mark.parametrize(("method", "count"), list(HELD.values())[::2], ids=list(HELD)[::2])
def test_the_run_after_a_kill_leaves_nothing(gated: tuple[SandboxServer, Gate], method: str, count: int) -> None:
    server, gate = gated
    before = dict(server.portal.book.rows)
    _hold(server, method, count)
    with ending(start(server, "--scratch", "--yes")) as process:
        wait_until(lambda: gate.held)
        process.kill()
        process.wait(TIMEOUT)
    gate.open()
    if method != "calendar.section.add":
        assert not _is_clean(server.portal, before)
    with ending(start(server, "--scratch", "--yes")) as process:
        out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, err) == (0, ""), out
    assert _is_clean(server.portal, before)


def test_signals_do_not_stop_the_removal(gated: tuple[SandboxServer, Gate]) -> None:
    server, gate = gated
    before = dict(server.portal.book.rows)
    _hold(server, "calendar.event.delete", 3)
    with ending(start(server, "--scratch", "--yes")) as process:
        wait_until(lambda: gate.held)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
        gate.open()
        process.communicate(timeout=TIMEOUT)
    assert _is_clean(server.portal, before)


@pytest.mark.parametrize("method", ["calendar.section.add", "calendar.event.add", "calendar.event.update", STATUS_SET])
@pytest.mark.parametrize("fault", [{"drop": "after"}, {"error": "INTERNAL_SERVER_ERROR", "when": "after"}])
def test_an_error_leaves_nothing(server: SandboxServer, check: Check, method: str, fault: dict[str, Any]) -> None:
    """The portal has done what it was asked for, and its reply is lost."""
    before = dict(server.portal.book.rows)
    server.portal.plan({"method": method, **fault})
    shown = check(server, "--scratch")
    assert shown.status == 1
    assert shown.marked("DIFFERS") == ["Own meetings: are made, changed and listed as asked for"]
    assert "needs a meeting that could not be made" in {found for _, _, _, found in shown.table}
    assert _is_clean(server.portal, before)


def test_a_portal_that_breaks_off_among_the_facts(server: SandboxServer, check: Check) -> None:
    before = dict(server.portal.book.rows)
    server.portal.plan({"method": "server.time", "drop": "before"})
    shown = check(server, "--scratch")
    assert (shown.status, shown.table) == (2, [])
    assert shown.err == "bitrix24-sandbox check: No reply to server.time: ReadError. The check has ended early.\n"
    assert _is_clean(server.portal, before)


def test_what_is_left_over_is_named(server: SandboxServer, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "calendar.event.delete", Method(write_methods.SCOPES, lambda call: True))  # type: ignore[arg-type]
    monkeypatch.setitem(METHODS, "calendar.section.delete", Method(write_methods.SCOPES, lambda call: True))  # type: ignore[arg-type]
    shown = check(server, "--scratch", guest=None)
    assert shown.status == 1
    left = [f"event {event.id}" for event in server.portal.book.events.values() if event.section_id]
    assert len(left) == 5
    assert f"Left over in the calendar of user 1: {', '.join(left)}, section 19." in shown.err
    again = check(server, "--scratch", guest=None)
    assert (again.status, again.table) == (2, [])
    assert "What an earlier run has left could not be removed." in again.err
    monkeypatch.undo()


def test_a_removal_without_replies_names_what_may_be_left(server: SandboxServer, check: Check) -> None:
    # The first one is asked for what an earlier run has left.
    server.portal.plan({"method": "calendar.section.get", "times": 2, "delay": 0},
                       {"method": "calendar.section.get", "times": 5, "drop": "before"})  # fmt: skip
    shown = check(server, "--scratch", guest=None)
    assert shown.status == 1
    assert f"perhaps section '{SECTION}', perhaps event 801" in shown.err


@pytest.mark.parametrize("method", ["calendar.section.get", "calendar.event.delete", "calendar.section.delete"])
def test_a_removal_is_tried_again(server: SandboxServer, check: Check, method: str) -> None:
    before = dict(server.portal.book.rows)
    passed = {"calendar.section.get": 2, "calendar.event.delete": 3}.get(method)
    server.portal.plan(
        *([{"method": method, "times": passed, "delay": 0}] if passed else []),
        {"method": method, "drop": "before"}, {"method": method, "error": "INTERNAL_SERVER_ERROR"},
    )  # fmt: skip
    shown = check(server, "--scratch")
    assert (shown.status, shown.err) == (0, "")
    assert server.portal.plan() == []
    assert _is_clean(server.portal, before)


@pytest.mark.parametrize("body", [{"result": [{}]}, {"result": {"ATTENDEE_LIST": [{"id": 2, "entryId": "Anna"}]}}])
def test_what_is_made_in_another_shape_is_a_difference(
    server: SandboxServer, check: Check, body: dict[str, Any]
) -> None:
    before = dict(server.portal.book.rows)
    server.portal.plan({"method": "calendar.event.getbyid", "body": json.dumps(body)})
    shown = check(server, "--scratch")
    assert shown.status == 1
    assert ("DIFFERS", "A reply has another shape.") in {(mark, found) for mark, _, _, found in shown.table}
    assert "Anna" not in shown.out + shown.err
    assert _is_clean(server.portal, before)


def test_other_sections_and_events_stay(server: SandboxServer, check: Check, result: Callable[..., Any]) -> None:
    mine = {"type": "user", "ownerId": 1}
    section = result("calendar.section.add", {**mine, "name": "Holidays"})
    event = {**mine, "name": "Away", "from": "2026-01-02T10:00", "to": "2026-01-02T11:00", "section": section}
    event_id = result("calendar.event.add", event)
    before = dict(server.portal.book.rows)
    assert check(server, "--scratch").status == 0
    assert server.portal.book.rows == before
    assert (list(server.portal.book.sections), event_id in server.portal.book.events) == ([section], True)


def test_an_invitation_in_its_section_is_not_declined(
    server: SandboxServer, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleting one's row of somebody else's meeting would be a refusal."""
    true: Any = METHODS["calendar.event.get"]
    invitation = {"ID": "652", "PARENT_ID": "651", "NAME": "Plain"}
    listing = Method(true.scopes, lambda call: [*true.run(call), invitation] if "section" in call.parameters else [])
    monkeypatch.setitem(METHODS, "calendar.event.get", listing)  # type: ignore[arg-type]
    assert check(server, "--scratch").status == 0
    assert server.portal.status(651, 1) == "Q"


@pytest.mark.parametrize("people", [(4, None), (1, 4), (4, 1)])
def test_guests_from_outside_are_refused(server: SandboxServer, check: Check, people: tuple[int, int | None]) -> None:
    host, guest = people
    shown = check(server, "--scratch", host=host, guest=guest)
    assert shown.status == 2
    assert "no mail users, no extranet users" in shown.err
    assert server.portal.book.sections == {}
    assert "calendar.section.add" not in server.portal.count()["methods"]  # type: ignore[operator]


def test_it_waits_while_the_bucket_is_full(
    server: SandboxServer, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("bitrix24_sandbox.check.command.time.sleep", slept.append)
    server.portal.plan({"method": "server.time", "times": 2, "error": "QUERY_LIMIT_EXCEEDED"})
    assert check(server).status == 0
    assert [seconds for seconds in slept if seconds] == [5.0, 10.0]
