"""Query strings as PHP reads them: brackets build arrays, dots in names become underscores."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from bitrix24_sandbox.php import PhpArray, PhpKey, PhpValue, key

if TYPE_CHECKING:
    from collections.abc import Iterable

_MANGLED = str.maketrans(" .[", "___")
_NEXT = ("", *" \t\n\r\v\f")
_SCHEME = re.compile(r"[A-Za-z0-9+.-]*\Z", re.ASCII)


def text_of(raw: bytes) -> str:
    """Return bytes as text that can be turned back; PHP strings need not be valid UTF-8."""
    return raw.decode("utf-8", "surrogateescape")


def parse_str(query: str) -> PhpArray:
    """Return what PHP's ``parse_str`` makes of a query string.

    :param query: the encoded text, without the leading ``?``.
    """
    return register(
        (_decode(name), _decode(value))
        for name, _, value in (piece.partition("=") for piece in query.split("&") if piece)
    )


def _decode(text: str) -> str:
    return text_of(unquote_to_bytes(text.replace("+", " ").encode("utf-8", "surrogateescape")))


def register(pairs: Iterable[tuple[str, str]]) -> PhpArray:
    """Build an array from decoded names and values, as PHP fills ``$_GET`` and ``$_POST``.

    :param pairs: names such as ``cmd[c0]`` with their values, in order of arrival.
    """
    variables: PhpArray = {}
    for name, value in pairs:
        base, indexes = _split_name(name)
        if base:
            _store(variables, [key(base), *indexes], value)
    return variables


def _split_name(name: str) -> tuple[str, list[PhpKey | None]]:
    """Split ``a[b][]c`` into ``a`` and its indexes; ``None`` is "the next free number"."""
    name = name.lstrip(" ").partition("\0")[0]
    base, bracket, rest = name.partition("[")
    base = base.translate(_MANGLED)
    indexes: list[PhpKey | None] = []
    while bracket and base:
        index, closed, after = rest.partition("]")
        if not closed:
            return (base if indexes else f"{base}_{rest.translate(_MANGLED)}"), indexes
        indexes.append(None if index in _NEXT else key(index))
        if not after.startswith("["):
            break
        rest = after[1:]
    return base, indexes


def _store(target: PhpArray, path: list[PhpKey | None], value: str) -> None:
    for step in path[:-1]:
        name = _next_index(target) if step is None else step
        inner = target.get(name)
        if not isinstance(inner, dict):
            inner = {}
            target[name] = inner
        target = inner
    last = path[-1]
    target[_next_index(target) if last is None else last] = value


def _next_index(target: dict[PhpKey, PhpValue]) -> int:
    return max((name for name in target if isinstance(name, int) and name >= 0), default=-1) + 1


def split_command(command: str) -> tuple[str, str]:
    """Split a batch command into method name and query, as PHP's ``parse_url`` does.

    A raw ``#`` cuts the rest. A colon before the query reads as a scheme or a port: ``profile:80`` has
    no path, so no method name is left.

    :param command: ``method?query``.
    """
    head, _, query = command.partition("#")[0].partition("?")
    scheme, colon, rest = head.partition(":")
    if not colon:
        return head, query
    if not _SCHEME.match(scheme) or rest.isdigit() or not rest:
        return "", query
    return rest, query
