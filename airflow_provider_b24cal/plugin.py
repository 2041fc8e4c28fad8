"""The page "Attendance" in Airflow's web UI, as Airflow finds it; every task's process imports this module.

Nothing of the page is imported until the API server asks for it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from airflow_provider_b24cal._airflow import HAS_PLUGIN_PAGES, AirflowPlugin, conf

PAGE_PATH: Final = "/bitrix24/attendance"
"""Where the page is, below the path of Airflow's ``[api] base_url``."""


class B24CalPlugin(AirflowPlugin):
    """Registers the page where ``[bitrix24] attendance_page_conn_id`` names a connection, from Airflow 3.1.1 on."""

    name = "b24cal"
    _registered: ClassVar[dict[str, list[dict[str, Any]]]] = {}

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]  # Airflow reads an attribute
        """The page's application; made when it is first asked for."""
        if "apps" not in self._registered:
            self._registered["apps"] = _applications()
        return self._registered["apps"]

    @property
    def external_views(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The page's entry in the navigation."""
        if "views" not in self._registered:
            view = {
                "name": "Attendance",
                # Relative to the base URL, so that it holds behind a path too.
                "href": f"{PAGE_PATH.lstrip('/')}/meetings",
                "destination": "nav",
                "url_route": "bitrix24-attendance",
            }
            self._registered["views"] = [view] if attendance_page_conn_id() else []
        return self._registered["views"]


def attendance_page_conn_id() -> str:
    """Return the connection of the page's database; an empty text if there is no page."""
    return _option("attendance_page_conn_id") if HAS_PLUGIN_PAGES else ""


def meetings_path(event_ids: list[int]) -> str:
    """Return the path of the page that shows some meetings, below Airflow's base URL.

    :param event_ids: ids of the meetings.
    """
    return f"{PAGE_PATH}/meetings?{urlencode({'event_id': event_ids}, doseq=True)}"


def _option(name: str) -> str:
    return str(conf.get("bitrix24", name, fallback="") or "").strip()


def _applications() -> list[dict[str, Any]]:
    conn_id = attendance_page_conn_id()
    if not conn_id:
        return []
    from airflow_provider_b24cal.attendance_page.app import make_app

    app = make_app(conn_id, schema=_option("attendance_page_schema") or None)
    return [{"name": "Bitrix24 attendance", "app": app, "url_prefix": PAGE_PATH}]
