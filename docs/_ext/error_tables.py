"""Tables of errors, made at build time from the one table that the provider itself decides by.

``error-codes`` lists the portal's codes, ``token-codes`` those of the authorisation server, ``error-pages`` the answers
that are not JSON, ``error-classes`` documents every class of error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from airflow_provider_b24cal.bitrix24.calendar.methods import get_status, set_status
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol.error_codes import (
    CODES,
    EXPIRED_GRANT,
    NOT_JSON,
    RETRYABLE_STATUSES,
    TOKEN_CODES,
    USED_CODE,
    meaning_of_code,
    meaning_of_page,
)
from airflow_provider_b24cal.bitrix24.protocol.errors import CLASSES, Bitrix24Error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

    from airflow_provider_b24cal.bitrix24.protocol.error_codes import ErrorSpec

_UNKNOWN = "a code that is in no table"


def _codes() -> Iterator[tuple[str, ErrorSpec]]:
    for call in (get_status(1), set_status(1, MeetingStatus.ACCEPTED)):
        for code, meaning in call.own_codes.items():
            yield f'``"{code}"`` from ``{call.method}``', meaning
    for code, meaning in CODES.items():
        yield (f"``{code}``" if code else '``""`` from any other method'), meaning
    for status, words in ((400, ""), (429, ", HTTP 429"), (500, ", HTTP 500 and above")):
        yield f"any other code{words}", meaning_of_code(_UNKNOWN, status)


def _pages() -> Iterator[tuple[str, ErrorSpec]]:
    for status, meaning in NOT_JSON.items():
        yield str(status), meaning
    yield f"any other 4xx but {', '.join(map(str, sorted(RETRYABLE_STATUSES)))}", meaning_of_page(400)
    yield "any other", meaning_of_page(200)


def _token_codes() -> Iterator[tuple[str, ErrorSpec]]:
    for code, meaning in TOKEN_CODES.items():
        yield f"``{code}``", meaning
    yield "``invalid_grant`` after 180 days", EXPIRED_GRANT
    yield "``invalid_grant`` for a code", USED_CODE


class Generated(SphinxDirective):
    """Lines of reST in place of a directive."""

    def lines(self) -> list[str]:
        """Return the reST to put in place of the directive."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse the lines."""
        found = nodes.Element()
        self.state.nested_parse(StringList(self.lines(), source=__file__), self.content_offset, found)
        return found.children


class _Table(Generated):
    head = ""

    def rows(self) -> Iterator[tuple[str, ErrorSpec]]:
        """Return the first column's text and the meaning of each row."""
        raise NotImplementedError

    def lines(self) -> list[str]:
        """Return a table."""
        lines = [
            ".. list-table::",
            "   :header-rows: 1",
            "   :class: errors",
            "",
            *row(self.head, "Error", "Permanence", "What the message says"),
        ]
        for key, meaning in self.rows():
            permanence = (meaning.permanence or meaning.error.default_permanence).value
            if meaning.retry_after is not None:
                permanence += f", {meaning.retry_after:g} s"
            lines += row(key, reference(meaning.error), permanence, meaning.advice)
        return lines


class ErrorCodes(_Table):
    """The portal's error codes."""

    head = "Code"
    rows = staticmethod(_codes)


class TokenCodes(_Table):
    """Error codes of the authorisation server."""

    head = "Code"
    rows = staticmethod(_token_codes)


class ErrorPages(_Table):
    """Answers that are not JSON."""

    head = "HTTP status"
    rows = staticmethod(_pages)


class ErrorClasses(Generated):
    """Every class of error below the root, with its base."""

    def lines(self) -> list[str]:
        """Return one autodoc directive for each class."""
        return [
            line
            for error in CLASSES.values()
            if error is not Bitrix24Error
            for line in (f".. autoexception:: {error.__module__}.{error.__name__}()", "   :show-inheritance:", "")
        ]


def row(*cells: str) -> Iterator[str]:
    """Yield the lines of a row of a list table."""
    for number, cell in enumerate(cells):
        yield f"   {'*' if number == 0 else ' '} - {cell}"


def reference(error: type[Bitrix24Error]) -> str:
    """Return a link to an error's class."""
    return f":py:exc:`~{error.__module__}.{error.__name__}`"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("error-codes", ErrorCodes)
    app.add_directive("error-pages", ErrorPages)
    app.add_directive("token-codes", TokenCodes)
    app.add_directive("error-classes", ErrorClasses)
    return {"parallel_read_safe": True}
