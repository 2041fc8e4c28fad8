"""CPU of one status read through the hook, beside a bare ``requests.Session.post`` and ``json.loads``.

Both talk to the same server in another process, which answers with the same bytes over one kept connection,
and both are measured in the CPU time of this process, alternately. Run: ``python benchmarks/call_overhead.py``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, CALLS, LIMIT = 15, 200, 1.3
CODE = "abcdefgh12345678"
SERVER = """
import asyncio
BODY = (b'{"result":"Q","time":{"start":1726477200,"finish":1726477200.1,"duration":0.1,"processing":0.05,'
        b'"date_start":"2026-09-16T10:00:00+02:00","date_finish":"2026-09-16T10:00:00+02:00","operating":0.1}}')
HEAD = (b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json; charset=utf-8\\r\\n"
        b"Content-Length: %d\\r\\n\\r\\n" % len(BODY))

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            lines = head.lower().split(b"\\r\\n")
            size = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
            await reader.readexactly(size)
            writer.write(HEAD + BODY)
    except asyncio.IncompleteReadError:
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


def cpu_per_call(call: Callable[[], object]) -> float:
    """Return microseconds of this process's CPU per call."""
    began = time.process_time()
    for _ in range(CALLS):
        call()
    return (time.process_time() - began) / CALLS * 1e6


def compare(port: int) -> float:
    """Print both figures and return their ratio."""
    # A limit that is never reached: the keeping of the pace is part of what a call costs.
    limits = {"requests_per_second": 1000, "burst": 100_000}
    portal = {"conn_type": "bitrix24", "host": f"http://127.0.0.1:{port}", "login": "1", "password": CODE}
    connection = {**portal, "extra": limits}
    os.environ["AIRFLOW_CONN_BITRIX24_DEFAULT"] = json.dumps(connection)

    import requests

    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

    hook = Bitrix24CalendarHook()
    session = requests.Session()
    url = f"http://127.0.0.1:{port}/rest/1/{CODE}/calendar.meeting.status.get"

    def bare() -> object:
        return json.loads(session.post(url, json={"eventId": 651}, timeout=70).content)

    def ours() -> object:
        return hook.get_meeting_status(651)

    assert bare()["result"] == ours() == "Q"  # type: ignore[index]  # the server's answer is known
    pairs = [(cpu_per_call(ours), cpu_per_call(bare)) for _ in range(ROUNDS)]
    hook.close()
    session.close()
    ratio = statistics.median(mine / plain for mine, plain in pairs)
    print(f"hook.get_meeting_status    {statistics.median(pair[0] for pair in pairs):7.0f} us CPU per call")
    print(f"requests + json.loads      {statistics.median(pair[1] for pair in pairs):7.0f} us CPU per call")
    print(f"ratio, median of {ROUNDS} pairs  {ratio:7.2f}   (bound {LIMIT})")
    return ratio


def main() -> int:
    """Measure against a server of its own; return 1 when the bound is missed."""
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(AIRFLOW_HOME=home, TMPDIR=home)
        tempfile.tempdir = None
        with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                return int(compare(int(server.stdout.readline())) > LIMIT)
            finally:
                server.kill()


if __name__ == "__main__":
    sys.exit(main())
