"""The facts that ``bitrix24-sandbox check`` checks on portals, as the provider reads them.

The check records replies of the sandbox. Each is played over a socket to the provider's reader of its method, and must
mean there what the fact says. A recording of a real portal is read the same way.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from bitrix24_sandbox.check.facts import FACTS
from bitrix24_sandbox.cli import main
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer
from bitrix24_sandbox.settings import Settings

from airflow_provider_b24cal.bitrix24 import schemas
from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent
from airflow_provider_b24cal.bitrix24.calendar.listing import check_listing
from airflow_provider_b24cal.bitrix24.calendar.methods import get_contacts, get_status, set_status
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error, NoSuchEventError, NotInvitedError
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.clock import Clock
from tests.portal_data import CANARY, portal_data
from tests.standin import Answer, serve, webhook

Sample = dict[str, Any]
Hook = Bitrix24CalendarHook

WAYS = {
    "modules": Settings(),
    "documentation": Settings(language="ru", culture="american", auth_statuses="docs", time_start="float"),
    "older": Settings(operating="absent", empty_fields="null", duplicate_row="newest", server_zone="America/New_York"),
}


def _recorded(settings: Settings, folder: Path, host: int, guest: int) -> dict[str, Sample]:
    """Return what the check records; user 2 may read names, user 1 may not."""
    data: Any = portal_data()
    data["people"][1]["webhook"]["scopes"] = ["calendar", "user"]
    with SandboxServer(Portal(parse(data), settings)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITRIX24_WEBHOOK", server.webhook_url(host))
        patch.setenv("BITRIX24_SECOND_WEBHOOK", server.webhook_url(guest))
        assert main(["check", "--yes", "--scratch", "--record", str(folder)]) == 0
    found = (json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json")))
    return {sample["fact"]: sample for sample in found}


@pytest.fixture(scope="module", params=WAYS.values(), ids=WAYS)
def samples(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sample]:
    """The recorded replies by fact; what one webhook's scopes leave out is checked with the other's."""
    folder = tmp_path_factory.mktemp("replies")
    return {**_recorded(request.param, folder / "named", 2, 1), **_recorded(request.param, folder / "unnamed", 1, 2)}


# Reading


def _window(params: Sample) -> Window:
    begin, end = (datetime.fromisoformat(params[name]).replace(tzinfo=UTC) for name in ("from", "to"))
    # A window of the provider is never empty.
    return Window(begin, max(end, begin.replace(hour=23)))


def _list(hook: Hook, params: Sample) -> tuple[CalendarEvent, ...]:
    found = hook.read_listing(check_listing(_window(params), "user", params["ownerId"], sections=[params["section"]]))
    assert found.unreadable == ()
    return found.events


READ: dict[str, Callable[[Hook, Sample], Any]] = {
    "calendar.meeting.status.get": lambda hook, params: hook.call_many([get_status(params.get("eventId", 1))])[
        0
    ].unwrap(),
    "calendar.meeting.status.set": lambda hook, params: hook.call_many(
        [set_status(params["eventId"], MeetingStatus(params["status"]))]
    )[0].unwrap(),
    "calendar.event.getbyid": lambda hook, params: hook.get_event(params["id"]),
    "calendar.event.get": _list,
    "calendar.accessibility.get": lambda hook, params: hook.get_accessibility(params["users"], _window(params)),
    "user.get": lambda hook, _: hook.call_many([get_contacts([1])])[0].unwrap(),
    "profile": lambda hook, _: hook.whoami(),
    "scope": lambda hook, _: hook.scopes(),
    "batch": lambda hook, params: hook.call("batch", params, writes=False),
}


class Reader:
    """Plays recorded replies to the provider."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def read(self, recorded: Sample, do: Callable[[Hook], Any] | None = None) -> Any:
        """Return what the provider makes of a recorded reply."""
        answer = Answer(recorded["body"], recorded["status"], recorded["headers"])
        params = recorded["params"]
        known = READ.get(recorded["method"], lambda hook, _: hook.call(recorded["method"], params, writes=False))
        with serve(lambda _: answer) as url:
            self._patch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", webhook(url, CANARY))
            with Hook(retry=RetryPolicy(attempts=1)) as hook:
                return known(hook, params) if do is None else do(hook)

    def words(self, recorded: Sample) -> str:
        """Return the same in the words of the facts."""
        try:
            found = self.read(recorded)
        except (NotInvitedError, NoSuchEventError):
            return "200 null"
        except Bitrix24Error as error:
            return f"{error.http_status} " + (error.code or '""')
        return f"200 {'true' if found is True else found.value}"


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Reader:
    return Reader(monkeypatch)


OUTCOMES = [fact for fact in FACTS if all(words[:3].isdigit() for words in fact.expected)]


@pytest.mark.parametrize("fact", OUTCOMES, ids=lambda fact: f"{fact.topic}: {fact.name}")
def test_outcomes_mean_the_same_to_the_provider(fact: Any, samples: dict[str, Sample], reader: Reader) -> None:
    sample = samples[f"{fact.topic}: {fact.name}"]
    # The words are about the last replies.
    number = len(sample["found"].split(", "))
    assert ", ".join(map(reader.words, sample["replies"][-number:])) == sample["found"]
    assert sample["found"] in fact.expected


# What is no outcome


def _last(sample: Sample) -> Sample:
    return sample["replies"][-1]


def _berlin(event: CalendarEvent) -> tuple[int, int]:
    start = event.start.astimezone(ZoneInfo("Europe/Berlin"))
    return start.hour, start.minute


