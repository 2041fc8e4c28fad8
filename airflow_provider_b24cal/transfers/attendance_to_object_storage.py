"""Operator that writes the current attendance to files, in a folder for each day."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_b24cal.operators.base import Bitrix24BaseOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from airflow_provider_b24cal._airflow import Context, Templated
    from airflow_provider_b24cal.attendance.models import Snapshot
    from airflow_provider_b24cal.attendance.snapshot import Kind, Record
    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook


class Bitrix24AttendanceToObjectStorageOperator(Bitrix24BaseOperator):
    """
    Write calendars to files, in a folder for each day on which an event begins.

    Below ``path``: ``meetings/day=2026-09-16/<file_name>.jsonl`` with a row for each occurrence and
    ``attendance/day=2026-09-16/<file_name>.jsonl`` with one for each occurrence and attendee. The rows are those of
    :class:`~airflow_provider_b24cal.transfers.attendance_to_sql.Bitrix24AttendanceToSqlOperator` without a
    history; ``seen_at`` is the time of the read. Days are those of UTC, and the window is widened to whole
    days. Files of the same name are replaced, and removed for days without events: a repeated run
    gives the same rows, except for ``seen_at``. ``days/day=2026-09-16/<file_name>.jsonl`` has one row for each day that
    was read, also for a day without events; it is written last. If there are no events at all any more, the log warns:
    a loss of access looks the same. People are written as ids, unless names are requested.

    A file is replaced as a whole. On a local disk it is written under another name and renamed; if that fails, the file
    keeps what it had. On S3, GCS and Azure the storage shows a new object when its upload is complete. Other storages
    write as their implementation of fsspec does.

    XCom ``return_value``::

        {"days": 30, "files": 42, "removed": 0, "occurrences": 40, "answers": 310, "unknown": 3, "people": 0,
         "unreadable": 0}

    ``files`` does not count those below ``days``. ``unreadable`` rows are left out and logged. No file is removed for a
    day on which one of them begins, nor for a day that was read together with one whose start cannot be read.

    .. seealso:: `calendar.event.get
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-event-get.html>`__

    :param path: folder, as a URL that ``ObjectStoragePath`` knows, such as ``s3://bucket/attendance`` or
        ``file:///data/attendance``; without a scheme it is an absolute folder of the worker. (templated)
    :param storage_conn_id: connection of the storage; default what the path or its scheme says. (templated)
    :param file_format: ``jsonl`` (default), or ``parquet``, which needs the extra ``[parquet]``. (templated)
    :param file_name: name of the files, without ending; default ``bitrix24``. Tasks that write different
        calendars below the same path need names of their own. (templated)
    :param calendars: a list of ``user`` (the acting user's), ``user:7``, ``group:7`` and ``company_calendar``;
        default the acting user's. (templated)
    :param window_start: a datetime with a time zone, or its ISO text with an offset; given together with
        ``window_end``; default the data interval. (templated)
    :param window_end: the same; later, by at most four years. (templated)
    :param meeting_names: write what meetings are called; if false, ``name`` stays empty. (templated)
    :param people_names: write what people are called too, below ``people``, with a row for each day and person; default
        false. Needs the scope ``user_brief``, ``user_basic`` or ``user``, and one request more for a part in which
        somebody is new. (templated)
    :param portal: the portal's name in the rows; default the host of the connection, with a port if it has one.
        (templated)
    :param exclude_users: ids of people to leave out, a list: they are in no row that is written, nor in the counts of
        meetings. Their own calendars are refused. Files of days that are not read stay as they are. (templated)
    :param bitrix24_conn_id: a connection of type ``bitrix24``; default ``bitrix24_default``. (templated)
    :param retry_permanent_errors: whether Airflow's ``retries`` apply to errors that a retry cannot resolve; default
        True. False raises ``AirflowFailException`` in their place, which ends the task at once.

    The task fails with a :class:`~airflow_provider_b24cal.bitrix24.protocol.errors.Bitrix24Error` that says which
    argument is invalid or what the portal refused; with an ``OSError`` that names the file, such as for a full disk; or
    with another error of the storage.
    """

    template_fields: Sequence[str] = (
        "path", "storage_conn_id", "file_format", "file_name", "calendars", "window_start", "window_end",
        "meeting_names", "people_names", "portal", "exclude_users", "bitrix24_conn_id",
    )  # fmt: skip

    def __init__(
        self,
        *,
        path: Templated[str],
        storage_conn_id: str | None = None,
        file_format: Templated[str] = "jsonl",
        file_name: Templated[str] = "bitrix24",
        calendars: Templated[Sequence[Templated[str]]] | None = None,
        window_start: Templated[datetime] | None = None,
        window_end: Templated[datetime] | None = None,
        meeting_names: Templated[bool] = True,
        people_names: Templated[bool] = False,
        portal: Templated[str] | None = None,
        exclude_users: Templated[Sequence[Templated[int]]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.storage_conn_id = storage_conn_id
        self.file_format = file_format
        self.file_name = file_name
        self.calendars = calendars
        self.window_start = window_start
        self.window_end = window_end
        self.meeting_names = meeting_names
        self.people_names = people_names
        self.portal = portal
        self.exclude_users = exclude_users

    def link_target(self) -> dict[str, Any]:
        """Return what the button opens: the one calendar that is read."""
        from airflow_provider_b24cal.attendance.io.source import shown_calendar

        return shown_calendar(self.calendars)

    def _execute(self, context: Context) -> dict[str, int]:
        from dataclasses import replace

        from airflow_provider_b24cal.attendance.calendars import check_portal, whole_days
        from airflow_provider_b24cal.attendance.exclusion import check_excluded, without_users
        from airflow_provider_b24cal.attendance.io.files import FORMATS
        from airflow_provider_b24cal.attendance.io.reader import People, portal_name
        from airflow_provider_b24cal.attendance.io.source import check_source
        from airflow_provider_b24cal.attendance.reconcile import without_names
        from airflow_provider_b24cal.attendance.snapshot import by_day
        from airflow_provider_b24cal.bitrix24.validation import check_choice, check_flag
        from airflow_provider_b24cal.hooks.unreadable import UnreadableRows

        source = check_source(self.calendars, None, self.window_start, self.window_end, context)
        assert source.window is not None
        source = replace(source, window=whole_days(source.window))
        file_format = check_choice(self.file_format, FORMATS, "file_format")
        name = f"{_check_file_name(self.file_name)}.{file_format}"
        meeting_names = check_flag(self.meeting_names, "meeting_names")
        people_names = check_flag(self.people_names, "people_names")
        portal = check_portal(self.portal)
        left_out = check_excluded(self.exclude_users)
        folder = self._check_folder()
        counts = Counter(dict.fromkeys(_COUNTS, 0))
        with self._connect() as hook:
            portal = portal or portal_name(hook)
            people, unreadable = People(hook), UnreadableRows(self.log)
            for whole in source.read_ahead(hook):
                snapshot = without_users(whole, left_out)
                if people_names:
                    people.fetch_names(snapshot)
                unreadable.add(snapshot.unreadable)
                shown = snapshot if meeting_names else without_names(snapshot)
                for day, rows in by_day(shown, portal, people.found).items():
                    counts.update(_write_day(folder, name, day, rows, people=people_names))
                self._record_source(hook, portal, snapshot)
        counts.update(people=len(people.found), unreadable=unreadable.count)
        self._record_target(folder)
        self._log_counts(counts)
        return dict(counts)

    def _record_source(self, hook: Bitrix24CalendarHook, portal: str, snapshot: Snapshot) -> None:
        """Report the calendars that were read to Airflow's lineage."""
        from airflow_provider_b24cal._airflow import read_from
        from airflow_provider_b24cal.assets import calendar_uri
        from airflow_provider_b24cal.attendance.io.source import log_and_ignore

        with log_and_ignore("lineage", self.log):
            for calendar in sorted(snapshot.calendars):
                read_from(hook, calendar_uri(portal, calendar))

    def _record_target(self, folder: Any) -> None:
        """Report the folder that was written to Airflow's lineage."""
        from airflow_provider_b24cal._airflow import written_to
        from airflow_provider_b24cal.attendance.io.source import log_and_ignore

        with log_and_ignore("lineage", self.log):
            written_to(folder, str(folder))

    def _check_folder(self) -> Any:
        from airflow_provider_b24cal._airflow import ObjectStoragePath
        from airflow_provider_b24cal.bitrix24.validation import check_conn_id

        if self.storage_conn_id is not None:
            check_conn_id(self.storage_conn_id, "storage_conn_id")
        return ObjectStoragePath(_check_path(self.path), conn_id=self.storage_conn_id)

    def _log_counts(self, counts: dict[str, int]) -> None:
        if counts["removed"] and not counts["occurrences"]:
            self.log.warning(
                "The calendars are empty, and %d files were removed. The meetings were cancelled or moved, or the "
                "acting user has lost access: the portal's reply is the same.",
                counts["removed"],
            )
        self.log.info("%(occurrences)d occurrences on %(days)d days in %(files)d files", counts)


_COUNTS: Final = ("days", "files", "removed", "occurrences", "answers", "unknown", "people", "unreadable")


def _check_path(path: Any) -> Any:
    """Return the folder; a relative one is refused, because it would be in the worker's own folder."""
    from airflow_provider_b24cal._airflow import ObjectStoragePath
    from airflow_provider_b24cal.bitrix24.validation import check_name, invalid

    expected = "a URL such as s3://bucket/attendance, or an absolute folder"
    place = check_name(str(path) if isinstance(path, PurePath | ObjectStoragePath) else path, "path", expected)
    scheme, rest = place.split("://", 1) if "://" in place else ("file", place)
    authority, slash, folder = rest.partition("/")
    bucket = authority.rpartition("@")[2]  # a connection id may precede it
    if not (slash and not bucket if scheme in {"file", "local"} else bucket or folder.strip("/")):
        raise invalid("path", place, expected)
    return path


def _check_file_name(name: object) -> str:
    from airflow_provider_b24cal.bitrix24.validation import check_name, invalid

    expected = "a name without dots, slashes and the like"
    text = check_name(name, "file_name", expected)
    if not text.isprintable() or set(text) & set('./\\?#*:"<>|'):
        raise invalid("file_name", name, expected)
    return text


def _write_day(folder: Any, name: str, day: date, rows: Mapping[Kind, list[Record]], *, people: bool) -> dict[str, int]:
    """Write the files of a day, remove those without rows if the day is complete, and return counts."""
    from airflow_provider_b24cal.attendance.io.files import content, remove, write
    from airflow_provider_b24cal.attendance.models import Attendance, Day, Meeting, Person

    kinds: dict[Kind, str] = {Meeting: "meetings", Attendance: "attendance", **({Person: "people"} if people else {})}
    (read,) = rows[Day]
    counts = Counter(days=1, occurrences=len(rows[Meeting]), answers=len(rows[Attendance]))
    counts["unknown"] = sum(meeting["total"] is None for meeting in rows[Meeting])
    # That of the day is last: when it is there, the others are.
    for kind, part in {**kinds, Day: "days"}.items():
        place = folder / part / f"day={day.isoformat()}" / name
        if rows[kind]:
            write(place, content(name.rpartition(".")[2], kind, rows[kind]))
            counts["files"] += kind is not Day
        elif read["complete"]:
            counts["removed"] += remove(place)
    return counts
