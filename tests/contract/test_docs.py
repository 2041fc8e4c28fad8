"""What the documentation shows is so: code is cut from files that tests run, what else a reader would copy is tried.

Blocks of ``text`` are what is printed, not what is typed.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
import sqlite3
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import metadata
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from airflow.cli import cli_parser
from bitrix24_sandbox import cli
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer
from bitrix24_sandbox.settings import Settings as PortalSettings
from packaging.requirements import Requirement
from sqlalchemy import create_engine

from airflow_provider_b24cal import oauth
from airflow_provider_b24cal.attendance.io.tables import TableNames
from airflow_provider_b24cal.attendance.io.views import VIEWS, create_views
from airflow_provider_b24cal.bitrix24 import Window
from airflow_provider_b24cal.bitrix24.auth.credentials import Endpoint, Secret, Webhook
from airflow_provider_b24cal.bitrix24.protocol.errors import CLASSES
from airflow_provider_b24cal.bitrix24.protocol.limits import Plan
from airflow_provider_b24cal.bitrix24.settings import Settings
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from airflow_provider_b24cal.operators.events import Bitrix24ListEventsOperator
from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator
from airflow_provider_b24cal.transfers.attendance_to_sql import Bitrix24AttendanceToSqlOperator
from tests.portal_data import CANARY
from tests.stored_tables import make_meeting, make_snapshot, make_store, write
from tests.sync import TIMEOUT

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
GUIDES = sorted((ROOT / "docs").glob("*.rst"))
PAGES = [*GUIDES, *sorted((ROOT / "docs").glob("*/*.rst"))]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
SHELL, JSON, SQL, PRINTED = "shell", "json", "sql", "text"


@dataclass(frozen=True)
class Block:
    """A block of code on a page.

    :param line: number of the line that begins it.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield what is shown as code and stands on the page itself."""
    lines = page.read_text("utf-8").splitlines()
    if page.suffix == ".md":
        fences = [number for number, line in enumerate(lines) if line.lstrip().startswith(("```", "~~~"))]
        for begin, end in zip(fences[::2], fences[1::2], strict=True):
            language = lines[begin].strip("`~ ") or PRINTED
            inside = "\n".join(lines[begin + 1 : end])
            yield Block(page.name, begin + 1, SHELL if language == "sh" else language, inside)
        return
    for number, line in enumerate(lines):
        directive = re.search(r"\.\. (code-block|code|sourcecode|parsed-literal|highlight)::\s*(\S*)", line)
        if directive is None and (not line.endswith("::") or line.lstrip().startswith("..")):
            continue
        indented = re.compile(
            rf"\s{{{(directive.start() if directive else len(line) - len(line.lstrip())) + 1},}}\S|\s*$"
        )
        inside = []
        for following in lines[number + 1 :]:
            if not indented.match(following):
                break
            inside.append(following)
        # Of a block that does not say what it is, Sphinx takes it for Python.
        yield Block(page.name, number + 1, directive[2] if directive else "", dedent("\n".join(inside)).strip())


BLOCKS = [block for page in (README, CONTRIBUTING, *PAGES) for block in blocks_of(page)]


def _is_python(text: str) -> bool:
    try:
        return bool(ast.parse(text).body)
    except SyntaxError:
        return False


def test_no_code_is_written_by_hand() -> None:
    """Python is cut from files that tests run; only what README cannot include is there twice."""
    examples = [path.read_text("utf-8") for path in (ROOT / "dags_examples").glob("*.py")]
    copied = [block for block in BLOCKS if (block.page, block.language) == ("README.md", "python")]
    assert copied, "README shows a DAG"
    assert [str(block) for block in copied if not any(block.text in example for example in examples)] == []
    by_hand = [
        str(block)
        for block in BLOCKS
        if block not in copied
        and (
            block.language not in {SHELL, JSON, SQL, PRINTED} or (block.language == PRINTED and _is_python(block.text))
        )
    ]
    assert by_hand == []


def test_no_code_is_written_by_hand_in_docstrings() -> None:
    """The reference is made from them; results, after ``::``, are no code."""
    sources = (ROOT / "airflow_provider_b24cal").rglob("*.py")
    assert [str(path) for path in sources if re.search(r"\.\. code|>>> ", path.read_text("utf-8"))] == []


def test_what_is_included_is_what_tests_run() -> None:
    """The examples are all run by the system tests, which see to that themselves."""
    included = {
        path for page in PAGES for path in re.findall(r"literalinclude:: \.\./(\S+)", page.read_text("utf-8"))
    }  # fmt: skip
    run = re.compile(r"dags_examples/\w+\.py|tests/\w+/(dags/\w+|test_\w+)\.py|sandbox/bitrix24_sandbox/example\.yaml")
    assert [path for path in included if not run.fullmatch(path)] == []
    assert len(included) > 10


# Commands


def commands_in(text: str) -> list[list[str]]:
    """Return the commands of a shell's lines as lists of words."""
    lexer = shlex.shlex(re.sub(r"\s+# .*", "", text).replace("\\\n", " "), posix=True, punctuation_chars="&;|\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("&;|\n"):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


def _literals(page: Path) -> list[str]:
    marks = r"``([^`]+)``" if page.suffix == ".rst" else r"(?<!`)`([^`\n]+)`(?!`)"
    return [" ".join(text.split()) for text in re.findall(marks, page.read_text("utf-8"))]


COMMANDS = {
    (page, " ".join(words)): words
    for page, text in [
        *((block.page, block.text) for block in BLOCKS if block.language == SHELL),
        *(
            (page.name, text)
            for page in (README, CONTRIBUTING, *PAGES)
            for text in _literals(page)
            if re.match(r"(make|pip|python|airflow) ", text)
        ),
    ]
    for words in commands_in(text)
}


def _takes(parser: ArgumentParser, words: list[str]) -> None:
    try:
        parser.parse_args(words)
    except SystemExit as refused:
        assert refused.code == 0, words


def _make(*words: str) -> None:
    for word in words:
        name, is_variable, _ = word.partition("=")
        assert re.search(rf"\$\({name}\)|^{name}\b" if is_variable else rf"^{name}:", MAKEFILE, re.M), word


def _pip(action: str, *packages: str) -> None:
    assert action == "install"
    for folder in [name for name in packages if name.startswith(".")]:
        assert (ROOT / folder / "pyproject.toml").is_file(), folder
    for requirement in [Requirement(name) for name in packages if not name.startswith(".")]:
        about = metadata(requirement.name)
        assert requirement.extras <= set(about.get_all("Provides-Extra") or ()), requirement


def _python(option: str, module: str, *words: str) -> None:
    assert option == "-m"
    assert module == "airflow_provider_b24cal.oauth"
    if words:
        _takes(oauth._parser(), list(words))


def _sandbox(*words: str) -> None:
    _takes(cli._parser(), list(words))


def _airflow(*words: str) -> None:
    if words != ("...",):
        _takes(cli_parser.get_parser(), list(words))


def _curl(*words: str) -> None:
    option, method, url, header, kind, data, body = words
    assert (option, header, data) == ("-X", "-H", "-d")
    name, _, value = kind.partition(": ")
    with SandboxServer() as server:
        address = server.url + urlsplit(url).path
        answer = requests.request(method, address, data=body, headers={name: value}, timeout=TIMEOUT)
        assert answer.status_code == 200, answer.text


def _export(*words: str) -> None:
    """Connections; they are read below."""
    assert [word.partition("=")[0] for word in words] == ["AIRFLOW_CONN_BITRIX24_DEFAULT"]


def _rm(*words: str) -> None:
    assert words == ("connection.json",), "what the command before has written"


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_commands(page: str, line: str) -> None:
    known = {
        "make": _make,
        "pip": _pip,
        "python": _python,
        "bitrix24-sandbox": _sandbox,
        "airflow": _airflow,
        "curl": _curl,
        "export": _export,
        "rm": _rm,
    }
    program, *words = COMMANDS[page, line]
    known[program](*words)


@pytest.mark.parametrize(("page", "parser"), [("sandbox.rst", cli._parser()), ("oauth.rst", oauth._parser())])
def test_options_are_those_of_the_command(page: str, parser: ArgumentParser) -> None:
    text = (ROOT / "docs" / page).read_text("utf-8")
    there = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) == there - {"--help"}


