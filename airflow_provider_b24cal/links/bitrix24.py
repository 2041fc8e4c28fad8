"""The button "Open in Bitrix24" of every task of this provider."""

from __future__ import annotations

from typing import Any, Final

from airflow_provider_b24cal._airflow import BaseOperator, BaseOperatorLink, read_xcom

LINK_KEY: Final = "bitrix24_link"
"""Key of the XCom that holds the address."""


class Bitrix24Link(BaseOperatorLink):
    """
    Open the meeting in Bitrix24, or the calendar when a task is about many.

    The task pushes the address to XCom before it does its work, so that failed and deferred tasks have the button too.
    Nothing in it is secret: to open the page, a user logs in to the portal.

    .. seealso:: `Calendar <https://apidocs.bitrix24.com/api-reference/calendar/index.html>`__
    """

    name = "Open in Bitrix24"

    @property
    def xcom_key(self) -> str:
        """The key under which the task has pushed the address; read by Airflow 3."""
        return LINK_KEY

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the address that the task has pushed, or an empty text."""
        return read_xcom(ti_key, LINK_KEY) or ""
