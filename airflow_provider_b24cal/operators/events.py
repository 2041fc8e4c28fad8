"""Operator that lists the events of a calendar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_b24cal.operators.base import Bitrix24BaseOperator

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from airflow_provider_b24cal._airflow import Context, Templated
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent


class Bitrix24ListEventsOperator(Bitrix24BaseOperator):
    """
    List the events of a calendar in a window, each occurrence of a series by itself.

    XCom ``return_value``, in order of the start::

        [{"event_id": 651, "parent_id": 650, "name": "Budget", "start": "2026-09-16T08:00:00+00:00",
          "end": "2026-09-16T09:00:00+00:00", "status": "Q", "all_day": false,
          "accepted": 3, "declined": 0, "silent": 2}]

    ``status`` is the answer of the calendar's owner, ``null`` for an event that is no meeting. The counts are
    without the organiser, and ``null`` when the portal does not show the attendees. Occurrences of a series share their
    ``event_id``. An all-day event has midnights UTC. More events than fit into 48 KiB, about 200, are all returned, and
    the log warns.

    XCom ``unreadable`` is the number of rows that cannot be read, mostly 0. They are left out, and the log has the id
    and the reason for each. If no row can be read, the task fails.

    .. seealso:: `calendar.event.get
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-event-get.html>`__

    :param window_start: a datetime with a time zone, or its ISO text with an offset; days of all-day events
        are understood in this zone. (templated)
    :param window_end: the same; later, by at most four years. (templated)
    :param calendar_type: ``user``, ``group`` or ``company_calendar``. (templated)
    :param owner_id: user or group, a positive whole number or its decimal text; default the acting user.
        (templated)
    :param only_meetings: leave out events without attendees. (templated)
    :param statuses: a list of answers of the calendar's owner, ``Y``, ``N``, ``Q`` and ``H``; default
        any. (templated)
    :param sections: only events in these sections of the calendar, a list of ids; one that is not of this
        calendar finds nothing, and is no error. Invitations lie in a section of their own. (templated)
    :param bitrix24_conn_id: a connection of type ``bitrix24``; default ``bitrix24_default``. (templated)
    :param retry_permanent_errors: whether Airflow's ``retries`` apply to errors that a retry cannot resolve; default
        True. False raises ``AirflowFailException`` in their place, which ends the task at once.

    The task fails with a :class:`~airflow_provider_b24cal.bitrix24.protocol.errors.Bitrix24Error` that says which
    argument is invalid or what the portal refused.
    """

    template_fields: Sequence[str] = (
        "window_start", "window_end", "calendar_type", "owner_id", "only_meetings", "statuses", "sections",
        "bitrix24_conn_id",
    )  # fmt: skip

    def __init__(
        self,
        *,
        window_start: Templated[datetime],
        window_end: Templated[datetime],
        calendar_type: Templated[str] = "user",
        owner_id: Templated[int] | None = None,
        only_meetings: Templated[bool] = True,
        statuses: Templated[Iterable[Templated[str]]] | None = None,
        sections: Templated[Iterable[Templated[int]]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.window_start = window_start
        self.window_end = window_end
        self.calendar_type: Any = calendar_type
        self.owner_id: Any = owner_id
        self.only_meetings: Any = only_meetings
        self.statuses: Any = statuses
        self.sections: Any = sections

    def link_target(self) -> dict[str, Any]:
        """Return what the button opens: the calendar listed."""
        return {"calendar_type": self.calendar_type, "owner_id": self.owner_id}

    def _execute(self, context: Context) -> list[dict[str, Any]]:
        from airflow_provider_b24cal.bitrix24.calendar.listing import check_listing
        from airflow_provider_b24cal.bitrix24.calendar.window import Window, check_moment
        from airflow_provider_b24cal.bitrix24.serialization import XCOM_LIMIT, size_of
        from airflow_provider_b24cal.operators.task_log import log_table, status_label

        window = Window(
            check_moment(self.window_start, "window_start"),
            check_moment(self.window_end, "window_end"),
        )
        wanted = check_listing(
            window, self.calendar_type, self.owner_id, self.only_meetings, self.statuses, self.sections
        )
        with self._connect() as hook:
            found = hook.read_listing(wanted)
        events = found.events
        self.log.info("%d events from %s to %s", len(events), window.start, window.end)
        log_table(
            self.log,
            "Events",
            ("event", "start", "status", "name"),
            [(event.id, f"{event.start:%Y-%m-%d %H:%M}Z", status_label(event.status), event.name) for event in events],
        )
        rows = [_row(event) for event in events]
        if (size := size_of(rows)) > XCOM_LIMIT:
            self.log.warning(
                "These events take %d KiB in XCom, which is meant for less. List a shorter window or fewer sections, "
                "or read the events with the hook in the @task that needs them.",
                size // 1024,
            )
        if self.do_xcom_push and (task_instance := context.get("ti")) is not None:
            task_instance.xcom_push(key="unreadable", value=len(found.unreadable))
        return rows


def _row(event: CalendarEvent) -> dict[str, Any]:
    answers = None if event.guests is None else [guest.status.value for guest in event.guests]
    counts = {"accepted": "Y", "declined": "N", "silent": "Q"}
    return {
        "event_id": event.id,
        "parent_id": event.parent_id,
        "name": event.name,
        "start": event.start.isoformat(),
        "end": event.end.isoformat(),
        "status": None if event.status is None else event.status.value,
        "all_day": event.all_day,
        **{name: None if answers is None else answers.count(letter) for name, letter in counts.items()},
    }
