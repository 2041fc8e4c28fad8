"""Asking a portal for every fact, and judging what comes back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from bitrix24_sandbox.check import forms
from bitrix24_sandbox.check.facts import ME, OTHER, WRONG, Ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bitrix24_sandbox.check.client import Client, Reply
    from bitrix24_sandbox.check.facts import Ask, Fact

_WRONG_SECRET: Final = "0000000000000000"  # noqa: S105 - it is nobody's
_WITH_EVENTS: Final = ("calendar.event.get", "calendar.accessibility.get")
# The scopes of which one suffices, and a method that reads nothing much.
_PEOPLE: Final = frozenset(("user", "user_basic", "user_brief"))
_CLOSED: Final = (
    (_PEOPLE, "user.get"), (frozenset(("department",)), "department.get"),
    (frozenset(("sonet_group",)), "sonet_group.get"), (frozenset(("log",)), "log.blogpost.get"),
)  # fmt: skip
_NEEDS: Final = {
    "user.get": "the scope user_brief, user_basic or user",
    "closed method": "a scope that the webhook lacks",
    OTHER: "a second webhook",
}


@dataclass(frozen=True)
class Finding:
    """What was found of a fact.

    :param found: words; empty when it was not checked.
    :param needs: what was missing to check it.
    :param replies: what was asked, with everything filled in, and its reply.
    """

    fact: Fact
    found: str = ""
    needs: str = ""
    replies: tuple[tuple[Ask, Reply], ...] = ()

    @property
    def differs(self) -> bool:
        """Whether something else came back than is expected."""
        return not self.needs and self.found not in self.fact.expected


class MissingError(LookupError):
    """Something that a fact needs is not there."""


class Run:
    """One run over the facts.

    :param clients: by who they ask for: the first webhook and, if there is one, the second.
    :ivar names: what :class:`~bitrix24_sandbox.check.facts.Ref` objects stand for.
    :ivar own_ids: the rows that were made for the check; no other is looked at.
    """

    def __init__(self, clients: Mapping[str, Client], names: dict[str, int | str], own_ids: set[int]) -> None:
        self.clients = clients
        self.names = names
        self.own_ids = own_ids

    def note_scopes(self) -> None:
        """Note what the first webhook's scopes allow, and one method of the portal that they do not."""
        listed = self.clients[ME].ask("scope", {}).result
        granted = {one for one in listed if isinstance(one, str)} if isinstance(listed, list) else set()
        if granted & _PEOPLE:
            self.names["user.get"] = "user.get"
        for some, method in _CLOSED:
            if some & granted or "closed method" in self.names:
                continue
            known = self.clients[ME].ask("method.get", {"name": method}).result
            if isinstance(known, dict) and known.get("isExisting") is True:
                self.names["closed method"] = method

    def check(self, facts: Iterable[Fact], reason: str) -> Iterator[Finding]:
        """Yield a finding for each fact.

        :param reason: what is missing where a meeting of the check's own is not there.
        """
        for fact in facts:
            try:
                self._value(Ref(fact.needs))
                asks = [self._filled(ask) for ask in fact.asks]
            except MissingError as missing:
                yield Finding(fact, needs=_NEEDS.get(str(missing), reason))
                continue
            replies = [(ask, self.ask(ask)) for ask in asks]
            yield Finding(fact, self._words(fact, [reply for _, reply in replies]), replies=tuple(replies))

    def ask(self, ask: Ask) -> Reply:
        """Send a request and return its reply without rows of events that are not the check's own."""
        secret = _WRONG_SECRET if ask.who == WRONG else None
        client = self.clients[ME if ask.who == WRONG else ask.who]
        reply = client.ask(str(ask.method), ask.params, secret)
        if ask.method not in _WITH_EVENTS or not isinstance(reply.body, dict) or "result" not in reply.body:
            return reply
        return replace(reply, body={**reply.body, "result": self._own(reply.body["result"])})

    def _own(self, rows: Any) -> Any:
        if isinstance(rows, dict) and "ID" not in rows:
            return {key: self._own(some) for key, some in rows.items()}
        if isinstance(rows, list):
            return [row for row in rows if isinstance(row, dict) and str(row.get("ID")) in map(str, self.own_ids)]
        return rows

    def _words(self, fact: Fact, replies: list[Reply]) -> str:
        try:
            return fact.shown(replies, self.names)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return f"another shape: {forms.outcomes(replies)}"

    def _filled(self, ask: Ask) -> Ask:
        if ask.who == OTHER and OTHER not in self.clients:
            raise MissingError(OTHER)
        return replace(ask, method=self._value(ask.method), params=self._value(ask.params))

    def _value(self, value: Any) -> Any:
        if isinstance(value, Ref):
            if value.name not in self.names:
                raise MissingError(value.name)
            return self.names[value.name]
        if isinstance(value, dict):
            return {key: self._value(item) for key, item in value.items()}
        return [self._value(item) for item in value] if isinstance(value, list) else value
