"""Operator that maintains tables of attendance, with the history that a portal does not keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_b24cal.operators.base import Bitrix24BaseOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Engine

    from airflow_provider_b24cal._airflow import Asset, AssetAlias, Context, Templated
    from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
    from airflow_provider_b24cal.attendance.models import Snapshot
    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook


class Bitrix24AttendanceToSqlOperator(Bitrix24BaseOperator):
    """
    Synchronise three tables with calendars: meetings, answers, and the changes of answers.

    What has ended gets a ``vanished_at`` and a reason; no row is deleted, unless you ask for it. A moved meeting keeps
    its answers. Repeated runs, windows in any order, two runs at once, and a killed run with its retry give the same
    tables. Each part of a window, 25 days, is one transaction. The tables are locked while a part is read and written;
    another run waits up to 600 seconds for the lock. The database is SQLite, PostgreSQL, MySQL or MariaDB. A calendar
    that has become empty while its meetings still exist is a warning in the log: a loss of access looks the same.

    XCom ``return_value``::

        {"occurrences": 40, "new": 2, "changed": 1, "unchanged": 36, "moved": 1, "vanished": 0,
         "unknown": 3, "answers": 310, "answer_changes": 1, "people": 0, "unreadable": 0}

    An occurrence in two parts of the window counts once. ``unknown`` counts occurrences whose attendees the portal does
    not show. ``unreadable`` rows are left out and logged; the stored rows of their meetings stay as they are. With
    ``keep_days`` or ``exclude_users`` there are also ``removed_occurrences``, ``removed_answers``, ``removed_changes``
    and ``removed_people``.

    People are stored as ids, unless names are requested. The tables are the task's outlets, unless you give others:
    :func:`~airflow_provider_b24cal.assets.table_asset`. The events of these assets carry the counts. Another outlet is
    an alias, :func:`~airflow_provider_b24cal.assets.database_alias`. Through it the run emits events for the URIs that
    Airflow's provider of the database uses, such as ``postgres://host:5432/database/schema/table``; SQLite has none.
    Airflow must know outlets when it parses the DAG: if the name of a table or connection, ``people_names`` or
    ``crm_links`` is a template, and in a mapped task (``.partial()``), give ``outlets`` yourself.

    .. seealso:: `calendar.event.get
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-event-get.html>`__

    :param sql_conn_id: a connection whose hook is a ``DbApiHook``. (templated)
    :param calendars: a list of ``user`` (the acting user's), ``user:7``, ``group:7`` and ``company_calendar``;
        default the acting user's. (templated)
    :param window_start: a datetime with a time zone, or its ISO text with an offset. Days of all-day events are
        in this zone. Given together with ``window_end``; default the data interval. (templated)
    :param window_end: the same; later, by at most four years. (templated)
    :param event_ids: single meetings in place of calendars and window, a list of their ``parent_id``; of a series
        the first date is read. (templated)
    :param schema: schema of the tables; default that of the connection. (templated)
    :param meetings_table: name of the table with one row per occurrence. (templated)
    :param attendance_table: name of the table with one row per occurrence and attendee. (templated)
    :param changes_table: name of the table with one row per observed change of an answer. (templated)
    :param people_names: store the names of people too, in a table of their own; default false. Needs the scope
        ``user_brief``, ``user_basic`` or ``user``, and one more request for a part with new people. E-mail addresses
        need the scope ``user_basic`` or ``user``. (templated)
    :param people_table: name of the table with one row per person. (templated)
    :param crm_links: store the CRM items that meetings are linked to, in a table of their own; default false.
        (templated)
    :param crm_links_table: name of the table with one row per link. (templated)
    :param create_tables: create tables, columns and indexes that are missing, and log the statements; default false:
        the task fails if a table or a column is missing, and the error has the statements. (templated)
    :param meeting_names: store the names and places of meetings; if false, the column ``name`` stays empty, and
        ``location`` is null. (templated)
    :param portal: the portal's name in the tables; default the host of the connection, with a port if it has one. Name
        it if the host may change or differs between tasks: rows of two names are those of two portals. The log warns if
        the host is new and the same meetings are there under another name. (templated)
    :param keep_days: days after the end of an occurrence for which it is kept with its answers and changes, 1 to
        36,500; default None: for ever. What is older is removed at the end of the run, with the names of people who are
        in no other row. The window must not begin before that. (templated)
    :param exclude_users: ids of people to leave out, a list. Their stored answers, changes and names are deleted at the
        start of the run, and no run writes them again while they are in this list. Counts of meetings leave them out,
        and meetings that they organise have no ``host_id``. Their own calendars are refused. Give it to all tasks that
        write the tables. (templated)
    :param bitrix24_conn_id: a connection of type ``bitrix24``; default ``bitrix24_default``. (templated)
    :param retry_permanent_errors: whether Airflow's ``retries`` apply to errors that a retry cannot resolve; default
        True. False raises ``AirflowFailException`` in their place, which ends the task at once.

    The task fails with a :class:`~airflow_provider_b24cal.bitrix24.protocol.errors.Bitrix24Error` that says which
    argument is invalid, what the database lacks, or what the portal refused; with a ``TimeoutError`` if the lock was
    not released in time; with a ``ConnectionError`` if the session that held it was lost; or with an error of the
    database. Parts that were written before stay.
    """

    template_fields: Sequence[str] = (
        "sql_conn_id", "calendars", "window_start", "window_end", "event_ids", "schema", "meetings_table",
        "attendance_table", "changes_table", "create_tables", "meeting_names", "people_names", "people_table",
        "crm_links", "crm_links_table", "portal", "keep_days", "exclude_users", "bitrix24_conn_id",
    )  # fmt: skip

    def __init__(
        self,
        *,
        sql_conn_id: str,
        calendars: Templated[Sequence[Templated[str]]] | None = None,
        window_start: Templated[datetime] | None = None,
        window_end: Templated[datetime] | None = None,
        event_ids: Templated[Sequence[Templated[int]]] | None = None,
        schema: str | None = None,
        meetings_table: str = "bitrix24_meetings",
        attendance_table: str = "bitrix24_attendance",
        changes_table: str = "bitrix24_attendance_changes",
        create_tables: Templated[bool] = False,
        meeting_names: Templated[bool] = True,
        people_names: Templated[bool] = False,
        people_table: str = "bitrix24_people",
        crm_links: Templated[bool] = False,
        crm_links_table: str = "bitrix24_crm_links",
        portal: Templated[str] | None = None,
        keep_days: Templated[int] | None = None,
        exclude_users: Templated[Sequence[Templated[int]]] | None = None,
        **kwargs: Any,
    ) -> None:
        tables = [
            meetings_table, attendance_table, changes_table,
            *([people_table] if people_names is True else ()), *([crm_links_table] if crm_links is True else ()),
        ]  # fmt: skip
        names = [sql_conn_id, *tables, *(() if schema is None else (schema,))]
        known = people_names in (True, False) and crm_links in (True, False) and all(map(_is_known, names))
        if "outlets" not in kwargs and known:
            kwargs["outlets"] = _outlets(sql_conn_id, tables, schema)
        super().__init__(**kwargs)
        self.sql_conn_id = sql_conn_id
        self.calendars = calendars
        self.window_start = window_start
        self.window_end = window_end
        self.event_ids = event_ids
        self.schema = schema
        self.meetings_table = meetings_table
        self.attendance_table = attendance_table
        self.changes_table = changes_table
        self.create_tables = create_tables
        self.meeting_names = meeting_names
        self.people_names = people_names
        self.people_table = people_table
        self.crm_links = crm_links
        self.crm_links_table = crm_links_table
        self.portal = portal
        self.keep_days = keep_days
        self.exclude_users = exclude_users

    def link_target(self) -> dict[str, Any]:
        """Return what the button opens: the one calendar or meeting that is read."""
        from airflow_provider_b24cal.attendance.io.source import shown_calendar

        return super().link_target() if self.event_ids is not None else shown_calendar(self.calendars)

    def _execute(self, context: Context) -> dict[str, int]:
        from airflow_provider_b24cal.attendance.calendars import check_portal
        from airflow_provider_b24cal.attendance.io.database import database_hook
        from airflow_provider_b24cal.attendance.io.reader import portal_name
        from airflow_provider_b24cal.attendance.io.removal import check_removal
        from airflow_provider_b24cal.attendance.io.source import check_source, log_and_ignore
        from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
        from airflow_provider_b24cal.attendance.io.sync import Sync
        from airflow_provider_b24cal.attendance.io.tables import TableNames
        from airflow_provider_b24cal.bitrix24.validation import check_flag

        source = check_source(self.calendars, self.event_ids, self.window_start, self.window_end, context)
        names = TableNames(
            self.schema, self.meetings_table, self.attendance_table, self.changes_table, self.people_table,
            self.crm_links_table,
        )  # fmt: skip
        portal = check_portal(self.portal)
        removal = check_removal(self.keep_days, self.exclude_users, source.window)
        create = check_flag(self.create_tables, "create_tables")
        stored = {
            name: check_flag(getattr(self, name), name) for name in ("meeting_names", "people_names", "crm_links")
        }
        sql_hook = database_hook(self.sql_conn_id)
        # Errors are logged, and must not show rows.
        engine: Engine = sql_hook.get_sqlalchemy_engine({"hide_parameters": True})
        try:
            with self._connect() as hook:
                store = AttendanceStore(engine, names, portal or portal_name(hook), **stored)
                if statements := store.prepare(create=create, rights=removal.rights):
                    self.log.info("Created in the database:\n%s", statements)
                uris = _standard_uris(store)
                removed = removal.remove_users(store)
                sync = Sync(
                    hook, store, self.log, exclude_users=removal.user_ids,
                    portals_with=store.portals_with if portal is None else None,
                )  # fmt: skip
                for read in source.parts(hook):
                    snapshot = sync.update(read)
                    with log_and_ignore("lineage", self.log):
                        self._record_lineage(hook, sql_hook, store, snapshot)
                removed.update(removal.remove_older(store))
        finally:
            engine.dispose()
        counts = {**sync.counts, **removed}
        self.log.info(", ".join(f"{number} {name.replace('_', ' ')}" for name, number in counts.items()))
        self._add_counts(context, counts, uris)
        return counts

    def _record_lineage(
        self, hook: Bitrix24CalendarHook, sql_hook: Any, store: AttendanceStore, snapshot: Snapshot
    ) -> None:
        """Report the source and the target of the rows to Airflow's lineage."""
        from urllib.parse import quote

        from airflow_provider_b24cal._airflow import read_from, written_to
        from airflow_provider_b24cal.assets import calendar_uri

        for calendar in sorted({calendar for calendar, _ in snapshot.seen} | snapshot.calendars):
            read_from(hook, calendar_uri(store.portal, calendar))
        url, dialect = store.engine.url, store.engine.dialect.name
        for table, uri in zip(store.needed, _standard_uris(store), strict=True):
            path = "/".join(quote(part.strip("/")) for part in (url.database, table.name) if part)
            written_to(sql_hook, uri or f"{dialect}://{url.host or ''}/{path}")

    def _add_counts(self, context: Context, counts: Mapping[str, int], uris: Sequence[str | None]) -> None:
        """Give the events of the outlets the counts; an alias gets events of the tables' standard assets."""
        from airflow_provider_b24cal._airflow import Asset, AssetAlias
        from airflow_provider_b24cal.attendance.io.source import log_and_ignore

        if (events := context.get("outlet_events")) is None:
            return
        for outlet in self.outlets:
            if not isinstance(outlet, AssetAlias):
                events[outlet].extra = dict(counts)
                continue
            for uri in filter(None, uris):
                # Airflow's provider of the database refuses what it takes for no URI of a table.
                with log_and_ignore("standard asset", self.log):
                    events[outlet].add(Asset(uri=uri), extra=dict(counts))


def _outlets(sql_conn_id: str, tables: Sequence[str], schema: str | None) -> list[Asset | AssetAlias]:
    from airflow_provider_b24cal.assets import database_alias, table_asset

    return [*(table_asset(sql_conn_id, table, schema) for table in tables), database_alias(sql_conn_id)]


def _standard_uris(store: AttendanceStore) -> list[str | None]:
    """Return the URI of each table by the rules of Airflow's provider for its database."""
    from airflow_provider_b24cal.assets import database_uri

    url, dialect = store.engine.url, store.engine.dialect
    return [
        database_uri(
            dialect.name, url.host, url.port, url.database, table.schema or dialect.default_schema_name, table.name
        )
        for table in store.needed
    ]


def _is_known(name: object) -> bool:
    """Return whether a name is known when the DAG is parsed; what is no name is refused when the task runs."""
    return isinstance(name, str) and "{" not in name
