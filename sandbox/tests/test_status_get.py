from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests
    from bitrix24_sandbox.portal import Portal

GET = "calendar.meeting.status.get"
REQUIRED = 'The required parameter "eventId" is not set for the method "calendar.meeting.status.get".'
GENERIC = "An error occurred while retrieving the status."


@pytest.mark.parametrize("value", [None, "", 0, 0.0, "0", False, [], {}])
def test_empty_id_is_missing(call: Callable[..., requests.Response], value: object) -> None:
    reply = call(GET, {"eventId": value})
    assert reply.status_code == 400
    assert reply.json() == {"error": "", "error_description": REQUIRED}


def test_absent_id_is_missing(call: Callable[..., requests.Response]) -> None:
    assert call(GET).json() == {"error": "", "error_description": REQUIRED}


@pytest.mark.parametrize("value", ["abc", "00", -5, "-5", 0.5, 999999, 690, 721, 731, "0x28B"])
def test_no_such_meeting_is_one_text_for_all(call: Callable[..., requests.Response], value: object) -> None:
    reply = call(GET, {"eventId": value})
    assert reply.status_code == 400
    assert reply.json() == {"error": "", "error_description": GENERIC}


@pytest.mark.parametrize("value", [651, "651", "651abc", " 651", 651.9, "651.9", "6.51e2"])
def test_casts_to_the_number(result: Callable[..., Any], value: object) -> None:
    assert result(GET, {"eventId": value}) == "Q"


@pytest.mark.parametrize("value", [True, [651], [0], {"a": 651}, "1"])
def test_casts_to_event_one(result: Callable[..., Any], value: object) -> None:
    assert result(GET, {"eventId": value}) == "N"


@pytest.mark.parametrize(
    ("user", "event_id", "expected"),
    [
        pytest.param(1, 652, "Q", id="own child row"),
        pytest.param(1, 651, "Q", id="parent row"),
        pytest.param(1, 653, "Q", id="child row of somebody else"),
        pytest.param(2, 651, "H", id="own parent row"),
        pytest.param(2, 652, "H", id="organiser by a child row"),
        pytest.param(1, 710, None, id="not invited, by parent"),
        pytest.param(1, 711, None, id="not invited, by child"),
        pytest.param(1, 720, "N", id="removed: stale answer"),
        pytest.param(1, 732, "Q", id="invited again, own new row"),
        pytest.param(1, 740, "H", id="group with the number of the user"),
        pytest.param(2, 740, "Y", id="organiser of a group meeting"),
        pytest.param(2, 780, None, id="organiser not among the guests of a company meeting"),
        pytest.param(1, 750, "Q", id="group meeting"),
        pytest.param(1, 780, "Q", id="company meeting"),
        pytest.param(1, 660, "Q", id="series"),
        pytest.param(1, 670, "N", id="edited occurrence"),
        pytest.param(4, 651, None, id="external user, who may call it"),
    ],
)
def test_status(result: Callable[..., Any], user: int, event_id: int, expected: str | None) -> None:
    assert result(GET, {"eventId": event_id}, user) == expected


@pytest.mark.parametrize(("setting", "expected"), [("oldest", "N"), ("newest", "Q")])
def test_one_of_two_rows_by_parent(result: Callable[..., Any], portal: Portal, setting: str, expected: str) -> None:
    portal.configure({"duplicate_row": setting})
    assert result(GET, {"eventId": 730}) == expected


def test_organiser_row_is_raw_when_found_by_another_row(result: Callable[..., Any]) -> None:
    assert result("calendar.meeting.status.set", {"eventId": 651, "status": "N"}, 2) is True
    assert [result(GET, {"eventId": row}, 2) for row in (651, 652)] == ["H", "N"]


@pytest.mark.parametrize("name", ["eventid", "EVENTID", "event_id", "id"])
def test_parameter_name_is_case_sensitive(call: Callable[..., requests.Response], name: str) -> None:
    assert call(GET, {name: 651}).json()["error_description"] == REQUIRED


def test_language_of_descriptions(call: Callable[..., requests.Response], portal: Portal) -> None:
    portal.configure({"language": "ru"})
    missing, unknown = call(GET).json(), call(GET, {"eventId": 5}).json()
    assert missing["error_description"] == f"Для метода «{GET}» обязателен параметр «eventId»."
    assert unknown == {"error": "", "error_description": "Произошла ошибка при получении статуса."}
