"""``im.notify.personal.add``: what people find in their notifications."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from sandbox.tests.sync import TIMEOUT

METHOD = "im.notify.personal.add"
MARTIN = 2
Result = Callable[..., Any]


def _texts(portal: Portal, user_id: int | None = None) -> list[str]:
    return [one.text for one in portal.notifications(user_id)]


def test_a_notification_arrives(result: Result, portal: Portal) -> None:
    number = result(METHOD, {"USER_ID": 1, "MESSAGE": " Please answer. "}, MARTIN)
    (found,) = portal.notifications(1)
    assert (found.id, found.user_id, found.from_id, found.text, found.tag) == (number, 1, 2, "Please answer.", "")
    assert portal.notifications(5) == []


def test_without_a_tag_it_is_repeated(result: Result, portal: Portal) -> None:
    for _ in range(2):
        result(METHOD, {"USER_ID": 1, "MESSAGE": "Again"}, MARTIN)
    assert _texts(portal) == ["Again", "Again"]


def test_a_tag_replaces(result: Result, portal: Portal, server: SandboxServer) -> None:
    first = result(METHOD, {"USER_ID": 1, "MESSAGE": "Old", "TAG": "a"}, MARTIN)
    result(METHOD, {"USER_ID": 1, "MESSAGE": "Other", "TAG": "b"}, MARTIN)
    second = result(METHOD, {"user_id": 1, "message": "New", "tag": "a"}, MARTIN)
    assert second > first
    assert _texts(portal) == ["Other", "New"]
    shown = requests.get(f"{server.url}/-/inbox", timeout=TIMEOUT).json()
    assert shown["sent"] == 3
    assert [(one["user_id"], one["text"], one["tag"]) for one in shown["notifications"]] == [
        (1, "Other", "b"), (1, "New", "a"),
    ]  # fmt: skip


def test_a_tag_is_unique_in_the_whole_portal(result: Result, portal: Portal) -> None:
    """The same one for two people takes it from the first."""
    for user_id in (1, 5):
        result(METHOD, {"USER_ID": user_id, "MESSAGE": f"For {user_id}", "TAG": "same"}, MARTIN)
    assert _texts(portal) == ["For 5"]


def _as_application(server: SandboxServer, **more: object) -> Any:
    token = server.portal.grant(MARTIN).access
    asked = {"auth": token, "USER_ID": 1, "MESSAGE": "From an application", **more}
    return requests.post(f"{server.url}/rest/{METHOD}", json=asked, timeout=TIMEOUT).json()["result"]


def test_tags_of_webhooks_may_be_ignored(result: Result, portal: Portal, server: SandboxServer) -> None:
    """So do the published modules, which the documentation does not say."""
    portal.configure({"notification_tags": "applications"})
    for _ in range(2):
        result(METHOD, {"USER_ID": 1, "MESSAGE": "By webhook", "TAG": "a"}, MARTIN)
        _as_application(server, TAG="a")
    assert _texts(portal) == ["By webhook", "By webhook", "From an application"]


def test_applications_have_tags_of_their_own(result: Result, portal: Portal, server: SandboxServer) -> None:
    result(METHOD, {"USER_ID": 1, "MESSAGE": "By webhook", "TAG": "a"}, MARTIN)
    _as_application(server, TAG="a")
    assert _texts(portal) == ["By webhook", "From an application"]


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"MESSAGE": "x"}, "USER_ID_EMPTY"),
        ({"USER_ID": "abc", "MESSAGE": "x"}, "USER_ID_EMPTY"),
        ({"USER_ID": -1, "MESSAGE": "x"}, "USER_ID_EMPTY"),
        ({"USER_ID": 1}, "MESSAGE_EMPTY"),
        ({"USER_ID": 1, "MESSAGE": "  "}, "MESSAGE_EMPTY"),
    ],
)
def test_refused(parameters: object, code: str, call: Callable[..., requests.Response], portal: Portal) -> None:
    reply = call(METHOD, parameters, MARTIN)
    assert (reply.status_code, reply.json()["error"]) == (400, code)
    assert portal.inbox.sent == 0


@pytest.mark.parametrize("user_id", [3, 999])
def test_nobody_there_is_false(user_id: int, result: Result, portal: Portal) -> None:
    assert result(METHOD, {"USER_ID": user_id, "MESSAGE": "x"}, MARTIN) is False
    assert portal.inbox.sent == 0


def test_a_reset_empties_it(result: Result, portal: Portal) -> None:
    result(METHOD, {"USER_ID": 1, "MESSAGE": "x"}, MARTIN)
    portal.reset()
    assert (portal.notifications(), portal.inbox.sent) == ([], 0)