def test_the_sandbox_takes_what_its_page_names() -> None:
    text = (ROOT / "docs" / "sandbox.rst").read_text("utf-8")
    paths = re.findall(r"``(GET|POST|DELETE) (/-/\w+)``", text)
    rules = re.findall(r"``(\{\".*\})``", text.partition("Plan faults\n")[2].partition("\nControl it by requests\n")[0])
    assert (len(paths) > 8, len(rules) > 5) == (True, True)
    with SandboxServer() as server, requests.Session() as session:
        for method, path in paths:
            answer = session.request(method, server.url + path, json={}, timeout=TIMEOUT)
            assert answer.status_code in {200, 400}, (path, answer.text)
        for rule in rules:
            answer = session.post(f"{server.url}/-/fault", json=json.loads(rule), timeout=TIMEOUT)
            assert answer.status_code == 200, (rule, answer.text)


def test_the_page_of_the_sandbox_names_every_setting() -> None:
    text = (ROOT / "docs" / "sandbox.rst").read_text("utf-8").partition("_sandbox-settings:")[2]
    assert [one.name for one in fields(PortalSettings) if f"``{one.name}``" not in text] == []


# Connections


def test_connections_are_read_as_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: dict[str, list[str]] = {}
    for block in BLOCKS:
        if block.language == SHELL:
            lines = [words for words in commands_in(block.text) if words[0] == "export"]
            reported.setdefault(block.page, []).extend(words[1].partition("=")[2] for words in lines)
        elif block.language == JSON and '"conn_type"' in block.text:
            reported.setdefault(block.page, []).append(block.text)
    plain = Settings(Endpoint("https://example.bitrix24.com", Webhook("1", Secret(CANARY))))
    proxy = Secret("http://proxy.example:3128")
    apart: dict[str, Any] = {"timeout": 30.0, "verify": "/etc/ssl/company.pem", "proxy": proxy}
    wanted = {
        "README.md": [plain],
        "connection.rst": [
            plain,
            Settings(plain.endpoint, plan=Plan(5, 250), max_in_flight=9, **apart),
            Settings(plain.endpoint, timeout=30.0, verify=False),
            plain,
        ],
        "scaling.rst": [Settings(plain.endpoint, rate_limit_conn_id="redis_default")],
    }

    def read(stored: str) -> Settings:
        monkeypatch.setenv("AIRFLOW_CONN_SHOWN", stored.replace("<code>", CANARY))
        return Bitrix24CalendarHook("shown")._client.settings()

    shown = {page: list(map(read, connections)) for page, connections in reported.items() if connections}
    oauth_pages = {page: shown.pop(page) for page in list(shown) if page == "oauth.rst"}
    assert shown == wanted
    ((of_application,),) = oauth_pages.values()
    assert of_application.grant is not None
    assert of_application.grant.application.client_id == "local.0123456789abcd.01234567"
    assert of_application.grant.pair.refresh.reveal() == "<refresh-token>"


