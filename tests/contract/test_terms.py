"""One standard term for each concept: names that were replaced are defined nowhere again."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("airflow_provider_b24cal", "benchmarks", "dags_examples", "tests")

MODULES = frozenset(
    {
        "told", "many", "waiting", "notebook", "waits", "judgement", "end", "lane", "drive", "turn", "pace", "wire",
        "bounded", "busy", "meanings", "changing", "inputs", "pages", "access", "stage", "broken", "texts", "office",
        "gates", "test_told", "test_at_home",
    }
)  # fmt: skip
CLASSES = frozenset(
    {
        "Lane", "AsyncLane", "Doer", "AsyncDoer", "Turn", "Pace", "Access", "_Keeper", "Terms", "Patience", "Refused",
        "TryOut", "Meaning", "Busy", "Route", "Body", "Verdict", "End", "Ending", "Notebook", "Told", "Memory",
        "Reading", "Difference", "Moment", "Names", "_Asked", "_Round", "OutOfReachError", "SetNotKeptError",
        "Office", "Book", "Tab", "Surroundings", "Compound", "Stage", "LinkedTask",
    }
)  # fmt: skip
FUNCTIONS = frozenset(
    {
        "insist", "be_patient", "doom", "in_stages", "look_again", "hasty", "amake_in_parts", "aheld", "shown_page",
        "guard", "as_aside", "in_words", "one_of", "untold", "unsettled", "nameless", "check_event_ids", "crowd",
    }
)  # fmt: skip
CONSTANTS = frozenset({"HOPELESS", "TOO_LATE", "SETTLED", "WHOLE"})
KEPT = frozenset({("tests", "TOO_LATE"), ("tests", "WHOLE"), ("tests", "crowd"), ("tests", "waits")})
"""Words of tests that mean something else there."""


def _definitions() -> Iterator[tuple[str, str, str]]:
    """Yield each definition: the folder, where it is, and its name."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            where = str(path.relative_to(ROOT))
            yield folder, where, f"module {path.stem}"
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef):
                    yield folder, f"{where}:{node.lineno}", f"class {node.name}"
                elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield folder, f"{where}:{node.lineno}", f"function {node.name}"
                elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in CONSTANTS:
                    yield folder, f"{where}:{node.lineno}", f"constant {node.id}"


def test_names_that_were_replaced_are_defined_nowhere() -> None:
    retired = {
        *(f"module {name}" for name in MODULES),
        *(f"class {name}" for name in CLASSES),
        *(f"function {name}" for name in FUNCTIONS),
        *(f"constant {name}" for name in CONSTANTS),
    }
    found = [
        f"{where}: {name}"
        for folder, where, name in _definitions()
        if name in retired and (folder, name.partition(" ")[2]) not in KEPT
    ]
    assert found == []
