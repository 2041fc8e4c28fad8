"""Every cell of the matrix: how it ends, how many requests it takes, and what the portal holds afterwards."""

from __future__ import annotations

import re
from typing import Any

import pytest

from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error, MeetingsFailedError
from tests.faults.leaks import chain
from tests.faults.paths import PAIR, Ran
from tests.faults.player import LocalAirflow, Player
from tests.faults.table import FAULTS, MATRIX, PATHS, SET, Cell, Fault
from tests.portal_data import MANY, NOTIFYING, SILENT

TIMEOUT_S = {"get": 300, "set": 300, "many": 900, "poke": 960, "wait": 960}
"""Seconds of waiting that a path bears at most: of many meetings each request by itself, of sensors each poll."""


@pytest.mark.parametrize(("fault", "path"), MATRIX, ids=[f"{fault.name}-{path}" for fault, path in MATRIX])
def test_cell(fault: Fault, path: str, play: Player, stage: LocalAirflow) -> None:
    cell = fault.cells[path]
    ran = play(fault, path)
    _check_end(ran, cell, path, fault.letter)
    links = [] if ran.error is None else chain(ran.error)
    assert all(isinstance(link, Bitrix24Error) for link in links), "others' errors may hold the address"
    least, most = cell.requests
    assert least <= stage.sent <= most, "requests"
    assert sum(stage.clock.slept) <= TIMEOUT_S[path]
    _check_portal(stage, cell, path)


def _check_end(ran: Ran, cell: Cell, path: str, letter: str) -> None:
    if cell.error is None:
        if ran.error is not None:
            raise ran.error
        _CHECKS[path](ran.value, letter)
    elif path == "many":
        assert type(ran.error) is MeetingsFailedError, ran.error
        assert {failure["error"] for failure in ran.pushed["failures"].values()} == {cell.error.__name__}
        found = re.match(r"(\d+) of 120 meetings failed", str(ran.error))
        assert found is not None, ran.error
        least, most = cell.failed or (120, 120)
        assert least <= int(found[1]) <= most
    else:
        assert type(ran.error) is cell.error, ran.error


def _check_many(value: Any, letter: str) -> None:
    assert list(value) == [str(event_id) for event_id in MANY]
    assert set(value.values()) == {"Q", letter}


def _check_set(value: Any, _: str) -> None:
    assert (value["changed"], value["statuses"]) == (1, {str(NOTIFYING): "Y"})


def _same(value: Any, wanted: Any) -> None:
    assert value == wanted


_CHECKS: dict[str, Any] = {
    "get": _same,
    "set": _check_set,
    "many": _check_many,
    "poke": lambda value, _: _same(value, {str(SILENT): "Q"}),
    "wait": lambda value, _: _same(value, {str(event_id): "Y" for event_id in PAIR}),
}


def _check_portal(stage: LocalAirflow, cell: Cell, path: str) -> None:
    count: Any = stage.portal.count()
    if path == "set":
        assert stage.portal.status(NOTIFYING, 1) == cell.stored
        assert _notices(count) == cell.reported, "notifications"
    else:
        assert stage.portal.status(SILENT, 1) == "Q"
        assert (_notices(count), count["methods"].get(SET, 0)) == (0, 0), "reading changes nothing"


def _notices(count: Any) -> int:
    return sum(sum(kinds.values()) for kinds in count["notifications"].values())


def test_the_matrix_is_as_large_as_promised() -> None:
    assert len(FAULTS) >= 24
    assert len(MATRIX) >= 120
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert all(fault.cells.keys() <= PATHS.keys() for fault in FAULTS)
