"""The hook for any method of a portal: connection, calls and batches, test, closing."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_b24cal._airflow import BaseHook
from airflow_provider_b24cal.bitrix24 import people
from airflow_provider_b24cal.bitrix24.auth.credentials import AccessToken, Webhook
from airflow_provider_b24cal.bitrix24.calendar import methods
from airflow_provider_b24cal.bitrix24.personal_notification import MAX_RECIPIENTS, check_notification
from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome, command
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    Bitrix24Error,
    NotJsonError,
    PortalError,
    ReplyError,
    TransportError,
    UnexpectedReplyError,
)
from airflow_provider_b24cal.bitrix24.protocol.exchange import run_call, run_calls
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.bitrix24.validation import (
    check_calls,
    check_event_id,
    check_flag,
    check_method,
    check_params,
)
from airflow_provider_b24cal.client.client import Client

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
    from typing import Self

    import requests

    from airflow_provider_b24cal.bitrix24.calendar.methods import Profile
    from airflow_provider_b24cal.bitrix24.personal_notification import Notification
    from airflow_provider_b24cal.bitrix24.protocol.call import Call
    from airflow_provider_b24cal.bitrix24.settings import Settings
    from airflow_provider_b24cal.client.client import Exchange

_TEST_TIMEOUT = 10.0


class Bitrix24Hook(BaseHook):
    """
    Call any REST method of a Bitrix24 portal, as the user of a connection's webhook or token.

    Nothing is read or sent before the first call. Use a hook in ``with`` to close its connections; the asynchronous
    methods (``a...``) belong to one event loop and are closed by :meth:`aclose`. Threads may share a hook. A forked
    process opens connections of its own, and a copy, also a pickled one, begins unused. ::

        with Bitrix24Hook("bitrix24_default") as hook:
            task = hook.call("tasks.task.get", {"taskId": 8}, writes=False)["task"]

    .. seealso:: `REST API <https://apidocs.bitrix24.com/api-reference/index.html>`__

    :param bitrix24_conn_id: a connection of type ``bitrix24``; default ``bitrix24_default``.
    :param retry: bounds of the retries of one call, of one request of fifty calls, or of the statuses that are set
        together; default eight attempts and five minutes of waiting.
    """

    conn_name_attr = "bitrix24_conn_id"
    default_conn_name = "bitrix24_default"
    conn_type = "bitrix24"
    hook_name = "Bitrix24"
    needed_scope = ""
    """The scope without which the test of a connection fails; a subclass names its own."""

    def __init__(self, bitrix24_conn_id: str = default_conn_name, *, retry: RetryPolicy | None = None) -> None:
        super().__init__()
        self.bitrix24_conn_id = bitrix24_conn_id
        self.retry = retry or RetryPolicy()
        self._client = Client(bitrix24_conn_id, self.get_connection, self.retry, self.log)

    def __getstate__(self) -> dict[str, Any]:
        # A copy begins unused: connections, locks and secrets stay with the original.
        return {name: value for name, value in vars(self).items() if name not in {"_client", "_log"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._client = Client(self.bitrix24_conn_id, self.get_connection, self.retry, self.log)

    def call(self, method: str, params: Mapping[str, Any] | None = None, *, writes: bool = True) -> Any:
        """
        Call any REST method, with the same retries, time-outs and protection of the secret as the other methods.

        :param method: for example ``calendar.event.getbyid``.
        :param params: its parameters, JSON values.
        :param writes: ``False`` for a method that changes nothing: it is retried also if the portal may have run it.
        :return: the ``result`` of the reply.
        :raises InvalidArgumentError: method or params are invalid; nothing is sent.
        :raises Bitrix24Error: the portal refused the call or could not be reached.
        """
        checked = check_params({} if params is None else params)
        return self._client.run(partial(run_call, methods.raw(check_method(method), checked, writes=writes)))

    def batch(
        self, calls: Iterable[tuple[str, Mapping[str, Any] | None]], *, writes: bool = True
    ) -> list[Outcome[Any]]:
        """
        Call many REST methods, fifty to a request.

        :param calls: pairs of method and parameters.
        :param writes: as for :meth:`call`, for all of them.
        :return: an outcome per call, in the order given.
        :raises InvalidArgumentError: a call is invalid, or a batch would replace a parameter (a text with
            ``$result[...]``) or drop it (``None``, an empty list or mapping); nothing is sent.
        """
        checked = [methods.raw(method, params, writes=writes) for method, params in check_calls(calls)]
        for call in checked:
            command(call)
        return self._client.run_chunks(checked, partial(run_calls, packed=True), refused_call)

    def call_many(self, calls: Sequence[Call[Any]]) -> list[Outcome[Any]]:
        """
        Make typed calls, fifty to a request.

        :param calls: from :mod:`~airflow_provider_b24cal.bitrix24.calendar.methods` and its neighbours.
        :return: an outcome per call, in the order given.
        """
        return self._client.run_chunks(calls, run_calls, refused_call)

    def whoami(self) -> Profile:
        """
        Return the acting user; the webhook's URL does not prove who that is.

        `profile <https://apidocs.bitrix24.com/api-reference/common/users/profile.html>`__

        :return: id and name; the id is ``None`` when the user is not active.
        :raises Bitrix24Error: the portal refused the call or could not be reached.
        """
        return self._client.run(partial(run_call, methods.profile()))

    def scopes(self) -> tuple[str, ...]:
        """
        Return the credential's scopes.

        `scope <https://apidocs.bitrix24.com/api-reference/common/system/scope.html>`__

        :raises Bitrix24Error: the portal refused the call or could not be reached.
        """
        return self._client.run(partial(run_call, methods.scope()))

    def get_group_members(self, group_id: int | str) -> list[int]:
        """
        Return the members of a group or project, such as for ``users=`` of a sensor.

        Scope ``sonet_group``. Portals with current modules leave out dismissed people. `sonet_group.user.get
        <https://apidocs.bitrix24.com/api-reference/sonet-group/members/sonet-group-user-get.html>`__

        :param group_id: a positive whole number or its decimal text.
        :return: user ids in ascending order, the owner's included.
        :raises InvalidArgumentError: the id is invalid; nothing is sent.
        :raises ScopeError: the credential lacks the scope.
        :raises Bitrix24Error: there is no such group, the portal refused the call, or could not be reached.
        """
        return self._client.run(partial(run_call, people.get_group_members(check_event_id(group_id, "group_id"))))

    def get_department_members(self, department_id: int | str, *, recursive: bool = False) -> list[int]:
        """
        Return the active people of a department, such as for ``users=`` of a sensor.

        Scopes ``department``, and ``user_brief``, ``user_basic`` or ``user``. `department.get
        <https://apidocs.bitrix24.com/api-reference/departments/department-get.html>`__, `user.get
        <https://apidocs.bitrix24.com/api-reference/user/user-get.html>`__

        :param department_id: a positive whole number or its decimal text.
        :param recursive: also those of the departments below; default ``False``.
        :return: user ids in ascending order; people who are dismissed are left out.
        :raises InvalidArgumentError: an argument is invalid, and nothing is sent; or there is no such department.
        :raises ScopeError: the credential lacks a scope.
        :raises Bitrix24Error: the portal refused a call or could not be reached; nobody is missing.
        """
        return self._client.run(_department_members(department_id, recursive))

    def notify(
        self,
        user_ids: Iterable[int | str],
        text: str,
        *,
        tag: str | None = None,
        max_recipients: int = MAX_RECIPIENTS,
        dry_run: bool = False,
    ) -> dict[int, Outcome[int]]:
        """
        Send a personal notification to users, in the name of the acting user, fifty to a request.

        Scope ``im``. `im.notify.personal.add
        <https://apidocs.bitrix24.com/api-reference/chats/notifications/im-notify-personal-add.html>`__

        :param user_ids: ids of users; one given twice is notified once. For none, nothing is sent.
        :param text: the same for all; a portal reads BB codes in it.
        :param tag: what it is about, any text: a later notification with the same tag replaces this one. It is sent as
            a hash. The published code of portals ignores the tag of a webhook: only an application's replaces there.
        :param max_recipients: how many users at most; default 100. A longer list is refused as a whole.
        :param dry_run: log what would be sent, and send nothing; default ``False``.
        :return: an outcome per user, in the order given: the id of the notification, ``None`` in a dry run, or an
            error. After a time-out it is not known whether a notification has arrived. It is sent again only with a tag
            and by an application; otherwise the outcome is the error.
        :raises InvalidArgumentError: an argument is invalid, or there are too many users; nothing is sent.
        :raises Bitrix24Error: the connection cannot be used.
        """
        wanted = check_notification(user_ids, text, tag, max_recipients)
        if check_flag(dry_run, "dry_run"):
            return self._log_dry_run(wanted)
        calls = wanted.calls(self._client.settings().endpoint.credential)
        return _by_user(wanted, self._client.run_chunks(calls, partial(run_calls, packed=True), refused_call))

    def _log_dry_run(self, wanted: Notification) -> dict[int, Outcome[int]]:
        self.log.info("Dry run: %d users would be notified, %s: %r", len(wanted.user_ids), wanted.user_ids, wanted.text)
        return {user_id: Outcome() for user_id in wanted.user_ids}

    def acting_as(self) -> str:
        """Return acting user and portal in words, from the connection alone; nothing is sent."""
        endpoint = self._client.settings().endpoint
        credential = endpoint.credential
        who = f"user {credential.user_id}" if isinstance(credential, Webhook) else "the user of the access token"
        return f"{who} on {endpoint.origin}"

    def acting_user_id(self) -> int | None:
        """
        Return the id of the acting user, as far as the connection shows it; nothing is sent.

        A webhook names its user. That of tokens is known after their first renewal, which happens in the first hour.

        :return: ``None`` if it is not known; :meth:`whoami` reads it from the portal.
        :raises Bitrix24Error: the connection or the token store cannot be used.
        """
        credential = self._client.credential()
        if isinstance(credential, AccessToken):
            return credential.user_id
        return int(credential.user_id) if credential.user_id.isdecimal() else None

    def portal_url(self) -> str:
        """Return the portal's address, such as ``https://example.bitrix24.com``; nothing in it is secret."""
        return self._client.settings().endpoint.origin

    def acall_many_iter(self, calls: Sequence[Call[Any]]) -> AsyncGenerator[list[Outcome[Any]], None]:
        """
        Make typed calls as :meth:`call_many` does, and yield the outcomes of each request when it is done.

        :return: outcomes in the order of the calls, some at a time; close the iterator when leaving it early.
        """
        return self._client.aparts(calls, run_calls, refused_call)

    async def awhoami(self) -> Profile:
        """Return the acting user without blocking the event loop; see :meth:`whoami`."""
        return await self._client.arun(partial(run_call, methods.profile()))

    async def ascopes(self) -> tuple[str, ...]:
        """Return the credential's scopes without blocking the event loop; see :meth:`scopes`."""
        return await self._client.arun(partial(run_call, methods.scope()))

    async def aget_group_members(self, group_id: int | str) -> list[int]:
        """Return the members of a group without blocking the event loop; see :meth:`get_group_members`."""
        call = people.get_group_members(check_event_id(group_id, "group_id"))
        return await self._client.arun(partial(run_call, call))

    async def aget_department_members(self, department_id: int | str, *, recursive: bool = False) -> list[int]:
        """Return the people of a department without blocking the event loop; see :meth:`get_department_members`."""
        return await self._client.arun(_department_members(department_id, recursive))

    async def anotify(
        self,
        user_ids: Iterable[int | str],
        text: str,
        *,
        tag: str | None = None,
        max_recipients: int = MAX_RECIPIENTS,
        dry_run: bool = False,
    ) -> dict[int, Outcome[int]]:
        """Send a personal notification to users without blocking the event loop; see :meth:`notify`."""
        wanted = check_notification(user_ids, text, tag, max_recipients)
        if check_flag(dry_run, "dry_run"):
            return self._log_dry_run(wanted)
        calls = wanted.calls((await self._client.asettings()).endpoint.credential)
        return _by_user(wanted, await self._client.arun_chunks(calls, partial(run_calls, packed=True), refused_call))

    def get_conn(self) -> requests.Session:
        """Return an HTTP session with the connection's proxy and certificates; it holds no credential."""
        return self._client.session()

    def test_connection(self) -> tuple[bool, str]:
        """
        Return the portal, the acting user and the scopes, or what is wrong and what to do.

        :return: whether the connection can be used for attendance, and a text without secrets.
        """
        try:
            # A person waits for this, and a thread of the web server.
            with closing(self._client.with_timeout(_TEST_TIMEOUT, RetryPolicy(attempts=2))) as client:
                profile, scopes = client.run(partial(run_calls, [methods.profile(), methods.scope()]))
                good, text = _check_connection(client.settings(), profile.unwrap(), scopes.unwrap(), self.needed_scope)
                return good, " ".join([text, *client.warnings])
        except (PortalError, ReplyError, TransportError) as error:
            return False, f"{self.portal_url()}: {error}{_advice(error)}"
        except Bitrix24Error as error:
            return False, str(error)

    def close(self) -> None:
        """Close the blocking connections and end waits in other threads; the hook opens new ones when used again."""
        self._client.close()

    async def aclose(self) -> None:
        """Close the asynchronous connections, on the loop that used them."""
        await self._client.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def refused_call(_: object, error: Bitrix24Error) -> Outcome[Any]:
    """Return the outcome of a call that is not sent, because the portal would refuse it."""
    return Outcome(error=error)


