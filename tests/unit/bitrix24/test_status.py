"""The letters."""

from __future__ import annotations

import pickle

import pytest

from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus


def test_letters_are_text() -> None:
    assert MeetingStatus("Y") is MeetingStatus.ACCEPTED
    assert MeetingStatus.ORGANISER == "H"
    assert [status.value for status in MeetingStatus] == ["Y", "N", "Q", "H"]


def test_an_unexplained_letter_is_carried_along() -> None:
    tentative = MeetingStatus("M")
    assert tentative is MeetingStatus("M")
    assert tentative == "M"
    assert tentative not in list(MeetingStatus)
    assert pickle.loads(pickle.dumps(tentative)) is tentative


@pytest.mark.parametrize("value", ["", "y", "YY", "Я", "1", None, 1, True])
def test_anything_else_is_none(value: object) -> None:
    with pytest.raises(ValueError, match="not a valid MeetingStatus"):
        MeetingStatus(value)
