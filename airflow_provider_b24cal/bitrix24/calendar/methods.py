"""The portal's REST methods: arguments in, a :class:`Call` out that knows how to read its own answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from airflow_provider_b24cal.bitrix24.auth.credentials import SMALL_REPLY_BYTES
from airflow_provider_b24cal.bitrix24.calendar.fields import clean_text
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol.call import Call
from airflow_provider_b24cal.bitrix24.protocol.error_codes import ErrorSpec
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    CredentialsError,
    NoSuchMeetingError,
    NotInvitedError,
    PortalError,
    ScopeError,
)
from airflow_provider_b24cal.bitrix24.serialization import HookResult
from airflow_provider_b24cal.bitrix24.wording import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

STATUS_GET: Final = "calendar.meeting.status.get"
STATUS_SET: Final = "calendar.meeting.status.set"


@dataclass(frozen=True, slots=True)
class Profile(HookResult):
    """The acting user, as ``profile`` tells.

    :param user_id: ``None`` when the portal knows no active user behind the credential.
    """

    user_id: int | None
    name: str

    def active_id(self) -> int:
        """Return the user's id.

        :raises CredentialsError: there is no active user.
        """
        if self.user_id is None:
            raise CredentialsError("The portal knows no active user behind this connection.", method="profile")
        return self.user_id


_NO_MEETING: Final[Mapping[str, ErrorSpec]] = {
    # The call is checked before it is sent, so the one untyped refusal that is left has this meaning.
    "": ErrorSpec(
        NoSuchMeetingError,
        "The portal has no such meeting. Check the id: it is unknown, deleted, or an event that is not a meeting.",
    )
}
_NO_NAMES: Final[Mapping[str, ErrorSpec]] = {
    "insufficient_scope": ErrorSpec(
        ScopeError, "The credential may not ask for names of people: it needs the scope `user_brief`, or `user`."
    )
}
_REFUSED_SET: Final[Mapping[str, ErrorSpec]] = {"": ErrorSpec(PortalError, "The calendar refused to set the status.")}


def get_status(event_id: int) -> Call[MeetingStatus]:
    """Ask for the acting user's participation status.

    Answers with the status; :class:`NotInvitedError` for ``null`` and :class:`NoSuchMeetingError` for
    the untyped refusal. https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-meeting-status-get.html

    :param event_id: checked by :func:`~airflow_provider_b24cal.bitrix24.validation.check_event_id`.
    """

    def read(result: str | None, _scrub: Callable[[str], str]) -> MeetingStatus:
        if not result:  # null, or an empty text in its place
            raise NotInvitedError(
                "The acting user is not invited to this meeting. Check the id, and as whom the connection acts.",
                method=STATUS_GET,
                event_id=event_id,
            )
        return MeetingStatus(result)

    return Call(
        STATUS_GET,
        {"eventId": event_id},
        "status",
        read,
        event_id=event_id,
        own_codes=_NO_MEETING,
        max_reply_bytes=SMALL_REPLY_BYTES,
    )


def set_status(event_id: int, status: MeetingStatus) -> Call[bool]:
    """Set the acting user's participation status.

    The answer ``true`` proves nothing: portals give it for wrong, deleted and foreign ids too. Read back.
    https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-meeting-status-set.html

    :param event_id: checked by :func:`~airflow_provider_b24cal.bitrix24.validation.check_event_id`.
    :param status: ``Y``, ``N`` or ``Q``.
    """
    params = {"eventId": event_id, "status": status.value}
    return Call(
        STATUS_SET,
        params,
        "true",
        _as_is,
        writes=True,
        event_id=event_id,
        own_codes=_REFUSED_SET,
        max_reply_bytes=SMALL_REPLY_BYTES,
    )


def profile() -> Call[Profile]:
    """Ask who the acting user is. https://apidocs.bitrix24.com/api-reference/common/users/profile.html"""

    def read(result: dict[str, Any] | list[Any], scrub: Callable[[str], str]) -> Profile:
        if isinstance(result, list):
            return Profile(None, "")
        return Profile(int(result["ID"]), _full_name(result, scrub))

    return Call("profile", {}, "profile", read, max_reply_bytes=SMALL_REPLY_BYTES)


def get_names(user_ids: Sequence[int]) -> Call[dict[int, str]]:
    """Ask what people are called. https://apidocs.bitrix24.com/api-reference/user/user-get.html

    Answers with names by id. The portal leaves out who is no user of its own: bots, guests by e-mail, integrators.

    :param user_ids: at most fifty, which is one page.
    """

    def read(result: list[dict[str, Any]], scrub: Callable[[str], str]) -> dict[int, str]:
        return {int(person["ID"]): _full_name(person, scrub) for person in result}

    return Call("user.get", {"FILTER": {"ID": list(user_ids)}}, "people", read, own_codes=_NO_NAMES)


def _full_name(person: Mapping[str, Any], scrub: Callable[[str], str]) -> str:
    words = (person.get("NAME") or "", person.get("LAST_NAME") or "")
    return clean_text(printable(scrub(" ".join(word for word in words if isinstance(word, str) and word))))


def scope() -> Call[tuple[str, ...]]:
    """Ask for the credential's scopes. https://apidocs.bitrix24.com/api-reference/common/system/scope.html"""

    def read(result: list[str] | dict[str, str], scrub: Callable[[str], str]) -> tuple[str, ...]:
        return tuple(printable(scrub(name)) for name in (result if isinstance(result, list) else result.values()))

    return Call("scope", {}, "scopes", read, max_reply_bytes=SMALL_REPLY_BYTES)


def raw(method: str, params: Mapping[str, Any], *, writes: bool) -> Call[Any]:
    """Call a method that has no function here; its result comes back as the portal gave it.

    :param writes: ``True`` unless the method is known to change nothing.
    """
    return Call(method, params, "anything", _as_is, writes=writes)


def _as_is(result: Any, _scrub: Callable[[str], str]) -> Any:
    return result
