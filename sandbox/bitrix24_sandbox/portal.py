"""The portal itself: seed data, settings, planned faults and counters, behind one lock.

The server works in its own thread, and a test looks in from another; every public method takes the lock.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bitrix24_sandbox import dispatch, faults, participation, settings
from bitrix24_sandbox.auth import Application, authorise
from bitrix24_sandbox.basic_methods import any_case
from bitrix24_sandbox.checks import BadInputError
from bitrix24_sandbox.counters import Counters
from bitrix24_sandbox.errors import PhpFatalError, RestError
from bitrix24_sandbox.inbox import Inbox, Notification
from bitrix24_sandbox.limits import Limiter, UsageMeter
from bitrix24_sandbox.methods import METHODS
from bitrix24_sandbox.models import ANSWERS, CalendarStore, Event, Person, Row, SeedData
from bitrix24_sandbox.oauth import METHOD as TOKEN
from bitrix24_sandbox.oauth import AuthServer, Pair
from bitrix24_sandbox.reply import Reply, fatal, render
from bitrix24_sandbox.rest import Call, PortalContext
from bitrix24_sandbox.session import with_headers
from bitrix24_sandbox.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bitrix24_sandbox.php import PhpArray
    from bitrix24_sandbox.request import RestRequest
    from bitrix24_sandbox.rest import Work

_TOO_MANY = faults.Fault(method="*", times=1, error=RestError("QUERY_LIMIT_EXCEEDED", "Too many requests"))


class Portal:
    """A portal with its state.

    :param seed_data: people and meetings to start from, and to return to on :meth:`reset`.
    :param start: way of answering to start with.
    :param clock: returns the time as seconds since the epoch.
    """

    def __init__(
        self, seed_data: SeedData, start: Settings | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._seed_data = seed_data
        self._clock = clock
        self._start = Settings() if start is None else start
        self._lock = threading.RLock()
        self._plan = faults.FaultPlan()
        self._connections: set[int] = set()
        self._connections_seen = 0
        self.reset()

    def reset(self) -> None:
        """Return to the initial seed data and settings; forget faults, counters and what limits have measured."""
        with self._lock:
            self.book = CalendarStore(self._seed_data)
            self.settings = self._start
            self.counters = Counters()
            self.inbox = Inbox()
            self.auth_server = AuthServer()
            self._limiter = Limiter()
            self._plan.clear()
            self._connections_seen = len(self._connections)

    def now(self) -> datetime:
        """Return the portal's time, which has an offset."""
        return datetime.fromtimestamp(self._clock(), UTC)

    @contextmanager
    def locked(self) -> Iterator[CalendarStore]:
        """Hold the portal still while looking at several things."""
        with self._lock:
            yield self.book

    def person(self, user_id: int) -> Person:
        """Return a person.

        :raises KeyError: when there is nobody of that id.
        """
        return self.book.people[user_id]

    def status(self, event_id: int, user_id: int) -> str | None:
        """Return the letter stored in a person's live row of a meeting; ``None`` without such a row."""
        with self._lock:
            for row in self.book.rows_owned(event_id, user_id):
                if row.calendar_type == "user" and not row.deleted:
                    return row.status
            return None

    def notifications(self, user_id: int | None = None) -> list[Notification]:
        """Return the notifications in a person's list, or in everybody's, in the order sent."""
        with self._lock:
            return [one for one in self.inbox if user_id in (None, one.user_id)]

    # REST

    def serve(self, request: RestRequest) -> Work[Reply]:
        """Run a REST request step by step and return its answer.

        The portal is locked during a step, and free in between.
        """
        steps = self._answer(request)
        while True:
            with self._lock:
                try:
                    pause = next(steps)
                except StopIteration as end:
                    reply: Reply = end.value
                    return reply
            yield pause

    def _answer(self, request: RestRequest) -> Work[Reply]:
        try:
            return (yield from self._run(request))
        except RestError as error:
            return self.error_reply(error, request.form)
        except PhpFatalError:
            return fatal()

    def error_reply(self, error: RestError, form: str) -> Reply:
        """Return an error as an answer; errors carry no ``time``."""
        return render(error.status(self.settings.auth_statuses), error.body(), form)

    def _run(self, request: RestRequest) -> Work[Reply]:
        method = dispatch.find(METHODS, request.method)
        self.counters.ran(request.method, inner=False)
        application = Application(self.auth_server.client_id, self._check_token, self.auth_server.scopes)
        caller, webhook = authorise(self.book.people.values(), request, method, application)
        if self.settings.blocked:
            self.counters.refused("OVERLOAD_LIMIT")
            raise RestError("OVERLOAD_LIMIT", "REST API is blocked due to overload.")
        tab = UsageMeter(self._limiter, caller.id)
        portal = PortalContext(
            self.book, self.settings, self.counters, METHODS, self._clock, tab, self._inner_error, self.auth_server,
            request.address, self.inbox,
        )  # fmt: skip
        parameters = request.parameters
        start = dispatch.start_of(parameters)
        call = Call(caller, webhook, dispatch.without_reserved(parameters), portal, start)
        outcome = yield from dispatch.run(request.method, method, call)
        answer: PhpArray = {"result": outcome.result, **outcome.paging, "time": outcome.time}
        return with_headers(render(200, answer, request.form), caller, webhook, outcome.time)

    # Tokens

    def grant(self, user_id: int) -> Pair:
        """Give out a pair of tokens, as if a person had just let the application in."""
        with self._lock:
            return self.auth_server.grant(user_id, self._clock())

    def agree(self, user_id: int) -> str:
        """Let a person agree to the application, and return the code that it receives."""
        with self._lock:
            return self.auth_server.authorise(user_id, self._clock())

    def expire_tokens(self) -> None:
        """Let all access tokens run out."""
        with self._lock:
            self.auth_server.expire()

    def revoke_tokens(self) -> None:
        """Let nobody know any token any more."""
        with self._lock:
            self.auth_server.revoke()

    def answer_token(self, parameters: PhpArray, address: str) -> Reply:
        """Answer a request for tokens."""
        with self._lock:
            try:
                answer = self.auth_server.answer(parameters, address, self.settings, self._clock())
            except RestError as error:
                return self.error_reply(error, "json")
            return render(200, answer, "json")

    def _check_token(self, token: str) -> int:
        return self.auth_server.check(token, self.settings, self._clock())

    # Planned trouble

    def arrive_for_token(self) -> faults.Fault | None:
        """Return what keeps a request for tokens from being served normally; only rules that name it apply."""
        with self._lock:
            return self._plan.take(TOKEN, inner=False, any_method=TOKEN)

    def arrive(self, request: RestRequest, address: str) -> faults.Fault | None:
        """Count a request and return what keeps it from being served normally, if anything does.

        :param address: where it comes from.
        """
        with self._lock:
            self.counters.arrived(request.session)
            bucket = self.settings.bucket
            if bucket is not None and not self._limiter.admit(address, self._clock(), *bucket):
                self.counters.refused("QUERY_LIMIT_EXCEEDED")
                return _TOO_MANY
            fault = self._plan.take(request.method, inner=False)
            commands = any_case(request.parameters, "cmd")
            return fault.for_commands(commands) if fault and isinstance(commands, dict) else fault

    def plan(self, *wanted: object) -> list[dict[str, object]]:
        """Plan faults, each given as a mapping; see :mod:`~bitrix24_sandbox.faults`.

        :return: everything that is planned now.
        :raises BadInputError: for a rule that is not understood; none is planned then.
        """
        fields = [""] if len(wanted) == 1 else [f"[{index}]" for index in range(len(wanted))]
        rules = [faults.parse(rule, field) for rule, field in zip(wanted, fields, strict=True)]
        with self._lock:
            self._plan.add(rules)
            return self._plan.waiting()

    def forget_faults(self) -> None:
        """Forget all planned faults."""
        with self._lock:
            self._plan.clear()

    def _inner_error(self, method: str) -> RestError | None:
        fault = self._plan.take(method, inner=True)
        return None if fault is None else fault.error

    # What people do in their own calendars, without REST

    def configure(self, wanted: object) -> Settings:
        """Change settings, given as a mapping.

        :raises BadInputError: for an unknown setting or value.
        """
        with self._lock:
            self.settings = settings.change(self.settings, wanted)
            return self.settings

    def answer(self, event_id: int, user_id: int, status: str) -> None:
        """Let an attendee answer a meeting in the calendar.

        :param event_id: id of any row of the meeting.
        :raises BadInputError: when there is no such meeting, attendee or answer.
        """
        with self._lock:
            event = self._meeting(event_id)
            if status not in ANSWERS:
                raise BadInputError("status", status, ", ".join(ANSWERS))
            guests = [row.owner_id for row in participation.children_of(self.book, event.id)]
            if user_id not in guests:
                raise BadInputError("user_id", user_id, f"an attendee: {', '.join(map(str, guests))}")
            participation.write_status(self.book, event.id, user_id, status, self.settings.duplicate_row)
            if event.notify:
                self.counters.notified(event.id, "accepted" if status == "Y" else "declined")

    def invite(self, event_id: int, user_id: int) -> Row:
        """Let the organiser invite a person, possibly once more after a removal.

        :raises BadInputError: when there is no such meeting or person, or the person takes part already.
        """
        with self._lock:
            event = self._meeting(event_id)
            taken = [
                row.owner_id for row in self.book.rows_of(event.id) if not row.deleted and row.calendar_type == "user"
            ]
            if user_id in taken or user_id not in self.book.people:
                free = [person for person in self.book.people if person not in taken]
                raise BadInputError("user_id", user_id, f"somebody not invited: {', '.join(map(str, free))}")
            return participation.invite(self.book, event.id, user_id)

    def remove(self, event_id: int, user_id: int) -> None:
        """Let the organiser remove an attendee.

        :raises BadInputError: when there is no such meeting or attendee.
        """
        with self._lock:
            event = self._meeting(event_id)
            guests = [row.owner_id for row in participation.children_of(self.book, event.id)]
            if user_id not in guests:
                raise BadInputError("user_id", user_id, f"an attendee: {', '.join(map(str, guests))}")
            participation.remove(self.book, event.id, user_id)

    def _meeting(self, row_id: int) -> Event:
        row = participation.addressed_row(self.book, row_id)
        if row is None:
            raise BadInputError("event_id", row_id, "the id of a meeting that is not deleted")
        return self.book.events[row.parent_id]

    # Connections

    def connected(self, connection: int) -> None:
        """Note an opened connection."""
        with self._lock:
            self._connections.add(connection)
            self._connections_seen += 1

    def disconnected(self, connection: int) -> None:
        """Note a closed connection."""
        with self._lock:
            self._connections.discard(connection)

    def count(self) -> dict[str, object]:
        """Return all counters as JSON data."""
        with self._lock:
            connections = {"open": len(self._connections), "seen": self._connections_seen}
            tokens = {"issued": dict(self.auth_server.issued), "refused": dict(self.auth_server.refused)}
            return {**self.counters.summary(), "tokens": tokens, "connections": connections}
