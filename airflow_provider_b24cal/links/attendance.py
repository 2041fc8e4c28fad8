"""The button "Attendance" of every task of this provider."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from airflow_provider_b24cal._airflow import BaseOperator, BaseOperatorLink, conf

_MAX_EVENT_IDS: Final = 100
"""What the page takes at once."""


class AttendanceLink(BaseOperatorLink):
    """
    Open the page *Attendance* of Airflow's web UI at the meetings of a task.

    A task without meetings of its own, such as a sync, or with more than a hundred opens the page as it is. There is no
    button while the page is off, or before Airflow 3.1.1. Workers have to know the page's settings too.
    """

    name = "Attendance"

    @property
    def xcom_key(self) -> str:
        """The key under which Airflow stores the address after each run of the task."""
        return "bitrix24_attendance_link"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the path of the page on Airflow's host, or an empty text if there is no page."""
        from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
        from airflow_provider_b24cal.plugin import attendance_page_conn_id, meetings_path

        if not attendance_page_conn_id():
            return ""
        try:
            event_ids = event_ids_of(operator)
        except InvalidArgumentError:
            return ""  # the task itself has failed with this error
        path = meetings_path(event_ids if len(event_ids) <= _MAX_EVENT_IDS else []).rstrip("?")
        return urlsplit(str(conf.get("api", "base_url", fallback=""))).path.rstrip("/") + path


def event_ids_of(operator: Any) -> list[int]:
    """Return the ids of the meetings that an operator's rendered arguments name, each once.

    :raises InvalidArgumentError: one of them is no id.
    """
    from airflow_provider_b24cal.bitrix24.validation import check_event_id

    many, statuses = getattr(operator, "event_ids", None), getattr(operator, "statuses", None)
    named = [getattr(operator, "event_id", None)]
    named += many if isinstance(many, list | tuple | set | frozenset | range) else []
    # Of an operator that lists events, they are letters to look for.
    named += statuses if isinstance(statuses, dict) else []
    return list(dict.fromkeys(check_event_id(event_id) for event_id in named if event_id is not None))
