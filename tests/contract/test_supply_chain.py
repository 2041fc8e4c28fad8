"""What the project is made of: nothing that Airflow lacks, everything pinned, and an audit that does not flatter."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / ".ci" / "locks").glob("*.txt"))
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def _needed(package: str, extra: str = "") -> list[Requirement]:
    found = map(Requirement, requires(package) or [])
    return [need for need in found if need.marker is None or need.marker.evaluate({"extra": extra})]


def _brought_by(package: str) -> set[str]:
    """Return everything that an installation of a package without extras brings."""
    seen: set[str] = set()
    pending = [Requirement(package)]
    while pending:
        need = pending.pop()
        key = f"{canonicalize_name(need.name)}[{','.join(sorted(need.extras))}]"
        if key in seen:
            continue
        seen.add(key)
        try:
            for extra in ("", *need.extras):
                pending += _needed(need.name, extra)
        except PackageNotFoundError:  # for another platform
            continue
    return {key.partition("[")[0] for key in seen}


@pytest.mark.parametrize(("package", "least"), [("airflow-provider-b24cal", 5), ("bitrix24-sandbox", 3)])
def test_nothing_is_needed_that_airflow_does_not_bring(package: str, least: int) -> None:
    if package == "bitrix24-sandbox" and version("apache-airflow").startswith("2."):
        pytest.skip("Airflow 2 has neither starlette nor uvicorn")
    brought = _brought_by("apache-airflow")
    needed = _needed(package)
    assert len(needed) >= least
    assert {need.name for need in needed if canonicalize_name(need.name) not in brought} == set()
    too_old = {str(need) for need in needed if not need.specifier.contains(version(need.name), prereleases=True)}
    assert not too_old, "the bounds fit what Airflow brings"


def test_the_bounds_fit_every_lock_of_airflow() -> None:
    for lock in LOCKS:
        if not lock.name.startswith("airflow-"):
            continue
        pinned = {canonicalize_name(name): number for name, number in PINNED.findall(lock.read_text("utf-8"))}
        for need in _needed("airflow-provider-b24cal"):
            assert need.specifier.contains(pinned[canonicalize_name(need.name)]), f"{lock.name}: {need}"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_everything_pinned_has_a_hash_and_names_no_registry(lock: Path) -> None:
    text = lock.read_text("utf-8")
    entries = re.split(r"\n(?=\S)", text.replace("\\\n", ""))
    packages = [entry for entry in entries if not entry.startswith("#")]
    assert packages
    assert [entry[:40] for entry in packages if not (PINNED.match(entry) and "--hash=sha256:" in entry)] == []
    assert "://" not in text


CLIENTS = ROOT / "sandbox" / "tests" / "clients"


def test_clients_from_npm_are_pinned_by_hashes_and_name_no_registry() -> None:
    packages = json.loads((CLIENTS / "package-lock.json").read_text("utf-8"))["packages"]
    own = packages.pop("")
    assert set(own) == {"dependencies"}
    assert all(re.fullmatch(r"[\d.]+", number) for number in own["dependencies"].values())
    assert len(packages) > 10
    assert [name for name, one in packages.items() if not one["integrity"].startswith("sha512-")] == []
    assert [name for name, one in packages.items() if "resolved" in one] == []


def test_the_versions_of_clients_are_those_that_run() -> None:
    page = (ROOT / "docs" / "sandbox.rst").read_text("utf-8")
    pinned = dict(PINNED.findall((ROOT / ".ci" / "locks" / "airflow-3.3.txt").read_text("utf-8")))
    npm = json.loads((CLIENTS / "package.json").read_text("utf-8"))["dependencies"]
    shown = dict(re.findall(r"\* - ``([\w@/-]+)`` ([\d.]+)", page))
    assert shown == {**npm, "b24pysdk": pinned["b24pysdk"], "fast_bitrix24": pinned["fast-bitrix24"]}


def _audit(tmp_path: Path, *answers: object) -> subprocess.CompletedProcess[str]:
    """Run the audit with a pip-audit that answers the first service, and then the second, as given."""
    tool = tmp_path / "pip-audit"
    reported = [json.dumps(answer) if isinstance(answer, dict) else answer for answer in answers]
    tool.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"answer = {reported!r}['--vulnerability-service=osv' in sys.argv]\n"
        "print(answer) if answer else sys.exit('cannot resolve the host')\n"
    )
    tool.chmod(0o700)
    lock = tmp_path / "some.txt"
    lock.touch()
    command = [sys.executable, str(ROOT / ".ci" / "audit.py"), str(tool), str(lock)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _package(name: str, *vulnerable: str) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": [{"id": one, "fix_versions": ["1.1"]} for one in vulnerable]}


SKIPPED = {"name": "unknown", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("answers", "status", "last"),
    [
        ([{"dependencies": [_package("a"), _package("b")]}, ""], 0, "0 known vulnerabilities; 2 packages"),
        ([{"dependencies": [_package("a", "CVE-1"), SKIPPED]}, ""], 1, "1 known vulnerabilities; 1 of 2 packages"),
        ([{"dependencies": [SKIPPED, SKIPPED]}, ""], 0, "NOT CHECKED; 0 of 2 packages"),
        ([{"dependencies": [SKIPPED]}, {"dependencies": [_package("a", "CVE-1")]}], 1, "1 known vulnerabilities; 1 p"),
        (["", ""], 0, "NOT CHECKED; 0 packages"),
        (["<html>no gateway</html>", "[]"], 0, "NOT CHECKED; 0 packages"),
    ],
)
def test_the_audit_calls_nothing_safe_that_it_could_not_look_up(
    answers: list[object], status: int, last: str, tmp_path: Path
) -> None:
    done = _audit(tmp_path, *answers)
    assert done.returncode == status, done.stdout + done.stderr
    assert f"some.txt: {last}" in done.stdout.splitlines()[-1]
    assert ("a 1.0: CVE-1, mended in 1.1" in done.stdout) == bool(status)
    if answers[0] == "":
        assert "pypi could not be reached: cannot resolve the host" in done.stdout
