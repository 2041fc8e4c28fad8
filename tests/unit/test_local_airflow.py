"""Requests of the demo and the system tests to a real Airflow, whose database may be busy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import local_airflow
from dev.local_airflow import LocalAirflow, LocalAirflowError
from tests.standin import Answer, Request, serve

BUSY = Answer({"detail": {"reason": "Database error"}}, 500)
DONE = Answer({"dag_run_id": "one"})


@pytest.fixture
def airflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAirflow]:
    """An Airflow of which no process runs; who asks it has signed in."""
    monkeypatch.setattr(local_airflow.time, "sleep", lambda _: None)
    with LocalAirflow(tmp_path, tmp_path, {}) as made:
        made._token = "signed in"
        yield made


@pytest.mark.parametrize(
    ("replies", "requests", "refusal"),
    [
        ([BUSY, BUSY, DONE], 3, None),
        ([BUSY] * 20, 10, "Database error"),
        ([Answer({"detail": "out of order"}, 500), DONE], 1, "out of order"),
        ([Answer({"detail": "Database error"}, 409), DONE], 1, "HTTP 409"),
    ],
    ids=["busy", "busy for too long", "another error", "refused"],
)
def test_what_a_busy_database_has_rolled_back_is_asked_again(
    replies: list[Answer], requests: int, refusal: str | None, airflow: LocalAirflow
) -> None:
    left = list(replies)

    def answer(_: Request) -> Answer:
        return left.pop(0)

    with serve(answer) as airflow.url:
        if refusal is None:
            assert airflow.request("POST", "/dags/a/dagRuns", {}) == DONE.body
        else:
            with pytest.raises(LocalAirflowError, match=refusal):
                airflow.request("POST", "/dags/a/dagRuns", {})
    assert len(replies) - len(left) == requests


def test_nothing_that_a_stopped_component_has_started_outlives_airflow(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    command = tmp_path / "airflow"
    command.write_text(
        f"#!{sys.executable}\n"
        "import signal, subprocess\n"
        "print(subprocess.Popen(['sleep', '600']).pid, flush=True)\n"
        "signal.pause()\n",
        "utf-8",
    )
    command.chmod(0o700)
    with LocalAirflow(home, tmp_path, {}) as airflow:
        airflow._airflow = str(command)
        airflow.start_component("scheduler")
        log = airflow._log_of("scheduler")
        airflow.wait_for("the child", lambda: log.read_text("utf-8").endswith("\n"))
        airflow.stop_component("scheduler")
        child = Path("/proc", log.read_text("utf-8").strip(), "cwd")
        assert child.readlink() == home
    assert not child.exists()
