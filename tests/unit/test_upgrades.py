"""What 0.1.0 has stored, every later 0.x reads: waits under way, tokens, state files, cursors and connections.

The samples are in ``tests/stored``, a folder for each version that has stored something new. They were written by that
version, and are never changed afterwards.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal.bitrix24.calendar.methods import STATUS_GET
from airflow_provider_b24cal.bitrix24.protocol.errors import CLASSES
from airflow_provider_b24cal.bitrix24.protocol.limits import Plan
from airflow_provider_b24cal.bitrix24.settings import Settings
from airflow_provider_b24cal.client.operating import OperatingTimes
from airflow_provider_b24cal.client.rate_limiter import RateLimiter
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.clock import Clock
from tests.sensor_runner import context_of
from tests.standin import Answer, Request, serve

STORED = Path(__file__).parents[1] / "stored"
CONN_ID = "bitrix24_default"
NOON = datetime(2026, 9, 15, 12, tzinfo=UTC).timestamp()
"""When the samples were written."""


def _samples(kind: str) -> Any:
    """Return a decorator that runs a test with each sample of a kind, of all versions."""
    files = sorted(STORED.glob(f"*/{kind}.json"))
    found = {f"{file.parent.name}: {one['name']}": one for file in files for one in json.loads(file.read_text("utf-8"))}
    assert found, kind
    return pytest.mark.parametrize("sample", found.values(), ids=list(found))


def _load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def _sensor(sample: Mapping[str, Any], **more: Any) -> Any:
    """Return the sensor of a sample, as the DAG file writes it."""
    return _load(sample["sensor"]["class"])(task_id="wait", **sample["sensor"]["arguments"], **more)


def _answer(portal: Portal, sample: Mapping[str, Any]) -> None:
    for event_id, user_id, letter in sample["answers"]:
        portal.answer(event_id, user_id, letter)


async def _payloads(trigger: Any, most: int) -> list[Any]:
    found: list[Any] = []
    async for event in trigger.run():
        found.append(event.payload)
        if len(found) == most:
            break
    return found


@_samples("triggers")
def test_a_deferred_wait_goes_on(sample: Any, connection: str, portal: Portal, clock: Clock) -> None:
    """The triggerer loads the row, and the task resumes with its event."""
    clock.now = NOON
    _answer(portal, sample)
    trigger = _load(sample["row"]["classpath"])(**sample["row"]["kwargs"])
    (event,) = asyncio.run(_payloads(trigger, 2))
    sensor = _sensor(sample, deferrable=True)
    assert sensor.resume_execution("execute_complete", {"event": event}, context_of(clock)) == sample["expected"]


@_samples("trigger_events")
def test_a_task_resumes_with_a_stored_event(sample: Any, clock: Clock) -> None:
    sensor, context = _sensor(sample, deferrable=True), context_of(clock)
    if "expected" in sample:
        assert sensor.resume_execution("execute_complete", {"event": sample["event"]}, context) == sample["expected"]
        return
    with pytest.raises(Exception, match=r".") as caught:
        sensor.resume_execution("execute_complete", {"event": sample["event"]}, context)
    assert type(caught.value).__name__ == sample["raises"]
    if sample["event"]["error"] is not None:
        error: Any = caught.value
        assert sample["event"]["error"].items() <= error.to_dict().items()


def test_every_class_of_errors_is_among_the_stored_events() -> None:
    events = json.loads((STORED / "0.1.0" / "trigger_events.json").read_text("utf-8"))
    stored = {one["event"]["error"]["class"] for one in events if one["event"]["error"]}
    assert stored <= set(CLASSES)
    assert len(stored) > 20


@_samples("rescheduled")
def test_a_rescheduled_wait_goes_on(sample: Any, connection: str, portal: Portal, airflow_clock: Clock) -> None:
    airflow_clock.now = NOON
    _answer(portal, sample)
    context = context_of(airflow_clock)
    context["task_state_store"][sample["key"]] = sample["value"]
    before = portal.counters.methods[STATUS_GET]
    assert _sensor(sample, mode="reschedule").execute(context) == sample["expected"]
    assert portal.counters.methods[STATUS_GET] - before == sample["statuses_read"], "what has arrived is not read"


@_samples("watcher")
def test_a_watcher_goes_on(sample: Any, connection: str, portal: Portal, clock: Clock) -> None:
    """Pending events are fired again with the same ids, and changes since then have theirs."""

    class Store:
        async def aget(self, key: str) -> Any:
            return sample["value"] if key == sample["key"] else None

        async def aset(self, key: str, value: Any) -> None:
            """Nothing has to be stored."""

    clock.now = NOON
    clock.later(3600, lambda: pytest.fail("The watcher fires no more events."))
    _answer(portal, sample)
    trigger = _load(sample["row"]["classpath"])(**sample["row"]["kwargs"])
    trigger.asset_state_store = Store()
    assert asyncio.run(_payloads(trigger, len(sample["expected"]))) == sample["expected"]


@pytest.mark.parametrize("store", ["file", "variable"])
@_samples("token_store")
def test_stored_tokens_are_used(
    sample: Any, store: str, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The portal accepts only the access token in the store."""
    if store == "file":
        (tmp_path / f"{sample['key']}.json").write_text(sample["text"], "utf-8")
    else:
        monkeypatch.setenv(f"AIRFLOW_VAR_{sample['key'].upper()}", sample["text"])

    def answer(request: Request) -> Answer:
        if request.body["auth"] == json.loads(sample["text"])["access_token"]:
            return Answer({"result": {"ID": "5"}})
        return Answer({"error": "expired_token", "error_description": "Words of the portal"}, 401)

    with serve(answer) as url:
        named = {"token_store": f"file:{tmp_path}" if store == "file" else "variable", "auth_server": url}
        extra = {**sample["connection"], **named, "plan": "self_hosted"}
        monkeypatch.setenv("AIRFLOW_CONN_STORED", json.dumps({"conn_type": "bitrix24", "host": url, "extra": extra}))
        with Bitrix24CalendarHook("stored") as hook:
            assert hook.whoami().user_id == 5


