"""Notifications that people have received: ``im.notify.personal.add``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bitrix24_sandbox.errors import RestError
from bitrix24_sandbox.php import PhpArray, PhpValue, to_int, to_text
from bitrix24_sandbox.rest import Call, Method

if TYPE_CHECKING:
    from collections.abc import Iterator

_TAG_LENGTH = 255


@dataclass(frozen=True)
class Notification:
    """One notification in somebody's list.

    :param user_id: who has received it.
    :param from_id: who has sent it.
    :param tag: as sent; empty for none.
    :param sent_at: seconds since the epoch.
    """

    id: int
    user_id: int
    from_id: int
    text: str
    tag: str
    sent_at: float


class Inbox:
    """The notifications of all people.

    :ivar sent: how many were sent, those included that others have replaced since.
    """

    def __init__(self) -> None:
        self.sent = 0
        self._by_id: dict[int, tuple[str, Notification]] = {}

    def __iter__(self) -> Iterator[Notification]:
        return iter([notification for _, notification in self._by_id.values()])

    def add(self, user_id: int, from_id: int, text: str, tag: str, sender: str, sent_at: float) -> int:
        """Store a notification, and delete all others with its tag, whoever has received them.

        :param sender: the application; each has tags of its own.
        :return: the id of the notification.
        """
        # As long as the column; the rest of a longer tag makes no difference.
        key = f"{sender}|{tag}"[:_TAG_LENGTH] if tag else ""
        if key:
            self._by_id = {number: one for number, one in self._by_id.items() if one[0] != key}
        self.sent += 1
        self._by_id[self.sent] = (key, Notification(self.sent, user_id, from_id, text, tag, sent_at))
        return self.sent


def notify_personal(call: Call) -> int | bool:
    """Answer ``im.notify.personal.add``: ``False`` for somebody who is not there any more."""
    given: PhpArray = {str(name).upper(): value for name, value in call.parameters.items()}
    user_id = to_int(given.get("TO", given.get("USER_ID")))
    if user_id <= 0:
        raise RestError("USER_ID_EMPTY", "User ID can't be empty")
    text = _text(given.get("MESSAGE")).strip()
    if not text:
        raise RestError("MESSAGE_EMPTY", "Message can't be empty")
    portal, client_id = call.portal, call.webhook.client_id
    person = portal.book.people.get(user_id)
    if person is None or not person.active:
        return False
    keeps = portal.settings.notification_tags == "all" or client_id is not None
    tag = _text(given.get("TAG")) if keeps else ""
    return portal.inbox.add(user_id, call.caller.id, text, tag, client_id or "", portal.clock())


def _text(value: PhpValue) -> str:
    return "" if isinstance(value, dict) else to_text(value)


METHODS = {"im.notify.personal.add": Method(("im",), notify_personal)}
