"""The button "Open in Bitrix24" of every task of this provider."""

from __future__ import annotations

from typing import Any, Final

from airflow_provider_b24cal._airflow import BaseOperator, BaseOperatorLink, read_xcom

LINK_KEY: Final = "bitrix24_link"
"""Key of the XCom that holds the address."""


class Bitrix24Link(BaseOperatorLink):
    """
    Open the meeting in Bitrix24, or the calendar when a task is about many.

    The address is left in XCom before the task does its work, so that failed and deferred tasks have the button
    too. Nothing in it is secret: whoever opens it logs in to the portal.

    .. seealso:: `Calendar <https://apidocs.bitrix24.com/api-reference/calendar/index.html>`__
    """

    name = "Open in Bitrix24"

    @property
    def xcom_key(self) -> str:
        """Key under which Airflow 3 keeps the address, the one that the task uses."""
        return LINK_KEY

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the address that the task has left, or nothing."""
        return read_xcom(ti_key, LINK_KEY) or ""


class Bitrix24BaseOperator(BaseOperator):
    """What every operator and sensor of this provider is: a task with a button to the portal.

    Beside another base class it comes last: Airflow gives each operator class a constructor, and this one's
    leads straight to that of all operators.

    An operator has ``bitrix24_conn_id``, and says by :meth:`link_target` what the button opens if that is not
    its ``event_id``, or a single one of its ``event_ids``.
    """

    operator_extra_links = (Bitrix24Link(),)
    bitrix24_conn_id: str

    def pre_execute(self, context: Any) -> None:
        """Leave the page's address, once the arguments are rendered and before anything can fail."""
        super().pre_execute(context)
        try:
            url = self._page()
            if url is not None:
                context["ti"].xcom_push(key=LINK_KEY, value=url)
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the task itself tells it better
            self.log.debug("No link to Bitrix24: %s", type(error).__name__)

    def link_target(self) -> dict[str, Any]:
        """Return what the button opens: ``event_id``, or ``calendar_type`` and ``owner_id``."""
        one, many = getattr(self, "event_id", None), getattr(self, "event_ids", None)
        if one is None and isinstance(many, list | tuple) and len(many) == 1:
            one = many[0]
        return {"event_id": one}

    def _page(self) -> str | None:
        from airflow_provider_b24cal.bitrix24.urls import calendar_page, event_page
        from airflow_provider_b24cal.bitrix24.validation import check_event_id
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

        shown = self.link_target()
        # A button is worth no request, so a user who is not known yet has none.
        with Bitrix24CalendarHook(self.bitrix24_conn_id) as hook:
            origin, user_id = hook.portal_url(), hook.acting_user_id()
        if shown.get("event_id") is not None:
            return event_page(origin, check_event_id(shown["event_id"]), user_id=user_id)
        owner = shown.get("owner_id")
        return calendar_page(
            origin,
            user_id=user_id,
            calendar_type=shown.get("calendar_type", "user"),
            owner_id=None if owner is None else check_event_id(owner, "owner_id"),
        )
