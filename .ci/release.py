"""Say what is missing for a release, and refuse it for that.

No public address is in the repository, so some places wait for one. Run: ``make dist RELEASE=1``, or
``python .ci/release.py``. The variable TAG, such as ``v0.1.0``, is compared with the version.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
URLS = ("Changelog", "Documentation", "Issues", "Source")
UNPUBLISHED = {
    "CHANGELOG.md": "It has not been published yet",
    "README.md": "until the first release",
    "docs/check_your_portal.rst": "Until the first release",
    "docs/index.rst": "Until the first release",
    "docs/quickstart.rst": "Until the first release",
    "docs/sandbox.rst": "Until the first release",
    "sandbox/README.md": "Until the first release",
}
"""What each page says before the first release."""


def versions(root: Path) -> dict[str, str]:
    """Return the version of each distribution by the file that names it."""
    files = ("airflow_provider_b24cal/__init__.py", "sandbox/bitrix24_sandbox/__init__.py")
    return {name: re.findall(r'__version__ = "(.+)"', (root / name).read_text("utf-8"))[0] for name in files}


def missing(root: Path, tag: str = "") -> list[str]:
    """Return a line for each place that is not ready for a release.

    :param tag: of the release; compared with the provider's version if it is given.
    """
    found = []
    for name in ("pyproject.toml", "sandbox/pyproject.toml"):
        urls = tomllib.loads((root / name).read_text("utf-8"))["project"].get("urls", {})
        if lacking := [url for url in URLS if not str(urls.get(url, "")).startswith("https://")]:
            found.append(f"{name}: no public address in [project.urls] for {', '.join(lacking)}")
    if not (root / ".github" / "CODEOWNERS").exists():
        found.append(".github/CODEOWNERS: not there; it names the accounts that review")
    for name, words in UNPUBLISHED.items():
        if words in (root / name).read_text("utf-8"):
            found.append(f"{name}: says {words!r}")
    provider, sandbox = versions(root).values()
    changelog = (root / "CHANGELOG.md").read_text("utf-8")
    if not re.search(rf"^## \[{re.escape(provider)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.M):
        found.append(f"CHANGELOG.md: no heading '## [{provider}] - YYYY-MM-DD'")
    if tag and tag != f"v{provider}":
        found.append(f"the tag {tag}: expected v{provider}")
    if any(re.search("[a-z]", version) for version in (provider, sandbox)):
        found.append(f"the versions {provider} and {sandbox}: expected none of a development")
    return found


def main() -> int:
    """Print what is missing, and return the exit code."""
    found = missing(ROOT, os.environ.get("TAG", ""))
    status = ["git", "status", "--porcelain"]
    changed = subprocess.run(status, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - as written
    if changed.returncode == 0 and changed.stdout:
        found.append("the working tree: has changes that are not committed")
    if found:
        print("Not ready for a release:", *found, sep="\n  ", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
