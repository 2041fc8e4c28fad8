"""Replies in the shape of real ones, each played over a socket to the call it answers.

A sample has what is asked (``call``), the reply (``status``, ``headers`` and ``body``) and what must become of it
(``expected``): a value, ``"as it is"`` for the result untouched, or the class of an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.auth.tokens import read_stored
from airflow_provider_b24cal.bitrix24.calendar.events import read_event
from airflow_provider_b24cal.bitrix24.calendar.listing import check_listing
from airflow_provider_b24cal.bitrix24.calendar.methods import get_contacts
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.clock import Clock
from tests.portal_data import CANARY
from tests.sample_files import SAMPLES, as_window, shown_event
from tests.standin import Answer, Request, serve, webhook

FILES = sorted(SAMPLES.rglob("*.json"))
TOKENS = SAMPLES / "oauth.token"
Play = Callable[[dict[str, Any]], AbstractContextManager[str]]


def _list(hook: Bitrix24CalendarHook, call: dict[str, Any], expected: Any) -> Any:
    kind, owner = call.get("kind", "user"), call.get("owner")
    wanted = check_listing(as_window(call), kind, owner, statuses=call.get("statuses"))
    found = hook.read_listing(wanted)
    assert len(found.events) == len(expected["events"])
    shown = [shown_event(event, one) for event, one in zip(found.events, expected["events"], strict=True)]
    left_out = [[row.event_id, field] for row, (_, field) in zip(found.unreadable, expected.get("unreadable", ()),
                                                                 strict=True) if field in row.reason]  # fmt: skip
    return {"events": shown, **({"unreadable": left_out} if left_out else {})}


def _busy(hook: Bitrix24CalendarHook, call: dict[str, Any], _: Any) -> Any:
    found = hook.get_accessibility(call["users"], as_window(call))
    return {
        str(user): [
            {**{name: getattr(one, name) for name in ("event_id", "kind", "all_day", "name")},
             "start": one.start.isoformat(), "end": one.end.isoformat()}
            for one in some
        ]
        for user, some in found.items()
    }  # fmt: skip


def _outcome(outcome: Outcome[Any]) -> Any:
    return outcome.value if outcome.error is None else {"error": type(outcome.error).__name__}


def _whoami(hook: Bitrix24CalendarHook, _call: dict[str, Any], _: Any) -> Any:
    user = hook.whoami()
    return {"user_id": user.user_id, "name": user.name}


DO: dict[str, Callable[[Bitrix24CalendarHook, dict[str, Any], Any], Any]] = {
    "list": _list,
    "busy": _busy,
    "whoami": _whoami,
    "event": lambda hook, call, expected: shown_event(hook.get_event(call["id"]), expected),
    "status": lambda hook, call, _: hook.get_meeting_status(call["id"]).value,
    "statuses": lambda hook, call, _: {
        str(event_id): _outcome(one) for event_id, one in hook.get_meeting_statuses(call["ids"]).items()
    },
    "batch": lambda hook, call, _: [_outcome(one) for one in hook.batch([tuple(one) for one in call["calls"]])],
    "raw": lambda hook, call, _: hook.call(call["method"], call.get("params")),
    "names": lambda hook, call, _: hook.call_many([get_contacts(call["ids"])])[0].unwrap(),
}


@contextmanager
def _by_stand_in(sample: dict[str, Any]) -> Iterator[str]:
    with serve(lambda _: Answer(sample["body"], sample["status"], sample["headers"])) as url:
        yield url


@pytest.fixture(params=["stand-in", "sandbox"])
def play(request: pytest.FixtureRequest, server: SandboxServer) -> Play:
    @contextmanager
    def by_sandbox(sample: dict[str, Any]) -> Iterator[str]:
        # A hook names the commands of each batch anew; the sandbox fills the names in.
        body = re.sub(r'"(c[0-9])"', r'"{\1}"', json.dumps(sample["body"]))
        rule = {"body": body, "http_status": sample["status"], "headers": sample["headers"]}
        server.portal.plan({"times": 100, "content_type": "application/json", **rule})
        yield server.url

    return by_sandbox if request.param == "sandbox" else _by_stand_in


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.parent != TOKENS], ids=lambda file: f"{file.parent.name}/{file.stem}"
)
def test_a_reply_of_a_portal(file: Path, play: Play, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = json.loads(file.read_text("utf-8"))
    call, expected = sample["call"], sample["expected"]
    with play(sample) as url:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", webhook(url, CANARY))
        with Bitrix24CalendarHook(retry=RetryPolicy(attempts=1)) as hook:
            if isinstance(expected, dict) and "error" in expected:
                with pytest.raises(getattr(errors, expected["error"])) as caught:
                    DO[call["do"]](hook, call, {})
                assert expected.get("says", "") in str(caught.value)
                assert expected.get("permanence", caught.value.permanence) == caught.value.permanence
            else:
                wanted = sample["body"]["result"] if expected == "as it is" else expected
                assert DO[call["do"]](hook, call, expected) == wanted


@pytest.mark.parametrize("file", sorted(TOKENS.glob("*.json")), ids=lambda file: file.stem)
def test_a_reply_of_an_authorisation_server(
    file: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The portal lets in whoever has the new access token."""
    sample = json.loads(file.read_text("utf-8"))
    expected = sample["expected"]

    def answer(request: Request) -> Answer:
        if request.path == "/oauth/token/":
            return Answer(sample["body"], sample["status"], sample["headers"])
        if request.body["auth"] == expected["access"]:
            return Answer({"result": {"ID": "5"}})
        return Answer({"error": "expired_token", "error_description": "Words of the portal"}, 401)

    with serve(answer) as url:
        reported = {"auth": "oauth", "client_id": "app.1", "client_secret": "s3cr3tC0de000000",
                    "access_token": "0ld4cc3ss", "refresh_token": "0ldr3fr3sh", "auth_server": url,
                    "token_store": f"file:{tmp_path}"}  # fmt: skip
        fields = {"conn_type": "bitrix24", "host": url, "extra": {"plan": "self_hosted", **reported}}
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", json.dumps(fields))
        with Bitrix24CalendarHook(retry=RetryPolicy(attempts=1)) as hook:
            assert hook.whoami().user_id == 5
            assert hook.acting_user_id() == expected["user_id"]
        kept = [one.read_text("utf-8") for one in tmp_path.iterdir()]
    (pair,) = [read_stored(text) for text in kept if expected["access"] in text]
    assert (pair.access.reveal(), pair.refresh.reveal()) == (expected["access"], expected["refresh"])


@pytest.mark.parametrize("name", ["first-booking", "second-booking"])
def test_a_booking_is_an_event_that_is_no_meeting(name: str) -> None:
    sample = json.loads((SAMPLES / "calendar.resource.booking.list" / f"{name}.json").read_text("utf-8"))
    (row,) = sample["body"]["result"]
    event = read_event(row)
    assert (event.is_meeting, event.attendees, event.host_id, event.status) == (False, (), None, None)
    # The timestamps of this portal are three hours early.
    stamps = [int(row[name]) + 3 * 3600 for name in ("DATE_FROM_TS_UTC", "DATE_TO_TS_UTC")]
    assert [event.start.timestamp(), event.end.timestamp()] == stamps


def test_every_sample_is_used() -> None:
    assert len(FILES) == 46
    assert {json.loads(file.read_text("utf-8"))["call"]["do"] for file in FILES} == {*DO, "tokens"}