def _meeting(reader: Reader, sample: Sample) -> None:
    event = reader.read(_last(sample))
    assert (event.is_meeting, event.status, event.id == event.parent_id) == (True, MeetingStatus.ORGANISER, True)
    assert event.host_id == event.owner_id
    assert _berlin(event) == (12, 0)


def _attendees(reader: Reader, sample: Sample) -> None:
    event = reader.read(_last(sample))
    assert {one.user_id == event.host_id: one.status.value for one in event.attendees} == {True: "H", False: "N"}
    (guest,) = event.guests
    assert guest.row_id not in (None, event.id)


def _plain(reader: Reader, sample: Sample) -> None:
    event = reader.read(_last(sample))
    assert (event.is_meeting, event.status, event.attendees) == (False, None, ())
    assert event.host_id in (None, event.owner_id)


def _unchanged(reader: Reader, sample: Sample) -> None:
    first, last = reader.read(sample["replies"][0]), reader.read(_last(sample))
    assert [one.status.value for one in first.guests] == ["Y"]
    assert [one.status.value for one in last.guests] == ["N"]


def _series(reader: Reader, sample: Sample) -> None:
    assert reader.read(_last(sample)).is_recurring


def _dates(number: int) -> Callable[[Reader, Sample], None]:
    def judge(reader: Reader, sample: Sample) -> None:
        recorded = _last(sample)
        days: dict[int, list[datetime]] = {}
        for event in reader.read(recorded):
            assert _berlin(event) == (12, 0)
            days.setdefault(event.id, []).append(event.start)
        # A date before the window is in the reply, and not in the provider's list.
        assert max(map(len, days.values())) == number
        assert all(len(set(some)) == len(some) for some in days.values())

    return judge


def _one_day(reader: Reader, sample: Sample) -> None:
    found = reader.read(_last(sample))
    assert {_berlin(event) for event in found} == {(12, 0)}


def _busy(reader: Reader, sample: Sample) -> None:
    ((busy,),) = reader.read(_last(sample)).values()
    assert not busy.all_day


def _person(reader: Reader, sample: Sample) -> None:
    for recorded in sample["replies"]:
        assert list(reader.read(recorded)) == [1]


def _user(reader: Reader, sample: Sample) -> None:
    assert reader.read(_last(sample)).user_id == 1


def _scopes(reader: Reader, sample: Sample) -> None:
    assert "calendar" in reader.read(_last(sample))


def _succeeds(reader: Reader, sample: Sample) -> None:
    reader.read(_last(sample))


def _refused(reader: Reader, sample: Sample) -> None:
    with pytest.raises(Bitrix24Error):
        reader.read(_last(sample))


def _batch(reader: Reader, sample: Sample) -> None:
    assert schemas.mismatch(reader.read(_last(sample)), "replies", "batch") is None


def _good_and_refused(reader: Reader, sample: Sample) -> None:
    """The provider has its own names for commands."""
    renamed = json.loads(json.dumps(_last(sample)).replace('"a":', '"c0":').replace('"b":', '"c1":'))
    calls = [("server.time", None), ("calendar.no.such.method", None)]
    good, refused = reader.read(renamed, lambda hook: hook.batch(calls, writes=False))
    assert good.ok
    assert refused.error.code == "ERROR_METHOD_NOT_FOUND"


def _lost(reader: Reader, sample: Sample) -> None:
    """It is an error, and no success in which nothing has happened."""
    (found,) = reader.read(_last(sample), lambda hook: hook.batch([("server.time", None)], writes=False))
    assert not found.ok


JUDGES: dict[str, Callable[[Reader, Sample], None]] = {
    "Envelope: the user of a webhook": _user,
    "Envelope: the scopes of a webhook": _scopes,
    "Envelope: keys of time": _succeeds,
    "Envelope: headers of a reply": _succeeds,
    "Envelope: an error has no result and no time": _refused,
    "Refusals: a scope that is missing, in a batch": _batch,
    "Batch: one good, one refused": _good_and_refused,
    "Batch: keys 0 and 1 become lists": _batch,
    "Batch: only key 0 refused": _batch,
    "Batch: a batch inside": _batch,
    "Batch: commands that were lost": _lost,
    "Batch: the 51st command": _batch,
    "People: a filter beside the parameters": _person,
    "People: a filter in FILTER": _person,
    "Answers: an answer does not move the marks of change": _unchanged,
    "Answers: everybody's answers in ATTENDEE_LIST": _attendees,
    "Series: the rule of a series with COUNT": _series,
    "Series: dates in a list": _dates(3),
    "Rows: a meeting": _meeting,
    "Rows: an event that is no meeting names its owner at most": _plain,
    "Rows: DATE_FROM_FORMATTED in TZ_FROM": _meeting,
    "Rows: DATE_FROM_TS_UTC": _meeting,
    "Lists: a window of one day, from that day to the same": _one_day,
    "Lists: a date that ended in the 24 hours before the window": _dates(1),
    "Lists: the caller's private event among busy times": _busy,
}


@pytest.mark.parametrize("name", JUDGES)
def test_shapes_mean_the_same_to_the_provider(name: str, samples: dict[str, Sample], reader: Reader) -> None:
    JUDGES[name](reader, samples[name])


def test_every_fact_has_three_judges(samples: dict[str, Sample]) -> None:
    """A portal, the sandbox, and the provider."""
    facts = {f"{fact.topic}: {fact.name}" for fact in FACTS}
    assert set(samples) == facts
    assert {f"{fact.topic}: {fact.name}" for fact in OUTCOMES} | set(JUDGES) == facts
