"""A hook that was used before its process forked: each process has connections, locks and pools of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from tests.portal_data import ACCEPTED, MANY, SILENT, portal_data
from tests.sync import ending

# A child that hangs is ended by the alarm, and counts as failed.
COMMON = """
import asyncio, json, os, signal, sys, threading

def fork(work):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try:
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    return reading

def result(reading):
    with os.fdopen(reading, "rb") as file:
        return json.loads(file.read() or b'"nothing: the child hung or failed"')
"""


def _run(script: str, *arguments: str) -> Any:
    """Run a script in a process without threads of pytest; return what it prints last, JSON."""
    command = [sys.executable, "-c", COMMON + script, *arguments]
    with ending(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)) as process:
        printed, errors = process.communicate()
    assert process.returncode == 0, errors
    return json.loads(printed.splitlines()[-1])


USED_AND_FORKED = """
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from airflow_provider_b24cal.client import rate_limiter as pace

first, each, rounds = 1001, 20, 2
hook = Bitrix24CalendarHook()
hook.get_meeting_statuses(range(first, first + 120))  # several connections
session = hook.get_conn()

def work(number):
    wrong, reported = [], {}
    for wanted in "YN" * (rounds // 2):
        for event_id in range(first + number * each, first + (number + 1) * each):
            try:
                reported[event_id] = hook.set_meeting_status(event_id, wanted).current.value
                seen = hook.get_meeting_status(event_id).value
                if (reported[event_id], seen) != (wanted, wanted):
                    wrong.append([event_id, wanted, reported[event_id], seen])
            except Exception as error:
                wrong.append([event_id, wanted, repr(error)])
    return {"wrong": wrong, "reported": reported, "sessions": int(hook.get_conn() is session)}

children = [fork(lambda number=number: work(number)) for number in range(1, 5)]
print(json.dumps([work(0), *map(result, children)]))
"""


@pytest.fixture(params=["http", "https"])
def portal(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    """A portal of its own, which ``bitrix24_default`` leads to."""
    files: dict[str, Path] = {}
    if request.param == "https":
        authority, pem = trustme.CA(), tmp_path / "server.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        files = {"certfile": pem, "keyfile": pem}
    with SandboxServer(Portal(parse(portal_data())), **files) as server:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", server.connection_json(1))
        yield server.portal


def test_four_children_and_their_parent_use_one_hook_at_once(portal: Portal) -> None:
    before: Any = portal.count()
    results = _run(USED_AND_FORKED)
    assert [each["wrong"] for each in results] == [[]] * 5
    reported = {int(event_id): status for each in results for event_id, status in each["reported"].items()}
    assert reported == {event_id: portal.status(event_id, 1) for event_id in MANY[:100]}
    assert [each["sessions"] for each in results] == [1, 0, 0, 0, 0], "the parent's connections are as they were"
    after: Any = portal.count()
    opened = after["connections"]["seen"] - before["connections"]["seen"]
    assert 5 <= opened <= 3 + 4, "a child opens one connection, and the parent goes on with those that it has"


FORKED_WHILE_A_THREAD_OPENS_IT = """
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

reading, go_on = threading.Event(), threading.Event()

class Store:
    "Is slow to read, for a thread beside the main one."

    def load(self, key):
        if threading.current_thread() is not threading.main_thread():
            reading.set()
            go_on.wait(60)

    def save(self, key, text):
        raise AssertionError("nothing is renewed here")

sys.modules["slow_store"] = sys.modules["__main__"]
hook = Bitrix24CalendarHook("slow")
answers = []
thread = threading.Thread(target=lambda: answers.append(hook.get_meeting_status(int(sys.argv[1])).value))
thread.start()
assert reading.wait(60)
child = result(fork(lambda: [hook.get_meeting_status(int(sys.argv[1])).value]))
go_on.set()
thread.join(60)
print(json.dumps([child, answers]))
"""


def test_a_lock_that_another_thread_held_does_not_hold_the_child(
    server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SLOW", server.oauth_connection_json(1, token_store="slow_store.Store"))
    assert _run(FORKED_WHILE_A_THREAD_OPENS_IT, str(ACCEPTED)) == [["Y"], ["Y"]]


ON_EVENT_LOOPS = """
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from airflow_provider_b24cal.triggers.shared_poll import shared_poll

hook = Bitrix24CalendarHook()
silent, accepted = map(int, sys.argv[1:])
parents = asyncio.new_event_loop()

def ask(event_id):
    return parents.run_until_complete(hook.aget_meeting_status(event_id)).value

async def poll():
    return shared_poll("bitrix24_default")

async def close():
    await hook.aclose()

def in_the_child():
    global parents
    shared = parents.run_until_complete(poll()) is polled
    parents = asyncio.new_event_loop()
    answers = [ask(accepted) for _ in range(20)]
    parents.run_until_complete(close())
    return [answers, shared]

before = [ask(silent)]
polled = parents.run_until_complete(poll())
child = fork(in_the_child)
after = [ask(silent) for _ in range(20)]
print(json.dumps([before, after, result(child), [ask(silent)]]))
"""


def test_on_event_loops_and_in_shared_polls_too(server: SandboxServer, connection: str) -> None:
    before, after, child, at_last = _run(ON_EVENT_LOOPS, str(SILENT), str(ACCEPTED))
    assert (before, after, at_last) == (["Q"], ["Q"] * 20, ["Q"])
    assert child == [["Y"] * 20, False]


RENEWAL_LOCK = """
from pathlib import Path
from airflow_provider_b24cal.client.lock import InterprocessLock

folder = Path(sys.argv[1])
holding, leave, done = threading.Event(), threading.Event(), threading.Event()

def hold():
    with InterprocessLock("token", 30.0, folder).acquire(threading.Event()):
        holding.set()
        leave.wait(60)
    done.set()

def take(longest):
    try:
        with InterprocessLock("token", longest, folder).acquire(threading.Event()):
            return "taken"
    except TimeoutError:
        return "refused"

threading.Thread(target=hold).start()
assert holding.wait(60)
asked, may_ask = os.pipe()

def in_the_child():
    first = take(0.2)
    os.write(shown, b"1")
    os.read(asked, 1)
    return [first, take(30.0)]

tells, shown = os.pipe()
child = fork(in_the_child)
os.read(tells, 1)
leave.set()
assert done.wait(60)
# The child is still there.
parent = take(1.0)
os.write(may_ask, b"1")
print(json.dumps([result(child), parent]))
"""


def test_a_lock_of_a_token_belongs_to_who_took_it(tmp_path: Path) -> None:
    assert _run(RENEWAL_LOCK, str(tmp_path)) == [["refused", "taken"], "taken"]


OWN_RATE = """
from pathlib import Path
from airflow_provider_b24cal.bitrix24.protocol.limits import Plan
from airflow_provider_b24cal.client import rate_limiter as module

inside, go_on = threading.Event(), threading.Event()

def clock():
    if threading.current_thread() is not threading.main_thread():
        inside.set()
        go_on.wait(60)
    return 1_800_000_000.0

module.time = clock
pace = module.RateLimiter("https://example.bitrix24.com", Plan(2.0, 50.0), Path(sys.argv[1]))
for _ in range(55):
    pace.reserve()
thread = threading.Thread(target=pace.reserve)
thread.start()
assert inside.wait(60)
child = result(fork(lambda: [pace.reserve()]))
go_on.set()
thread.join(60)
print(json.dumps(child))
"""


@pytest.mark.parametrize("shared", [True, False], ids=["in a file", "in memory"])
def test_a_child_is_not_held_by_who_counted_and_remembers_the_count(shared: bool, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    if not shared:
        folder.touch()
    waited = _run(OWN_RATE, str(folder))
    assert waited == [0.0] if shared else waited[0] > 3.0
