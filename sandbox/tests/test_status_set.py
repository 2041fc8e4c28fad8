from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests
    from bitrix24_sandbox.portal import Portal

SET = "calendar.meeting.status.set"
GET = "calendar.meeting.status.get"
WATCHED = (2, 652, 661, 671, 681, 721, 731, 732, 752)


def stored(portal: Portal) -> dict[int, str]:
    with portal.locked() as book:
        return {row.id: row.status for row in book.rows.values()}


@pytest.mark.parametrize("event_id", [None, "", 0, "0", False, [], {}])
@pytest.mark.parametrize("status", ["Y", "", "X", ["Y"]])
def test_event_id_is_checked_first(call: Callable[..., requests.Response], event_id: object, status: object) -> None:
    reply = call(SET, {"eventId": event_id, "status": status})
    assert reply.status_code == 400
    assert reply.json()["error"] == ""
    assert "eventId" in reply.json()["error_description"]


@pytest.mark.parametrize("status", [None, "", "0", 0, False, [], {}])
def test_empty_status_is_missing(call: Callable[..., requests.Response], status: object) -> None:
    reply = call(SET, {"eventId": 651, "status": status})
    assert reply.status_code == 400
    assert reply.json() == {
        "error": "",
        "error_description": f'The required parameter "status" is not set for the method "{SET}".',
    }


@pytest.mark.parametrize("status", ["H", "M", "YES", "Y ", " Y", True, 1, 1.5, "Д"])
def test_other_values_are_refused(call: Callable[..., requests.Response], portal: Portal, status: object) -> None:
    before = stored(portal)
    reply = call(SET, {"eventId": 651, "status": status})
    assert reply.status_code == 400
    assert reply.json() == {"error": "", "error_description": 'Invalid value of parameter "status".'}
    assert stored(portal) == before


@pytest.mark.parametrize("status", [["Y"], {"a": "Y"}])
def test_array_is_a_php_crash(call: Callable[..., requests.Response], status: object) -> None:
    reply = call(SET, {"eventId": 651, "status": status})
    assert reply.status_code == 500
    assert "json" not in reply.headers["Content-Type"]
    with pytest.raises(ValueError, match="Expecting value"):
        reply.json()


@pytest.mark.parametrize("status", ["y", "n", "q", "Y", "N", "Q"])
def test_any_case_is_stored_upper(result: Callable[..., Any], portal: Portal, status: str) -> None:
    assert result(SET, {"eventId": 651, "status": status}) is True
    assert portal.status(651, 1) == status.upper()


@pytest.mark.parametrize(
    ("event_id", "written"),
    [
        pytest.param(651, {652}, id="parent row"),
        pytest.param(652, {652}, id="own child row"),
        pytest.param(653, {652}, id="child row of somebody else"),
        pytest.param("651abc", {652}, id="cast"),
        pytest.param(True, {2}, id="true is event 1"),
        pytest.param([651], {2}, id="array is event 1"),
        pytest.param({"x": 0}, {2}, id="object is event 1"),
        pytest.param(720, {721}, id="deleted row is written too"),
        pytest.param(730, {731, 732}, id="both rows"),
        pytest.param(750, {752}, id="group meeting"),
        pytest.param("abc", set(), id="casts to 0"),
        pytest.param("00", set(), id="zero in disguise"),
        pytest.param(-3, set(), id="negative"),
        pytest.param(999999, set(), id="unknown"),
        pytest.param(731, set(), id="deleted"),
        pytest.param(690, set(), id="no meeting"),
        pytest.param(710, set(), id="not invited"),
        pytest.param(740, set(), id="group with the number of the user"),
    ],
)
def test_always_true_whatever_is_written(
    result: Callable[..., Any], portal: Portal, event_id: object, written: set[int]
) -> None:
    for row in WATCHED:
        assert stored(portal)[row] != "Y"
    before = stored(portal)
    assert result(SET, {"eventId": event_id, "status": "Y"}) is True
    after = stored(portal)
    assert {row for row in after if after[row] != before[row]} == written


