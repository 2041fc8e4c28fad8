"""Throw replies at their reader for as long as wanted; nothing but a value or a ``Bitrix24Error`` may come out.

The replies are what the sandbox portal answers to every typed call, changed at random: bytes lost, doubled and
swapped, JSON values replaced by others, maps made lists as PHP does, any HTTP status; beside them pure noise.
Every reply is made from the seed and its own number, so one that failed is made again by its number.

Run: ``make fuzz``, or ``python -m tests.fuzz.replies --seconds 60 --seed 1``; ``--only 4711`` repeats one reply.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count, islice
from random import Random
from typing import Any

from bitrix24_sandbox import request
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.seed import default_seed_data

from airflow_provider_b24cal.bitrix24 import people
from airflow_provider_b24cal.bitrix24.auth.credentials import Endpoint, Secret, Webhook
from airflow_provider_b24cal.bitrix24.calendar import event_methods, methods, sections
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from airflow_provider_b24cal.bitrix24.protocol.batch import pack
from airflow_provider_b24cal.bitrix24.protocol.call import Call
from airflow_provider_b24cal.bitrix24.protocol.error_codes import CODES
from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error, error_from_dict
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply, read
from airflow_provider_b24cal.client.operating import OperatingTimes

LONGEST_TEXT = 2000
"""Characters that an error has at most: it goes to logs and XCom."""


def _calls() -> list[Call[Any]]:
    week = Window(datetime(2026, 9, 14, tzinfo=UTC), datetime(2026, 9, 21, tzinfo=UTC))
    single: list[Call[Any]] = [
        methods.get_status(668),
        methods.get_status(99_999),
        methods.set_status(681, MeetingStatus.ACCEPTED),
        methods.profile(),
        methods.scope(),
        methods.get_contacts([1, 2]),
        methods.raw("calendar.section.get", {"type": "user", "ownerId": 1}, writes=False),
        sections.get_sections(),
        people.get_group_members(1),
        event_methods.get_events("user", 1, week),
        event_methods.get_event(668),
        event_methods.get_event(99_999),
        event_methods.get_busy([1, 2], week),
    ]
    return [*single, pack(single, "c"), pack([methods.get_status(number) for number in (668, 681, 689)], "c")]


@dataclass(frozen=True)
class Samples:
    """Calls with what a portal answers to them.

    :param secret: the webhook's code, which no error may show.
    """

    pairs: list[tuple[Call[Any], bytes]]
    endpoint: Endpoint
    secret: str


def samples() -> Samples:
    """Ask the sandbox portal, without sockets."""
    portal = Portal(default_seed_data(), clock=datetime(2026, 9, 14, 9, tzinfo=UTC).timestamp)
    webhook = portal.person(1).webhook
    assert webhook is not None
    endpoint = Endpoint("https://example.bitrix24.com", Webhook("1", Secret(webhook.secret)))
    return Samples([(call, _answer(portal, endpoint, call)) for call in _calls()], endpoint, webhook.secret)


def _answer(portal: Portal, endpoint: Endpoint, call: Call[Any]) -> bytes:
    sent = endpoint.request(call.method, call.params)
    path = sent.url.reveal().partition("/rest/")[2]
    work = portal.serve(request.read("POST", path, "", "application/json", sent.body))
    while True:
        try:
            next(work)
        except StopIteration as end:
            body: bytes = end.value.body
            return body


def _number(chance: Random) -> object:
    return chance.choice([0, -1, 1.5, 2**63, 10**400, 1e308, float("nan"), float("inf"), chance.randrange(10**6)])


def _text(chance: Random, secret: str) -> str:
    odd = [secret, f"/rest/1/{secret}/x", "\ud800", "\0", "\n", "Y", "M", "", "Europe/Berlin", "../x", "9" * 5000]
    dates = ["Mon Feb 30 2026 10:00:00", "Sun Mar 29 2026 02:30:00", "31.12.8999 24:00:00", "03/04/2026 10:00:00 pm"]
    return chance.choice(
        [*odd, *dates, chance.choice(sorted(CODES)), "".join(map(chr, chance.choices(range(1, 0x3000), k=9)))]
    )


def _value(chance: Random, secret: str, depth: int = 0) -> object:
    kind = chance.randrange(4 if depth > 2 else 6)
    if kind < 2:
        return chance.choice([None, True, False, _number(chance)])
    if kind < 4:
        return _text(chance, secret)
    size = range(chance.randrange(4))
    if kind == 4:
        return [_value(chance, secret, depth + 1) for _ in size]
    return {_text(chance, secret): _value(chance, secret, depth + 1) for _ in size}


def _places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from _places(item, (*path, key))


def _changed(value: Any, chance: Random, secret: str) -> Any:
    """Change one place of a JSON value."""
    places = [path for path in _places(value) if path]
    if not places:
        return _value(chance, secret)
    *way, last = chance.choice(places)
    parent = value
    for key in way:
        parent = parent[key]
    deed = chance.randrange(4)
    if deed == 0:
        del parent[last]
    elif deed == 1 and isinstance(parent[last], dict):
        parent[last] = list(parent[last].values())
    elif deed == 1 and isinstance(parent[last], list):
        parent[last] = {str(number): item for number, item in enumerate(parent[last], chance.randrange(2))}
    elif deed == 2 and isinstance(parent, dict):
        parent[_text(chance, secret)] = _value(chance, secret)
    else:
        parent[last] = _value(chance, secret)
    return value


def _written(value: object, chance: Random) -> bytes:
    return json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")


def _torn(body: bytes, other: bytes, chance: Random) -> bytes:
    """Damage bytes as lines and proxies do, and as none would."""
    first, last = sorted(chance.choices(range(len(body) + 1), k=2))
    return chance.choice(
        [
            body[:first],
            body[first:],
            body[:first] + body[last:],
            body[:last] + body[first:],
            body[:first] + other[first:],
            body[:first] + chance.randbytes(chance.randrange(1, 9)) + body[first:],
            body[:first] + b"[" * chance.choice([1, 9, 100_000]) + body[first:],
            b"\xef\xbb\xbf" + body,
            b"<html>" + body + b"</html>",
            body.decode("utf-8", "replace").encode(chance.choice(["utf-16", "utf-32", "cp1251"]), "replace"),
        ]
    )


def make(given: Samples, seed: int, number: int) -> tuple[Call[Any], Reply]:
    """Return the reply of a number, and the call that it is read as an answer to."""
    chance = Random(f"{seed}:{number}")
    call, body = chance.choice(given.pairs)
    other = chance.choice(given.pairs)[1]
    kind = chance.randrange(10)
    if kind < 6:
        value = json.loads(body if kind else other)
        for _ in range(chance.randrange(1, 4)):
            value = _changed(value, chance, given.secret)
        body = _written(value, chance)
    elif kind == 6:
        error = {"error": _text(chance, given.secret), "error_description": _value(chance, given.secret)}
        body = _written(error if chance.random() < 0.8 else _value(chance, given.secret), chance)
    elif kind == 7:
        body = chance.randbytes(chance.randrange(200))
    if kind in {0, 8, 9}:
        body = _torn(body, other, chance)
    status = chance.choice([200, 200, 200, 200, 400, 401, 403, 404, 429, 500, 502, 503, chance.randrange(100, 600)])
    location = chance.choice([None, _text(chance, given.secret)])
    return call, Reply(status, body, location)


def judge(given: Samples, call: Call[Any], reply: Reply) -> str:
    """Read a reply and return what came of it: ``value``, or the class of the error.

    :raises AssertionError: the error is not fit to be shown, stored or sent on.
    :raises Exception: whatever the reader let out besides its own errors.
    """
    operating = OperatingTimes()
    try:
        read(call, reply, given.endpoint.scrub, operating.note)
        operating.release(call.method)
    except Bitrix24Error as error:
        text = f"{error} {error!r} {json.dumps(error.to_dict())}"
        assert given.secret not in text, "the secret is shown"
        assert len(str(error)) <= LONGEST_TEXT, "the text is too long"
        text.encode("utf-8")
        assert error.__cause__ is None, "it carries another error along"
        assert error.__context__ is None, "it carries another error along"
        assert str(error_from_dict(json.loads(json.dumps(error.to_dict())))) == str(error)
        return type(error).__name__
    return "value"


@dataclass
class Tally:
    """What a run has seen.

    :ivar ends: how often each end came.
    :ivar failures: numbers of the replies that came to no permitted end, with the reason.
    """

    ends: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)


def throw(seed: int, numbers: Iterator[int], go_on: Callable[[], bool] = lambda: True) -> Tally:
    """Read the replies of some numbers, for as long as ``go_on`` says so and fewer than ten have failed."""
    given, tally = samples(), Tally()
    for number in numbers:
        if not go_on() or len(tally.failures) == 10:
            break
        try:
            tally.ends[judge(given, *make(given, seed, number))] += 1
        except Exception as failure:  # noqa: BLE001 - these are what is looked for
            tally.failures.append((number, f"{type(failure).__name__}: {ascii(failure)[:300]}"))
    return tally


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.replies", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, help="stop after this time (default: 60, or never with --count)")
    parser.add_argument("--count", type=int, help="stop after so many replies")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="show and read the reply of this number")
    wanted = parser.parse_args()
    if wanted.only is not None:
        given = samples()
        call, reply = make(given, wanted.seed, wanted.only)
        print(call.method, reply, reply.body[:2000])
        print(judge(given, call, reply))
        return 0
    seconds = 60.0 if wanted.seconds is None and wanted.count is None else wanted.seconds
    began = time.monotonic()
    tally = throw(
        wanted.seed,
        islice(count(), wanted.count),
        lambda: seconds is None or time.monotonic() - began < seconds,
    )
    thrown = sum(tally.ends.values()) + len(tally.failures)
    for end, number in tally.ends.most_common():
        print(f"{number:9,}  {end}")
    for number, reason in tally.failures:
        print(f"FAILED  --seed {wanted.seed} --only {number}: {reason}")
    print(
        f"{thrown:,} replies of seed {wanted.seed} in {time.monotonic() - began:.0f} s; "
        f"{len(tally.failures)} ended as they must not"
    )
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
