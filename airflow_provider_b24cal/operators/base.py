"""The base class of every task of this provider."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_b24cal._airflow import HAS_PLUGIN_PAGES, AirflowFailException, BaseOperator
from airflow_provider_b24cal.links.attendance import AttendanceLink
from airflow_provider_b24cal.links.bitrix24 import LINK_KEY, Bitrix24Link

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_b24cal._airflow import Context
    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook


class Bitrix24BaseOperator(BaseOperator):
    """
    Run a task on a portal: it has a connection, buttons on its page, and a rule for permanent errors.

    A subclass implements :meth:`_execute`. If the button to the portal opens neither its ``event_id`` nor a single
    one of its ``event_ids``, it implements :meth:`link_target` too. Besides another base class this one comes last.

    :param bitrix24_conn_id: a connection of type ``bitrix24``; default ``bitrix24_default``. (templated)
    :param retry_permanent_errors: whether Airflow's ``retries`` apply to errors that a retry cannot resolve; default
        True. False raises ``AirflowFailException`` in their place, which ends the task at once.
    """

    operator_extra_links = (Bitrix24Link(), AttendanceLink()) if HAS_PLUGIN_PAGES else (Bitrix24Link(),)
    ui_color = "#e5f4ff"

    def __init__(
        self, *, bitrix24_conn_id: str = "bitrix24_default", retry_permanent_errors: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.bitrix24_conn_id = bitrix24_conn_id
        self.retry_permanent_errors = retry_permanent_errors

    def execute(self, context: Context) -> Any:
        """Do the task's work.

        :raises Bitrix24Error: an argument is invalid, or the portal refused a call.
        :raises AirflowFailException: the error is permanent, and ``retry_permanent_errors`` is false.
        """
        with fail_fast(permanent_errors=self.retry_permanent_errors):
            return self._execute(context)

    @abstractmethod
    def _execute(self, context: Context) -> Any:
        """Do the task's work."""

    def _connect(self) -> Bitrix24CalendarHook:
        """Return a hook, and log as whom it acts; close it after use."""
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

        hook = Bitrix24CalendarHook(self.bitrix24_conn_id)
        self.log.info("Acting as %s", hook.acting_as())
        return hook

    def pre_execute(self, context: Any) -> None:
        """Push the page's address for the button, after the arguments are rendered and before anything can fail."""
        super().pre_execute(context)
        try:
            url = self._page()
            if url is not None:
                context["ti"].xcom_push(key=LINK_KEY, value=url)
        except Exception as error:  # noqa: BLE001 - the task itself raises the same error with its text
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

        target = self.link_target()
        # The button costs no request: if the acting user is not known yet, there is none.
        with Bitrix24CalendarHook(self.bitrix24_conn_id) as hook:
            origin, user_id = hook.portal_url(), hook.acting_user_id()
        if target.get("event_id") is not None:
            return event_page(origin, check_event_id(target["event_id"]), user_id=user_id)
        owner = target.get("owner_id")
        return calendar_page(
            origin,
            user_id=user_id,
            calendar_type=target.get("calendar_type", "user"),
            owner_id=None if owner is None else check_event_id(owner, "owner_id"),
        )


@contextmanager
def fail_fast(*, permanent_errors: bool) -> Iterator[None]:
    """Raise ``AirflowFailException`` in place of a permanent error, so that Airflow does not retry the task.

    :param permanent_errors: ``True`` to retry permanent errors too, as Airflow retries any error.
    """
    from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error, Permanence

    try:
        yield
    except Bitrix24Error as error:
        if permanent_errors or error.permanence is not Permanence.PERMANENT:
            raise
        text = f"{type(error).__name__}: {error}"
    else:
        return
    # The context manager's own machinery still keeps the first error as the context of this one.
    raise AirflowFailException(text) from None
