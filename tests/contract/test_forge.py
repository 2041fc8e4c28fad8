"""What a forge and contributors read: workflows, templates, editors' settings, and the way to a release."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
RELEASE = ROOT / ".ci" / "release.py"


def _jobs(workflow: Path) -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load(workflow.read_text("utf-8"))["jobs"]
    return jobs


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_no_rights_but_those_of_its_jobs(workflow: Path) -> None:
    assert yaml.safe_load(workflow.read_text("utf-8"))["permissions"] == {}
    for name, job in _jobs(workflow).items():
        wanted = {"id-token": "write"} if name == "publish" else {"contents": "read"}
        assert job["permissions"] == wanted, name
        assert job["timeout-minutes"] <= 60, name
    assert "secrets." not in workflow.read_text("utf-8")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_only_calls_make(workflow: Path) -> None:
    """What runs there can be run by anybody."""
    steps = [step for job in _jobs(workflow).values() for step in job["steps"]]
    assert steps
    for step in [step for step in steps if "run" in step]:
        program, *words = step["run"].split()
        assert program == "make"
        assert all("=" in word or re.search(rf"^{word}:", MAKEFILE, re.M) for word in words), step["run"]


def test_the_tests_that_make_names_exist() -> None:
    """Of a path that is missing pytest runs nothing at all."""
    targets = ["quick-tests", "test", "restarts", "executors", "buckets", "destinations", "dbt", "clients", "coverage"]
    printed = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", *targets, "docs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    arguments = {part for text in (printed, (ROOT / ".ci" / "run").read_text("utf-8")) for part in text.split()}
    named = {part.strip("\"'") for part in arguments if re.match(r"\W?(sandbox/)?tests/(?!clients/node_modules)", part)}
    assert len(named) > 20
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_one_version_of_each_action_is_pinned_by_a_hash() -> None:
    lines = re.findall(r"uses: (\S+?)@(.*)", "\n".join(path.read_text("utf-8") for path in WORKFLOWS))
    assert {name for name, version in lines if not re.fullmatch(r"[0-9a-f]{40} # v[\d.]+", version)} == set()
    assert len(set(lines)) == len({name for name, _ in lines})


def test_the_forge_tests_what_is_supported() -> None:
    matrix = _jobs(ROOT / ".github" / "workflows" / "ci.yml")["test"]["strategy"]["matrix"]
    locks = sorted(path.stem.removeprefix("airflow-") for path in (ROOT / ".ci" / "locks").glob("airflow-*.txt"))
    assert matrix["airflow"] == locks
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert matrix["python"] == [name.rpartition(" ")[2] for name in project["classifiers"] if "Python :: 3." in name]


def test_templates_say_what_they_are_for() -> None:
    templates = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))
    assert [path.stem for path in templates] == ["fault", "portal_difference", "question"]
    for path in templates:
        _, about, text = path.read_text("utf-8").split("---\n", 2)
        assert set(yaml.safe_load(about)) == {"name", "about", "title"}
        assert text.strip()
    assert "bitrix24-sandbox check" in templates[1].read_text("utf-8")


def test_a_commit_is_checked_by_the_ruff_of_make() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    assert [hook["entry"].split()[:2] for hook in hooks] == [
        [".venv/3.3/bin/ruff", "check"],
        [".venv/3.3/bin/ruff", "format"],
    ]
    length = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["line-length"]
    assert f"max_line_length = {length}\n" in (ROOT / ".editorconfig").read_text("utf-8")


def test_the_worked_example_is_in_the_files_it_names() -> None:
    rows = re.findall(r"^\| \d+\. .* \| `(\S+)` \| `(\w+)` \|$", CONTRIBUTING, re.M)
    assert len(rows) == 11
    missing = [row for row in rows if not re.search(rf"\b{row[1]}\b", (ROOT / row[0]).read_text("utf-8"), re.I)]
    assert missing == []


def _released(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, tmp_path / ".ci" / "release.py"]
    shown = {**os.environ, "TAG": "", "GIT_CEILING_DIRECTORIES": str(tmp_path.parent), **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=shown)


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A copy of what a release looks at, as it is when all is done."""
    address = 'Changelog = "{0}"\nDocumentation = "{0}"\nIssues = "{0}"\nSource = "{0}"\n'.format(
        "https://forge.example"
    )
    texts = {
        "pyproject.toml": f"[project]\n[project.urls]\n{address}",
        "sandbox/pyproject.toml": f"[project]\n[project.urls]\n{address}",
        ".github/CODEOWNERS": "* @example\n",
        "CHANGELOG.md": "## [1.2.3] - 2027-01-31\n",
        "README.md": "", "docs/check_your_portal.rst": "", "docs/index.rst": "", "docs/quickstart.rst": "",
        "docs/sandbox.rst": "", "sandbox/README.md": "",
        "airflow_provider_b24cal/__init__.py": '__version__ = "1.2.3"\n',
        "sandbox/bitrix24_sandbox/__init__.py": '__version__ = "1.0.0"\n',
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    (tmp_path / ".ci").mkdir()
    shutil.copy(RELEASE, tmp_path / ".ci")
    return tmp_path


def test_a_release_that_is_ready_is_not_refused(ready: Path) -> None:
    done = _released(ready, TAG="v1.2.3")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("pyproject.toml", "[project]\n", "pyproject.toml: no public address in [project.urls] for Changelog, Docum"),
        ("sandbox/pyproject.toml", "[project]\n", "sandbox/pyproject.toml: no public address"),
        (".github/CODEOWNERS", None, ".github/CODEOWNERS: not there"),
        ("README.md", "pip install x  # until the first release\n", "README.md: says 'until the first release'"),
        ("CHANGELOG.md", "## [1.2.3]\n", "CHANGELOG.md: no heading '## [1.2.3] - YYYY-MM-DD'"),
        ("airflow_provider_b24cal/__init__.py", '__version__ = "1.3.0"\n', "the tag v1.2.3: expected v1.3.0"),
        ("sandbox/bitrix24_sandbox/__init__.py", '__version__ = "1.0.dev1"\n', "expected none of a development"),
    ],
)
def test_a_release_is_refused_by_name(name: str, text: str | None, message: str, ready: Path) -> None:
    (ready / name).unlink()
    if text is not None:
        (ready / name).write_text(text, "utf-8")
    done = _released(ready, TAG="v1.2.3")
    assert done.returncode == 1
    assert message in done.stderr


def test_what_has_to_be_done_for_a_release_is_on_the_check_list() -> None:
    listed = CONTRIBUTING.partition("## Release\n")[2]
    names = [*re.findall(r'^    "([\w./]+)": "', RELEASE.read_text("utf-8"), re.M), ".github/CODEOWNERS"]
    assert len(names) == 8
    assert [name for name in (*names, "sandbox/pyproject.toml") if f"`{name}`" not in listed] == []


def test_no_public_address_is_made_up() -> None:
    """Until there is one, nothing names one."""
    if (ROOT / ".github" / "CODEOWNERS").exists():
        pytest.skip("the project has an address")
    for name in ("pyproject.toml", "sandbox/pyproject.toml"):
        assert "urls" not in tomllib.loads((ROOT / name).read_text("utf-8"))["project"], name
