"""Printing an answer: JSON, or XML, in which types are lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from bitrix24_sandbox.php import PhpArray, PhpValue, to_text
from bitrix24_sandbox.phpjson import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADERS = {"Access-Control-Allow-Origin": "*", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True)
class Reply:
    """An answer ready to be sent.

    :param corruption: what becomes of it on its way, one of
        :data:`~bitrix24_sandbox.corrupt_responses.CORRUPTIONS`.
    """

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    corruption: str = ""


def render(status: int, answer: PhpArray, form: str) -> Reply:
    """Return an answer in the wanted form.

    :param form: ``json`` or ``xml``.
    """
    if form == "xml":
        text = f'<?xml version="1.0" encoding="UTF-8"?><response>{_xml(answer)}</response>'
        return Reply(status, "text/xml; charset=utf-8", _bytes(text), _HEADERS)
    return Reply(status, "application/json; charset=utf-8", _bytes(encode(answer)), _HEADERS)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _xml(values: PhpArray) -> str:
    return "".join(
        f"<{tag}>{_xml_value(value)}</{tag}>"
        for tag, value in (("item" if isinstance(key, int) else key, value) for key, value in values.items())
    )


def _xml_value(value: PhpValue) -> str:
    return _xml(value) if isinstance(value, dict) else escape(to_text(value))


def preflight() -> Reply:
    """Return the answer to the question of a browser whether a page of another site may send a request."""
    allowed = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "origin, content-type, accept"}
    return Reply(200, "text/html; charset=UTF-8", b"", allowed)


def fatal() -> Reply:
    """Return what an uncaught PHP error leaves: status 500 and a body that is no JSON."""
    return Reply(500, "text/html; charset=UTF-8", b"<html><body>Internal Server Error</body></html>")
