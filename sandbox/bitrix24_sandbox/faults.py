"""Planned trouble: rules that make the next requests fail in a chosen way.

A rule is written as a mapping, for example ``{"method": "calendar.meeting.status.set", "times": 2,
"error": "QUERY_LIMIT_EXCEEDED"}``. It has one kind of trouble: ``error`` (a JSON error), ``body`` (a raw
answer), ``drop`` (a reset connection), ``corruption`` (a true answer that breaks on its way) or just ``delay``;
``inner`` plans an error for a batch command. In a ``body``, ``{c0}``, ``{c1}``, ... stand for the names of the
commands of the batch that it answers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bitrix24_sandbox import checks
from bitrix24_sandbox.checks import BadInputError
from bitrix24_sandbox.corrupt_responses import CORRUPTIONS
from bitrix24_sandbox.errors import RestError
from bitrix24_sandbox.reply import Reply

if TYPE_CHECKING:
    from collections.abc import Iterable

_WHEN = ("before", "after")
_COMMON = ("method", "times", "delay", "when")
_KEYS: dict[str, tuple[str, ...]] = {
    "inner": ("inner", "times", "error", "description"),
    "drop": ("method", "times", "delay", "drop"),
    "corruption": ("method", "times", "delay", "corruption"),
    "error": (*_COMMON, "error", "http_status", "description"),
    "body": (*_COMMON, "body", "http_status", "content_type", "headers"),
    "delay": _COMMON,
}


@dataclass(frozen=True)
class Fault:
    """One rule.

    :param method: lower-cased name, or ``*`` for every REST request; ``oauth.token`` for requests for tokens.
    :param times: how often it still strikes.
    :param inner: whether it strikes commands of a batch instead of requests.
    :param run_first: whether the method does its work before the trouble begins.
    :param delay: seconds of silence before the answer.
    :param drop: reset the connection instead of answering.
    :param corruption: answer truly, and let this become of the answer on its way; the method has done its work.
    :param error: answer with this error.
    :param reply: answer with this.
    """

    method: str
    times: int
    inner: bool = False
    run_first: bool = False
    delay: float = 0.0
    drop: bool = False
    corruption: str = ""
    error: RestError | None = None
    reply: Reply | None = None

    def for_commands(self, names: Iterable[object]) -> Fault:
        """Return the rule with the names of a batch's commands in its answer, in place of ``{c0}``, ``{c1}``, ...

        Clients may name the commands of each batch anew, and an answer under other names is none.
        """
        if self.reply is None:
            return self
        body = self.reply.body
        for number, name in enumerate(names):
            body = body.replace(b"{c%d}" % number, str(name).encode())
        return replace(self, reply=replace(self.reply, body=body))


def parse(wanted: object, field: str = "") -> Fault:
    """Return a rule from its mapping.

    :param field: path of the rule, for messages.
    :raises BadInputError: naming the key that is wrong.
    """
    prefix = f"{field}." if field else ""
    kind = next((name for name in _KEYS if isinstance(wanted, dict) and name in wanted), None)
    if kind is None or not isinstance(wanted, dict):
        raise BadInputError(field or "fault", wanted, f"a mapping with one of the keys {', '.join(_KEYS)}")
    rule = checks.mapping(wanted, field, _KEYS[kind], ("error",) if kind == "inner" else ())
    target = "inner" if kind == "inner" else "method"
    moment = "drop" if kind == "drop" else "when"
    return Fault(
        method=checks.text(rule.get(target, "*"), f"{prefix}{target}").lower(),
        times=checks.integer(rule.get("times", 1), f"{prefix}times", 1),
        inner=kind == "inner",
        run_first=kind == "corruption"
        or checks.choice(rule.get(moment, "before"), f"{prefix}{moment}", _WHEN) == "after",
        delay=checks.seconds(rule.get("delay", 0), f"{prefix}delay"),
        drop=kind == "drop",
        corruption=checks.choice(rule["corruption"], f"{prefix}corruption", CORRUPTIONS)
        if kind == "corruption"
        else "",
        error=_error(rule, prefix) if "error" in rule else None,
        reply=_reply(rule, prefix) if kind == "body" else None,
    )


def _status(rule: dict[str, object], prefix: str, default: int | None) -> int | None:
    value = rule.get("http_status", default)
    return None if value is None else checks.integer(value, f"{prefix}http_status", 200, 599)


def _error(rule: dict[str, object], prefix: str) -> RestError:
    return RestError(
        checks.text(rule["error"], f"{prefix}error"),
        checks.text(rule.get("description", ""), f"{prefix}description"),
        _status(rule, prefix, None),
    )


def _reply(rule: dict[str, object], prefix: str) -> Reply:
    headers = rule.get("headers", {})
    if not isinstance(headers, dict):
        raise BadInputError(f"{prefix}headers", headers, "a mapping from header to text")
    return Reply(
        status=_status(rule, prefix, 200) or 200,
        content_type=checks.text(rule.get("content_type", "text/html; charset=utf-8"), f"{prefix}content_type"),
        body=checks.text(rule["body"], f"{prefix}body").encode(),
        headers={str(name): checks.text(value, f"{prefix}headers.{name}") for name, value in headers.items()},
    )


class FaultPlan:
    """The rules still to strike, in order."""

    def __init__(self) -> None:
        self._rules: list[Fault] = []

    def add(self, rules: list[Fault]) -> None:
        """Append rules."""
        self._rules.extend(rules)

    def clear(self) -> None:
        """Forget all rules."""
        self._rules.clear()

    def take(self, method: str, *, inner: bool, any_method: str = "*") -> Fault | None:
        """Return the first rule that applies to a method, and use it up by one."""
        for index, rule in enumerate(self._rules):
            if rule.inner == inner and rule.method in (any_method, method):
                left = rule.times - 1
                self._rules[index : index + 1] = [replace(rule, times=left)] if left else []
                return rule
        return None

    def waiting(self) -> list[dict[str, object]]:
        """Return what is still to strike, for a person to read."""
        return [{"inner" if rule.inner else "method": rule.method, "times": rule.times} for rule in self._rules]
