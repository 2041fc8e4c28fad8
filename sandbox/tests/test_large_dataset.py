"""A great many meetings: everybody is invited, and answers are found without looking through them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from bitrix24_sandbox import participation
from bitrix24_sandbox.models import CalendarStore, Row, SeedData
from bitrix24_sandbox.seed import default_seed_data, large_dataset


@pytest.fixture(scope="module")
def big() -> SeedData:
    return large_dataset()


def test_everybody_is_invited_by_consecutive_ids() -> None:
    seed_data = large_dataset(meetings=30, status="Y", first_id=5000, today=date(2026, 9, 16))
    assert [event.id for event in seed_data.events] == list(range(5000, 5030))
    book = CalendarStore(seed_data)
    assert {participation.read_status(book, event.id, 1, "oldest") for event in seed_data.events} == {"Y"}
    assert [row.id for row in book.calendar("user", 1)] == list(range(5030, 5060))
    assert seed_data.people == default_seed_data().people
    assert large_dataset(1, seed=2).people == default_seed_data(2).people


class Counting(dict[int, Row]):
    """Rows that count how often one is looked at."""

    looks = 0

    def __getitem__(self, key: int) -> Row:
        self.looks += 1
        return super().__getitem__(key)

    def get(self, key: int, default: Any = None) -> Any:
        self.looks += 1
        return super().get(key, default)

    def values(self) -> Any:
        raise AssertionError("looked through all rows")

    __iter__ = items = keys = values  # type: ignore[assignment]


@pytest.mark.parametrize("event_id", [100_001, 125_000, 150_000, 200_000])
def test_reading_and_writing_look_at_a_few_rows_only(big: SeedData, event_id: int) -> None:
    book = CalendarStore(big)
    rows = Counting(book.rows)
    book.rows = rows
    assert participation.read_status(book, event_id, 1, "oldest") == "Q"
    participation.write_status(book, event_id, 1, "Y", "oldest")
    assert participation.read_status(book, event_id, 1, "oldest") == "Y"
    assert book.next_id() == 200_001
    assert rows.looks < 20


def test_a_large_meeting_is_no_slower() -> None:
    seed_data = large_dataset(meetings=1)
    event = seed_data.events[0]
    guests = tuple(Row(500_000 + n, event.id, "user", 1000 + n, "Q", deleted=False) for n in range(20_000))
    book = CalendarStore(replace(seed_data, rows=(*seed_data.rows, *guests)))
    rows = Counting(book.rows)
    book.rows = rows
    assert participation.read_status(book, event.id, 1, "oldest") == "Q"
    participation.write_status(book, event.id, 1, "N", "oldest")
    assert rows.looks < 20
