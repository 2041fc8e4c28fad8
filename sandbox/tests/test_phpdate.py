from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest
from bitrix24_sandbox.phpdate import moment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-09-16", "2026-09-15T21:00"),
        ("2026-09-16T10:00", "2026-09-16T07:00"),
        ("2026-09-16 10:00:30", "2026-09-16T07:00:30"),
        ("2026-09-16T10:00:00Z", "2026-09-16T10:00"),
        ("2026-09-16T10:00:00.000Z", "2026-09-16T10:00"),
        ("2026-09-16T10:00:00+05:00", "2026-09-16T05:00"),
        ("2026-09-16T10:00:00-0530", "2026-09-16T15:30"),
        ("16.09.2026", "2026-09-15T21:00"),
        ("16.09.2026 10:00:00", "2026-09-16T07:00"),
        ("09/16/2026", "2026-09-15T21:00"),
        (" 2026-9-6 ", "2026-09-05T21:00"),
        ("2026-02-30", "2026-03-01T21:00"),
        ("2026-09-16T24:00", "2026-09-16T21:00"),
    ],
)
def test_readable(text: str, expected: str) -> None:
    found = moment(text, "Europe/Moscow")
    assert found is not None
    assert found.astimezone(UTC).isoformat().startswith(expected)


@pytest.mark.parametrize(
    "value",
    ["16/09/2026", "1789545600", 1789545600, "", None, True, {}, {0: "2026-09-16"}, "tomorrow", "2026-13-01",
     "2026-09-32", "2026-09-16T25:00", "2026-09-16T10:61", "9999-12-31", "0001-01-01", "2026-09-16x"],
)  # fmt: skip
def test_not_given(value: Any) -> None:
    assert moment(value, "Europe/Moscow") is None
