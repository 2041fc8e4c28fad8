"""What a portal has been asked for, counted."""

from __future__ import annotations

from collections import Counter


class Counters:
    """Tallies for tests and for the page.

    :ivar requests: HTTP requests to REST methods.
    :ivar cookies: those of them that sent a session cookie back.
    :ivar methods: calls by method, commands of batches included.
    :ivar commands: calls by method that came as commands of batches.
    :ivar refusals: requests and commands turned away by a limit, by error code.
    :ivar notifications: messages to organisers by event id and kind: ``accepted`` or ``declined``.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.cookies = 0
        self.methods: Counter[str] = Counter()
        self.commands: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.notifications: dict[int, Counter[str]] = {}

    def arrived(self, session: str) -> None:
        """Count a request, and the session cookie that it sends back."""
        self.requests += 1
        self.cookies += bool(session)

    def ran(self, method: str, inner: bool) -> None:
        """Count a call of a known method."""
        self.methods[method] += 1
        if inner:
            self.commands[method] += 1

    def refused(self, code: str) -> None:
        """Count a request or command turned away by a limit."""
        self.refusals[code] += 1

    def notified(self, event_id: int, kind: str) -> None:
        """Count a message to the organiser of a meeting."""
        self.notifications.setdefault(event_id, Counter())[kind] += 1

    def summary(self) -> dict[str, object]:
        """Return all tallies as JSON data."""
        return {
            "requests": self.requests,
            "cookies": self.cookies,
            "methods": dict(self.methods),
            "commands": dict(self.commands),
            "refusals": dict(self.refusals),
            "notifications": {str(event_id): dict(kinds) for event_id, kinds in self.notifications.items()},
        }
