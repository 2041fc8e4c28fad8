"""The dbt files of the documentation: they are those that are generated, and dbt builds them (``make dbt``)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from dev.dbt_project import FOLDER, MODEL, files
from tests.databases import database
from tests.stored_tables import DAY, FIRST, make_meeting, make_snapshot, make_store, write


def test_the_files_are_those_that_are_generated() -> None:
    assert {path: (FOLDER / path).read_text("utf-8") for path in files()} == files(), "make dbt writes them anew"
    found = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}
    assert found == {*files(), "dbt_project.yml"}


def dbt(project: Path, *words: str) -> str:
    command = [str(Path(os.environ["B24CAL_TEST_DBT"]).absolute()), *words, "--profiles-dir", str(project)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.skipif("B24CAL_TEST_DBT" not in os.environ, reason="run by make dbt")
def test_dbt_builds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
    project = tmp_path / "project"
    shutil.copytree(FOLDER, project)
    with database("postgresql", tmp_path) as url:
        server = {"host": url.host, "port": url.port, "user": url.username, "password": url.password or "none",
                  "dbname": url.database}  # fmt: skip
        target = {"type": "postgres", "schema": "public", "threads": 1, **server}
        profile = {"bitrix24_attendance": {"target": "test", "outputs": {"test": target}}}
        (project / "profiles.yml").write_text(json.dumps(profile), "utf-8")
        store = make_store(create_engine(url))
        store.prepare(create=True)
        write(store, make_snapshot(0, make_meeting(7, FIRST + 3 * DAY, "YNQ")))
        assert "[WARNING]" not in dbt(project, "--no-use-colors", "parse", "--show-all-deprecations")
        dbt(project, "build")
        with store.engine.connect() as connection:
            rows = connection.execute(text(f"SELECT user_id, status FROM {MODEL} ORDER BY 1")).all()
        store.engine.dispose()
        assert list(map(tuple, rows)) == [(1, "H"), (10, "Y"), (11, "N"), (12, "Q")]
        manifest = json.loads((project / "target" / "manifest.json").read_text("utf-8"))
        sources = {one["name"]: one for one in manifest["sources"].values()}
        assert sources["bitrix24_meetings"]["loaded_at_field"] == "last_seen"
        assert all(one["description"] and all(c["description"] for c in one["columns"].values())
                   for one in sources.values())  # fmt: skip