@_samples("state_files")
def test_state_files_are_read(sample: Any, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / sample["file"]
    file.write_bytes(bytes.fromhex(sample["content"]))
    file.chmod(0o600)
    clock.now = sample["now"]
    monkeypatch.setattr("airflow_provider_b24cal.client.rate_limiter.time", clock.time)
    monkeypatch.setattr("airflow_provider_b24cal.client.rate_limiter._random", lambda: 0.5)
    if "origin" in sample:
        limiter = RateLimiter(sample["origin"], Plan(sample["rate"], sample["burst"]), tmp_path)
        assert [limiter.reserve() for _ in sample["expected"]] == sample["expected"]
    else:
        assert OperatingTimes(sample["account"], tmp_path).release(sample["method"]).seconds == sample["expected"]


class NoStore:
    """The token store of a sample that names one by its dotted path."""

    def load(self, key: str) -> str | None:
        return None

    def save(self, key: str, text: str) -> None:
        """Nothing is stored here."""


def shown(settings: Settings) -> dict[str, Any]:
    """Return settings as JSON values, secrets included."""
    grant, plan, proxy = settings.grant, settings.plan, settings.proxy
    credential: Any = settings.endpoint.credential
    values: dict[str, Any] = {
        "origin": settings.endpoint.origin, "timeout": settings.timeout, "verify": settings.verify,
        "proxy": proxy and proxy.reveal(), "plan": plan and [plan.rate, plan.burst],
        "max_in_flight": settings.max_in_flight,
    }  # fmt: skip
    if settings.rate_limit_conn_id is not None:
        values["rate_limit"] = [settings.rate_limit_conn_id, settings.rate_limit_group]
    if grant is None:
        return {**values, "user_id": credential.user_id, "code": credential.code.reveal()}
    application = grant.application
    return {
        **values,
        "client_id": application.client_id, "client_secret": application.client_secret.reveal(),
        "auth_server": application.server_of(grant.pair), "access_token": grant.pair.access.reveal(),
        "refresh_token": grant.pair.refresh.reveal(), "token_store": grant.store, "key": grant.key,
    }  # fmt: skip


@_samples("connections")
def test_connections_have_the_same_settings(sample: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_STORED", sample["connection"])
    assert shown(Bitrix24CalendarHook("stored")._client.settings()) == sample["expected"]