def _by_user(wanted: Notification, outcomes: Sequence[Outcome[int]]) -> dict[int, Outcome[int]]:
    return dict(zip(wanted.user_ids, outcomes, strict=True))


def _department_members(department_id: object, recursive: object) -> Exchange[list[int]]:
    checked = check_event_id(department_id, "department_id")
    return partial(people.list_department_members, checked, check_flag(recursive, "recursive"))


def _advice(error: Bitrix24Error) -> str:
    """Return what to check after a reply that is not a portal's."""
    strange = isinstance(error, NotJsonError | UnexpectedReplyError) and (error.http_status or 200) < 400
    return " Check that this is the portal's address." if strange else ""


def _check_connection(settings: Settings, profile: Profile, scopes: tuple[str, ...], needed: str) -> tuple[bool, str]:
    origin, credential = settings.endpoint.origin, settings.endpoint.credential
    # A token does not show its user.
    user_id = credential.user_id if isinstance(credential, Webhook) else ""
    if profile.user_id is None:
        return False, f"Connected to {origin}, but the acting user is not active."
    who = f"{profile.name} (user {profile.user_id})"
    if user_id.isdecimal() and int(user_id) != profile.user_id:
        return False, (
            f"Connected to {origin}, but the webhook of user {user_id} acts as {who}: its owner may have been "
            "dismissed. Create a new webhook for the person whose answers you want to manage."
        )
    text = f"Connected to {origin} as {who}; scopes: {', '.join(scopes) or 'none'}."
    if needed and needed not in scopes:
        owner = "webhook" if user_id else "application"
        return False, f"{text} The scope `{needed}` is missing: add it to the {owner}'s permissions."
    return True, text
