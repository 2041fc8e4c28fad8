"""Look the packages of a lock up among published vulnerabilities, and say how many of them could be looked up.

``pip-audit`` alone reports "no known vulnerabilities" also of packages that it could not ask about, such as all
of them behind a mirror without PyPI's JSON interface. Here these are counted, and what was not checked is not
called safe. Only what was found ends with an error: an unreachable service is no fault of the code.

Run: ``make audit``, or ``python .ci/audit.py <pip-audit> <lock> ...``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SERVICES = ("pypi", "osv")
TIMEOUT_S = 15


@dataclass(frozen=True)
class Finding:
    """What is known of a lock.

    :param checked: how many packages were looked up.
    :param skipped: how many could not be.
    :param vulnerable: a line for each vulnerability.
    """

    checked: int = 0
    skipped: int = 0
    vulnerable: list[str] = field(default_factory=list)


def read(report: str) -> Finding | None:
    """Return the findings of a report of pip-audit, or ``None`` if it cannot be read."""
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    checked = [package for package in packages if "skip_reason" not in package]
    lines = [
        f"{package['name']} {package['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'none'}"
        for package in checked
        for found in package["vulns"]
    ]
    return Finding(len(checked), len(packages) - len(checked), lines)


def query(tool: str, lock: str) -> Finding:
    """Query one service after the other until one knows any package."""
    best = Finding()
    for service in SERVICES:
        command = [tool, "-r", lock, "--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json"]
        command += [f"--vulnerability-service={service}", f"--timeout={TIMEOUT_S}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own tool
        finding = read(done.stdout)
        if finding is None:
            reason = done.stderr.strip().splitlines() or ["no reason given"]
            print(f"{lock}: {service} could not be reached: {reason[-1][:200]}")
            continue
        if finding.checked:
            return finding
        best = finding
    return best


def main(tool: str, locks: list[str]) -> int:
    """Print the findings for every lock, and return the exit status."""
    found = 0
    for lock in locks:
        finding = query(tool, lock)
        found += len(finding.vulnerable)
        print(*finding.vulnerable, sep="\n", end="\n" if finding.vulnerable else "")
        total = f" of {finding.checked + finding.skipped}" if finding.skipped else ""
        verdict = f"{len(finding.vulnerable)} known vulnerabilities" if finding.checked else "NOT CHECKED"
        print(f"{Path(lock).name}: {verdict}; {finding.checked}{total} packages could be looked up")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
