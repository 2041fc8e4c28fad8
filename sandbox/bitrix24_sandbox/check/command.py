"""The subcommand ``check``: what it asks for, in which order, and how it ends."""

from __future__ import annotations

import getpass
import logging
import os
import signal
import sys
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bitrix24_sandbox.check import report
from bitrix24_sandbox.check.client import CheckError, Client, Stopped
from bitrix24_sandbox.check.facts import FACTS, MADE, ME, OTHER
from bitrix24_sandbox.check.forms import outcome
from bitrix24_sandbox.check.run import Finding, Run
from bitrix24_sandbox.check.scratch import SECTION, Scratch
from bitrix24_sandbox.check.webhook import Webhook, from_connection, from_url
from bitrix24_sandbox.checks import BadInputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

FIRST: Final = "BITRIX24_WEBHOOK"
SECOND: Final = "BITRIX24_SECOND_WEBHOOK"
DIFFERENT, BAD_INPUT = 1, 2
_TERMINAL: Final = Path("/dev/tty")


def run(options: argparse.Namespace) -> int:
    """Run the check and return its exit status."""
    signals: list[int] = []
    try:
        _check_targets(options)
        with ExitStack() as stack:
            stack.enter_context(_no_log_of_requests())
            clients = {
                who: stack.enter_context(Client(webhook, time.sleep, lambda: bool(signals)))
                for who, webhook in _webhooks(options).items()
            }
            return _run(options, clients, signals)
    except (Stopped, KeyboardInterrupt):
        print("Stopped.", file=sys.stderr)
        return 128 + (signals or [signal.SIGINT])[0]
    except (BadInputError, OSError) as error:
        print(f"bitrix24-sandbox check: {error}", file=sys.stderr)
    except CheckError as error:
        print(f"bitrix24-sandbox check: {error} The check has ended early.", file=sys.stderr)
    return BAD_INPUT


def _run(options: argparse.Namespace, clients: Mapping[str, Client], signals: list[int]) -> int:
    names: dict[str, int | str] = {who: _user_id(client) for who, client in clients.items()}
    if names.get(OTHER) == names[ME]:
        raise BadInputError(SECOND, "***", "the webhook of another person")
    if options.scratch:
        for who, client in clients.items():
            _refuse_external(client, names[who])
    if not options.yes:
        _confirm(_plan(options, clients, names))
    findings: list[Finding] = []
    with _noted(signals):
        left = _check(options, clients, names, findings)
    if signals:
        raise Stopped
    print(report.table(findings), report.summary(findings), sep="\n\n")
    if options.report is not None:
        options.report.write_text(report.report(findings), "utf-8")
    if options.record is not None:
        report.record(findings, options.record)
    return DIFFERENT if left or any(finding.differs for finding in findings) else 0


def _check(
    options: argparse.Namespace, clients: Mapping[str, Client], names: dict[str, int | str], findings: list[Finding]
) -> list[str]:
    """Check all facts; return what is left over of the meetings made for it."""
    if not options.scratch:
        _ask_all(Run(clients, names, set()), findings, "--scratch")
        return []
    scratch = Scratch(clients, names, datetime.now(UTC).date())
    left = scratch.remove()
    try:
        if left:
            raise CheckError("What an earlier run has left could not be removed.")
        made = "made"
        try:
            scratch.make()
        except CheckError as error:
            made = str(error)
        findings.append(Finding(MADE, made))
        reason = "a meeting that could not be made" if findings[0].differs else "a second webhook"
        _ask_all(Run(clients, names, scratch.own_ids), findings, reason)
    finally:
        left = scratch.remove()
        if left:
            print(f"Left over in the calendar of user {names[ME]}: {', '.join(left)}.", file=sys.stderr)
            print("Run the check with --scratch again, or delete it by hand.", file=sys.stderr)
    return left


def _ask_all(one: Run, findings: list[Finding], reason: str) -> None:
    one.note_scopes()
    findings.extend(one.check(FACTS, reason))


