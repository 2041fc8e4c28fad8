"""Looking everywhere for a secret: whatever a run has printed, logged, raised, stored or left in memory."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Iterable, Iterator
from traceback import TracebackException
from typing import Any
from urllib.parse import quote

LOUD = ("", "requests", "urllib3", "httpx", "httpcore", "asyncio", "uvicorn", "airflow", "airflow_provider_b24cal")
"""Loggers whose every line is looked at; the first is the root of all."""

_PIECE = 8


class Evidence:
    """Everything there is to look at, by where it was found."""

    def __init__(self) -> None:
        self._texts: list[tuple[str, str]] = []

    def text(self, where: str, text: object) -> None:
        """Look at a text."""
        self._texts.append((where, str(text)))

    def value(self, where: str, value: Any) -> None:
        """Look at what goes through JSON: a result, an argument of a trigger, an event."""
        self.text(where, json.dumps(value, default=repr))

    def thing(self, where: str, thing: object) -> None:
        """Look at an object as others may show or store it: printed, with its attributes, pickled."""
        self.text(f"{where}: repr", repr(thing))
        self.text(f"{where}: str", str(thing))
        self.text(f"{where}: attributes", repr(vars(thing)) if hasattr(thing, "__dict__") else "")
        try:
            stored = pickle.dumps(thing).decode("latin-1")
        except Exception as problem:  # noqa: BLE001 - what cannot be pickled is stored by nobody
            stored = str(problem)
        self.text(f"{where}: pickle", stored)

    def error(self, where: str, error: BaseException) -> None:
        """Look at an error and at all that it came of, with the variables of every frame."""
        for link in chain(error):
            self.thing(f"{where} {type(link).__name__}", link)
            self.text(f"{where} {type(link).__name__}: args", repr(link.args))
            self.text(f"{where} {type(link).__name__}: notes", repr(getattr(link, "__notes__", None)))
        reported = TracebackException.from_exception(error, capture_locals=True)
        self.text(f"{where}: traceback", "".join(reported.format()))

    def records(self, records: Iterable[logging.LogRecord]) -> None:
        """Look at log records: the line, its arguments, and what structured logs would print besides."""
        for record in records:
            where = f"log of {record.name}"
            self.text(where, record.getMessage())
            self.text(f"{where}: fields", repr(vars(record)))
            if record.exc_info and record.exc_info[1] is not None:
                self.error(where, record.exc_info[1])

    def task(self, task: Any) -> None:
        """Look at an operator or sensor, with its rendered fields, of which OpenLineage is reported too."""
        self.thing("task", task)
        self.text("rendered fields", repr({name: getattr(task, name) for name in task.template_fields}))

    def places(self) -> set[str]:
        """Return where something was looked at."""
        return {where for where, text in self._texts if text}

    def showing(self, secrets: Iterable[str]) -> list[str]:
        """Return the places that show a secret or a piece of it, each with the text around it."""
        needles = {needle for secret in secrets for needle in _needles(secret)}
        return sorted({f"{where}: {_around(text, needle)}" for where, text in self._texts for needle in needles
                       if needle in text})  # fmt: skip


def _needles(secret: str) -> Iterator[str]:
    """Yield every piece of a secret, as it is and percent-encoded: half of one is half of the work to guess it."""
    for form in {secret, quote(secret, safe="")}:
        yield from (form[start : start + _PIECE] for start in range(len(form) - _PIECE + 1))


def _around(text: str, needle: str) -> str:
    start = text.index(needle)
    return text[max(0, start - 60) : start + 60]


def chain(error: BaseException) -> list[BaseException]:
    """Return an error and all that it came of."""
    links = [error]
    for link in links:
        inner = [link.__cause__, link.__context__, *getattr(link, "exceptions", ())]
        links += [other for other in inner if isinstance(other, BaseException) and other not in links]
    return links
