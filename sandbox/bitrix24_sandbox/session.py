"""What a cloud portal adds to replies: a session cookie, and headers about the request.

A client that sends the cookie back is taken for the user of that session.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bitrix24_sandbox.models import Person, Webhook
    from bitrix24_sandbox.php import PhpArray
    from bitrix24_sandbox.reply import Reply

COOKIE = "PHPSESSID"


def session_of(person: Person) -> str:
    """Return the value of the cookie; a person has one session here."""
    return f"sandbox{person.id}"


def with_headers(reply: Reply, person: Person, webhook: Webhook, time: PhpArray) -> Reply:
    """Return a reply with the cookie and the headers of a cloud portal.

    :param time: the ``time`` of the reply.
    """
    more = {
        "Set-Cookie": f"{COOKIE}={session_of(person)}; path=/; HttpOnly",
        "X-Bitrix-Rest-Time": f"{time['duration']:.10f}",
        "X-Bitrix-Rest-User-Time": "0.0100000000",
        "X-Bitrix-Rest-System-Time": "0.0010000000",
    }
    if webhook.client_id is not None:
        more["X-Bitrix-Rest-Application"] = webhook.client_id
    return replace(reply, headers={**reply.headers, **more})
