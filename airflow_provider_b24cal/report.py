"""Writes a report of attendance from the tables that ``Bitrix24AttendanceToSqlOperator`` keeps."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from airflow_provider_b24cal import clock

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


def write_attendance_report(
    path: str,
    sql_conn_id: str,
    *,
    storage_conn_id: str | None = None,
    portal: str | None = None,
    time_zone: str = "UTC",
    weeks: int = 4,
    max_rows: int = 50,
    schema: str | None = None,
    meetings_table: str = "bitrix24_meetings",
    attendance_table: str = "bitrix24_attendance",
    people_table: str = "bitrix24_people",
    now: datetime | None = None,
) -> str:
    """Write a page of HTML about the meetings of the coming weeks, and return its address.

    The page shows each meeting with who has answered how and since when, those who have not answered with the days of
    their silence, and the response rate of each week. It needs no server and no other file. Names are shown as text,
    whatever is in them. People are shown by id unless the table of people has their names.

    :param path: the file, which is replaced: a URL that ``ObjectStoragePath`` knows, such as
        ``s3://bucket/attendance.html``, or an absolute path. It ends in ``.html``.
    :param sql_conn_id: the connection of the database, as the operator was given it.
    :param storage_conn_id: connection of the storage; default what the path or its scheme says.
    :param portal: whose meetings to show, such as ``example.bitrix24.com``; default the only one in the tables.
    :param time_zone: name of the zone in which days and times are shown, such as ``Europe/Berlin``; default UTC.
    :param weeks: how many weeks of meetings to show, from the current day, 1 to 52; default 4.
    :param max_rows: how many meetings to show, how many people for each answer, and how many silent ones, 1 to 1,000;
        default 50. The page says how many are left out.
    :param schema: schema of the tables; default that of the connection.
    :param meetings_table: name of the table of meetings.
    :param attendance_table: name of the table of answers.
    :param people_table: name of the table of people; it need not exist.
    :param now: an aware datetime from which days are counted; default the current time.
    :return: the address, for XCom; with the id of the storage's connection, if one is given.
    :raises InvalidArgumentError: an argument is invalid, a table is missing, or ``portal`` is not given though the
        tables have several.
    """
    from airflow_provider_b24cal._airflow import ObjectStoragePath
    from airflow_provider_b24cal.attendance.io.database import database_hook
    from airflow_provider_b24cal.attendance.io.files import write
    from airflow_provider_b24cal.attendance.io.report_page import reading, report_page
    from airflow_provider_b24cal.attendance.io.tables import TableNames
    from airflow_provider_b24cal.bitrix24.calendar.window import check_moment
    from airflow_provider_b24cal.bitrix24.validation import check_conn_id, check_number

    if storage_conn_id is not None:
        check_conn_id(storage_conn_id, "storage_conn_id")
    place = ObjectStoragePath(_check_path(path), conn_id=storage_conn_id)
    names = TableNames(schema, meetings_table, attendance_table, people=people_table)
    moment = datetime.fromtimestamp(clock.time(), UTC) if now is None else check_moment(now, "now")
    options: dict[str, Any] = {
        "zone": _check_zone(time_zone),
        "portal": portal,
        "weeks": check_number(weeks, "weeks", 1, 52, whole=True),
        "max_rows": check_number(max_rows, "max_rows", 1, 1000, whole=True),
    }
    # Errors are logged, and must not show rows.
    engine = database_hook(sql_conn_id).get_sqlalchemy_engine({"hide_parameters": True})
    try:
        with reading(engine) as connection:
            page = report_page(connection, names, now=moment, **options)
    finally:
        engine.dispose()
    write(place, page.encode())
    return str(place)


def _check_path(path: object) -> str:
    from airflow_provider_b24cal.bitrix24.validation import check_name, invalid

    expected = "a URL such as s3://bucket/attendance.html, or an absolute path, of a file that ends in .html"
    text = check_name(str(path) if isinstance(path, PurePath) else path, "path", expected)
    scheme, _, rest = text.rpartition("://")
    folder, slash, name = rest.rpartition("/")
    # A URL begins with the bucket, which is not the file; a local path has an empty text there.
    begins_well = not folder.partition("/")[0] if scheme in {"", "file", "local"} else bool(folder)
    if not (slash and begins_well and name.endswith(".html")):
        raise invalid("path", text, expected)
    return text


def _check_zone(name: object) -> ZoneInfo:
    from zoneinfo import ZoneInfo

    from airflow_provider_b24cal.bitrix24.validation import invalid

    try:
        return ZoneInfo(name)  # type: ignore[arg-type]  # checked by trying
    except (KeyError, OSError, TypeError, ValueError):
        raise invalid("time_zone", name, "the name of a time zone, such as Europe/Berlin") from None
