"""Notifier for callbacks: sends people in Bitrix24 a notification that a task or a run has succeeded or failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_b24cal._airflow import BaseNotifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_b24cal._airflow import Context
    from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome


class Bitrix24Notifier(BaseNotifier):
    """
    Send a personal notification to users from a callback, such as ``on_failure_callback``.

    A callback that runs again for the same task instance replaces its notification, as
    :class:`~airflow_provider_b24cal.operators.notify.Bitrix24NotifyOperator` does. Two notifiers that write to the same
    users about one task replace each other, unless each has a ``tag``.

    .. seealso:: `im.notify.personal.add
        <https://apidocs.bitrix24.com/api-reference/chats/notifications/im-notify-personal-add.html>`__

    :param user_ids: the users, a list of ids. (templated)
    :param text: the same for all; a portal reads BB codes in it. (templated)
    :param tag: what it is about, any text: a later notification with the same tag replaces it. By default made from the
        DAG, task, run and map index of the callback's context. (templated)
    :param max_recipients: how many users at most, default 100; a longer list is refused as a whole. (templated)
    :param dry_run: log what would be sent, and send nothing; default False. (templated)
    :param bitrix24_conn_id: a connection of type ``bitrix24``, with the scope ``im``; default
        ``bitrix24_default``. (templated)

    Raises :class:`~airflow_provider_b24cal.bitrix24.protocol.errors.NotificationsFailedError`, which names the users,
    or another error that says which argument is invalid. Airflow logs an error of a callback; the task's state stays.
    """

    template_fields: Sequence[str] = ("user_ids", "text", "tag", "max_recipients", "dry_run", "bitrix24_conn_id")

    def __init__(
        self,
        *,
        user_ids: Sequence[int | str] | str,
        text: str,
        tag: str | None = None,
        max_recipients: int | str = 100,
        dry_run: bool = False,
        bitrix24_conn_id: str = "bitrix24_default",
        **kwargs: Any,
    ) -> None:
        # Since 3.1 a context, which the triggerer hands over.
        super().__init__(**kwargs)
        self.user_ids: Any = user_ids
        self.text = text
        self.tag = tag
        self.max_recipients: Any = max_recipients
        self.dry_run = dry_run
        self.bitrix24_conn_id = bitrix24_conn_id

    def notify(self, context: Context) -> None:
        """Send the notification, in a worker or the DAG processor."""
        from airflow_provider_b24cal.hooks.base import Bitrix24Hook

        with Bitrix24Hook(self.bitrix24_conn_id) as hook:
            self._check(hook.notify(self.user_ids, self.text, **self._options(context)))

    async def async_notify(self, context: Context) -> None:
        """Send the notification from the triggerer, as for a deadline."""
        from airflow_provider_b24cal.hooks.base import Bitrix24Hook

        hook = Bitrix24Hook(self.bitrix24_conn_id)
        try:
            self._check(await hook.anotify(self.user_ids, self.text, **self._options(context)))
        finally:
            await hook.aclose()

    def _options(self, context: Context) -> dict[str, Any]:
        from airflow_provider_b24cal.operators.notify import run_tag

        tag = run_tag(context, "notifier") if self.tag is None else self.tag
        return {"tag": tag, "max_recipients": self.max_recipients, "dry_run": self.dry_run}

    def _check(self, outcomes: dict[int, Outcome[int]]) -> None:
        from airflow_provider_b24cal.operators.bulk import RECIPIENTS, raise_failures

        failed = {user_id: outcome.error for user_id, outcome in outcomes.items() if outcome.error is not None}
        if failed:
            raise_failures(failed, len(outcomes), "any", self.log, RECIPIENTS, in_xcom=False)