# What tasks return

DATA = {
    "people": [
        {"id": 1, "name": "Anna", "webhook": {"secret": CANARY, "scopes": ["calendar"]}},
        *({"id": number, "name": f"Person {number}"} for number in range(2, 7)),
    ],
    "events": [
        {"id": 650, "name": "Budget", "host": 2, "time_zone": "UTC",
         "start": "2026-09-16T08:00", "end": "2026-09-16T09:00",
         "attendees": [{"user": 1, "id": 651}, {"user": 6},
                       *({"user": number, "status": "Y"} for number in (3, 4, 5))]},
    ],
}  # fmt: skip
SEPTEMBER = {"window_start": "2026-09-01T00:00:00Z", "window_end": "2026-09-30T00:00:00Z"}


def _reported(kind: type) -> Any:
    """Return the result in a class's docstring."""
    _, _, after = dedent(kind.__doc__ or "").partition("::\n\n")
    return json.loads(after.partition("\n\n")[0])


def _shown(page: str) -> Any:
    (block,) = (block for block in BLOCKS if (block.page, block.language) == (page, JSON))
    return json.loads(block.text)


def test_results_are_as_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with SandboxServer(Portal(parse(DATA))) as server:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", server.connection_json(1))
        rows = Bitrix24ListEventsOperator(task_id="list", **SEPTEMBER).execute({})
        done = Bitrix24SetMeetingStatusOperator(task_id="set", event_id=651, status="Y").execute({})
    assert rows == _shown("events.rst") == _reported(Bitrix24ListEventsOperator)
    assert done == _shown("operators.rst") == _reported(Bitrix24SetMeetingStatusOperator)


def test_every_json_is_a_connection_or_a_result() -> None:
    pages = [block.page for block in BLOCKS if block.language == JSON]
    assert sorted(pages) == ["connection.rst", "events.rst", "oauth.rst", "operators.rst", "scaling.rst"]


# Queries


