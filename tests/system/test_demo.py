"""The demo as a person runs it: to its end, and broken off, which is run by ``make restarts``."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from dev.demo import has_attendance_page
from tests.sync import FOR_A_PROCESS, TIMEOUT, ending

pytestmark = pytest.mark.xdist_group("demo")
ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "dev.demo", "dags_examples"]


def _left_behind(folder: Path) -> list[str]:
    """Return what still runs or lies there of a demo that kept its files in ``folder``."""
    found = [str(path) for path in folder.iterdir()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            # All of Airflow is started there, and some of it writes titles over its environment. A folder that is
            # gone is still named.
            if str((process / "cwd").readlink()).startswith(f"{folder.resolve()}/"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # gone in the meantime, or somebody else's
            continue
    return found


def test_to_the_end(tmp_path: Path) -> None:
    done = subprocess.run(
        COMMAND,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(
        r"^  (\d+) .*?  (not answered|accepted) +(accepted) +(yes) +(-|\d+ s)$", done.stdout, re.MULTILINE
    )
    assert [(row[0], row[1]) for row in rows] == [(event, "not answered") for event in ("668", "681", "689", "702")]
    assert rows[-1][-1] != "-"
    assert _left_behind(tmp_path) == []


@pytest.mark.skipif(
    os.environ.get("B24CAL_TEST_RESTARTS") != "asked", reason="the demo is broken off when asked for, by: make restarts"
)
@pytest.mark.parametrize(("number", "more"), [(signal.SIGINT, []), (signal.SIGTERM, ["--ui"])])
def test_broken_off(number: int, more: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    running = subprocess.Popen([*COMMAND, *more], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    awaited = "Ctrl-C stops both" if more else "DAG attendance_round runs"
    with ending(running):
        assert running.stdout is not None
        printed = ""
        for line in running.stdout:
            printed += line
            if awaited in line:
                break
        if more:
            assert "attendance_db" in printed
            (webhook,) = re.findall(r"http://127\.0\.0\.1:\d+/rest/1/\w+/", printed)
            with urlopen(f"{webhook}profile", timeout=TIMEOUT) as reply:
                assert json.load(reply)["result"]["ID"] == "1"
            pages = re.findall(r"^  Attendance +(http://127\.0\.0\.1:\d+/\S+) ", printed, re.MULTILINE)
            assert len(pages) == has_attendance_page()
            for page in pages:
                with pytest.raises(HTTPError, match="401"):
                    urlopen(page, timeout=TIMEOUT)
        shown = _left_behind(tmp_path)
        assert sum("airflow" in command for command in shown) >= 4, "Airflow's four processes are running"
        running.send_signal(number)
        reported, _ = running.communicate(timeout=FOR_A_PROCESS)
    assert running.returncode == 130, reported
    assert "nothing is left running" in reported
    assert _left_behind(tmp_path) == []
