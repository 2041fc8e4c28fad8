"""Lists of events; for this portal it is always 16 September 2026, 08:00 UTC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from bitrix24_sandbox.portal import Portal

GET, NEAREST, BUSY = "calendar.event.get", "calendar.event.get.nearest", "calendar.accessibility.get"


def at(day: str, hour: int = 10, zone: str = "Europe/Berlin") -> dict[str, str]:
    return {"start": f"{day}T{hour:02}:00", "end": f"{day}T{hour + 1:02}:00", "time_zone": zone}


def invited(row_id: int, status: str = "Q", user: int = 1) -> list[dict[str, object]]:
    return [{"user": user, "id": row_id, "status": status}]


DATA: dict[str, Any] = {
    "people": [
        {"id": 1, "name": "Anna", "time_zone": "Asia/Almaty", "webhook": {"secret": "anna000000000001"}},
        {"id": 2, "name": "Martin", "admin": True, "webhook": {"secret": "martin0000000002"}},
        {"id": 3, "name": "Closed", "shares": "none", "webhook": {"secret": "closed0000000003"}},
        {"id": 4, "name": "Guest", "external": True, "webhook": {"secret": "guest00000000004"}},
        {"id": 5, "name": "Dora", "webhook": {"secret": "dora000000000005"}},
    ],
    "events": [
        {"id": 10, "name": "Single", "host": 2, **at("2026-09-20"), "attendees": invited(11)},
        {"id": 20, "name": "Declined", "host": 2, **at("2026-09-21"), "attendees": invited(21, "N")},
        {"id": 30, "name": "Daily", "host": 2, **at("2026-09-14", 22), "except": ["2026-09-17"],
         "repeat": {"frequency": "DAILY", "count": 10}, "attendees": invited(31, "Y")},
        {"id": 40, "name": "Moved", "host": 2, "series": 30, **at("2026-09-17"), "attendees": invited(41)},
        {"id": 50, "name": "Own", "host": 1, **at("2026-09-22")},
        {"id": 60, "name": "Endless", "host": 5, **at("2026-09-16"), "repeat": {"frequency": "WEEKLY"},
         "attendees": invited(61, user=2)},
        {"id": 70, "name": "Private", "host": 5, "private": True, **at("2026-09-23"), "attendees": []},
        {"id": 80, "name": "Behind doors", "host": 3, **at("2026-09-24"), "attendees": invited(81, "Y")},
        {"id": 85, "name": "Invisible", "host": 3, **at("2026-09-24")},
        {"id": 90, "name": "Of a group", "host": 2, "calendar": {"type": "group", "owner": 7},
         **at("2026-09-25"), "attendees": invited(91)},
        {"id": 100, "name": "Free", "host": 5, "accessibility": "free", **at("2026-09-23", 14)},
        {"id": 110, "name": "Whole days", "host": 5, "all_day": True, "start": "2026-09-26", "end": "2026-09-27"},
        {"id": 120, "name": "Past", "host": 5, **at("2026-08-10")},
        {"id": 130, "name": "Far", "host": 5, **at("2027-01-10")},
        {"id": 140, "name": "Removed", "host": 2, **at("2026-09-20"),
         "attendees": [{"user": 1, "id": 141, "removed": True}]},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return DATA


@pytest.fixture(scope="module")
def portal_clock() -> Callable[[], float]:
    return lambda: 1_789_545_600.0


@pytest.fixture
def mine(result: Callable[..., Any]) -> Callable[..., Any]:
    """List a calendar, that of user 1 unless reported otherwise."""

    def get(owner: int = 1, user: int = 1, **more: object) -> Any:
        return result(GET, {"type": "user", "ownerId": owner, **more}, user)

    return get


def ids(records: Any) -> list[str]:
    return [record["ID"] for record in records]


def days(records: Any, event_id: str) -> list[str]:
    return [record["DATE_FROM_FORMATTED"][4:10] for record in records if record["ID"] == event_id]


# calendar.event.get


@pytest.mark.parametrize("parameters", [{}, {"type": ""}, {"type": None, "ownerId": 1}, {"TYPE": "user"}])
def test_type_is_required(call: Callable[..., requests.Response], parameters: object) -> None:
    reply = call(GET, parameters)
    assert (reply.status_code, reply.json()["error"]) == (400, "")
    assert '"type"' in reply.json()["error_description"]


@pytest.mark.parametrize("parameters", [{"type": "user"}, {"type": "user", "ownerId": 99}, {"type": "x", "ownerId": 1}])
def test_an_owner_not_named_is_nobody(result: Callable[..., Any], parameters: object) -> None:
    assert result(GET, parameters) == []


@pytest.mark.parametrize("method", [GET, BUSY])
def test_external_users_are_refused(call: Callable[..., requests.Response], method: str) -> None:
    reply = call(method, {"type": "user", "ownerId": 4, "users": [1], "from": "2026-09-16", "to": "2026-09-17"}, 4)
    assert (reply.status_code, reply.json()) == (400, {"error": "", "error_description": "Access denied."})


def test_a_calendar(mine: Callable[..., Any], call: Callable[..., requests.Response]) -> None:
    records = mine()
    assert sorted(set(ids(records)), key=int) == ["11", "21", "31", "41", "50", "81", "91"]
    by_id = {record["ID"]: record for record in records}
    # Declined meetings are kept.
    assert {name: by_id[name]["MEETING_STATUS"] for name in ("11", "21", "31", "50")} == {
        "11": "Q", "21": "N", "31": "Y", "50": "H",
    }  # fmt: skip
    assert by_id["41"]["RECURRENCE_ID"] == 30
    single = by_id["11"]
    assert (single["ACTIVE"], single["DT_FROM"], single["DT_TO"], single["TEXT_COLOR"]) == ("Y", None, None, "")
    assert "RINDEX" not in single
    whole = call(GET, {"type": "user", "ownerId": 1, "start": 1}).json()
    assert set(whole) == {"result", "time"}
    assert len(whole["result"]) == len(records)


def test_status_is_that_of_the_owner(mine: Callable[..., Any]) -> None:
    assert {record["MEETING_STATUS"] for record in mine(1, user=2) if record["ID"] == "11"} == {"Q"}
    assert {record["MEETING_STATUS"] for record in mine(2, user=1) if record["ID"] == "10"} == {"H"}


def test_days_of_a_series(mine: Callable[..., Any], portal: Portal) -> None:
    found = [record for record in mine() if record["ID"] == "31"]
    assert [record["RINDEX"] for record in found] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert days(found, "31") == [f"Sep {day}" for day in (14, 15, 16, 18, 19, 20, 21, 22, 23)]
    second = found[1]
    assert (second["DATE_FROM"], second["DATE_TO"]) == ("15.09.2026 22:00:00", "15.09.2026 23:00:00")
    assert (second["~DATE_FROM"], second["~DATE_TO"]) == ("14.09.2026 22:00:00", "14.09.2026 23:00:00")
    # The first start and, of a series of ten days too, an end in 2038; both three hours early.
    assert {record["DATE_FROM_TS_UTC"] for record in found} == {str(1789416000 - 3 * 3600)}
    assert {record["DATE_TO_TS_UTC"] for record in found} == {str(2145916800 + (23 - 3 - 1) * 3600)}
    portal.configure({"server_zone": "UTC"})
    assert {record["DATE_FROM_TS_UTC"] for record in mine() if record["ID"] == "31"} == {"1789416000"}


def test_a_day_of_a_series_may_end_a_day_before_the_window(mine: Callable[..., Any]) -> None:
    window = {"from": "2026-09-19T20:59:00+03:00", "to": "2026-09-20"}
    # Stored three hours early, 23:00 in Berlin counts as 21:00 in Moscow: 18 September is within the day to spare.
    assert days(mine(**window), "31") == ["Sep 18", "Sep 19", "Sep 20"]
    assert days(mine(**{**window, "from": "2026-09-19T21:00:00+03:00"}), "31") == ["Sep 19", "Sep 20"]


def test_days_of_a_series_are_counted_within_the_window(mine: Callable[..., Any]) -> None:
    def numbers(start: str) -> list[int]:
        return [record["RINDEX"] for record in mine(**{"from": start}) if record["ID"] == "31"]

    # The first day has 0 only if the series begins with it; excluded days are counted.
    assert numbers("2026-09-14") == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert numbers("2026-09-18T12:00") == [1, 2, 3, 4, 5, 6]
    assert numbers("2026-09-22T12:00") == [1, 1, 2]


@pytest.mark.parametrize(
    ("window", "found"),
    [
        pytest.param({"from": "2026-09-20", "to": "2026-09-21"}, True, id="overlaps"),
        pytest.param({"from": "2026-09-20", "to": "2026-09-20"}, True, id="the last day belongs to it"),
        pytest.param({"from": "2026-09-18", "to": "2026-09-19"}, False, id="before"),
        pytest.param({"from": "2026-09-21", "to": "2026-09-22"}, False, id="after"),
        pytest.param({"from": "2026-09-20T09:00:00Z", "to": "2026-09-22"}, False, id="ended, as it is stored"),
        pytest.param({"from": "2026-09-20T06:00:00Z", "to": "2026-09-22"}, True, id="ends at the start"),
        pytest.param({"from": "20.09.2026", "to": "09/20/2026"}, True, id="other forms"),
        pytest.param({"from": "2026-09-21"}, False, id="no end, and begins too late"),
        pytest.param({"to": "2026-09-20"}, True, id="no start"),
        pytest.param({"to": "2026-09-19"}, False, id="no start, and ends too early"),
        pytest.param({"from": "21/09/2026", "to": "1789999999"}, True, id="unreadable: as if not given"),
    ],
)
def test_window(mine: Callable[..., Any], window: dict[str, object], found: bool) -> None:
    assert ("11" in ids(mine(**window))) is found


def test_default_window(mine: Callable[..., Any]) -> None:
    assert "120" not in ids(mine(5))
    assert "130" not in ids(mine(5))
    assert "120" in ids(mine(5, to="2026-09-01"))
    assert "130" in ids(mine(5, **{"from": "2026-09-01"}))
    assert len(days(mine(5), "60")) == 13


def test_without_an_end_series_reach_to_2038(mine: Callable[..., Any]) -> None:
    found = [record for record in mine(5, **{"from": "2026-09-01"}) if record["ID"] == "60"]
    assert len(found) == 589
    assert found[-1]["DATE_FROM_FORMATTED"].startswith("Mon Dec 28 2037")


def test_a_weekly_rule_without_weekday_is_monday(mine: Callable[..., Any], result: Callable[..., Any]) -> None:
    record = result("calendar.event.getbyid", {"id": 60})
    assert (record["RRULE"]["BYDAY"], record["DATE_FROM_FORMATTED"][:3]) == ({"MO": "MO"}, "Wed")
    assert "60" not in ids(mine(5, **{"from": "2026-09-16", "to": "2026-09-17"}))
    assert days(mine(5, **{"from": "2026-09-16", "to": "2026-09-28"}), "60") == ["Sep 21", "Sep 28"]


def test_sections(mine: Callable[..., Any]) -> None:
    records = {record["ID"]: record["SECTION_ID"] for record in mine()}
    own, invitations = records["50"], records["11"]
    assert own != invitations
    assert ids(mine(section=int(own))) == ["50"]
    assert set(ids(mine(section=[invitations]))) == set(records) - {"50"}
    assert set(ids(mine(section=[own, invitations]))) == set(records)
    assert mine(section=999) == []
    assert mine(2, section=int(own)) == []
    assert set(ids(mine(section=0))) == set(records)


def test_hidden_calendars(mine: Callable[..., Any]) -> None:
    # An attendee sees the meeting, but not the section it lies in.
    found = mine(3)
    assert [(record["ID"], record["MEETING_STATUS"]) for record in found] == [("80", "H")]
    section = int(found[0]["SECTION_ID"])
    assert mine(3, section=section) == []
    assert ids(mine(3, user=2, section=section)) == ids(mine(3, user=3, section=section)) == ["80", "85"]


def test_restricted_view(mine: Callable[..., Any]) -> None:
    for user in (1, 2):
        (private,) = [record for record in mine(5, user) if record["ID"] == "70"]
        assert (private["NAME"], private["IS_ACCESSIBLE_TO_USER"]) == ("[Busy]", False)
        assert not {"DESCRIPTION", "LOCATION", "ATTENDEE_LIST"} & set(private)
    (own,) = [record for record in mine(5, 5) if record["ID"] == "70"]
    assert own["NAME"] == "Private"


def test_calendar_of_a_group(result: Callable[..., Any]) -> None:
    assert ids(result(GET, {"type": "group", "ownerId": 7})) == ["90"]
    assert result(GET, {"type": "group", "ownerId": 1}) == []


@pytest.mark.parametrize(
    ("culture", "first", "single", "excluded"),
    [
        ("american", "09/14/2026 10:00:00 pm", "09/20/2026 10:00:00 am", "09/17/2026"),
        ("spanish", "14/09/2026 22:00:00", "20/09/2026 10:00:00", "17/09/2026"),
    ],
)
def test_cultures(
    culture: str, first: str, single: str, excluded: str, mine: Callable[..., Any], portal: Portal
) -> None:
    portal.configure({"culture": culture})
    found = {record["ID"]: record for record in mine()}
    assert found["31"]["~DATE_FROM"] == first
    assert found["11"]["DATE_FROM"] == single
    assert found["31"]["EXDATE"] == excluded
    assert found["11"]["DATE_FROM_FORMATTED"] == "Sun Sep 20 2026 10:00:00"


# calendar.event.get.nearest


def test_nearest(result: Callable[..., Any]) -> None:
    found = result(NEAREST, {})
    assert ids(found)[:4] == ["31", "41", "31", "31"]
    assert set(ids(found)) == {"11", "31", "41", "50", "81", "91"}
    moved = found[1]
    assert not [name for name in moved if name.startswith("TZ_")]
    # Almaty is three hours ahead of Berlin; the server in Moscow takes that clock for its own.
    assert (moved["DATE_FROM"], moved["DATE_TO"]) == ("17.09.2026 13:00:00", "17.09.2026 14:00:00")
    assert moved["DT_FROM_TS"] == 1789639200
    assert moved["DT_TO_TS"] - moved["DT_FROM_TS"] == 3600
    assert moved["~WEEK_DAY"] == "Thu"
    assert moved["~FROM_TO_HTML"]
    assert moved["~URL"] == "/company/personal/user/1/calendar/?EVENT_ID=41&EVENT_DATE=17.09.2026"
    assert "~detailUrl" not in moved


def test_nearest_detail_url(result: Callable[..., Any]) -> None:
    # Lower-cased, and without its query; the date has the caller's time of day and is not encoded.
    found = result(NEAREST, {"detailUrl": "/A/#User_ID#/?x=1"})
    assert found[1]["~detailUrl"] == "/a/1/?EVENT_ID=41&EVENT_DATE=17.09.2026 13:00:00"


def test_nearest_days(result: Callable[..., Any]) -> None:
    assert ids(result(NEAREST, {"days": 0})) == ["31"]
    assert ids(result(NEAREST, {"days": 1})) == ["31", "41"]
    assert ids(result(NEAREST, {"days": 4})) == ["31", "41", "31", "31", "11", "31"]
    assert "130" not in ids(result(NEAREST, {}, 5))
    assert "130" in ids(result(NEAREST, {"days": 200}, 5))
    assert result(NEAREST, {"days": 10**12}, 5)


@pytest.mark.parametrize(
    ("parameters", "others"),
    [
        ({"type": "user", "ownerId": 5, "forCurrentUser": False}, True),
        ({"type": "user", "ownerId": 999, "forCurrentUser": "0"}, True),
        ({"type": "user", "ownerId": 5, "forCurrentUser": "false"}, False),
        ({"type": "user", "ownerId": 5, "forCurrentUser": True}, False),
        ({"type": "user", "ownerId": 5}, False),
        ({"type": "user", "forCurrentUser": False}, False),
        ({"ownerId": 5, "forCurrentUser": False}, False),
    ],
)
def test_nearest_of_whom(result: Callable[..., Any], parameters: object, others: bool) -> None:
    found = set(ids(result(NEAREST, parameters)))
    assert ({"70", "110", "10"} <= found) is others
    assert "11" in found
    assert "85" not in found


def test_nearest_of_a_group(result: Callable[..., Any], call: Callable[..., requests.Response]) -> None:
    found = result(NEAREST, {"type": "group", "ownerId": 1, "forCurrentUser": 0})
    assert [(record["ID"], record["~URL"].split("?")[0]) for record in found] == [
        ("90", "/company/personal/user/1/calendar/")
    ]
    reply = call(NEAREST, {"type": "no such", "ownerId": 1, "forCurrentUser": 0})
    assert (reply.status_code, reply.json()["error_description"]) == (400, "Access denied.")


def test_nearest_gives_seventy_five_at_most(result: Callable[..., Any]) -> None:
    assert len(result(NEAREST, {"days": 3000}, 5)) == 75
    assert len(result(NEAREST, {"days": 3000, "maxEventsCount": 500}, 5)) == 75
    assert len(result(NEAREST, {"days": 3000, "maxEventsCount": 2}, 5)) == 2
    assert result(NEAREST, {"maxEventsCount": 0}, 5) == []


# calendar.accessibility.get


def busy(result: Callable[..., Any], users: object, start: str = "2026-09-20", end: str = "2026-09-26") -> Any:
    return result(BUSY, {"users": users, "from": start, "to": end})


def test_accessibility(result: Callable[..., Any]) -> None:
    found = busy(result, [1, 5, "3", 99])
    assert list(found) == ["1", "5", "3", "99"]
    # Unanswered meetings take time, declined ones and free time do not.
    assert sorted(set(ids(found["1"])), key=int) == ["11", "31", "50", "81", "91"]
    assert set(ids(found["5"])) == {"60", "70", "110"}
    assert found["99"] == []
    single = found["1"][0]
    assert {name: single[name] for name in ("ID", "NAME", "DATE_FROM", "TZ_FROM", "ACCESSIBILITY", "EVENT_TYPE")} == {
        "ID": "11", "NAME": "Single", "DATE_FROM": "20.09.2026 10:00:00", "TZ_FROM": "Europe/Berlin",
        "ACCESSIBILITY": "busy", "EVENT_TYPE": None,
    }  # fmt: skip
    assert set(single) == {
        "ID", "NAME", "DATE_FROM", "DATE_TO", "DATE_FROM_TS_UTC", "DATE_TO_TS_UTC", "~USER_OFFSET_FROM",
        "~USER_OFFSET_TO", "DT_SKIP_TIME", "TZ_FROM", "TZ_TO", "ACCESSIBILITY", "IMPORTANCE", "EVENT_TYPE",
    }  # fmt: skip


def test_accessibility_hides_names(result: Callable[..., Any], portal: Portal) -> None:
    portal.configure({"language": "ru"})
    names = {item["ID"]: item["NAME"] for item in busy(result, [3, 5])["5"] + busy(result, [3])["3"]}
    assert (names["70"], names["85"], names["80"]) == ("[Занят]", "[Занят]", "Behind doors")


def test_accessibility_takes_whole_days(result: Callable[..., Any]) -> None:
    assert ids(busy(result, [1], "2026-09-20T23:59", "2026-09-20T00:01")["1"]) == ["11", "31", "31"]
    assert ids(busy(result, [5], "2026-09-27", "2026-09-27")["5"]) == ["110"]
    assert ids(busy(result, [5], "2026-09-28", "2026-09-28")["5"]) == ["60"]


@pytest.mark.parametrize("users", ["1", 1, ["x"], [0, -5], [None]])
def test_accessibility_of_nobody(result: Callable[..., Any], users: object) -> None:
    assert busy(result, users) == []


@pytest.mark.parametrize("missing", ["users", "from", "to"])
def test_accessibility_needs_all_three(call: Callable[..., requests.Response], missing: str) -> None:
    parameters: dict[str, object] = {"users": [1], "from": "2026-09-20", "to": "2026-09-26"}
    for value in ({}, {missing: ""}):
        kept = {name: one for name, one in parameters.items() if name != missing}
        reply = call(BUSY, {**kept, **value})
        assert (reply.status_code, reply.json()["error"]) == (400, "")
        assert f'"{missing}"' in reply.json()["error_description"]
