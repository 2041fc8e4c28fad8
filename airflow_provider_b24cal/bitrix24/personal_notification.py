"""Personal notifications: who gets which text, and what replaces it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_b24cal.bitrix24.auth.credentials import SMALL_REPLY_BYTES, AccessToken
from airflow_provider_b24cal.bitrix24.protocol.call import Call
from airflow_provider_b24cal.bitrix24.protocol.error_codes import lacking_scope
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError, PortalError
from airflow_provider_b24cal.bitrix24.validation import check_event_id, check_ids, check_name, invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_b24cal.bitrix24.auth.credentials import Webhook

NOTIFY: Final = "im.notify.personal.add"
MAX_RECIPIENTS: Final = 100
"""How many users one text goes to at most, unless a larger number is given."""


@dataclass(frozen=True, slots=True)
class Notification:
    """A text and who gets it; made by :func:`check_notification`.

    :param tag: what the notification is about; ``None`` for one that replaces no other.
    """

    user_ids: tuple[int, ...]
    text: str
    tag: str | None

    def calls(self, credential: Webhook | AccessToken) -> list[Call[int]]:
        """Return a call for each user.

        With a tag, an application's notification replaces the one before, so it may be sent again when it is not known
        whether it has arrived. The portals' published code ignores the tag of a webhook.
        """
        is_repeatable = self.tag is not None and isinstance(credential, AccessToken)
        return [_add_notification(user_id, self.text, self.tag, writes=not is_repeatable) for user_id in self.user_ids]


def check_notification(user_ids: object, text: object, tag: object, max_recipients: object) -> Notification:
    """Return a notification.

    :raises InvalidArgumentError: an argument is invalid, or there are too many users.
    """
    ids, most = check_ids(user_ids, "user_ids"), check_event_id(max_recipients, "max_recipients")
    if len(ids) > most:
        raise InvalidArgumentError(
            f"Invalid user_ids: expected at most {most} users; got {len(ids)}. Nobody was notified. Give a larger "
            "max_recipients if so many are meant."
        )
    if not isinstance(text, str) or not text.strip():
        raise invalid("text", text, "a text that is not blank")
    name = None if tag is None else check_name(tag, "tag", "a text without space around it, or None")
    return Notification(tuple(ids), text, name)


def _add_notification(user_id: int, text: str, tag: str | None, *, writes: bool) -> Call[int]:
    """Return the call that notifies one user; its result is the id of the notification.

    https://apidocs.bitrix24.com/api-reference/chats/notifications/im-notify-personal-add.html
    """

    def read(result: int | str | bool | None, _scrub: Callable[[str], str]) -> int:
        if not (number := int(result or 0)):
            raise PortalError(
                f"The portal has not notified user {user_id}: there is no such user, the user is dismissed, or has "
                "switched these notifications off.",
                method=NOTIFY,
            )
        return number

    params: dict[str, Any] = {"USER_ID": user_id, "MESSAGE": text}
    if tag is not None:
        params["TAG"] = _unique_tag(tag, user_id)
    codes = lacking_scope("`im`", "notifications need")
    return Call(NOTIFY, params, "notification", read, writes, own_codes=codes, max_reply_bytes=SMALL_REPLY_BYTES)


def _unique_tag(tag: str, user_id: int) -> str:
    """Return a tag of bounded length: it is unique in the whole portal, and another user's would be deleted."""
    return f"b24cal-{sha256(json.dumps([tag, user_id]).encode()).hexdigest()[:32]}"