# Input


def _check_targets(options: argparse.Namespace) -> None:
    for name, path in (("--report", options.report), ("--record", options.record)):
        if path is not None and not path.absolute().parent.is_dir():
            raise BadInputError(name, str(path), "a path in a folder that is there")


def _webhooks(options: argparse.Namespace) -> dict[str, Webhook]:
    if options.connection:
        first = from_connection(sys.stdin.read())
    elif os.environ.get(FIRST):
        first = from_url(os.environ[FIRST], FIRST)
    else:
        first = from_url(_hidden("Webhook URL (hidden): "), FIRST)
    if not os.environ.get(SECOND):
        return {ME: first}
    second = from_url(os.environ[SECOND], SECOND)
    if second.origin != first.origin:
        raise BadInputError(SECOND, "***", "a webhook of the same portal")
    return {ME: first, OTHER: second}


def _hidden(prompt: str) -> str:
    try:
        with _TERMINAL.open("r+b", buffering=0):
            return getpass.getpass(prompt)
    except (OSError, EOFError):
        raise BadInputError(FIRST, None, "a webhook's URL in the environment; there is no terminal to ask") from None


def _user_id(client: Client) -> int:
    reply = client.ask("profile", {})
    found = reply.result.get("ID") if isinstance(reply.result, dict) else None
    if not str(found).isdigit():
        raise BadInputError("webhook", outcome(reply), "a webhook of an active user with the scope calendar")
    return int(str(found))


def _refuse_external(client: Client, user_id: object) -> None:
    """Keep guests by mail and extranet users out: a meeting with them could reach people outside.

    :raises BadInputError: the calendar's lists are closed to the webhook's owner.
    """
    window = {"from": "2000-01-01", "to": "2000-01-02"}
    reply = client.ask("calendar.event.get", {"type": "user", "ownerId": user_id, **window})
    people = client.ask("user.get", {"ID": user_id}).result
    kinds = [
        one.get("USER_TYPE", "employee")
        for one in (people if isinstance(people, list) else ())
        if isinstance(one, dict) and str(one.get("ID")) == str(user_id)
    ]
    if reply.code is not None or reply.status != 200 or not set(kinds) <= {"employee"}:
        raise BadInputError("--scratch", outcome(reply), "webhooks of employees; no mail users, no extranet users")


def _plan(options: argparse.Namespace, clients: Mapping[str, Client], names: Mapping[str, int | str]) -> str:
    users = " and ".join(str(names[who]) for who in clients)
    lines = [f"This checks {len(FACTS)} facts on {clients[ME].webhook.origin} as user {users}, in a minute or two."]
    if options.scratch:
        lines += [
            f"It makes the section {SECTION!r} in the calendar of user {names[ME]}, with meetings that ended more than",
            f"thirty days ago, invites only user {users}, sets answers to them, and removes everything at its end.",
        ]
    else:
        lines.append("It only reads, and looks at no event of anybody.")
    return "\n".join(lines)


def _confirm(plan: str) -> None:
    try:
        # Standard input may hold the connection.
        with _TERMINAL.open("r+b", buffering=0) as terminal:
            terminal.write(f"{plan}\nGo on? [y/N] ".encode())
            answer = terminal.read(64).decode("utf-8", "replace").strip().lower()
    except OSError:
        raise BadInputError("--yes", None, "this option where there is no terminal to ask") from None
    if answer not in ("y", "yes"):
        raise BadInputError("answer", answer, "y to go on; nothing was made")


@contextmanager
def _no_log_of_requests() -> Iterator[None]:
    """Keep requests out of every log: httpx writes their URLs, and so the secrets."""
    log = logging.getLogger("httpx")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


@contextmanager
def _noted(came: list[int]) -> Iterator[None]:
    """Note the signals to stop that come meanwhile; a request under way is finished first."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = [signal.signal(number, lambda number, _: came.append(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