def test_organiser_still_reads_h(result: Callable[..., Any], portal: Portal) -> None:
    assert result(SET, {"eventId": 651, "status": "Y"}, 2) is True
    assert result(GET, {"eventId": 651}, 2) == "H"
    assert stored(portal)[651] == "Y"


def test_leaves_change_mark_and_version(result: Callable[..., Any]) -> None:
    before = result("calendar.event.getbyid", {"id": 652})
    result(SET, {"eventId": 652, "status": "N"})
    after = result("calendar.event.getbyid", {"id": 652})
    assert (after["MEETING_STATUS"], before["MEETING_STATUS"]) == ("N", "Q")
    assert [after[key] for key in ("TIMESTAMP_X", "VERSION")] == [before[key] for key in ("TIMESTAMP_X", "VERSION")]


@pytest.mark.parametrize(
    ("start", "event_id", "status", "expected"),
    [
        # start and expected: series, first edited occurrence, second edited occurrence
        pytest.param("YNN", 660, "N", "NNN", id="N on the series stays there"),
        pytest.param("YYN", 660, "Q", "QYN", id="Q on the series stays there"),
        pytest.param("QNN", 661, "Y", "YYY", id="Y on the attendee's row after Q accepts all"),
        pytest.param("NNQ", 661, "Y", "YYY", id="Y on the attendee's row after N accepts all"),
        pytest.param("YNN", 661, "Y", "YNN", id="Y on the attendee's row after Y changes nothing"),
        pytest.param("YNN", 660, "Y", "YYY", id="Y by the parent always looks like H"),
        pytest.param("QNN", 662, "Y", "YYY", id="Y by somebody's unanswered row"),
        pytest.param("QNN", 671, "Y", "YYY", id="Y on an occurrence, series not accepted"),
        pytest.param("QNN", 670, "Y", "YYY", id="the same by the parent"),
        pytest.param("YNN", 671, "Y", "YYN", id="Y on an occurrence, series accepted"),
        pytest.param("YYY", 671, "N", "YNY", id="N on an occurrence"),
        pytest.param("QYY", 671, "Q", "QQY", id="Q on an occurrence"),
    ],
)
def test_series(
    result: Callable[..., Any], portal: Portal, start: str, event_id: int, status: str, expected: str
) -> None:
    rows = (661, 671, 681)
    with portal.locked() as book:
        book.put([replace(book.rows[row], status=letter) for row, letter in zip(rows, start, strict=True)])
    others = {row: letter for row, letter in stored(portal).items() if row not in rows}
    assert result(SET, {"eventId": event_id, "status": status}) is True
    assert "".join(stored(portal)[row] for row in rows) == expected
    assert {row: letter for row, letter in stored(portal).items() if row not in rows} == others


def test_organiser_is_reported_on_every_call(result: Callable[..., Any], portal: Portal) -> None:
    for status in ("Y", "Y", "N", "Q", "Q"):
        result(SET, {"eventId": 651, "status": status})
    result(SET, {"eventId": 700, "status": "Y"}, 2)
    assert portal.count()["notifications"] == {"651": {"accepted": 2, "declined": 3}}


@pytest.mark.parametrize("event_id", [710, 720])
def test_organiser_is_reported_by_those_not_invited_too(
    result: Callable[..., Any], portal: Portal, event_id: int
) -> None:
    result(SET, {"eventId": event_id, "status": "N"})
    assert portal.count()["notifications"] == {str(event_id): {"declined": 1}}


@pytest.mark.parametrize("event_id", ["abc", 999999, 690, 731])
def test_nobody_is_reported_about_no_meeting(result: Callable[..., Any], portal: Portal, event_id: object) -> None:
    result(SET, {"eventId": event_id, "status": "N"})
    assert portal.count()["notifications"] == {}
