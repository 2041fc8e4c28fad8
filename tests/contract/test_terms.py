"""One standard term for each concept: replaced names are defined nowhere, retired phrases stand nowhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEFINED_IN = ("airflow_provider_b24cal", "benchmarks", "dags_examples", "tests")

MODULES = frozenset(
    {
        "told", "many", "waiting", "notebook", "waits", "judgement", "end", "lane", "drive", "turn", "pace", "wire",
        "bounded", "busy", "meanings", "changing", "inputs", "pages", "access", "stage", "broken", "texts", "office",
        "gates", "test_told", "test_at_home", "looks",
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
    for folder in DEFINED_IN:
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


PROSE = (
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", ".github/**/*.md", "docs/**/*.rst", "docs/_ext/*.py",
    ".ci/*", "sandbox/README.md", "airflow_provider_b24cal/**/*.py", "airflow_provider_b24cal/**/*.json",
    "sandbox/**/*.py", "sandbox/**/*.yaml", "dev/*.py", "dags_examples/*.py", "benchmarks/*.py", "tests/**/*.py",
)  # fmt: skip
PHRASES = (
    "; accepted is", "befalls", "befell", "doom", "good no more", "hopeless", "is not acceptable", "lets nobody in",
    "patience", "told", "worn", "what became of", "Another task has been at it", "Not over after", "was so already",
    "set and read back", "somebody has no time", "set and proven", "What it runs on", "Two worlds", "left to chance",
    "nobody else's matter", "tells of", "tell of", "keeps the pace", "agree on the pace", "turn is tried",
    "How something ends", "too many for XCom are counted", "What cannot be so", "Looks of a clock", "an own", "the own",
    "belongs into", "common ticks", "never arrive",
)  # fmt: skip
"""Phrases of riddles, metaphors and old error sentences; each has a plain replacement."""


def _is_in(phrase: str, text: str) -> bool:
    """Return whether whole words are in a text; an underscore ends a word, so names count too."""
    return re.search(rf"(?<![^\W_]){re.escape(phrase)}(?![^\W_])", text, re.IGNORECASE) is not None


@pytest.mark.parametrize("pattern", PROSE)
def test_phrases_that_were_replaced_stand_nowhere(pattern: str) -> None:
    # This file names them all.
    paths = sorted(path for path in ROOT.glob(pattern) if path.is_file() and path.name != Path(__file__).name)
    assert paths
    # A phrase may be broken by the end of a line, and by what begins the next one.
    texts = {path: re.sub(r"[\s\"#]+", " ", path.read_text("utf-8")) for path in paths}
    found = [
        f"{path.relative_to(ROOT)}: {phrase}"
        for path, text in texts.items()
        for phrase in PHRASES
        if _is_in(phrase, text)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "found"), [("he told us", True), ("Told.", True), ("read_told", True), ("untold", False)]
)
def test_a_phrase_is_whole_words(text: str, found: bool) -> None:
    assert _is_in("told", text) == found
