"""Operator that reminds people, by a personal notification."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_b24cal.operators.base import Bitrix24BaseOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_b24cal._airflow import Context, Templated


class Bitrix24NotifyOperator(Bitrix24BaseOperator):
    """
    Send a personal notification to users, in the name of the acting user.

    A retried or cleared task sends the same notifications with the same tags, by which a portal replaces those before.
    Nothing is stored for that. The published code of portals ignores the tag of a webhook: there, use an application
    (OAuth), or give the task no retries.

    XCom ``return_value``::

        {"total": 2, "sent": 2, "failed": 0, "dry_run": false, "failures": {}}

    If users could not be notified, the same is pushed before the task fails. ``failures`` names by user id the error's
    class, code and text, of the first hundred as far as there is room; ``failed`` counts them all.

    .. seealso:: `im.notify.personal.add
        <https://apidocs.bitrix24.com/api-reference/chats/notifications/im-notify-personal-add.html>`__

    :param user_ids: the users, a list of ids, such as ``silent`` of the attendees sensor; for an empty list nothing is
        sent. (templated)
    :param text: the same for all; a portal reads BB codes in it. (templated)
    :param tag: what the reminder is about, any text: a later one with the same tag replaces it, of whatever run. By
        default each task instance has a tag, made from its DAG, task, run and map index. (templated)
    :param max_recipients: how many users at most, default 100; a longer list is refused as a whole. (templated)
    :param dry_run: log what would be sent, and send nothing; default False. (templated)
    :param fail_on: when the task fails: ``any`` user could not be notified (default), ``all`` could not, or ``none``:
        never. (templated)
    :param bitrix24_conn_id: a connection of type ``bitrix24``, with the scope ``im``; default
        ``bitrix24_default``. (templated)
    :param retry_permanent_errors: whether Airflow's ``retries`` apply to errors that a retry cannot resolve; default
        True. False raises ``AirflowFailException`` in their place, which ends the task at once.

    The task fails with a :class:`~airflow_provider_b24cal.bitrix24.protocol.errors.NotificationsFailedError` that names
    the users, or with another error that says which argument is invalid.
    """

    template_fields: Sequence[str] = (
        "user_ids", "text", "tag", "max_recipients", "dry_run", "fail_on", "bitrix24_conn_id",
    )  # fmt: skip

    def __init__(
        self,
        *,
        user_ids: Templated[Sequence[Templated[int]]],
        text: Templated[str],
        tag: Templated[str] | None = None,
        max_recipients: Templated[int] = 100,
        dry_run: Templated[bool] = False,
        fail_on: Templated[str] = "any",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.user_ids: Any = user_ids
        self.text: Any = text
        self.tag: Any = tag
        self.max_recipients: Any = max_recipients
        self.dry_run: Any = dry_run
        self.fail_on = fail_on

    def _execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_b24cal.bitrix24.validation import check_choice
        from airflow_provider_b24cal.operators.bulk import FAIL_ON, RECIPIENTS, describe, raise_failures

        fail_on = check_choice(self.fail_on, FAIL_ON, "fail_on")
        tag = run_tag(context, "operator") if self.tag is None else self.tag
        with self._connect() as hook:
            outcomes = hook.notify(
                self.user_ids, self.text, tag=tag, max_recipients=self.max_recipients, dry_run=self.dry_run
            )
        failed = {user_id: outcome.error for user_id, outcome in outcomes.items() if outcome.error is not None}
        sent = 0 if self.dry_run else len(outcomes) - len(failed)
        summary = {
            "total": len(outcomes),
            "sent": sent,
            "failed": len(failed),
            "dry_run": self.dry_run,
            "failures": describe(failed),
        }
        self.log.info("%d of %d users notified", sent, len(outcomes))
        if failed:
            context["ti"].xcom_push(key="return_value", value=summary)
            raise_failures(failed, len(outcomes), fail_on, self.log, RECIPIENTS)
        return summary


def run_tag(context: Mapping[str, Any], sender: str) -> str | None:
    """Return a tag that a task instance has in each of its tries, and no other has.

    :param context: Airflow's; that of a callback may have no task instance.
    :param sender: keeps an operator and a notifier of one task apart.
    :return: ``None`` if the context does not say which run it belongs to.
    """
    instance, dag = context.get("ti"), context.get("dag")
    dag_id, run_id = getattr(instance, "dag_id", None), getattr(instance, "run_id", None)
    dag_id, run_id = dag_id or getattr(dag, "dag_id", None), run_id or context.get("run_id")
    if not dag_id or not run_id:
        return None
    where = [getattr(instance, "task_id", None), getattr(instance, "map_index", None)]
    return json.dumps([sender, dag_id, run_id, *where])
