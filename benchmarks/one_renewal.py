"""How many renewals sixteen processes spend when they meet a expired access token at the same moment.

Each is a process of its own with a hook, as sixteen tasks of one host are; they share a portal, a connection and
a token store, and begin together. Run: ``python benchmarks/one_renewal.py``.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

PROCESSES = 16


def read(together: Barrier, connection: str) -> tuple[str, float]:
    """Read one status as a task does; return it, or the error, and the seconds it took."""
    os.environ["AIRFLOW_CONN_BITRIX24_DEFAULT"] = connection
    from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error
    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

    together.wait(120)
    began = time.monotonic()
    try:
        with Bitrix24CalendarHook() as hook:
            reported: str = hook.get_meeting_status(668)
    except Bitrix24Error as error:
        reported = repr(error)
    return reported, time.monotonic() - began


def race(folder: Path) -> tuple[list[str], list[float], dict[str, int], dict[str, int]]:
    """Run the race; return answers, times, and what the authorisation server gave out and refused."""
    from bitrix24_sandbox.portal import Portal
    from bitrix24_sandbox.seed import default_seed_data
    from bitrix24_sandbox.server import SandboxServer

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["airflow_provider_b24cal.hooks.bitrix24"])
    with SandboxServer(Portal(default_seed_data())) as server, context.Manager() as manager:
        portal = server.portal
        connection = server.oauth_connection_json(1, token_store=f"file:{folder}")
        portal.expire_tokens()
        portal.plan({"method": "oauth.token", "delay": 0.5})
        together = manager.Barrier(PROCESSES)
        with context.Pool(PROCESSES) as pool:
            found = pool.starmap(read, [(together, connection)] * PROCESSES, chunksize=1)
        server_reported = portal.auth_server
        return (
            [reported for reported, _ in found],
            [took for _, took in found],
            dict(server_reported.issued),
            dict(server_reported.refused),
        )


def main() -> int:
    """Run, print, and return 1 if anything failed or more than one renewal was spent."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["AIRFLOW_HOME"] = home
        answers, times, issued, refused = race(Path(home) / "tokens")
    good = sum(answer == "Q" for answer in answers)
    print(f"{PROCESSES} processes, expired token: {good} answered, {issued.get('refresh_token', 0)} renewal(s) spent")
    print(f"refused by the authorisation server: {sum(refused.values())}; slowest process {max(times):.2f} s")
    for answer in answers:
        if answer != "Q":
            print(f"failed: {answer}")
    return int(good != PROCESSES or issued != {"refresh_token": 1} or bool(refused))


if __name__ == "__main__":
    sys.exit(main())
