"""The check of a portal, on the sandbox: every fact holds, and each planted difference is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from bitrix24_sandbox import (
    batch,
    calendar_methods,
    errors,
    list_methods,
    participation,
    people_methods,
    reply,
)
from bitrix24_sandbox.check.facts import FACTS
from bitrix24_sandbox.event_list import Window
from bitrix24_sandbox.methods import METHODS
from bitrix24_sandbox.models import Row
from bitrix24_sandbox.rest import Method
from bitrix24_sandbox.server import SandboxServer

from sandbox.tests.checking import Check, checking

check = pytest.fixture(checking)

WAYS: list[dict[str, object]] = [
    {"language": "en", "culture": "european", "auth_statuses": "module"},
    {"language": "ru", "culture": "american", "auth_statuses": "docs"},
    {"language": "ru", "auth_statuses": "module", "duplicate_row": "newest", "time_start": "float",
     "operating": "absent"},
    {"culture": "american", "server_zone": "America/New_York", "operating": "partial", "empty_fields": "null"},
    {"server_zone": "UTC", "empty_fields": "list"},
]  # fmt: skip


@pytest.mark.parametrize("settings", WAYS, ids=lambda way: "-".join(map(str, way.values())))
def test_every_fact_holds_on_the_sandbox(server: SandboxServer, check: Check, settings: dict[str, object]) -> None:
    server.portal.configure(settings)
    before = dict(server.portal.book.rows)
    shown = check(server, "--scratch")
    assert shown.marked("DIFFERS") == []
    assert (shown.status, shown.err) == (0, "")
    assert shown.marked("skipped") == [f"People: {one.name}" for one in FACTS if one.topic == "People"]
    assert len(shown.marked("ok")) == 1 + len(FACTS) - 2
    assert server.portal.book.rows == before
    assert server.portal.count()["notifications"] == {}


def test_facts_about_people_need_a_scope(server: SandboxServer, check: Check) -> None:
    shown = check(server, "--scratch", host=2, guest=1)
    assert shown.status == 0
    assert not [fact for fact in shown.marked("skipped") if not fact.startswith("Refusals")]
    assert len([fact for fact in shown.marked("ok") if fact.startswith("People")]) == 2


def test_without_scratch_it_only_reads(server: SandboxServer, check: Check) -> None:
    shown = check(server, guest=None)
    assert shown.status == 0
    calls: Any = server.portal.count()["methods"]
    reading = {"profile", "scope", "method.get", "server.time", "batch", "user.get", "calendar.meeting.status.get",
               "calendar.event.getbyid"}  # fmt: skip
    assert set(calls) == reading
    assert {"needs --scratch"} >= {found for mark, _, _, found in shown.table if mark == "skipped"} - {
        "needs the scope user_brief, user_basic or user", "needs a second webhook",
    }  # fmt: skip


def test_with_one_webhook_facts_of_two_people_are_skipped(server: SandboxServer, check: Check) -> None:
    shown = check(server, "--scratch", guest=None)
    assert shown.status == 0
    reasons = {found for mark, fact, _, found in shown.table if mark == "skipped" and not fact.startswith("People")}
    assert reasons == {"needs a second webhook"}
    assert "Answers: the organiser stays H" in shown.marked("ok")


def test_it_sends_whole_numbers_as_ids_and_no_notification(
    server: SandboxServer, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    arrive = server.portal.arrive

    def noted(request: Any, address: str) -> Any:
        sent.append((request.method, request.parameters))
        return arrive(request, address)

    monkeypatch.setattr(server.portal, "arrive", noted)
    assert check(server, "--scratch").status == 0
    ids = [given[name] for _, given in sent for name in ("eventId", "id") if name in given]
    assert len(ids) > 50
    assert all(type(one) is int for one in ids)
    made = [given for method, given in sent if method in ("calendar.event.add", "calendar.event.update")]
    today = server.portal.now().date().isoformat()
    assert made
    for event in made:
        assert event["meeting"]["notify"] is False
        assert set(event["attendees"].values()) <= {1, 2}
        assert event["host"] == 1
        assert str(event["to"]) < today


# Differences, planted one at a time

Plant = Callable[[pytest.MonkeyPatch], None]
SCOPES = calendar_methods.SCOPES


def _method(name: str, run: Callable[[Any, Any], object]) -> Plant:
    """Plant another method; it is given the call and the true method."""
    true: Any = METHODS[name]
    return lambda patch: patch.setitem(METHODS, name, Method(true.scopes, lambda call: run(call, true.run)))  # type: ignore[arg-type]


def _record(change: Callable[[Any], dict[str, Any]]) -> Plant:
    """Plant other fields into the record of one event."""
    return _method("calendar.event.getbyid", lambda call, true: (found := true(call)) and {**found, **change(found)})


def _names_are_shown(call: Any, true: Any) -> object:
    busy = true(call)
    for row in (row for rows in busy.values() for row in rows.values()):
        row["NAME"] = call.portal.book.events[int(row["ID"])].name
    return busy


def _set_is_honest(call: Any, true: Any) -> object:
    event_id = call.parameters.get("eventId")
    true(call)
    return participation.addressed_row(call.portal.book, event_id) is not None


def _no_error_for_no_meeting(call: Any, true: Any) -> object:
    try:
        return true(call)
    except errors.RestError:
        return None if call.parameters.get("eventId") else true(call)


def _nobody_is_uninvited(call: Any, true: Any) -> object:
    return true(call) or "Q"


def _answers_move_the_mark(patch: pytest.MonkeyPatch) -> None:
    true = calendar_methods.write_status

    def write(book: Any, row_id: int, *more: Any) -> Any:
        event = true(book, row_id, *more)
        if event is not None:
            book.events[event.id] = replace(event, version=event.version + 1)
        return event

    patch.setattr(calendar_methods, "write_status", write)


def _removed_are_uninvited(patch: pytest.MonkeyPatch) -> None:
    def live(book: Any, parent_id: int, user_id: int, _: str) -> Any:
        return next((row for row in book.rows_owned(parent_id, user_id) if not row.deleted), None)

    patch.setattr(participation, "_row_of_person", live)


def _whole_days_only(start: Any, end: Any, _: Any) -> Window:
    return Window(start.timestamp(), end.timestamp())


def _no_slack(patch: pytest.MonkeyPatch) -> None:
    true = list_methods.overlapping

    def exact(book: Any, rows: Any, window: Window, settings: Any) -> Any:
        for entry in true(book, rows, window, settings):
            if (
                entry.number is None
                or list_methods.instants(entry.event, entry.day, settings)[1].timestamp() > window.lower
            ):
                yield entry

    patch.setattr(list_methods, "overlapping", exact)


def _lost_commands_are_refused(patch: pytest.MonkeyPatch) -> None:
    true = batch.any_case

    def given(parameters: Any, name: str) -> Any:
        if name == "cmd" and "cmd" not in parameters:
            raise errors.RestError("ERROR_ARGUMENT", "cmd is missing")
        return true(parameters, name)

    patch.setattr(batch, "any_case", given)


def _errors_have_time(patch: pytest.MonkeyPatch) -> None:
    true = errors.RestError.body
    patch.setattr(errors.RestError, "body", lambda self: {**true(self), "time": {}})


PLANTED: dict[str, tuple[Plant, str]] = {
    "a set of no meeting is false": (
        _method("calendar.meeting.status.set", _set_is_honest), "Unknown meetings: a meeting that was deleted"),
    "no meeting is null": (
        _method("calendar.meeting.status.get", _no_error_for_no_meeting),
        "Unknown meetings: an event that is no meeting"),
    "the organiser is Y": (
        lambda patch: patch.setattr(Row, "shown_status", property(lambda row: row.status)),
        "Answers: the organiser stays H"),
    "everybody is invited": (
        _method("calendar.meeting.status.get", _nobody_is_uninvited), "Answers: a person who is not invited"),
    "answers change the version": (
        _answers_move_the_mark, "Answers: an answer does not move the marks of change"),
    "who is removed is not invited": (
        _removed_are_uninvited,
        "Answers: somebody removed: the last answer by the meeting's id, none by the old row's"),
    "ids of attendees are text": (
        _record(lambda row: {"ATTENDEE_LIST": [{**one, "id": str(one["id"])} for one in row["ATTENDEE_LIST"]]}),
        "Answers: everybody's answers in ATTENDEE_LIST"),
    "Y leaves edited dates": (
        lambda patch: patch.setattr(participation, "_accept_occurrences", lambda *_: None),
        "Series: Y to an edited date accepts the series and the other edited date"),
    "more than fifty commands": (
        lambda patch: patch.setattr(batch, "MAX_COMMANDS", 60), "Batch: the 51st command"),
    "a lost list of commands is an error": (
        _lost_commands_are_refused, "Batch: commands that were lost"),
    "windows end with their last day's begin": (
        lambda patch: patch.setattr(list_methods, "asked_window", _whole_days_only),
        "Lists: a window of one day, from that day to the same"),
    "windows without slack": (_no_slack, "Lists: a date that ended in the 24 hours before the window"),
    "private names": (
        _method("calendar.accessibility.get", _names_are_shown), "Lists: the caller's private event among busy times"),
    "another host": (
        _record(lambda row: {} if row["IS_MEETING"] else {"MEETING_HOST": "5"}),
        "Rows: an event that is no meeting names its owner at most"),
    "times in another zone": (
        _record(lambda row: {"TZ_FROM": "America/New_York"}), "Rows: DATE_FROM_FORMATTED in TZ_FROM"),
    "no CORS": (lambda patch: patch.setattr(reply, "_HEADERS", {}), "Envelope: headers of a reply"),
    "errors with a time": (_errors_have_time, "Envelope: an error has no result and no time"),
    "refusals with another status": (
        lambda patch: patch.setitem(errors.STATUSES, "INVALID_CREDENTIALS", (400, 400)), "Refusals: a wrong secret"),
}  # fmt: skip


@pytest.mark.parametrize(("plant", "fact"), PLANTED.values(), ids=PLANTED)
def test_a_planted_difference_is_found(
    server: SandboxServer, check: Check, monkeypatch: pytest.MonkeyPatch, plant: Plant, fact: str
) -> None:
    plant(monkeypatch)
    shown = check(server, "--scratch")
    assert shown.status == 1
    assert fact in shown.marked("DIFFERS")


def test_filters_that_are_ignored_are_found(
    server: SandboxServer, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people_methods, "_is_wanted", lambda *_: True)
    shown = check(server, host=2, guest=None)
    assert (shown.status, len(shown.marked("DIFFERS"))) == (1, 2)