def test_queries_find_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They run on tables that the operator has filled."""
    pytest.importorskip("airflow.providers.sqlite")
    path = tmp_path / "attendance.db"
    monkeypatch.setenv("AIRFLOW_CONN_TABLES", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    sync = Bitrix24AttendanceToSqlOperator(task_id="sync", sql_conn_id="tables", create_tables=True, **SEPTEMBER)
    with SandboxServer(Portal(parse(DATA))) as server:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", server.connection_json(1))
        sync.execute({})
        server.portal.answer(650, 6, "Y")
        sync.execute({})
    with closing(sqlite3.connect(path)) as database:
        found = [
            database.execute(block.text).fetchall()
            for block in BLOCKS
            if block.language == SQL and block.page == "attendance.rst"
        ]
    coming, silent, changes, habits = found
    assert [row[1:] for row in coming] == [("Budget", 4, 0, 1, 5)]
    assert [row[1:] for row in silent] == [("Budget", 1)]
    assert [row[:4] for row in changes] == [(6, 650, "Q", "Y")]
    assert habits == [(1, 0.0, 1), *((user, 1.0, 1) for user in (3, 4, 5, 6))]


def test_views_show_what_they_say(tmp_path: Path) -> None:
    """Two meetings that were read on three mornings, queried on the next day."""
    store = make_store(create_engine(f"sqlite:///{tmp_path}/attendance.db"))
    store.prepare(create=True)
    monday = datetime(2026, 10, 5, 10, tzinfo=UTC)
    for day, budget in enumerate(("QYQ", "YYQ", "YNQ"), 1):
        events = (make_meeting(7, monday, budget, name="Budget"),
                  make_meeting(8, monday + timedelta(days=3), "QQY", name="Plan"))  # fmt: skip
        snapshot = make_snapshot(0, *events, window=Window(monday, monday + timedelta(days=7)))
        write(store, replace(snapshot, read_at=datetime(2026, 10, day, 6, tzinfo=UTC)))
    create_views(store, TableNames())
    store.engine.dispose()

    def strftime(form: str, when: str) -> str:
        moment = datetime.fromisoformat("2026-10-04 09:00" if when == "now" else when)
        return str(int(moment.replace(tzinfo=UTC).timestamp())) if form == "%s" else str(moment)

    blocks = [block for block in BLOCKS if block.page == "attendance_views.rst"]
    assert len(blocks) == 2 * len(VIEWS)
    with closing(sqlite3.connect(tmp_path / "attendance.db")) as database:
        database.create_function("strftime", 2, strftime)
        for query, result in zip(blocks[::2], blocks[1::2], strict=True):
            cursor = database.execute(query.text)
            rows = [[name for name, *_ in cursor.description or ()], *cursor.fetchall()]
            cells = [[str(cell).removesuffix(":00.000000") for cell in row] for row in rows]
            assert [line.split("  ") for line in re.sub("   +", "  ", result.text).splitlines()] == cells, str(result)


# Names and the way on


def _find(name: str) -> object:
    """Import what a dotted name leads to."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def test_names_lead_somewhere() -> None:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    names = set(re.findall(r"\bairflow_provider_b24cal(?:\.\w+)+", text))
    names |= {
        f"airflow_provider_b24cal.{name}"
        for name in re.findall(
            r"^\| .* \| `((?:hooks|operators|sensors|transfers|triggers|notifications)\.[\w.]+)`",
            README.read_text(),
            re.M,
        )
    }
    assert len(names) > 40
    for name in sorted(names):
        if not name.endswith((".py", ".sandbox.example.yaml")):
            _find(name)


def test_files_are_there() -> None:
    text = "\n".join(page.read_text("utf-8") for page in (README, CONTRIBUTING, *PAGES))
    paths = set(re.findall(r"\b(?:dags_examples|benchmarks|docs|tests|\.ci)/[\w/.]*\w\.\w+", text))
    assert sorted(path for path in paths if not (ROOT / path).exists() and not path.startswith("docs/_build/")) == []
    assert len(paths) > 10


def test_there_is_something_to_do_about_every_error() -> None:
    page = (ROOT / "docs" / "errors.rst").read_text("utf-8")
    rows = re.findall(r"\* - (.*)\n", page.partition("What to do\n---")[2].partition("\n\n**")[0].partition("\n---")[0])
    named = [name for row in rows for name in re.findall(r"``(\w+Error)``", row)]
    families = {"Bitrix24Error", "AttendanceError"}
    assert sorted(named) == sorted(set(CLASSES) - families)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_each_page_says_what_to_do_next(page: Path) -> None:
    last = page.read_text("utf-8").strip().rpartition("\n\n")[2]
    assert re.match(r"\*\*Next:\*\* .*:doc:`", last), last


def test_decisions_are_dated_and_whole() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.rst"))
    listed = re.findall(r"^   decisions/(\S+)$", (ROOT / "docs" / "decisions.rst").read_text("utf-8"), re.M)
    assert listed == [record.stem for record in records]
    for number, record in enumerate(records, 1):
        text = record.read_text("utf-8")
        assert text.startswith(f"{number:04d}. "), record.name
        assert record.name.startswith(f"{number:04d}-"), record.name
        assert re.search(r"^:Date: 20\d\d-\d\d-\d\d$", text, re.M), record.name
        assert re.findall(r"^(.+)\n-+$", text, re.M) == ["Context", "Decision", "Consequences"], record.name


def test_every_class_of_the_reference_has_a_page() -> None:
    """One class a page; those of a module that is shown whole, and errors, share one."""
    pages = sorted((ROOT / "docs" / "reference").glob("*.rst"))
    listed = re.findall(r"^   reference/(\S+)$", (ROOT / "docs" / "reference.rst").read_text("utf-8"), re.M)
    assert sorted(listed) == [page.stem for page in pages]
    crowded = [page.stem for page in pages if page.read_text("utf-8").count(".. autoclass::") > 1]
    assert crowded == ["attendance_rows", "event_list"]
