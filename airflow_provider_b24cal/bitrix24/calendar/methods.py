"""The portal's REST methods as :class:`~airflow_provider_b24cal.bitrix24.protocol.call.Call` objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from airflow_provider_b24cal.bitrix24.auth.credentials import SMALL_REPLY_BYTES
from airflow_provider_b24cal.bitrix24.calendar.fields import clean_text
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol.call import Call
from airflow_provider_b24cal.bitrix24.protocol.error_codes import ErrorSpec, lacking_scope
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    CredentialsError,
    NoSuchMeetingError,
    NotInvitedError,
    PortalError,
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
    """The acting user, from the method ``profile``.

    :param user_id: ``None`` if the credential has no active user.
    """

    user_id: int | None
    name: str

    def active_id(self) -> int:
        """Return the user's id.

        :raises CredentialsError: there is no active user.
        """
        if self.user_id is None:
            raise CredentialsError("This connection has no active user on the portal.", method="profile")
        return self.user_id


_NO_MEETING: Final[Mapping[str, ErrorSpec]] = {
    # Arguments are checked before the call, so this is the only meaning left of the refusal without a code.
    "": ErrorSpec(
        NoSuchMeetingError,
        "The portal has no such meeting. Check the id: it is unknown, deleted, or an event that is not a meeting.",
    )
}
_NO_NAMES: Final[Mapping[str, ErrorSpec]] = lacking_scope(
    "`user_brief`, `user_basic` or `user`", "names of people need"
)
_REFUSED_SET: Final[Mapping[str, ErrorSpec]] = {"": ErrorSpec(PortalError, "The calendar refused to set the status.")}


def get_status(event_id: int) -> Call[MeetingStatus]:
    """Return the call for the acting user's participation status.

    Its result is the status; ``null`` is a :class:`NotInvitedError`, the refusal without a code a
    :class:`NoSuchMeetingError`. https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-meeting-status-get.html

    :param event_id: checked by :func:`~airflow_provider_b24cal.bitrix24.validation.check_event_id`.
    """

    def read(result: str | None, _scrub: Callable[[str], str]) -> MeetingStatus:
        if not result:  # null, or an empty text in its place
            raise NotInvitedError(
                "The acting user is not invited to this meeting. Check the id, and the connection's acting user.",
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
    """Return the call that sets the acting user's participation status.

    The result ``true`` proves nothing: portals return it for wrong, deleted and foreign ids too. Read back.
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
    """Return the call for the acting user. https://apidocs.bitrix24.com/api-reference/common/users/profile.html"""

    def read(result: dict[str, Any] | list[Any], scrub: Callable[[str], str]) -> Profile:
        if isinstance(result, list):
            return Profile(None, "")
        return Profile(int(result["ID"]), _full_name(result, scrub))

    return Call("profile", {}, "profile", read, max_reply_bytes=SMALL_REPLY_BYTES)


class Contact(NamedTuple):
    """A person's name and e-mail address.

    :param name: first and last name; empty where the portal has none.
    :param email: ``None`` if the person has none, or the scope ``user_brief`` hides it.
    """

    name: str
    email: str | None


def get_contacts(user_ids: Sequence[int]) -> Call[dict[int, Contact]]:
    """Return the call for names of people. https://apidocs.bitrix24.com/api-reference/user/user-get.html

    Its result is by id. Bots, guests by e-mail and integrators are not in it.

    :param user_ids: at most fifty, which is one page.
    """

    def read(result: list[dict[str, Any]], scrub: Callable[[str], str]) -> dict[int, Contact]:
        return {
            int(person["ID"]): Contact(_full_name(person, scrub), _words(person, scrub, "EMAIL") or None)
            for person in result
        }

    return Call("user.get", {"FILTER": {"ID": list(user_ids)}}, "people", read, own_codes=_NO_NAMES)


def _full_name(person: Mapping[str, Any], scrub: Callable[[str], str]) -> str:
    return _words(person, scrub, "NAME", "LAST_NAME")


def _words(person: Mapping[str, Any], scrub: Callable[[str], str], *fields: str) -> str:
    words = (person.get(field) for field in fields)
    return clean_text(printable(scrub(" ".join(word for word in words if isinstance(word, str) and word))))


def scope() -> Call[tuple[str, ...]]:
    """Return the call for the credential's scopes. https://apidocs.bitrix24.com/api-reference/common/system/scope.html"""

    def read(result: list[str] | dict[str, str], scrub: Callable[[str], str]) -> tuple[str, ...]:
        return tuple(printable(scrub(name)) for name in (result if isinstance(result, list) else result.values()))

    return Call("scope", {}, "scopes", read, max_reply_bytes=SMALL_REPLY_BYTES)


def raw(method: str, params: Mapping[str, Any], *, writes: bool) -> Call[Any]:
    """Return the call for any method; its result is the portal's, unchanged.

    :param writes: whether the method may change anything.
    """
    return Call(method, params, "anything", _as_is, writes=writes)


def _as_is(result: Any, _scrub: Callable[[str], str]) -> Any:
    return result
