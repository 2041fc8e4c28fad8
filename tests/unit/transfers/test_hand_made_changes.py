"""The scenarios of hand-made changes, with the operator, a portal over sockets and each kind of database."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.server import SandboxServer
from sqlalchemy import create_engine, select, text
from sqlalchemy.engine import URL, Engine

from airflow_provider_b24cal.attendance.io.tables import TableNames, define
from tests.clock import Clock
from tests.databases import DATABASES, connect_airflow, database
from tests.hand_made_changes import ANNA, CALENDARS, DATA, SCENARIOS, Hand, Scenario
from tests.transfer_runs import sync

TABLES = define(TableNames())


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return DATA


@pytest.fixture(scope="module", params=DATABASES)
def tables_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    """A database for all scenarios; each has a name of the portal of its own."""
    folder: Path = tmp_path_factory.mktemp("tables")
    with database(request.param, folder) as url:
        yield url


@pytest.fixture
def engine(tables_url: URL, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The database behind the connection ``warehouse``."""
    connect_airflow(tables_url, monkeypatch)
    engine = create_engine(tables_url)
    yield engine
    engine.dispose()


def short(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return f"{moment.astimezone(UTC) if moment.tzinfo else moment:%m-%dT%H:%M}"


def rows(engine: Engine, table: Any, portal: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(select(table).where(table.c.portal == portal)))


def live(engine: Engine, portal: str) -> dict[Any, Any]:
    """Return the meetings that are there, without the times of the readings, and of the organiser's row.

    A calendar may not show that row, and a reading by id does.
    """
    own = {"portal", "first_seen", "last_seen", "created_at", "updated_at", "portal_created", "portal_changed"}
    return {
        (row.parent_id, short(row.occurrence_start)): {k: v for k, v in row._mapping.items() if k not in own}
        for row in rows(engine, TABLES.meetings, portal)
        if row.vanished_at is None
    }


def live_answers(engine: Engine, portal: str) -> dict[Any, Any]:
    return {
        (row.parent_id, short(row.occurrence_start), row.user_id): (row.status, row.is_host)
        for row in rows(engine, TABLES.attendance, portal)
        if row.vanished_at is None
    }


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_hand_made_changes(
    scenario: Scenario, engine: Engine, server: SandboxServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = server.connection_json(ANNA)
    monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", stored)
    portal, fresh = f"{scenario.name.replace(' ', '-')}.example", "fresh." + scenario.name.replace(" ", "-")

    def run_sql(statement: str) -> None:
        with engine.begin() as connection:
            connection.execute(text(statement), {"portal": portal})

    def rename() -> None:
        other = json.loads(stored) | {"host": server.url.replace("127.0.0.1", "localhost")}
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", json.dumps(other))

    hand = Hand(server.portal, run_sql, rename)
    arguments = {"calendars": CALENDARS, **scenario.window}
    sync(portal=portal, **arguments)
    for step in scenario.steps:
        step(hand)
        counts = sync(portal=portal, **arguments)
    assert {name: counts[name] for name in scenario.counts} == scenario.counts
    changes = rows(engine, TABLES.changes, portal)
    assert sorted(
        ((one.parent_id, short(one.occurrence_start), one.user_id, one.old_status, one.new_status) for one in changes),
        key=repr,
    ) == sorted(scenario.changes, key=repr)
    assert all(one.old_seen_at < one.new_seen_at for one in changes)
    ended = [row for row in rows(engine, TABLES.meetings, portal) if row.vanished_at is not None]
    assert sorted(
        (row.parent_id, short(row.occurrence_start), row.vanished_reason, short(row.moved_to)) for row in ended
    ) == sorted(scenario.ended)

    # What is there is what a first sync into empty tables would write.
    sync(portal=fresh, **arguments)
    now, expected = live(engine, portal), live(engine, fresh)
    assert {key: row for key, row in now.items() if key not in scenario.beyond} == expected
    assert set(scenario.beyond) <= now.keys()
    answers_now, expected_answers = live_answers(engine, portal), live_answers(engine, fresh)
    inside = {key: one for key, one in answers_now.items() if key[:2] not in scenario.beyond}
    if scenario.answers_kept:
        assert inside.items() > expected_answers.items()
    else:
        assert inside == expected_answers
    assert all((key[0], key[1]) in now for key in answers_now)

    # A sync without changes writes no change, and asks once for each part.
    before: Any = server.portal.count()
    again = Counter(sync(portal=portal, **arguments))
    after: Any = server.portal.count()
    assert +again == {name: again[name] for name in ("occurrences", "unchanged", "unknown", "answers") if again[name]}
    assert after["requests"] - before["requests"] == (2 if scenario.window["window_start"] < "2026-10" else 1)
