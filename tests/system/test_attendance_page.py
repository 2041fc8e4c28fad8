"""The page "Attendance" in a real API server: who may see it, and what it answers to whom."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.message import Message
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import create_engine

from airflow_provider_b24cal._airflow import HAS_PLUGIN_PAGES
from airflow_provider_b24cal.attendance.models import Snapshot
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from dev.local_airflow import LocalAirflow
from tests.attendance_page import HOSTILE, HOSTILE_PERSON, PATH, fill_tables, page_settings, this_monday
from tests.stored_tables import DAY, make_meeting, make_store, write

pytest.importorskip("airflow.providers.sqlite")
pytestmark = [
    pytest.mark.xdist_group("attendance_page"),
    pytest.mark.skipif(not HAS_PLUGIN_PAGES, reason="pages of plugins know their readers from Airflow 3.1.1 on"),
]
ROUTES = ("/", "/meetings", "/people", "/changes", "/waiting", "/meetings.json", "/static/page.css", "/static/theme.js",
          "/static/waiting.js", "/static/none", "/openapi.json", "/docs", "/redoc", "/none")  # fmt: skip
SHOWN = ROUTES[:9]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "LOCK")
SCRIPT_SOURCE = "script-src 'self'"


class Reply(NamedTuple):
    status: int
    headers: Message
    text: str


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect())


class Reader:
    """Somebody who asks the API server.

    :param token: what the browser keeps in its cookie of Airflow; ``None`` for nobody.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url, self._headers = url, {"Cookie": f"_token={token}"} if token else {}

    def get(self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Reply:
        request = urllib.request.Request(
            self.url + PATH + path, method=method, headers={**self._headers, **(headers or {})}
        )
        try:
            with OPENER.open(request, timeout=60) as reply:
                return Reply(reply.status, reply.headers, reply.read().decode())
        except urllib.error.HTTPError as refusal:
            return Reply(refusal.code, refusal.headers, refusal.read().decode())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    home = tmp_path_factory.mktemp("airflow")
    fill_tables(home / "attendance.db")
    with LocalAirflow(home, tmp_path_factory.mktemp("dags"), page_settings(home / "attendance.db")) as running:
        running.migrate()
        running.start(["api-server"])
        yield running


def _reader(server: LocalAirflow, name: str) -> Reader:
    passwords = json.loads((server.home / "simple_auth_manager_passwords.json.generated").read_text("utf-8"))
    login = json.dumps({"username": name, "password": passwords[name]}).encode()
    request = urllib.request.Request(
        f"{server.url}/auth/token", data=login, headers={"Content-Type": "application/json"}
    )
    with OPENER.open(request, timeout=60) as reply:
        return Reader(server.url, json.loads(reply.read())["access_token"])


@pytest.fixture(scope="module")
def admin(server: LocalAirflow) -> Reader:
    return _reader(server, "admin")


@pytest.fixture(scope="module")
def viewer(server: LocalAirflow) -> Reader:
    return _reader(server, "viewer")


@pytest.fixture(scope="module")
def nobody(server: LocalAirflow) -> Reader:
    return Reader(server.url)


@pytest.mark.parametrize("route", ROUTES)
def test_only_who_may_read_the_connection_is_let_in(route: str, admin: Reader, viewer: Reader, nobody: Reader) -> None:
    for method in METHODS:
        assert nobody.get(route, method).status == 401, method
        assert viewer.get(route, method).status == 403, method
    wanted = (303 if route == "/" else 200) if route in SHOWN else 404
    assert (admin.get(route).status, admin.get(route, "HEAD").status) == (wanted, wanted)
    for method in METHODS[2:]:
        refused = admin.get(route, method)
        assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD"), method


@pytest.mark.parametrize("route", ROUTES)
def test_every_reply_forbids_foreign_code_and_foreign_frames(route: str, admin: Reader, nobody: Reader) -> None:
    for reply in (admin.get(route), nobody.get(route), admin.get(route, "POST")):
        policy = reply.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", SCRIPT_SOURCE, "frame-ancestors 'self'", "base-uri 'none'"} <= set(policy)
        assert not [part for part in policy if "unsafe" in part]
        assert reply.headers["X-Frame-Options"] == "SAMEORIGIN"
        assert reply.headers["Cache-Control"] == "no-store"


def test_other_sites_may_link_to_the_page_and_nothing_else(admin: Reader) -> None:
    for site in ("cross-site", "same-site"):
        for use in ("iframe", "script", "image", "empty", "style"):
            embedded = admin.get("/meetings", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Dest": use})
            assert embedded.status == 403
            assert "Planning" not in embedded.text
        linked = admin.get("/meetings", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "document"})
        assert linked.status == 200
    own = admin.get("/meetings", headers={"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "iframe"})
    assert own.status == 200
    foreign = admin.get("/meetings.json?event_id=651", headers={"Origin": "https://elsewhere.example"})
    assert foreign.headers["Access-Control-Allow-Origin"] is None


def test_names_are_text(admin: Reader) -> None:
    for route in ("/meetings", "/people", f"/meetings?text={urllib.request.quote(HOSTILE)}"):
        page = admin.get(route).text
        assert HOSTILE not in page
        assert HOSTILE_PERSON not in page
    assert json.loads(admin.get("/meetings.json?event_id=670,999").text) == {"670": {"parent_id": 668, "name": HOSTILE}}
    assert admin.get("/meetings.json?event_id=668").headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("tz=Mars/Base", "Invalid tz &#39;Mars/Base&#39;: expected the name of a time zone, such as Europe/Berlin."),
        ("tz=../../etc/passwd", "Invalid tz"),
        ("week=soon", "Invalid week &#39;soon&#39;: expected a day of the week, such as 2026-11-30."),
        ("week=9999-12-31", "Invalid week"),
        ("event_id=651,none", "Invalid event_id &#39;none&#39;"),
        ("start=soon", "Invalid start &#39;soon&#39;: expected the start of a meeting, such as 2026-11-30T09:00:00Z."),
        ("start=0001-01-01T00:00:00%2B14:00", "Invalid start"),
        ("page=0", "Invalid page"),
        ("person=99999999999999999999", "Invalid person"),
        ("portal=elsewhere", "Invalid portal &#39;elsewhere&#39;: expected one of those in the tables: example."),
        (f"text={'x' * 201}", "Invalid text"),
        ("text=%00", "Invalid text"),
    ],
)
def test_what_is_invalid_in_an_address_is_named(query: str, message: str, admin: Reader) -> None:
    refused = admin.get(f"/meetings?{query}")
    assert refused.status == 400
    assert message in refused.text
    assert "Traceback" not in refused.text


@contextmanager
def _copy_in_use(server: LocalAirflow) -> Iterator[Path]:
    """Let the server show a copy of the database, which may be changed."""
    file, kept = server.home / "attendance.db", server.home / "kept.db"
    file.rename(kept)
    try:
        shutil.copy(kept, file)
        yield file
    finally:
        kept.replace(file)


@pytest.mark.parametrize("guests", [60, 600])
def test_all_who_are_silent_to_one_date_of_a_series_are_two_clicks_away(
    guests: int, server: LocalAirflow, admin: Reader
) -> None:
    with _copy_in_use(server) as file:
        engine, monday = create_engine(f"sqlite:///{file}"), this_monday()
        dates = tuple(make_meeting(690, monday + number * DAY, "Q" * guests, name="Daily") for number in range(30))
        window = Window(monday, monday + 40 * DAY)
        seen = tuple(("user:1", event) for event in dates)
        write(make_store(engine), Snapshot(datetime.now(UTC), seen, frozenset(), window))
        engine.dispose()
        link = 'href="(.*?)">Show this meeting alone'
        series = admin.get("/meetings?event_id=690&tz=Asia/Tokyo").text
        assert len(series.encode()) < 200_000
        assert series.count("silent for") == 25 * 20
        one = re.findall(link, series)[0].replace("&amp;", "&")
        alone = admin.get(f"/{one}").text
        assert len(alone.encode()) < 200_000
        assert alone.count("silent for") == min(guests, 500)
        assert alone.count("<summary>") == 1
        assert f"{(monday + 29 * DAY):%-d %b %Y}, 09:00" in alone
        assert ("Not shown: 100 people." in alone) is (guests == 600)
        assert not re.search(link, alone)
        back = re.search('href="(.*?)">Show all its dates', alone)
        assert back
        assert admin.get(f"/{back[1].replace('&amp;', '&')}").text.count("<summary>") == 25
        other = admin.get("/meetings?event_id=690&start=2026-01-01T09:00:00Z").text
        assert "no meeting with this id that begins then" in other


def test_without_names_people_are_found_by_their_ids(server: LocalAirflow, admin: Reader) -> None:
    assert admin.get("/meetings?person=%C2%B2").status == 200
    with _copy_in_use(server) as file:
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("DROP TABLE bitrix24_people")
        for path in ("meetings", "people", "changes"):
            assert admin.get(f"/{path}?person=12").status == 200
            for name in ("Dora", "\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT THREE}"):
                refused = admin.get(f"/{path}?person={urllib.request.quote(name)}")
                assert refused.status == 400, (path, name)
                assert "expected a user id. The tables have no names of people." in refused.text


def test_what_is_wrong_with_the_data_is_said(server: LocalAirflow, admin: Reader) -> None:
    """The server goes on meanwhile, and shows the data again when they are there again."""
    file, kept = server.home / "attendance.db", server.home / "kept.db"
    file.rename(kept)
    try:
        gone = admin.get("/meetings")
        assert gone.status == 503
        assert "There is no file" in gone.text
        assert not file.exists()
        file.touch()
        empty = admin.get("/people")
        assert empty.status == 400
        assert "Missing tables: bitrix24_meetings, bitrix24_attendance." in empty.text
        assert "Bitrix24AttendanceToSqlOperator creates and fills them." in empty.text
        assert admin.get("/waiting").status == 200
        file.unlink()
        fill_tables(file, datetime.now(UTC) - timedelta(days=3))
        stale = admin.get("/changes")
        assert "Stale data: the last sync was 3 days ago." in stale.text
    finally:
        kept.replace(file)
    assert "Stale data" not in admin.get("/changes").text


def test_a_zone_moves_times_and_weeks(admin: Reader) -> None:
    in_utc, in_tokyo = admin.get("/meetings").text, admin.get("/meetings?tz=Asia/Tokyo").text
    assert ", 09:00" in in_utc
    assert ", 18:00" in in_tokyo
    assert "<dd>Asia/Tokyo</dd>" in in_tokyo
    # Links keep the zone.
    assert 'href="people?tz=Asia%2FTokyo"' in in_tokyo


def test_earlier_weeks_and_single_meetings_are_an_address_away(admin: Reader) -> None:
    earlier = re.search(r'href="(meetings\?week=[\d-]+)">Earlier weeks', admin.get("/meetings").text)
    assert earlier
    page = admin.get(f"/{earlier[1]}").text
    assert "Last week, " in page
    assert "Retrospective" in page
    assert "Planning" not in page
    for query in ("event_id=650&event_id=651", "event_id=650,651"):
        page = admin.get(f"/meetings?{query}").text
        assert re.findall(r'<span class="name"><bdi>(.*?)</bdi>', page) == ["Planning", "Retrospective"]
